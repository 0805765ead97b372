//! The packet that gives the program `carry` dialogs of another table: [`request`](super::expiry::request) with their number,
//! and behind it an [`Entry`] for each. The program answers in the entries.

use super::{
    dialog::{DialogKey, State},
    expiry::request,
};
use crate::decide::carry::{Carried, Outcome, Version};
use core::mem::size_of;

/// Most dialogs of one packet: what fits into the page that the kernel gives a test run, and a power of two.
pub const MAX_ENTRIES: usize = 64;

/// One dialog in the packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Keyed hash of its Call-ID.
    pub call_key: u64,
    /// State word of [`Carried::was`].
    pub state_was: u64,
    /// State word of [`Carried::is`].
    pub state_is: u64,
    /// Service id.
    pub service: u32,
    /// Hash of its other side.
    pub peer: u32,
    /// Evidence of [`Carried::was`].
    pub evidence_was: u32,
    /// Evidence of [`Carried::is`].
    pub evidence_is: u32,
    /// The answer: an [`Outcome`], 0 before.
    pub outcome: u32,
    /// Explicit padding.
    pub _pad: u32,
}

const _: () = assert!(size_of::<Entry>() == 48);
const _: () = assert!(request::LEN.is_multiple_of(8) && MAX_ENTRIES.is_power_of_two());
// A page less what the kernel keeps before and behind a packet.
const _: () = assert!(length(MAX_ENTRIES) <= 4096 - 256 - 320);

/// Length of a packet with so many dialogs, in bytes.
pub const fn length(entries: usize) -> usize {
    request::LEN + entries * size_of::<Entry>()
}

impl Entry {
    /// The entry of a dialog.
    pub const fn of(carried: &Carried) -> Entry {
        Entry {
            call_key: carried.key.call_key,
            state_was: carried.was.state.to_word(),
            state_is: carried.is.state.to_word(),
            service: carried.key.service,
            peer: carried.peer,
            evidence_was: carried.was.evidence,
            evidence_is: carried.is.evidence,
            outcome: 0,
            _pad: 0,
        }
    }

    /// The dialog of the entry.
    #[inline(always)]
    pub const fn carried(&self) -> Carried {
        Carried {
            key: DialogKey { call_key: self.call_key, service: self.service, _pad: 0 },
            peer: self.peer,
            was: Version { state: State::from_word(self.state_was), evidence: self.evidence_was },
            is: Version { state: State::from_word(self.state_is), evidence: self.evidence_is },
        }
    }

    /// The entry as it lies in the packet.
    pub fn to_bytes(&self) -> [u8; size_of::<Entry>()] {
        let mut bytes = [0; size_of::<Entry>()];
        let words = [
            self.call_key,
            self.state_was,
            self.state_is,
            self.service as u64 | (self.peer as u64) << 32,
            self.evidence_was as u64 | (self.evidence_is as u64) << 32,
            self.outcome as u64,
        ];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// The answer about a dialog, by its place in a packet that the program has seen.
pub fn outcome(packet: &[u8], index: usize) -> Option<Outcome> {
    let at = length(index) + core::mem::offset_of!(Entry, outcome);
    let bytes = packet.get(at..at + 4)?;
    Outcome::from_number(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_dialog_and_lies_in_memory_as_written() {
        let version = |n: u8, evidence| Version {
            state: State { backend: 1, phase: n, listener: 2, seen: 3, generation: 4 },
            evidence,
        };
        let carried =
            Carried { key: DialogKey::new(0x0102, 3), peer: 5, was: version(1, 6), is: version(2, 7) };
        let entry = Entry::of(&carried);
        assert_eq!(entry.carried(), carried);
        let bytes = Entry { outcome: Outcome::Kept as u32, ..entry }.to_bytes();
        assert_eq!(bytes[..2], [2, 1]);
        assert_eq!((bytes[24], bytes[28], bytes[32], bytes[36]), (3, 5, 6, 7));
        let packet: std::vec::Vec<u8> = [0; request::LEN].into_iter().chain(bytes).collect();
        assert_eq!(outcome(&packet, 0), Some(Outcome::Kept));
        assert_eq!(outcome(&packet, 1), None);
    }

    extern crate std;
}
