//! The steering decision: which backend a packet goes to, and what is remembered of it.
//!
//! Written against [`Tables`], which the XDP program implements on BPF maps and everything else on plain memory. No
//! function here reads a packet: [`Inbound`] says what is known of it, [`Inspect`] finds out more when it is needed.

pub mod expiry;
pub mod own_tag;
pub mod pin;
pub mod remember;
pub mod reply;
pub mod select;
pub mod source;
pub mod steer;
pub mod track;

use crate::{
    map::{
        dialog::{Dialog, DialogKey, Evidence, State},
        expiry::{Cursors, Due},
        settings::Settings,
    },
    sip::Kind,
};

pub use crate::sip::DialogHeaders;

/// A dialog's place in the table, found by its key. It may belong to another dialog by now: see [`pin::find`].
pub trait Slot: Copy {
    /// Reads the whole value, the state word first.
    fn read(&self) -> Dialog;
    /// Reads the state word, and whether the value is that of the key, in this order.
    fn read_state(&self, key: &DialogKey) -> (State, bool);
    /// Changes the state word if it is `from`, and says whether it was.
    fn swap_state(&self, from: State, to: State) -> bool;
    /// Changes the evidence if it is `from`, and says whether it was.
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool;
}

/// What a backend's entry says about taking traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// See [`crate::map::backend::will`].
    pub will: u8,
    /// See [`crate::map::backend::health`].
    pub health: u8,
}

/// A cursor of an expiry queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Next slot whose dialog may be dead.
    Dying,
    /// Next slot whose dialog may be deleted.
    Burying,
}

/// The tables behind a decision. Error numbers are those of `bpf(2)`, positive.
pub trait Tables: Sized {
    /// A place in the dialog table.
    type Slot: Slot;
    /// Slots of one expiry queue, a power of two.
    const QUEUE_SLOTS: u32;
    /// Slots kept free in a queue: as many CPUs as may put an entry in at the same moment.
    const QUEUE_MARGIN: u32;

    /// The node's settings.
    fn settings(&self) -> &Settings;
    /// The present tick, see [`Settings::tick_shift`].
    fn now(&self) -> u32;
    /// A number that differs between two dialogs that get the same memory.
    fn next_generation(&self) -> u16;

    /// The dialog's place in the table.
    fn dialog(&self, key: &DialogKey) -> Option<Self::Slot>;
    /// Adds a dialog; EEXIST when the key is there already.
    fn insert_dialog(&self, key: &DialogKey, dialog: &Dialog) -> Result<(), i32>;
    /// Deletes a dialog.
    fn delete_dialog(&self, key: &DialogKey) -> Result<(), i32>;
    /// Adds to the number of entries and of unconfirmed ones.
    fn add_to_tally(&self, entries: i64, unconfirmed: i64);
    /// Number of unconfirmed entries.
    fn unconfirmed(&self) -> u64;

    /// The backend in a slot of the ring of a service's tier.
    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16>;
    /// The backend of an id.
    fn backend(&self, id: u16) -> Option<BackendView>;

    /// Cursors of a queue.
    fn cursors(&self, queue: u32) -> Option<Cursors>;
    /// Adds 1 to a queue's tail and returns what it was.
    fn claim_tail(&self, queue: u32) -> Option<u64>;
    /// Moves a cursor from `from` to the next slot if it is there, and says whether it was.
    fn advance(&self, queue: u32, cursor: Cursor, from: u64) -> bool;
    /// Reads the slot of an index, the word before the call key.
    fn due(&self, queue: u32, index: u64) -> Option<Due>;
    /// Writes the slot of an index, the call key before the word.
    fn put_due(&self, queue: u32, index: u64, due: Due);

    /// Counts a failed write by its error number.
    fn count_write_error(&self, errno: i32);

    /// [`select::ring_choice`]. The kernel makes it a function of its own, which the verifier walks through once.
    fn ring_choice(&self, service: u16, tiers: u8, key: u64) -> Option<u16> {
        select::ring_choice(self, service, tiers, key)
    }
    /// [`remember::remember`], likewise.
    fn remember(&self, opening: &remember::Opening) -> remember::Remembered {
        remember::remember(self, opening)
    }
    /// [`steer::move_pin`], likewise.
    fn move_pin(&self, key: &DialogKey, from: u16, to: u16, now: u32) {
        steer::move_pin(self, key, from, to, now);
    }
    /// [`expiry::tend`], likewise.
    fn tend(&self, now: u32) {
        expiry::tend(self, now);
    }
}

/// Reads more of the message when the decision needs it.
pub trait Inspect {
    /// What it is. Asked for again at every use: the kernel's stack is small, and a value that is read anew does not
    /// have to be kept there.
    fn kind(&self) -> Kind;
    /// The To tag and the topmost Via's branch.
    fn dialog_headers(&self) -> DialogHeaders;
}

/// What is known of a packet before the decision.
#[derive(Clone, Copy, Debug)]
pub struct Inbound {
    /// The service it was sent to.
    pub service: u16,
    /// The service's listener it arrived at.
    pub listener: u8,
    /// Tiers of the service.
    pub tiers: u8,
    /// Keyed hash of its Call-ID, if it has one.
    pub call_key: Option<u64>,
    /// Keyed hash of its source address and port.
    pub source: u64,
}

/// The 32 bits of a source's hash that a dialog remembers.
#[inline(always)]
pub const fn peer_of(source: u64) -> u32 {
    (source >> 32) as u32
}

/// `bpf(2)`: the key is not there.
pub const ENOENT: i32 = 2;
/// `bpf(2)`: the table is full.
pub const E2BIG: i32 = 7;
/// `bpf(2)`: the key is there already.
pub const EEXIST: i32 = 17;
/// Used for an expiry queue that is full.
pub const ENOSPC: i32 = 28;
/// Used for the limit on unconfirmed dialogs.
pub const EDQUOT: i32 = 122;
