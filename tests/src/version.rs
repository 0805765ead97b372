//! Other versions' maps, made of those of a data plane that is at work: what an older version pinned, and what newer ones may.
//! The program keeps the maps that it was loaded with, whatever is pinned in their place.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{
    backend::Backend,
    dialog::{BUCKET_SLOTS, Bucket, Dialog},
    layout::{Layout, TEXT_LEN},
    name,
    settings::Settings,
};
use sipsteer::dataplane::layout::description::{Description, Elements, Leaf, Shape, Side};
use std::{fs, path::Path};

/// The number of a newer layout.
pub const NEWER: u32 = 1000;
/// A map that only a newer version has.
pub const NEWER_MAP: &str = "NEWER_MAP";

/// Bytes before a backend in a value of a newer version.
const BEFORE: usize = 8;
const NEWER_BACKEND: usize = BEFORE + size_of::<Backend>();
/// Dialogs in a bucket of a newer version, and bytes of each.
const SLOTS: usize = 3;
const NEWER_DIALOG: usize = 40;
const NEWER_BUCKET: usize = SLOTS * NEWER_DIALOG;

fn map(pins: &Path, name: &str) -> Result<Map> {
    Ok(Map::from_map_data(MapData::from_pin(pins.join(name))?)?)
}

/// Pins a map in the place of another.
fn repin<V: aya::Pod>(pins: &Path, name: &str, map: Array<MapData, V>) -> Result<()> {
    let path = pins.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(map.pin(&path)?)
}

/// Has the maps bear other numbers.
///
/// # Errors
/// When SETTINGS is not there.
pub fn set_numbers(pins: &Path, abi: u32, readable_from: u32) -> Result<()> {
    let mut settings: Array<MapData, Settings> = map(pins, name::SETTINGS)?.try_into()?;
    Ok(settings.set(0, Settings { abi, readable_from, ..settings.get(&0, 0)? }, 0)?)
}

/// Changes what the maps say of themselves.
fn describe(pins: &Path, change: impl FnOnce(&mut Description)) -> Result<()> {
    let mut layout: Array<MapData, Layout> = map(pins, name::LAYOUT)?.try_into()?;
    let mut description = Description::read(&layout.get(&0, 0)?.text)?;
    change(&mut description);
    let mut text = description.to_string().into_bytes();
    text.resize(TEXT_LEN, 0);
    let text = text.try_into().ok().context("the description is longer than LAYOUT")?;
    Ok(layout.set(0, Layout { text }, 0)?)
}

/// Makes what is pinned a data plane of ABI 3, which does not describe itself.
///
/// # Errors
/// When the maps are not there, or not those of this version.
pub fn make_abi_3(pins: &Path) -> Result<()> {
    fs::remove_file(pins.join(name::LAYOUT))?;
    set_numbers(pins, 3, 0)
}

/// Makes what is pinned one of a newer version: something stands before a backend, whose weight has 4 bytes now and whose zone is
/// called otherwise, and there is a map more.
///
/// # Errors
/// When the maps are not there, or not those of this version.
pub fn change_backends(pins: &Path, readable_from: u32) -> Result<()> {
    let present: Array<MapData, [u8; size_of::<Backend>()]> = map(pins, name::BACKENDS)?.try_into()?;
    let mut other: Array<MapData, [u8; NEWER_BACKEND]> = Array::create(present.len(), 0)?;
    for id in 0..present.len() {
        let mut value = [0; NEWER_BACKEND];
        let backend = present.get(&id, 0)?;
        value[BEFORE..].copy_from_slice(&backend);
        // Where the next version keeps the weight.
        value[..2].copy_from_slice(&backend[WEIGHT_AT..WEIGHT_AT + 2]);
        other.set(id, value, 0)?;
    }
    repin(pins, name::BACKENDS, other)?;
    Array::<MapData, u64>::create(1, 0)?.pin(pins.join(NEWER_MAP))?;
    describe(pins, |description| {
        let mut backend = description.shape(name::BACKENDS, Side::Value).cloned().unwrap_or_default();
        backend.size = NEWER_BACKEND;
        for leaf in &mut backend.leaves {
            leaf.at += BEFORE;
            match leaf.path.as_str() {
                "weight" => (leaf.at, leaf.size) = (0, 4),
                "zone" => leaf.path = "place".to_owned(),
                _ => {}
            }
        }
        description.insert(name::BACKENDS, Side::Value, backend);
        description.insert(NEWER_MAP, Side::Value, Shape { size: 8, leaves: Vec::new() });
    })?;
    set_numbers(pins, NEWER, readable_from)
}

/// Where the weight of a backend stands.
const WEIGHT_AT: usize = std::mem::offset_of!(Backend, weight);

/// Makes what is pinned one of a newer version: buckets hold three dialogs of 40 bytes, the state first and the key last, with
/// the backend in 4 bytes.
///
/// # Errors
/// When the maps are not there, or not those of this version.
pub fn change_slots(pins: &Path, readable_from: u32) -> Result<()> {
    let present: Array<MapData, Bucket> = map(pins, name::DIALOGS)?.try_into()?;
    let mut values = Vec::new();
    for index in 0..present.len() {
        for dialog in present.get(&index, 0)?.slots {
            values.extend(newer_dialog(&dialog));
        }
    }
    let buckets = (present.len() * BUCKET_SLOTS).div_ceil(SLOTS as u32);
    let mut other: Array<MapData, [u8; NEWER_BUCKET]> = Array::create(buckets, 0)?;
    for (index, bytes) in (0..).zip(values.chunks(NEWER_BUCKET)) {
        let mut value = [0; NEWER_BUCKET];
        value[..bytes.len()].copy_from_slice(bytes);
        other.set(index, value, 0)?;
    }
    repin(pins, name::DIALOGS, other)?;
    let leaf = |(path, at, size): (&str, usize, usize)| Leaf {
        path: format!("slots[].{path}"),
        arrays: vec![Elements { count: SLOTS, stride: NEWER_DIALOG }],
        at,
        size,
    };
    let bucket = Shape { size: NEWER_BUCKET, leaves: PLACES.map(leaf).to_vec() };
    describe(pins, |description| description.insert(name::DIALOGS, Side::Value, bucket))?;
    set_numbers(pins, NEWER, readable_from)
}

/// What [`newer_dialog`] writes where.
const PLACES: [(&str, usize, usize); 10] = [
    ("state.backend", 0, 4),
    ("state.generation", 4, 2),
    ("state.seen", 6, 2),
    ("state.phase", 8, 1),
    ("state.listener", 9, 1),
    ("evidence.generation", 10, 2),
    ("evidence.hash", 12, 4),
    ("peer", 16, 4),
    ("service", 20, 4),
    ("call_key", 32, 8),
];

fn newer_dialog(dialog: &Dialog) -> [u8; NEWER_DIALOG] {
    let Dialog { state, evidence, .. } = dialog;
    let numbers: [u64; PLACES.len()] = [
        state.backend.into(),
        state.generation.into(),
        state.seen.into(),
        state.phase.into(),
        state.listener.into(),
        evidence.generation.into(),
        evidence.hash.into(),
        dialog.peer.into(),
        dialog.service.into(),
        dialog.call_key,
    ];
    let mut bytes = [0xaa; NEWER_DIALOG];
    for ((_, at, size), number) in PLACES.into_iter().zip(numbers) {
        bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..size]);
    }
    bytes
}
