//! Layouts of the pinned maps that this version can read: its own, and those of versions whose dialogs it takes over.
//!
//! A layout is one small module: how its maps were declared, how a dialog lies in a value of DIALOGS, and what its other maps
//! say in the types of this version. When [`lb_common::abi::ABI`] is raised, what was the present layout becomes a module of its
//! own, with copies of the types that changed.

mod present;

use super::{
    adopt::map_failure,
    load::open_map,
    pins::{PinDir, unreadable},
    sys::{self, Cursor},
};
use crate::{core::model::Found, failure::Failure};
use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo};
use lb_common::map::{MapSpec, dialog::Dialog, load::Load, name, settings::Settings};
use std::os::fd::AsFd;

pub use present::PRESENT;

/// The layouts that this version reads, its own first.
pub const KNOWN: &[Layout] = &[PRESENT];

/// Where the number of the layout stands in the value of SETTINGS, in every layout: a little-endian number of 32 bits.
const ABI_AT: usize = 24;

/// A layout.
#[derive(Clone, Copy)]
pub struct Layout {
    /// Its number, see [`lb_common::abi::ABI`].
    pub abi: u32,
    /// Its maps. The capacity of DIALOGS is the operator's choice.
    pub maps: fn() -> Vec<MapSpec>,
    /// Slots in a value of DIALOGS. A dialog stays in its slot as long as it lives.
    pub slots: usize,
    /// The dialog in a slot of such a value; `None`: nothing that steers packets, or half of something.
    pub dialog: fn(&[u8], usize) -> Option<Dialog>,
    /// What the other maps say.
    pub read: fn(&PinDir) -> Result<Old, Failure>,
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layout {}", self.abi)
    }
}

/// What the maps of a data plane say besides its dialogs.
#[derive(Clone, Debug)]
pub struct Old {
    /// SETTINGS: of it the hash key and the tick matter, without which no dialog is found and none ages.
    pub settings: Settings,
    /// What follows from its configuration: ids stay what they were. Rings and policies are made anew and may be missing.
    pub found: Found,
    /// What backends carried. Channels are counted anew, the rest goes on.
    pub backend_loads: Vec<(u16, Load)>,
    /// What zones carried, likewise.
    pub zone_loads: Vec<(u16, Load)>,
}

impl Layout {
    /// Whether what is pinned has this layout.
    ///
    /// # Errors
    /// When a pin cannot be looked at.
    pub fn fits(&self, pins: &PinDir) -> Result<bool, Failure> {
        for spec in (self.maps)() {
            let path = pins.map(spec.name);
            if !path.try_exists().map_err(|e| unreadable(&path, &e))? {
                return Ok(false);
            }
            let info = MapInfo::from_pin(&path).map_err(|e| map_failure(&path, e))?;
            if !super::adopt::differences(&spec, &info).is_empty() {
                return Ok(false);
            }
        }
        let settings = array_of_bytes(pins, name::SETTINGS)?;
        let number = settings.first().and_then(|value| value.get(ABI_AT..ABI_AT + 4));
        Ok(number == Some(&self.abi.to_le_bytes()))
    }
}

/// The layout of what is pinned, if it is one of `layouts`.
///
/// # Errors
/// When a pin cannot be looked at.
pub fn recognise(pins: &PinDir, layouts: &'static [Layout]) -> Result<Option<&'static Layout>, Failure> {
    for layout in layouts {
        if layout.fits(pins)? {
            return Ok(Some(layout));
        }
    }
    Ok(None)
}

/// All values of a pinned array.
///
/// # Errors
/// When it is not there, or of another size.
pub fn array<V: aya::Pod>(pins: &PinDir, name: &str) -> Result<Vec<V>, Failure> {
    let failure = |e: MapError| map_failure(&pins.map(name), e);
    let array: Array<MapData, V> = Array::try_from(open_map(pins, name)?).map_err(failure)?;
    array.iter().collect::<Result<_, _>>().map_err(failure)
}

/// All entries of a pinned hash map, in no order.
///
/// # Errors
/// When it is not there, or of another size.
pub fn hash<K: aya::Pod, V: aya::Pod>(pins: &PinDir, name: &str) -> Result<Vec<(K, V)>, Failure> {
    let failure = |e: MapError| map_failure(&pins.map(name), e);
    let map: HashMap<MapData, K, V> = HashMap::try_from(open_map(pins, name)?).map_err(failure)?;
    map.iter().collect::<Result<_, _>>().map_err(failure)
}

/// All values of a pinned array, as they lie in memory.
///
/// # Errors
/// When it is not there or no array.
pub fn array_of_bytes(pins: &PinDir, name: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let path = pins.map(name);
    let map = open_map(pins, name)?;
    let Map::Array(data) = &map else {
        return Err(Failure::bad("map_unusable", format!("{} is no array", path.display())));
    };
    let info = data.info().map_err(|e| map_failure(&path, e))?;
    let (size, count) = (info.value_size() as usize, info.max_entries() as usize);
    let mut bytes = vec![0; size * count];
    sys::lookup_batch_bytes(data.fd().as_fd(), &mut Cursor::default(), &mut vec![0; count], &mut bytes, size)
        .map_err(|e| unreadable(&path, &e))?;
    Ok(bytes.chunks(size).map(<[u8]>::to_vec).collect())
}
