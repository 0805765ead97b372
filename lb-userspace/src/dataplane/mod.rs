//! The only door to the kernel: loads, pins, attaches, adopts, and keeps next hops true. Only this room knows aya.
//!
//! * [`pins`]: names below the pin directory. * [`adopt`]: may what is pinned be used? * [`load`]: object to kernel.
//! * [`layout`]: what older data planes look like; [`migrate`]: their dialogs to new maps, while calls go on.
//! * [`attach`]: links to interfaces. * [`maps`], [`rings`]: typed handles, from pins alone. * [`loads`]: those of capacity.
//! * [`netlink`], [`neighbours`]: next hops.
//! * [`clock`], [`tend`]: the helper programs.
//! * [`ask`]: what would the kernel decide?
//! * [`host`]: is this host fit?
//!
//! `unsafe` lives in `sys.rs` alone.

pub mod adopt;
pub mod ask;
pub mod attach;
pub mod clock;
mod dialogs;
pub mod host;
pub mod layout;
pub mod load;
pub mod loads;
pub mod maps;
pub mod migrate;
pub mod neighbours;
pub mod netlink;
pub mod pins;
pub mod rings;
pub mod tables;
pub mod tend;

mod sys;

use crate::fault::{self, Point};

/// The XDP program's object file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sipsteer.bpf.o"));

/// Removes all that is pinned of ours: links, which takes the program off its interfaces, and maps. Works without a
/// daemon; nothing pinned is fine. Returns the interfaces and the number of maps.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove(pins: &pins::PinDir) -> Result<(Vec<String>, usize), crate::failure::Failure> {
    let interfaces = remove_links(pins)?;
    migrate::staging::remove(pins)?;
    Ok((interfaces, load::unpin_maps(pins)?))
}

/// Takes the program off all interfaces. Returns their names.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove_links(pins: &pins::PinDir) -> Result<Vec<String>, crate::failure::Failure> {
    let interfaces = pins.linked_interfaces()?;
    for interface in &interfaces {
        attach::detach(pins, interface)?;
        fault::pass(Point::LinkDetached);
    }
    Ok(interfaces)
}
