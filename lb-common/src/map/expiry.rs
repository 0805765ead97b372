//! EXPIRY_SHORT, EXPIRY_LONG and EXPIRY_CURSORS: queues of dialogs to look at later.
//!
//! The entries of a queue become due in the order they were put in, because all wait equally long. A slot is visited
//! twice: by `dying` when it is due, by `burying` some ticks later, when no CPU can hold a pointer to the dialog.

use core::mem::size_of;

/// Number of queues: short and long.
pub const QUEUES: u32 = 2;
/// Index of EXPIRY_SHORT's cursors: every new dialog waits here first.
pub const SHORT: u32 = 0;
/// Index of EXPIRY_LONG's cursors: what outlived the short queue.
pub const LONG: u32 = 1;

/// One slot of a queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The dialog's call key.
    pub call_key: u64,
    /// Service, lap and tick, written after `call_key` in one piece, see [`DueWord`].
    pub word: DueWord,
}

const _: () = assert!(size_of::<Due>() == 16);

/// The second half of a slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DueWord {
    /// Tick at which to look.
    pub tick: u32,
    /// The dialog's service.
    pub service: u16,
    /// Lap of the queue, counted from 1: tells a written slot from one that is only claimed.
    pub lap: u16,
}

impl DueWord {
    /// As one word, little endian, as it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.tick as u64 | (self.service as u64) << 32 | (self.lap as u64) << 48
    }

    /// The half slot of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> DueWord {
        DueWord { tick: word as u32, service: (word >> 32) as u16, lap: (word >> 48) as u16 }
    }
}

/// Cursors of one queue; they only grow. `burying <= dying <= tail`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// Next slot to put an entry into.
    pub tail: u64,
    /// Next slot whose dialog may be dead.
    pub dying: u64,
    /// Next slot whose dialog may be deleted.
    pub burying: u64,
    /// Explicit padding to a cache line.
    pub _pad: [u64; 5],
}

const _: () = assert!(size_of::<Cursors>() == 64);

/// The packet that gives the program `expire` its arguments: a count, then keys of dialogs to examine.
pub mod request {
    /// Offset of the number of keys, a little-endian 64-bit number.
    pub const COUNT_AT: usize = 16;
    /// Offset of the first [`super::super::dialog::DialogKey`].
    pub const KEYS_AT: usize = 32;
    /// Most keys of one request.
    pub const MAX_KEYS: u64 = 64;
    /// Length of the packet in bytes.
    pub const LEN: usize = KEYS_AT + MAX_KEYS as usize * 16;
}
