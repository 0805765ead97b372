//! Points where a test has us die, as `kill -9` does: one behind each step that leaves something outside the process. This is
//! the one list of them; a step that is new gets its point here, and the tests go through all that are.
//!
//! `SIPSTEER_FAULTS` names a file that holds the name of a point, and behind it how often that is passed before; it is removed
//! at the end. Or it holds `clock` and by how many seconds the time of day is wrong. Builds without debug assertions do not read
//! the variable.

use rustix::process::{Signal, getpid, kill_process};
use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// Names the file.
pub const VARIABLE: &str = "SIPSTEER_FAULTS";

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// A point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point { $($(#[doc = $doc])+ $variant,)+ }

        impl Point {
            /// All of them, in the order in which a daemon's life passes them.
            pub const ALL: &'static [Point] = &[$(Point::$variant,)+];

            /// Its name in the file.
            pub const fn name(self) -> &'static str {
                match self { $(Point::$variant => $name,)+ }
            }
        }
    };
}

points! {
    /// The hash key is written, under another name than its own.
    KeyWritten = "key-written";
    /// All maps are pinned; no program is in the kernel yet.
    MapsPinned = "maps-pinned";
    /// The program that reads the clocks is not pinned any more, and its successor not yet.
    ClockUnpinned = "clock-unpinned";
    /// A backend that comes to an id counts from 0, and is not there yet.
    BackendCleared = "backend-cleared";
    /// A new ring is filled and not in place.
    RingFilled = "ring-filled";
    /// A new ring is in place.
    RingSwapped = "ring-swapped";
    /// One of a plan's writes is done.
    PlanWrite = "plan-write";
    /// All of a plan's writes are done; what the CPUs remember of addresses is old.
    PlanWritten = "plan-written";
    /// SETTINGS are written.
    SettingsWritten = "settings-written";
    /// There is a new link, which nothing but this process holds.
    LinkMade = "link-made";
    /// The pin of a link to an interface that is gone is removed, and the new link not pinned.
    StaleLinkUnpinned = "stale-link-unpinned";
    /// A new link is pinned.
    LinkPinned = "link-pinned";
    /// The pin of a link has the present name of its interface; the link still runs the earlier program.
    LinkRenamed = "link-renamed";
    /// A link runs the new program; those of further interfaces run the earlier one.
    LinkAdopted = "link-adopted";
    /// All interfaces run the new program.
    Attached = "attached";
    /// What the maps do not say is written, under another name than its own.
    FactsWritten = "facts-written";
    /// The program is taken off an interface that the configuration does not name.
    OtherLinkDropped = "other-link-dropped";
    /// PORTS holds all interfaces of now, and still those of before.
    PortsAdded = "ports-added";
    /// A backend's next hop is written.
    NextHopWritten = "next-hop-written";
    /// The calls in progress of a backend or a zone are corrected.
    CountCorrected = "count-corrected";
    /// A document that outlives the daemon exists under another name than its own, and is empty.
    DocumentMade = "document-made";
    /// It is complete, and the earlier one still in place.
    DocumentWritten = "document-written";
    /// It is in place, and nothing of what it says was done.
    DocumentKept = "document-kept";
    /// The program is off one interface, whose link is still pinned.
    LinkReleased = "link-released";
    /// The program is off one interface; the maps and further links are pinned.
    LinkDetached = "link-detached";
    /// One map is not pinned any more.
    MapUnpinned = "map-unpinned";
    /// The maps of another layout are made and filled beside the old ones, without any dialog.
    MigrationFilled = "migration-filled";
    /// All dialogs were brought over once; the old maps are in use.
    MigrationCopied = "migration-copied";
    /// The new maps are in use; what changed in the old table last is not brought over.
    MigrationSwapped = "migration-swapped";
    /// All is brought over, and no pin moved.
    MigrationCaughtUp = "migration-caught-up";
    /// One of the new maps is pinned in the place of the old one.
    MigrationPinMoved = "migration-pin-moved";
    /// All of them are.
    MigrationPinsMoved = "migration-pins-moved";
}

/// How often the point in the file was passed.
static PASSED: AtomicU32 = AtomicU32::new(0);

/// Passes a point; ends the process if it is the one to die at.
#[inline]
pub fn pass(point: Point) {
    if let Some((file, text)) = wanted()
        && is_due(point, &text, &PASSED)
    {
        die(Path::new(&file));
    }
}

/// By how many seconds the time of day is to jump.
pub fn clock_jump() -> i64 {
    wanted().and_then(|(_, text)| jump(&text)).unwrap_or(0)
}

/// The file and what it says, if there is one.
fn wanted() -> Option<(OsString, String)> {
    let file = if cfg!(debug_assertions) { env::var_os(VARIABLE)? } else { return None };
    let text = fs::read_to_string(&file).ok()?;
    Some((file, text))
}

fn jump(text: &str) -> Option<i64> {
    text.strip_prefix("clock ")?.trim().parse().ok()
}

/// Whether the file's text means this passing of a point.
fn is_due(point: Point, text: &str, passed: &AtomicU32) -> bool {
    let mut words = text.split_whitespace();
    if words.next() != Some(point.name()) {
        return false;
    }
    let before = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    passed.fetch_add(1, Ordering::Relaxed) == before
}

/// Ends the process like a power cut: nothing is cleaned up, nothing is said.
fn die(file: &Path) {
    // That the file is gone shows that the point was passed. There is nobody to tell why it is not.
    let _ = fs::remove_file(file);
    let _ = kill_process(getpid(), Signal::KILL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn a_clock_jumps_both_ways() {
        assert_eq!([jump("clock 3600"), jump("clock -3600\n")], [Some(3600), Some(-3600)]);
        assert_eq!([jump("clock"), jump("clock-unpinned"), jump("clock x")], [None; 3]);
    }

    #[test]
    fn a_point_is_due_once_it_was_passed_as_often_as_the_file_says() {
        let due = |text: &str, times: usize| {
            let passed = AtomicU32::new(0);
            (0..times).map(|_| is_due(Point::PlanWrite, text, &passed)).collect::<Vec<_>>()
        };
        assert_eq!(due("plan-write\n", 2), [true, false]);
        assert_eq!(due("plan-write 2", 4), [false, false, true, false]);
        for other in ["", "plan-written", "2 plan-write"] {
            assert_eq!(due(other, 2), [false; 2], "{other:?}");
        }
    }
}
