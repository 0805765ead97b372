//! Dialogs of an old table to the new one: all of them once, and then again and again what has changed since, as the old
//! program goes on steering until the new one has taken its place.

use super::super::{
    layout::Layout,
    load::Programs,
    pins::{PinDir, unreadable},
    sys::{self, Cursor},
};
use crate::failure::Failure;
use aya::maps::MapInfo;
use lb_common::{
    decide::{
        carry::{Carried, Outcome, Version},
        expiry,
    },
    map::{
        carry::{self, Entry, MAX_ENTRIES},
        dialog::{Dialog, Phase},
        expiry::request,
        name,
        settings::Settings,
    },
};
use std::{
    ops::AddAssign,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of one batch read.
const BATCH: usize = 512 * 1024;
/// Time between two lines in the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of dialogs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Put in.
    pub put: u64,
    /// Brought up to date.
    pub changed: u64,
    /// Removed, as in the old table.
    pub removed: u64,
    /// Established calls and subscriptions for which there is no room.
    pub established_without_room: u64,
    /// Other dialogs for which there is no room: calls that ring, those that are over, transactions.
    pub others_without_room: u64,
    /// Left behind because their backend is gone.
    pub of_no_backend: u64,
    /// Left behind because their lifetime is over.
    pub expired: u64,
}

impl Counts {
    /// Dialogs that came or changed.
    pub fn news(&self) -> u64 {
        self.put + self.changed + self.removed
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.put += more.put;
        self.changed += more.changed;
        self.removed += more.removed;
        self.established_without_room += more.established_without_room;
        self.others_without_room += more.others_without_room;
        self.of_no_backend += more.of_no_backend;
        self.expired += more.expired;
    }
}

/// Which dialogs are worth it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whether there is a backend of an id.
    pub backends: Vec<bool>,
    /// The lifetimes.
    pub settings: Settings,
    /// The present tick.
    pub now: u32,
    /// Only those that were seen so many ticks ago at most; `None`: all.
    pub seen_within: Option<u32>,
}

/// Why a dialog is left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwanted {
    OfNoBackend,
    Expired,
    Old,
}

impl Wanted {
    fn refuses(&self, dialog: &Dialog) -> Option<Unwanted> {
        let state = dialog.state;
        if !self.backends.get(usize::from(state.backend)).copied().unwrap_or_default() {
            Some(Unwanted::OfNoBackend)
        } else if expiry::is_over(&self.settings, state, self.now) {
            Some(Unwanted::Expired)
        } else if self.seen_within.is_some_and(|ticks| state.age(self.now) > ticks) {
            Some(Unwanted::Old)
        } else {
            None
        }
    }
}

/// In which order dialogs come: if not all find room, it is those that matter least that do not.
fn class(phase: u8) -> usize {
    if is_established(phase) {
        0
    } else if phase == Phase::Unanswered as u8
        || phase == Phase::Ringing as u8
        || phase == Phase::Cancelled as u8
    {
        1
    } else {
        2
    }
}

const CLASSES: usize = 3;

/// Whether a dialog of a phase is one that was agreed on.
fn is_established(phase: u8) -> bool {
    phase == Phase::Answered as u8 || phase == Phase::Subscribed as u8
}

fn version(dialog: &Dialog) -> Version {
    Version { state: dialog.state, evidence: dialog.evidence.hash }
}

/// The copying of one table.
pub struct Copying<'a> {
    programs: &'a Programs,
    layout: Arc<Layout>,
    old: OwnedFd,
    value_size: usize,
    wanted: Wanted,
    /// The old table as it was when it was read last.
    snapshot: Vec<u8>,
    /// The packet that is being filled.
    packet: Vec<u8>,
    dialogs: Vec<Carried>,
    /// Those that have to be tried again.
    again: Vec<Carried>,
    counts: Counts,
    told: Instant,
    done: u64,
}

impl<'a> Copying<'a> {
    /// Gets ready to copy from the table that is pinned in `pins` into that of `programs`.
    ///
    /// # Errors
    /// When the table cannot be opened.
    pub fn new(
        pins: &PinDir,
        layout: Arc<Layout>,
        programs: &'a Programs,
        wanted: Wanted,
    ) -> Result<Copying<'a>, Failure> {
        let path = pins.map(name::DIALOGS);
        let old = sys::object_get(&path).map_err(|e| unreadable(&path, &e))?;
        let info = MapInfo::from_pin(&path).map_err(|e| super::super::adopt::map_failure(&path, e))?;
        let value_size = info.value_size() as usize;
        Ok(Copying {
            programs,
            layout,
            old,
            value_size,
            wanted,
            snapshot: vec![0; value_size * info.max_entries() as usize],
            packet: Vec::with_capacity(carry::length(MAX_ENTRIES)),
            dialogs: Vec::with_capacity(MAX_ENTRIES),
            again: Vec::new(),
            counts: Counts::default(),
            told: Instant::now(),
            done: 0,
        })
    }

    /// Brings all dialogs over that are wanted: established ones first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all(&mut self) -> Result<Counts, Failure> {
        self.told = Instant::now();
        let mut snapshot = std::mem::take(&mut self.snapshot);
        let read = self.read(|at, bytes| snapshot[at..at + bytes.len()].copy_from_slice(bytes));
        read?;
        for wanted_class in 0..CLASSES {
            for value in snapshot.chunks_exact(self.value_size) {
                for slot in 0..self.layout.slots() {
                    let Some(dialog) = self.layout.dialog(value, slot) else { continue };
                    if class(dialog.state.phase) == wanted_class && self.is_wanted(&dialog) {
                        self.push(Carried {
                            key: dialog.key(),
                            peer: dialog.peer,
                            was: Version::default(),
                            is: version(&dialog),
                        })?;
                    }
                }
            }
        }
        self.snapshot = snapshot;
        self.finish()
    }

    /// Brings over what has changed since the last look.
    ///
    /// # Errors
    /// The kernel's.
    pub fn news(&mut self) -> Result<Counts, Failure> {
        for carried in std::mem::take(&mut self.again) {
            self.push(carried)?;
        }
        let mut snapshot = std::mem::take(&mut self.snapshot);
        let (size, layout) = (self.value_size, Arc::clone(&self.layout));
        let mut changes = Vec::new();
        self.read(|at, bytes| {
            let before = &mut snapshot[at..at + bytes.len()];
            if before == bytes {
                return;
            }
            for (before, now) in before.chunks_exact_mut(size).zip(bytes.chunks_exact(size)) {
                if before != now {
                    let dialogs = |slot| (layout.dialog(before, slot), layout.dialog(now, slot));
                    changes.extend((0..layout.slots()).map(dialogs));
                    before.copy_from_slice(now);
                }
            }
        })?;
        self.snapshot = snapshot;
        for (before, now) in changes {
            self.push_change(before, now)?;
        }
        self.finish()
    }

    /// What stood in a slot, and what stands there now.
    fn push_change(&mut self, before: Option<Dialog>, now: Option<Dialog>) -> Result<(), Failure> {
        if before == now {
            return Ok(());
        }
        let brought = before.filter(|dialog| self.wanted.refuses(dialog).is_none());
        let now = now.filter(|dialog| self.is_wanted(dialog));
        let same = |a: &Dialog, b: &Dialog| a.key() == b.key() && a.state.generation == b.state.generation;
        if let Some(before) = brought
            && !now.is_some_and(|now| same(&before, &now))
        {
            let (key, peer) = (before.key(), before.peer);
            self.push(Carried { key, peer, was: version(&before), is: Version::default() })?;
        }
        if let Some(now) = now {
            let was = brought.filter(|before| same(before, &now)).as_ref().map(version).unwrap_or_default();
            self.push(Carried { key: now.key(), peer: now.peer, was, is: version(&now) })?;
        }
        Ok(())
    }

    fn is_wanted(&mut self, dialog: &Dialog) -> bool {
        match self.wanted.refuses(dialog) {
            None => return true,
            Some(Unwanted::OfNoBackend) => self.counts.of_no_backend += 1,
            Some(Unwanted::Expired) => self.counts.expired += 1,
            Some(Unwanted::Old) => {}
        }
        false
    }

    /// Reads the old table from its beginning: `look` gets some values at a time, with their place in bytes.
    fn read(&self, mut look: impl FnMut(usize, &[u8])) -> Result<(), Failure> {
        let count = (BATCH / self.value_size).max(1);
        let sizes = (size_of::<u32>(), self.value_size);
        let (mut keys, mut values) = (vec![0; count * sizes.0], vec![0; count * sizes.1]);
        let (mut cursor, mut at) = (Cursor::default(), 0);
        loop {
            let batch = sys::lookup_batch_bytes(self.old.as_fd(), &mut cursor, &mut keys, &mut values, sizes);
            let (read, more) =
                batch.map_err(|e| Failure::bad("map_io", format!("cannot read the old DIALOGS: {e}")))?;
            let bytes = read * self.value_size;
            look(at, &values[..bytes]);
            at += bytes;
            if !more {
                return Ok(());
            }
        }
    }

    fn push(&mut self, carried: Carried) -> Result<(), Failure> {
        if self.dialogs.is_empty() {
            self.packet.clear();
            self.packet.resize(request::LEN, 0);
        }
        self.packet.extend(Entry::of(&carried).to_bytes());
        self.dialogs.push(carried);
        if self.dialogs.len() == MAX_ENTRIES { self.send() } else { Ok(()) }
    }

    /// Has the kernel take the packet in.
    fn send(&mut self) -> Result<(), Failure> {
        if self.dialogs.is_empty() {
            return Ok(());
        }
        let count = self.dialogs.len() as u64;
        self.packet[request::COUNT_AT..request::COUNT_AT + 8].copy_from_slice(&count.to_le_bytes());
        self.programs.run_carry(&mut self.packet)?;
        for (index, carried) in std::mem::take(&mut self.dialogs).into_iter().enumerate() {
            let counts = &mut self.counts;
            match carry::outcome(&self.packet, index) {
                Some(Outcome::Put) => counts.put += 1,
                Some(Outcome::Changed) => counts.changed += 1,
                Some(Outcome::Removed) => counts.removed += 1,
                Some(Outcome::Kept) => {}
                Some(Outcome::NoRoom) if is_established(carried.is.state.phase) => {
                    counts.established_without_room += 1;
                }
                Some(Outcome::NoRoom) => counts.others_without_room += 1,
                Some(Outcome::Contended) | None => self.again.push(carried),
            }
        }
        self.done += count;
        if self.told.elapsed() >= PATIENCE {
            self.told = Instant::now();
            tracing::info!("{} dialogs were copied so far", self.done);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Counts, Failure> {
        self.send()?;
        Ok(std::mem::take(&mut self.counts))
    }

    /// Whether some have to be tried again.
    pub fn has_more(&self) -> bool {
        !self.again.is_empty()
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
