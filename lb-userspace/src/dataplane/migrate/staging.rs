//! The directory in which maps are made before they take the place of others, below the pin directory. Whoever finds one has
//! found a migration that was cut off, and sees from it how far that had come:
//!
//! * No interface runs the program pinned there: the old maps are in use, and the directory can go.
//! * An interface does: the new maps are in use. As long as the new DIALOGS is pinned there, what changed in the old one last
//!   may not have been brought over.

use super::super::{
    attach,
    pins::{PinDir, unreadable},
};
use crate::{
    failure::Failure,
    fault::{self, Point},
};
use aya::programs::ProgramInfo;
use lb_common::map::name;
use std::{fs, io, path::Path};

/// What a staging directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Absent,
    /// No interface has come to use it.
    Unused,
    /// Its program steers; what changed in the old table last may be missing.
    Steering,
    /// Its program steers, and all dialogs are there.
    Complete,
}

/// How far a migration had come.
///
/// # Errors
/// When it cannot be looked at.
pub fn look(pins: &PinDir) -> Result<Stage, Failure> {
    let staging = pins.staging();
    if !exists(staging.path())? {
        return Ok(Stage::Absent);
    }
    if !is_used(pins)? {
        return Ok(Stage::Unused);
    }
    Ok(if exists(&staging.map(name::DIALOGS))? { Stage::Steering } else { Stage::Complete })
}

/// Whether an interface runs the program of the staging directory.
fn is_used(pins: &PinDir) -> Result<bool, Failure> {
    let steer = pins.staging().steer();
    if !exists(&steer)? {
        return Ok(false);
    }
    let program = program(&steer)?.id();
    for interface in pins.linked_interfaces()? {
        if attach::pinned_link(pins, &interface)?.is_some_and(|link| link.program == program) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A pinned program.
pub(super) fn program(path: &Path) -> Result<ProgramInfo, Failure> {
    ProgramInfo::from_pin(path).map_err(|e| {
        Failure::bad(
            "pins_unreadable",
            format!("cannot look at {}: {}", path.display(), crate::failure::chain(&e)),
        )
    })
}

fn exists(path: &Path) -> Result<bool, Failure> {
    path.try_exists().map_err(|e| unreadable(path, &e))
}

/// Removes a staging directory and what is in it; none there is fine.
///
/// # Errors
/// When a pin cannot be removed.
pub fn remove(pins: &PinDir) -> Result<(), Failure> {
    let staging = pins.staging();
    match fs::remove_dir_all(staging.path()) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unreadable(staging.path(), &e)),
        _ => Ok(()),
    }
}

/// Puts what is in the staging directory in place of what is beside it. DIALOGS comes first: without it there, nothing of the
/// old table is needed any more.
///
/// # Errors
/// When a pin cannot be moved; the next start goes on with it.
pub(super) fn promote(pins: &PinDir) -> Result<(), Failure> {
    let staging = pins.staging();
    let mut names = vec![name::DIALOGS.into()];
    for entry in fs::read_dir(staging.path()).map_err(|e| unreadable(staging.path(), &e))? {
        let name = entry.map_err(|e| unreadable(staging.path(), &e))?.file_name();
        if staging.path().join(&name) != staging.steer() && name != name::DIALOGS {
            names.push(name);
        }
    }
    for name in names {
        let from = staging.path().join(&name);
        match fs::rename(&from, pins.path().join(&name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unreadable(&from, &e)),
            _ => fault::pass(Point::MigrationPinMoved),
        }
    }
    fault::pass(Point::MigrationPinsMoved);
    remove(pins)
}
