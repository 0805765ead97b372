//! Layouts of the pinned maps: this version's own, and those of other versions, older and newer, whose dialogs it takes over.
//!
//! The maps describe themselves: LAYOUT holds the names and places of all numbers in the others, as [`description`] says. So a
//! value of another version's map becomes one of this version by the names that both have: [`translation`]. Whether the names
//! mean the same in both is for [`Numbers`] to say.
//!
//! The kernel knows the types of maps too, but tells them to nobody without CAP_SYS_ADMIN, which the daemon has no need of.

pub mod btf;
pub mod description;
mod read;
pub mod translation;

use super::{
    OBJECT,
    adopt::{differences, map_failure},
    load::open_map,
    pins::{PinDir, unreadable},
};
use crate::failure::{Failure, chain};
use aya::maps::{Array, MapInfo};
use description::Description;
use lb_common::{
    abi::{ABI, Numbers},
    map::{
        TABLE,
        dialog::Dialog,
        layout::{Layout as Text, TEXT_LEN},
        name,
        settings::{ABI_AT, READABLE_FROM_AT},
        value_of,
    },
};
use std::{fmt, sync::Arc};
use translation::Translation;

pub use read::Old;
use read::{Reading, array_of_bytes};

/// What ABI 3 would say of itself: it has no LAYOUT.
const ABI_3: &str = include_str!("layout/abi_3.txt");

/// A layout whose dialogs can be brought over.
pub struct Layout {
    /// Its number, see [`lb_common::abi::ABI`].
    pub abi: u32,
    description: Description,
    readings: Vec<Reading>,
    slots: Slots,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layout {}", self.abi)
    }
}

/// How dialogs lie in a value of DIALOGS.
#[derive(Clone, Debug)]
struct Slots {
    count: usize,
    stride: usize,
    translation: Translation,
}

impl Layout {
    /// The layout of a number that is described like this.
    ///
    /// # Errors
    /// Why its dialogs cannot be brought over.
    fn new(abi: u32, description: Description) -> Result<Layout, String> {
        let own = own()?;
        let readings = read::readings(&description, own)?;
        let slots = read::slots(&description, own)?;
        Ok(Layout { abi, description, readings, slots })
    }

    /// Slots in a value of DIALOGS. A dialog stays in its slot as long as it lives.
    pub fn slots(&self) -> usize {
        self.slots.count
    }

    /// The dialog in a slot of a value of DIALOGS; `None`: nothing that steers packets, or half of something.
    pub fn dialog(&self, bucket: &[u8], slot: usize) -> Option<Dialog> {
        let mut bytes = [0; size_of::<Dialog>()];
        let slot = bucket.get(slot.checked_mul(self.slots.stride)?..).filter(|_| slot < self.slots.count)?;
        // What no number of ours holds, a backend id beyond ours for instance, is of no use here.
        self.slots.translation.apply(slot, &mut bytes).ok()?;
        let dialog: Dialog = value_of(&bytes)?;
        // With two generations it was read while a CPU wrote it: the next look sees the whole.
        let whole = dialog.evidence.generation == dialog.state.generation;
        (dialog.state.is_live() && whole).then_some(dialog)
    }

    /// What the other maps say.
    ///
    /// # Errors
    /// When they cannot be read, or say what this version cannot take over.
    pub fn read(&self, pins: &PinDir) -> Result<Old, Failure> {
        read::old(pins, &self.readings)
    }

    /// Its maps that this version has not.
    pub fn maps_of_its_own(&self) -> impl Iterator<Item = &str> {
        self.description.maps().filter(|map| TABLE.iter().all(|spec| spec.name != *map))
    }
}

/// What the layout of pinned maps says of itself. Its place is the same in all layouts.
///
/// # Errors
/// When there is no SETTINGS, or it cannot be read.
pub fn numbers(pins: &PinDir) -> Result<Numbers, Failure> {
    let settings = array_of_bytes(pins, name::SETTINGS)?;
    let at = |place: usize| {
        let bytes = settings.first()?.get(place..place + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    Ok(Numbers {
        abi: at(ABI_AT).unwrap_or_default(),
        readable_from: at(READABLE_FROM_AT).unwrap_or_default(),
    })
}

/// The layout of pinned maps of these numbers, or why this version cannot read them.
///
/// # Errors
/// When a pin cannot be looked at.
pub fn recognise(pins: &PinDir, found: Numbers) -> Result<Result<Arc<Layout>, String>, Failure> {
    if !Numbers::OWN.may_read(found) {
        return Ok(Err(unreadable_numbers(found)));
    }
    let path = pins.map(name::LAYOUT);
    let described = if path.try_exists().map_err(|e| unreadable(&path, &e))? {
        let values = array_of_bytes(pins, name::LAYOUT)?;
        Description::read(values.first().map(Vec::as_slice).unwrap_or_default())
            .map_err(|e| format!("{} is no description: {e}", path.display()))
    } else if found.abi == 3 {
        Description::read(ABI_3.as_bytes()).map_err(|e| e.to_string())
    } else {
        Err(format!("{} is missing, which describes them", path.display()))
    };
    let layout = match described.and_then(|description| Layout::new(found.abi, description)) {
        Ok(layout) => layout,
        Err(why) => return Ok(Err(why)),
    };
    Ok(match read::check(pins, &layout.readings)? {
        Some(why) => Err(why),
        None => Ok(Arc::new(layout)),
    })
}

/// Why maps of these numbers are not read.
fn unreadable_numbers(found: Numbers) -> String {
    let Numbers { abi, readable_from } = found;
    match (abi > ABI, readable_from) {
        (true, 0) => format!("versions of ABI {abi} alone read them"),
        (true, from) => format!("versions of ABI {from} or higher read them"),
        (false, _) => {
            format!("this version reads layouts of ABI {} or higher", Numbers::OWN.readable_from)
        }
    }
}

/// Whether the maps in a directory are this version's.
///
/// # Errors
/// When a pin cannot be looked at.
pub fn is_own(pins: &PinDir) -> Result<bool, Failure> {
    for spec in TABLE {
        let path = pins.map(spec.name);
        if !path.try_exists().map_err(|e| unreadable(&path, &e))? {
            return Ok(false);
        }
        let info = MapInfo::from_pin(&path).map_err(|e| map_failure(&path, e))?;
        if !differences(spec, &info).is_empty() {
            return Ok(false);
        }
    }
    Ok(numbers(pins)?.abi == ABI)
}

/// Describes this version's maps in LAYOUT.
///
/// # Errors
/// The kernel's.
pub fn write(pins: &PinDir) -> Result<(), Failure> {
    let own = own().map_err(|why| Failure::bad("object_broken", why))?.to_string();
    let mut layout = Box::new(Text { text: [0; TEXT_LEN] });
    let Some(room) = layout.text.get_mut(..own.len()) else {
        return Err(Failure::bad("object_broken", "the description of the maps is longer than LAYOUT"));
    };
    room.copy_from_slice(own.as_bytes());
    let path = pins.map(name::LAYOUT);
    let failure = |e| map_failure(&path, e);
    let mut map: Array<_, Text> = open_map(pins, name::LAYOUT)?.try_into().map_err(failure)?;
    map.set(0, *layout, 0).map_err(failure)
}

/// Maps in a directory that another version pinned there and this one has not, as far as LAYOUT says so.
pub fn maps_of_others(pins: &PinDir) -> Vec<String> {
    let described = || {
        let values = array_of_bytes(pins, name::LAYOUT).ok()?;
        Description::read(values.first()?).ok()
    };
    let maps = described().unwrap_or_default();
    let foreign = maps.maps().filter(|map| TABLE.iter().all(|spec| spec.name != *map));
    foreign.map(str::to_owned).collect()
}

/// This version's maps, from the type information of its object.
fn own() -> Result<&'static Description, String> {
    static OWN: std::sync::LazyLock<Result<Description, String>> = std::sync::LazyLock::new(|| {
        let object = aya_obj::Object::parse(OBJECT).map_err(|e| chain(&e))?;
        let btf = object.btf.ok_or("the XDP object has no type information")?;
        btf::describe(&btf.to_bytes())
            .map_err(|e| format!("the type information of the XDP object cannot be read: {e}"))
    });
    OWN.as_ref().map_err(Clone::clone)
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
