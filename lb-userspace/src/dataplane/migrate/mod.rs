//! Another layout of the maps, or a dialog table of another size, while calls go on:
//!
//! 1. New maps are made in a [`staging`] directory beside the old ones, and filled.
//! 2. [`copy`]: all dialogs are brought over, and then what changed meanwhile, until that is little. The old program steers.
//! 3. The interfaces are given the new program, each by one write.
//! 4. What changed last is brought over. The new program steers.
//! 5. The new maps are pinned in the place of the old ones, which go.
//!
//! Whenever this is cut off, the old maps are in use or the new ones, and the next start sees which: it begins anew, or goes
//! on with 4.

pub mod copy;
pub mod staging;

use super::{
    layout::Layout,
    load::Programs,
    pins::{PinDir, unreadable},
    sys,
};
use crate::{
    failure::Failure,
    fault::{self, Point},
};
use copy::{Copying, Counts, Wanted};
use rustix::thread::{MembarrierCommand, membarrier};
use std::{
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// Looks before the interfaces are given the new program, at most: each takes less time than the one before.
const LOOKS_BEFORE: usize = 4;
/// So few changes in one look are not worth another one.
const FEW: u64 = 32;
/// Looks afterwards, at most. The old table is at rest then, so two should do.
const LOOKS_AFTER: usize = 10;
/// How long an XDP program runs at most, with all that may come in between, where the kernel cannot be asked to wait for it.
const LONGEST_RUN: Duration = Duration::from_millis(100);

/// What a migration did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Before the new program took over.
    pub before: Counts,
    /// After it.
    pub after: Counts,
    /// How long the copying took before.
    pub copying: Duration,
    /// How long the new program steered without knowing what had changed last.
    pub catching_up: Duration,
}

/// Copies all dialogs from the maps in `pins` to the new ones, until the two tables are nearly the same.
///
/// # Errors
/// When established calls find no room, or the kernel's.
pub fn copy_before<'a>(
    pins: &PinDir,
    layout: Arc<Layout>,
    programs: &'a Programs,
    wanted: Wanted,
    report: &mut Report,
) -> Result<Copying<'a>, Failure> {
    let start = Instant::now();
    let mut copying = Copying::new(pins, layout, programs, wanted)?;
    report.before = copying.all()?;
    fault::pass(Point::MigrationCopied);
    for _ in 0..LOOKS_BEFORE {
        let counts = copying.news()?;
        report.before += counts;
        if counts.news() <= FEW {
            break;
        }
    }
    report.copying = start.elapsed();
    Ok(copying)
}

/// Brings over what changed in the old table before the new program took over, and what is on its way yet.
///
/// # Errors
/// The kernel's.
pub fn copy_after(copying: &mut Copying<'_>, report: &mut Report) -> Result<(), Failure> {
    let start = Instant::now();
    report.after += copying.news()?;
    report.catching_up = start.elapsed();
    wait_for_programs();
    for _ in 0..LOOKS_AFTER {
        let counts = copying.news()?;
        report.after += counts;
        if counts.news() == 0 && !copying.has_more() {
            break;
        }
    }
    fault::pass(Point::MigrationCaughtUp);
    Ok(())
}

/// Waits until no CPU runs the old program any more.
fn wait_for_programs() {
    // Waits for a grace period of RCU, which no running XDP program lets pass.
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(LONGEST_RUN);
    }
}

/// Pins the new program in the staging directory, so that a later start sees which interfaces run it.
///
/// # Errors
/// When it cannot be pinned.
pub fn mark(pins: &PinDir, programs: &Programs) -> Result<(), Failure> {
    let path = pins.staging().steer();
    sys::object_pin(programs.steer_fd()?.as_fd(), &path).map_err(|e| unreadable(&path, &e))
}

/// Gives the program of a staging directory to all interfaces that one was given to before.
///
/// # Errors
/// The kernel's.
pub fn swap_on(pins: &PinDir) -> Result<(), Failure> {
    let path = pins.staging().steer();
    let program = sys::object_get(&path).map_err(|e| unreadable(&path, &e))?;
    for interface in pins.linked_interfaces()? {
        let path = pins.link(&interface);
        let link = sys::object_get(&path).map_err(|e| unreadable(&path, &e))?;
        let info = sys::link_info(link.as_fd()).map_err(|e| unreadable(&path, &e))?;
        // That of an interface that has vanished takes no program.
        if info.ifindex != 0 {
            match sys::link_update(link.as_fd(), program.as_fd()) {
                // Of another attach type: it is exchanged when all interfaces are given the program.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
                other => other.map_err(|e| unreadable(&path, &e))?,
            }
        }
    }
    Ok(())
}

/// Removes maps of the old layout that this one has not, when nothing needs them any more.
///
/// # Errors
/// When a pin cannot be removed; the next start goes on with it.
pub fn remove_others(pins: &PinDir, layout: &Layout) -> Result<(), Failure> {
    for map in layout.maps_of_its_own() {
        let path = pins.map(map);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unreadable(&path, &e)),
            _ => {}
        }
    }
    Ok(())
}

/// Pins the new maps in the place of the old ones.
///
/// # Errors
/// When a pin cannot be moved; the next start goes on with it.
pub fn promote(pins: &PinDir) -> Result<(), Failure> {
    staging::promote(pins)
}

/// How long ago the program of a staging directory came into the kernel: what was seen earlier was copied.
///
/// # Errors
/// When it cannot be looked at.
pub fn age(pins: &PinDir) -> Result<Duration, Failure> {
    let loaded = staging::program(&pins.staging().steer())?.loaded_at();
    Ok(loaded.and_then(|at| at.elapsed().ok()).unwrap_or(Duration::MAX))
}
