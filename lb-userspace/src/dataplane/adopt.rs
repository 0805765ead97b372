//! May the pinned maps be used? Compared before anything is touched, because neither the kernel nor aya would mind.

use super::{
    layout::{self, Layout},
    pins::{PinDir, unreadable},
};
use crate::failure::Failure;
use aya::maps::{MapInfo, MapType};
use lb_common::{
    abi::ABI,
    map::{Kind, MapSpec, TABLE, dialog::buckets_for, name},
};
use std::sync::Arc;

/// What stands in the pin directory.
#[derive(Clone, Debug)]
pub enum Found {
    /// No map and no link, or maps that nobody uses: of a start or a `detach` that died half way.
    Nothing,
    /// A data plane that fits.
    Fitting,
    /// A data plane that does not fit, whose dialogs can be brought over into one that does.
    Other(Other),
}

/// A data plane of another layout, or with a dialog table of another size.
#[derive(Clone, Debug)]
pub struct Other {
    /// Its layout.
    pub layout: Arc<Layout>,
    /// Dialogs that its table holds before some find no room.
    pub capacity: u32,
}

/// A pinned map as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    kind: Option<MapType>,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Compares the pinned maps with [`TABLE`] and with the number of dialogs that the configuration wants; touches nothing.
///
/// # Errors
/// When their dialogs cannot be brought over: why, what differs and what to do.
pub fn inspect(pins: &PinDir, max_dialogs: u32) -> Result<Found, Failure> {
    let pinned = pins.pinned_maps()?;
    let links = pins.linked_interfaces()?;
    if pinned.is_empty() && links.is_empty() {
        return Ok(Found::Nothing);
    }
    let mut differing = Vec::new();
    for spec in TABLE {
        if !pinned.contains(&spec.name) {
            if !links.is_empty() {
                differing.push(format!("{} is missing", spec.name));
            }
            continue;
        }
        differing.extend(differences(spec, &info(pins, spec.name)?));
    }
    // Without SETTINGS somebody died who was removing the maps.
    let has_numbers = pinned.contains(&name::SETTINGS)
        && info(pins, name::SETTINGS)?.map_type().is_ok_and(|kind| kind == MapType::Array);
    let numbers = if has_numbers { Some(layout::numbers(pins)?) } else { None };
    let abi = numbers.map_or(0, |numbers| numbers.abi);
    if links.is_empty() && abi == 0 && differing.is_empty() {
        return Ok(Found::Nothing);
    }
    let fits = |name| Ok(info(pins, name)?.max_entries() == buckets_for(max_dialogs));
    let has_dialogs = pinned.contains(&name::DIALOGS);
    if abi == ABI && differing.is_empty() && (!has_dialogs || fits(name::DIALOGS)?) {
        return Ok(Found::Fitting);
    }
    let mut reasons = Vec::new();
    match numbers.filter(|numbers| numbers.abi != ABI || differing.is_empty()) {
        Some(numbers) => match layout::recognise(pins, numbers)? {
            Ok(layout) => {
                let slots = info(pins, name::DIALOGS)?.max_entries().saturating_mul(layout.slots() as u32);
                return Ok(Found::Other(Other { layout, capacity: slots / 2 }));
            }
            Err(why) => {
                reasons.push(format!("SETTINGS.abi is {}, this version has {ABI}", numbers.abi));
                reasons.push(why);
            }
        },
        None => reasons.append(&mut differing),
    }
    Err(mismatch(pins, &reasons))
}

fn info(pins: &PinDir, name: &str) -> Result<MapInfo, Failure> {
    let path = pins.map(name);
    MapInfo::from_pin(&path).map_err(|e| map_failure(&path, e))
}

fn mismatch(pins: &PinDir, differences: &[String]) -> Failure {
    Failure::bad(
        "abi_mismatch",
        format!(
            "the maps in {} were made by another version of sipsteer and were left alone: {}",
            pins.path().display(),
            differences.join("; ")
        ),
    )
    .remedy(
        "start the version that made them, or one that reads them (the change log says which ABI each has), or run `sipsteer \
         detach` and then `sipsteer run`, which forgets where the calls in progress are pinned",
    )
}

/// A failure of aya about a pinned map.
pub(super) fn map_failure(path: &std::path::Path, error: aya::maps::MapError) -> Failure {
    match error {
        aya::maps::MapError::SyscallError(e) => unreadable(path, &e.io_error),
        error => Failure::bad(
            "map_unusable",
            format!("cannot use {}: {}", path.display(), crate::failure::chain(&error)),
        ),
    }
}

/// What is different about a pinned map; the capacity of DIALOGS is the operator's choice.
pub(super) fn differences(spec: &MapSpec, info: &MapInfo) -> Vec<String> {
    let shape = Shape {
        kind: info.map_type().ok(),
        key_size: info.key_size(),
        value_size: info.value_size(),
        max_entries: info.max_entries(),
    };
    compare(spec, shape)
}

fn compare(spec: &MapSpec, shape: Shape) -> Vec<String> {
    let mut differences = Vec::new();
    let name = spec.name;
    let kind = map_type(spec.kind);
    if shape.kind != Some(kind) {
        let found = shape.kind.map_or_else(|| "of an unknown kind".to_owned(), |k| format!("of kind {k:?}"));
        differences.push(format!("{name} is {found}, not {kind:?}"));
    }
    if shape.key_size != spec.key_size {
        differences.push(format!("{name} has keys of {} bytes, not {}", shape.key_size, spec.key_size));
    }
    if shape.value_size != spec.value_size && !is_device_value(spec, shape.value_size) {
        differences.push(format!("{name} has values of {} bytes, not {}", shape.value_size, spec.value_size));
    }
    if shape.max_entries != spec.max_entries && name != name::DIALOGS {
        differences
            .push(format!("{name} has room for {} entries, not {}", shape.max_entries, spec.max_entries));
    }
    differences
}

/// A device map's value is an interface, behind which kernels since 5.8 have room for a program.
fn is_device_value(spec: &MapSpec, size: u32) -> bool {
    spec.kind == Kind::DevMapHash && matches!(size, 4 | 8)
}

fn map_type(kind: Kind) -> MapType {
    match kind {
        Kind::Array => MapType::Array,
        Kind::PerCpuArray => MapType::PerCpuArray,
        Kind::Hash => MapType::Hash,
        Kind::ArrayOfMaps => MapType::ArrayOfMaps,
        Kind::DevMapHash => MapType::DevMapHash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(spec: &MapSpec) -> Shape {
        Shape {
            kind: Some(map_type(spec.kind)),
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries: spec.max_entries,
        }
    }

    #[test]
    fn the_table_fits_itself() {
        for spec in TABLE {
            assert_eq!(compare(spec, shape_of(spec)), Vec::<String>::new());
        }
    }

    #[test]
    fn every_difference_is_named() {
        for spec in TABLE {
            let other = Shape {
                kind: Some(MapType::LpmTrie),
                key_size: spec.key_size + 1,
                value_size: spec.value_size + 100,
                max_entries: spec.max_entries + 1,
            };
            let differences = compare(spec, other);
            let expected = if spec.name == name::DIALOGS { 3 } else { 4 };
            assert_eq!(differences.len(), expected, "{differences:?}");
            assert!(differences.iter().all(|d| d.starts_with(spec.name)), "{differences:?}");
        }
    }

    #[test]
    fn a_kind_that_this_program_does_not_know_is_a_difference() {
        let spec = &TABLE[0];
        assert_eq!(compare(spec, Shape { kind: None, ..shape_of(spec) }).len(), 1);
    }

    #[test]
    fn device_maps_may_have_room_for_a_program() {
        let ports = TABLE.iter().find(|s| s.kind == Kind::DevMapHash).unwrap();
        assert!(compare(ports, Shape { value_size: 8, ..shape_of(ports) }).is_empty());
        assert_eq!(compare(ports, Shape { value_size: 12, ..shape_of(ports) }).len(), 1);
    }
}
