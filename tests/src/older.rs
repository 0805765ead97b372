//! Layouts that no version had, as examples of older ones: how they are read, and how tests write them over the maps of a data
//! plane that is at work. Its program keeps the maps that it was loaded with, whatever is pinned in their place.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{
    MapSpec, TABLE,
    backend::{Backend, Limits, NextHop, will},
    dialog::{BUCKET_SLOTS, Bucket, Dialog, Evidence, State},
    name,
    settings::Settings,
};
use sipsteer::{
    dataplane::{
        layout::{Layout, Old, PRESENT, array, array_of_bytes, hash},
        pins::PinDir,
    },
    failure::Failure,
};
use std::{fs, path::Path};

/// What the binary `older` reads.
pub const LAYOUTS: &[Layout] = &[PRESENT, WITH_OTHER_BACKENDS, WITH_OTHER_SLOTS];

/// Values of BACKENDS begin with 8 bytes that mean nothing now.
pub const WITH_OTHER_BACKENDS: Layout = Layout {
    abi: 1000,
    maps: || with_value_size(name::BACKENDS, OTHER_BACKEND),
    slots: PRESENT.slots,
    dialog: PRESENT.dialog,
    read: |pins| {
        let values = array_of_bytes(pins, name::BACKENDS)?;
        let backends = (0..).zip(values.iter().map(|value| backend(&value[8..])));
        old(pins, backends.filter(|(_, b)| b.will != will::ABSENT).collect())
    },
};

/// Buckets hold three dialogs, the state word first and the key last.
pub const WITH_OTHER_SLOTS: Layout = Layout {
    abi: 1001,
    maps: || with_value_size(name::DIALOGS, OTHER_BUCKET),
    slots: 3,
    dialog: other_dialog,
    read: |pins| {
        let backends: Vec<Backend> = array(pins, name::BACKENDS)?;
        old(pins, (0..).zip(backends).filter(|(_, b)| b.will != will::ABSENT).collect())
    },
};

/// Bytes of a backend in [`WITH_OTHER_BACKENDS`].
const OTHER_BACKEND: usize = 8 + size_of::<Backend>();
/// Bytes of a bucket in [`WITH_OTHER_SLOTS`].
const OTHER_BUCKET: usize = 3 * size_of::<Dialog>();

fn with_value_size(name: &str, size: usize) -> Vec<MapSpec> {
    let change = |spec: &MapSpec| match spec.name == name {
        true => MapSpec { value_size: size as u32, ..*spec },
        false => *spec,
    };
    TABLE.iter().map(change).collect()
}

/// What the maps say that no layout here changes.
fn old(pins: &PinDir, backends: Vec<(u16, Backend)>) -> Result<Old, Failure> {
    let mut old = Old {
        settings: array(pins, name::SETTINGS)?.into_iter().next().unwrap_or_default(),
        found: Default::default(),
        backend_loads: (0..).zip(array(pins, name::BACKEND_LOADS)?).collect(),
        zone_loads: (0..).zip(array(pins, name::ZONE_LOADS)?).collect(),
    };
    old.found.services = hash(pins, name::SERVICES)?;
    old.found.listeners = (0..).zip(array(pins, name::LISTENERS)?).collect();
    old.found.zones = (0..).zip(array(pins, name::ZONES)?).map(|(id, zone)| (id, zone, Vec::new())).collect();
    old.found.backends = backends;
    Ok(old)
}

/// Numbers that lie one behind the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().expect("the value is as long as the map says");
        self.0 = rest;
        *bytes
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

fn backend(bytes: &[u8]) -> Backend {
    let mut r = Reader(bytes);
    Backend {
        address: r.take(),
        port: r.u16(),
        will: r.take::<1>()[0],
        health: r.take::<1>()[0],
        next_hop: NextHop {
            ifindex: r.u32(),
            mtu: r.u16(),
            destination_mac: r.take(),
            source_mac: r.take(),
            _pad: r.u16(),
        },
        weight: r.u16(),
        zone: r.u16(),
        limits: Limits {
            max_channels: r.u32(),
            max_cps: r.u32(),
            interval_ns: r.u32(),
            burst: r.u32(),
            capacity_channels: r.u32(),
            capacity_cps: r.u32(),
            other_channels: r.u32(),
            other_cps: r.u32(),
        },
        name: r.take(),
    }
}

fn other_dialog(bucket: &[u8], slot: usize) -> Option<Dialog> {
    let mut r = Reader(bucket.chunks_exact(size_of::<Dialog>()).nth(slot)?);
    let (state, evidence) = (State::from_word(r.u64()), Evidence::from_word(r.u64()));
    let dialog = Dialog { state, evidence, peer: r.u32(), service: r.u32(), call_key: r.u64() };
    dialog.state.is_live().then_some(dialog)
}

fn map(pins: &Path, name: &str) -> Result<Map> {
    Ok(Map::from_map_data(MapData::from_pin(pins.join(name))?)?)
}

/// Pins a map in the place of another.
fn repin<V: aya::Pod>(pins: &Path, name: &str, map: Array<MapData, V>) -> Result<()> {
    let path = pins.join(name);
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(map.pin(&path)?)
}

fn set_abi(pins: &Path, abi: u32) -> Result<()> {
    let mut settings: Array<MapData, Settings> = map(pins, name::SETTINGS)?.try_into()?;
    Ok(settings.set(0, Settings { abi, ..settings.get(&0, 0)? }, 0)?)
}

/// Makes what is pinned one [`WITH_OTHER_BACKENDS`]. The program steers on with its own maps, and by the dialogs that are pinned.
///
/// # Errors
/// When the maps are not there, or not those of this version.
pub fn change_backends(pins: &Path) -> Result<()> {
    let present: Array<MapData, [u8; size_of::<Backend>()]> = map(pins, name::BACKENDS)?.try_into()?;
    let mut other: Array<MapData, [u8; OTHER_BACKEND]> = Array::create(present.len(), 0)?;
    for id in 0..present.len() {
        let mut value = [0xaa; OTHER_BACKEND];
        value[8..].copy_from_slice(&present.get(&id, 0)?);
        other.set(id, value, 0)?;
    }
    repin(pins, name::BACKENDS, other)?;
    set_abi(pins, WITH_OTHER_BACKENDS.abi)
}

/// Makes what is pinned one [`WITH_OTHER_SLOTS`], with the dialogs that are there.
///
/// # Errors
/// When the maps are not there, or not those of this version.
pub fn change_slots(pins: &Path) -> Result<()> {
    let present: Array<MapData, Bucket> = map(pins, name::DIALOGS)?.try_into()?;
    let mut values = Vec::new();
    for index in 0..present.len() {
        for dialog in present.get(&index, 0)?.slots {
            values.extend(dialog.state.to_word().to_le_bytes());
            values.extend(dialog.evidence.to_word().to_le_bytes());
            values.extend(dialog.peer.to_le_bytes());
            values.extend(dialog.service.to_le_bytes());
            values.extend(dialog.call_key.to_le_bytes());
        }
    }
    let buckets = present.len() * BUCKET_SLOTS / 3 + 1;
    let mut other: Array<MapData, [u8; OTHER_BUCKET]> = Array::create(buckets, 0)?;
    for (index, bytes) in (0..).zip(values.chunks(OTHER_BUCKET)) {
        let mut value = [0; OTHER_BUCKET];
        value[..bytes.len()].copy_from_slice(bytes);
        other.set(index, value, 0)?;
    }
    repin(pins, name::DIALOGS, other)?;
    set_abi(pins, WITH_OTHER_SLOTS.abi)
}
