//! What the maps of another layout say, in the types of this version.

use super::{
    super::{
        adopt::map_failure,
        load::open_map,
        pins::{PinDir, unreadable},
        sys::{self, Cursor},
    },
    Slots,
    description::{Description, Leaf, Shape, Side},
    translation::Translation,
};
use crate::{core::model::Found, failure::Failure};
use aya::maps::{Map, MapInfo, MapType};
use lb_common::map::{
    Kind, TABLE,
    backend::{Backend, NextHop, will},
    dialog::BUCKET_SLOTS,
    load::Load,
    name,
    service::Listener,
    settings::Settings,
    value_of,
    zone::{Members, Zone, zone_will},
};
use std::{collections::BTreeMap, os::fd::AsFd};

/// What the maps of a data plane say besides its dialogs.
#[derive(Clone, Debug)]
pub struct Old {
    /// SETTINGS: of it the hash key and the tick matter, without which no dialog is found and none ages.
    pub settings: Settings,
    /// What follows from its configuration: ids stay what they were. Rings and policies are made anew and are missing.
    pub found: Found,
    /// What backends carried. Channels are counted anew, the rest goes on.
    pub backend_loads: Vec<(u16, Load)>,
    /// What zones carried, likewise.
    pub zone_loads: Vec<(u16, Load)>,
}

/// A map that is read, and the numbers in its values without which it says nothing. What else a layout has not is 0: no limit
/// of a backend, say, which the configuration knows.
const MAPS: &[(&str, &[&str])] = &[
    (name::SETTINGS, &["hash_key.k0", "hash_key.k1", "tick_shift"]),
    (name::SERVICES, &["service", "listener"]),
    (name::LISTENERS, &["address.address[]", "address.port", "address.transport", "name[]"]),
    (name::BACKENDS, &["address[]", "port", "will", "name[]"]),
    (name::BACKEND_ADDRESSES, &["backend", "count", "services[]"]),
    (name::ZONES, &["will", "name[]"]),
    (name::ZONE_MEMBERS, &["count", "ids[]"]),
    (name::BACKEND_LOADS, &[]),
    (name::ZONE_LOADS, &[]),
];

/// Where dialogs stand in a value of DIALOGS.
const SLOTS: &str = "slots[]";

/// How a map is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    map: &'static str,
    kind: Kind,
    key: Translation,
    key_size: usize,
    value: Translation,
    value_size: usize,
}

/// How the maps of a layout are read.
///
/// # Errors
/// Why they cannot be.
pub(super) fn readings(other: &Description, own: &Description) -> Result<Vec<Reading>, String> {
    let mut readings = Vec::new();
    for (map, needed) in MAPS {
        let kind = TABLE.iter().find(|spec| spec.name == *map).map_or(Kind::Array, |spec| spec.kind);
        let (key, key_size) = translation(other, own, map, Side::Key)?;
        let (value, value_size) = translation(other, own, map, Side::Value)?;
        let is_needed = |path: &&String| needed.contains(&path.as_str());
        // Of a key every part is needed.
        if let Some(path) = key.missing().first().or_else(|| value.missing().iter().find(is_needed)) {
            return Err(no_number(map, path));
        }
        readings.push(Reading { map, kind, key, key_size, value, value_size });
    }
    readings.push(Reading {
        map: name::DIALOGS,
        kind: Kind::Array,
        key: Translation::default(),
        key_size: size_of::<u32>(),
        value: Translation::default(),
        value_size: shape(other, name::DIALOGS, Side::Value)?.size,
    });
    Ok(readings)
}

/// How the dialogs of a layout are read: every number of a dialog is needed.
///
/// # Errors
/// Why they cannot be.
pub(super) fn slots(other: &Description, own: &Description) -> Result<Slots, String> {
    let (count, stride, theirs) = dialog(shape(other, name::DIALOGS, Side::Value)?)?;
    let (own_count, _, ours) = dialog(shape(own, name::DIALOGS, Side::Value)?)?;
    debug_assert_eq!(own_count, BUCKET_SLOTS as usize);
    let translation = Translation::between(&theirs, &ours);
    match translation.missing().first() {
        Some(path) => Err(no_number(name::DIALOGS, path)),
        None => Ok(Slots { count, stride, translation }),
    }
}

fn no_number(map: &str, path: &str) -> String {
    format!("their {map} has no {path}")
}

fn shape<'a>(description: &'a Description, map: &str, side: Side) -> Result<&'a Shape, String> {
    description
        .shape(map, side)
        .ok_or_else(|| format!("they have no description of the {} of {map}", side.word()))
}

fn translation(
    other: &Description,
    own: &Description,
    map: &str,
    side: Side,
) -> Result<(Translation, usize), String> {
    let (theirs, ours) = (shape(other, map, side)?, shape(own, map, side)?);
    Ok((Translation::between(theirs, ours), theirs.size))
}

/// How many slots a bucket has, how far apart they are, and what is in the first.
fn dialog(bucket: &Shape) -> Result<(usize, usize, Shape), String> {
    let in_slot = |leaf: &Leaf| {
        let path = leaf.path.strip_prefix(SLOTS)?.strip_prefix('.')?.to_owned();
        let (slots, arrays) = leaf.arrays.split_first()?;
        Some((*slots, Leaf { path, arrays: arrays.to_vec(), ..leaf.clone() }))
    };
    let (slots, leaves): (Vec<_>, Vec<_>) = bucket.leaves.iter().filter_map(in_slot).unzip();
    let first = *slots.first().ok_or_else(|| no_number(name::DIALOGS, SLOTS))?;
    if slots.iter().any(|other| *other != first) {
        return Err(format!("the slots of their {} are not of one kind", name::DIALOGS));
    }
    // A dialog of ours begins where its slot does, as slots begin where the bucket does.
    let size = bucket.size - (first.count - 1) * first.stride;
    Ok((first.count, first.stride, Shape { size: size.min(first.stride), leaves }))
}

/// Whether maps are what their description says; else what is not.
///
/// # Errors
/// When a pin cannot be looked at.
pub(super) fn check(pins: &PinDir, readings: &[Reading]) -> Result<Option<String>, Failure> {
    for reading in readings {
        let path = pins.map(reading.map);
        if !path.try_exists().map_err(|e| unreadable(&path, &e))? {
            return Ok(Some(format!("{} is missing", reading.map)));
        }
        let info = MapInfo::from_pin(&path).map_err(|e| map_failure(&path, e))?;
        let sizes = (info.key_size() as usize, info.value_size() as usize);
        let kind = if reading.kind == Kind::Hash { MapType::Hash } else { MapType::Array };
        if info.map_type().ok() != Some(kind) || sizes != (reading.key_size, reading.value_size) {
            return Ok(Some(format!("{} is not what their description says", reading.map)));
        }
    }
    Ok(None)
}

/// What the maps say.
///
/// # Errors
/// When they cannot be read, or say what this version cannot take over.
pub(super) fn old(pins: &PinDir, readings: &[Reading]) -> Result<Old, Failure> {
    let reader = Reader { pins, readings };
    let mut backends: Vec<(u16, Backend)> =
        reader.array(name::BACKENDS, |b: &Backend| b.will != will::ABSENT)?;
    backends.retain(|(_, backend)| backend.will != will::ABSENT);
    if reader.misses(name::BACKENDS, "next_hop") {
        backends.iter_mut().for_each(|(_, backend)| backend.next_hop = NextHop::default());
    }
    let zones: Vec<(u16, Zone)> = reader.array(name::ZONES, |z: &Zone| z.will != zone_will::ABSENT)?;
    let members: BTreeMap<u16, Members> =
        reader.array(name::ZONE_MEMBERS, |m: &Members| m.count > 0)?.into_iter().collect();
    let members = |id: &u16| {
        let members = members.get(id).copied().unwrap_or_default();
        members.ids.into_iter().take(members.count as usize).collect()
    };
    let listeners: Vec<(u16, Listener)> =
        reader.array(name::LISTENERS, |l: &Listener| l.address.port != 0)?;
    // What backends carried that this version has no number for is nobody's loss.
    let loads = |map| reader.array(map, |_: &Load| false);
    Ok(Old {
        settings: reader
            .array(name::SETTINGS, |_: &Settings| true)?
            .first()
            .map(|(_, s)| *s)
            .unwrap_or_default(),
        found: Found {
            services: reader.hash(name::SERVICES)?,
            listeners: listeners.into_iter().map(|(index, listener)| (index.into(), listener)).collect(),
            backends,
            backend_addresses: reader.hash(name::BACKEND_ADDRESSES)?,
            zones: zones.into_iter().map(|(id, zone)| (id, zone, members(&id))).collect(),
            ..Found::default()
        },
        backend_loads: loads(name::BACKEND_LOADS)?,
        zone_loads: loads(name::ZONE_LOADS)?,
    })
}

/// Reads maps as they are described.
struct Reader<'a> {
    pins: &'a PinDir,
    readings: &'a [Reading],
}

impl Reader<'_> {
    fn reading(&self, map: &str) -> Result<&Reading, Failure> {
        self.readings.iter().find(|reading| reading.map == map).ok_or_else(|| {
            Failure::bad("map_unusable", format!("{} is read by nobody", self.pins.map(map).display()))
        })
    }

    /// Whether a layout lacks a part of a field.
    fn misses(&self, map: &str, field: &str) -> bool {
        let reading = self.readings.iter().find(|reading| reading.map == map);
        reading.is_some_and(|r| r.value.missing().iter().any(|path| path.starts_with(field)))
    }

    /// The values of an array, as many as this version's has. `is_used` tells those that say something.
    fn array<V: aya::Pod>(&self, map: &str, is_used: impl Fn(&V) -> bool) -> Result<Vec<(u16, V)>, Failure> {
        let reading = self.reading(map)?;
        let room = TABLE.iter().find(|spec| spec.name == map).map_or(0, |spec| spec.max_entries as usize);
        let mut values = Vec::new();
        for (index, bytes) in array_of_bytes(self.pins, map)?.into_iter().enumerate() {
            let (value, fits) = self.value::<V>(map, &reading.value, &bytes)?;
            if !is_used(&value) && (index >= room || fits.is_err()) {
                continue;
            }
            fits?;
            if index >= room {
                return Err(self.no_room(map, &format!("entry {index} is used, and this version has {room}")));
            }
            values.push((index as u16, value));
        }
        Ok(values)
    }

    /// The entries of a hash map.
    fn hash<K: aya::Pod, V: aya::Pod>(&self, map: &str) -> Result<Vec<(K, V)>, Failure> {
        let reading = self.reading(map)?;
        let entry = |(key, value): Entry| {
            let (key, fits) = self.value(map, &reading.key, &key)?;
            fits?;
            let (value, fits) = self.value(map, &reading.value, &value)?;
            fits.map(|()| (key, value))
        };
        entries(self.pins, map)?.into_iter().map(entry).collect()
    }

    /// A value of ours, and whether all of it found room.
    fn value<V: aya::Pod>(
        &self,
        map: &str,
        translation: &Translation,
        bytes: &[u8],
    ) -> Result<(V, Result<(), Failure>), Failure> {
        let mut own = vec![0; translation.length()];
        let fits = translation.apply(bytes, &mut own).map_err(|e| self.no_room(map, &e.to_string()));
        let value = value_of(&own).ok_or_else(|| {
            Failure::bad("object_broken", format!("the XDP object has another {map} than this program"))
        })?;
        Ok((value, fits))
    }

    fn no_room(&self, map: &str, why: &str) -> Failure {
        let path = self.pins.map(map);
        Failure::bad(
            "no_room_for_value",
            format!("{} was left alone, with all beside it: {why}", path.display()),
        )
        .remedy("start the version that made these maps and take out of its configuration what is too much for this one")
    }
}

/// All values of a pinned array, as they lie in memory.
///
/// # Errors
/// When it is not there or no array.
pub(super) fn array_of_bytes(pins: &PinDir, name: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let map = open_map(pins, name)?;
    if !matches!(map, Map::Array(_)) {
        return Err(Failure::bad("map_unusable", format!("{} is no array", pins.map(name).display())));
    }
    Ok(entries(pins, name)?.into_iter().map(|(_, value)| value).collect())
}

/// A key and a value.
type Entry = (Vec<u8>, Vec<u8>);

/// All entries of a pinned map, likewise.
fn entries(pins: &PinDir, name: &str) -> Result<Vec<Entry>, Failure> {
    let path = pins.map(name);
    let failure = |e| unreadable(&path, &e);
    let info = MapInfo::from_pin(&path).map_err(|e| map_failure(&path, e))?;
    let map = sys::object_get(&path).map_err(failure)?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    let room = info.max_entries() as usize;
    let (mut keys, mut values) = (vec![0; sizes.0 * room], vec![0; sizes.1 * room]);
    let mut cursor = Cursor::default();
    let mut found = Vec::new();
    loop {
        let (read, more) = sys::lookup_batch_bytes(map.as_fd(), &mut cursor, &mut keys, &mut values, sizes)
            .map_err(failure)?;
        let pairs = keys.chunks_exact(sizes.0).zip(values.chunks_exact(sizes.1)).take(read);
        found.extend(pairs.map(|(key, value)| (key.to_vec(), value.to_vec())));
        if !more || read == 0 {
            return Ok(found);
        }
    }
}
