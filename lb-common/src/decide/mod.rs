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
pub mod table;
pub mod track;

use crate::{
    map::{
        dialog::{Dialog, DialogKey, Evidence, State},
        settings::Settings,
    },
    sip::Kind,
};

pub use crate::sip::DialogHeaders;

/// One slot of the table. It may belong to another dialog by the next look: see [`pin`].
pub trait Slot: Copy {
    /// The call key that stands in it, whatever its state.
    fn call_key(&self) -> u64;
    /// The service that stands in it, whatever its state.
    fn service(&self) -> u32;
    /// The state word.
    fn state(&self) -> State;
    /// Reads the whole slot, the state word first.
    fn read(&self) -> Dialog;
    /// Changes the state word if it is `from`, and says whether it was.
    fn swap_state(&self, from: State, to: State) -> bool;
    /// Changes the evidence if it is `from`, and says whether it was.
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool;
    /// Writes everything but the state into a slot that this CPU has claimed.
    fn write(&self, key: &DialogKey, peer: u32, evidence: Evidence);
}

/// Four slots.
pub trait Bucket: Copy {
    /// One of them.
    type Slot: Slot;
    /// The slot of an index below [`BUCKET_SLOTS`](crate::map::dialog::BUCKET_SLOTS).
    fn slot(&self, index: u32) -> Self::Slot;
}

/// What a backend's entry says about taking traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// See [`crate::map::backend::will`].
    pub will: u8,
    /// See [`crate::map::backend::health`].
    pub health: u8,
}

/// The tables behind a decision.
pub trait Tables: Sized {
    /// A slot of the dialog table.
    type Slot: Slot;
    /// A bucket of the dialog table.
    type Bucket: Bucket<Slot = Self::Slot>;

    /// The node's settings.
    fn settings(&self) -> &Settings;
    /// The present tick, see [`Settings::tick_shift`].
    fn now(&self) -> u32;

    /// A bucket of the dialog table.
    fn bucket(&self, index: u32) -> Option<Self::Bucket>;
    /// Adds to the number of dialogs and of unconfirmed ones.
    fn add_to_tally(&self, entries: i64, unconfirmed: i64);
    /// Number of unconfirmed dialogs.
    fn unconfirmed(&self) -> u64;

    /// The backend in a slot of the ring of a service's tier.
    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16>;
    /// The backend of an id.
    fn backend(&self, id: u16) -> Option<BackendView>;

    /// `jiffies` up to which the search for old dialogs has come.
    fn swept_at(&self) -> Option<u64>;
    /// Sets that if it is `from`, and says whether it was.
    fn set_swept_at(&self, from: u64, to: u64) -> bool;
    /// Adds to the number of buckets that were looked at, and returns what it was.
    fn advance_hand(&self, count: u32) -> u64;
    /// Counts a dialog of a phase whose lifetime was over.
    fn count_expired(&self, phase: u8);

    /// Counts a dialog that could not be put in, by an error number below.
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
    /// [`table::settle`], likewise.
    fn settle(&self, key: &DialogKey) -> table::Inserted {
        table::settle(self, key)
    }
    /// [`table::sweep_bucket`], likewise.
    fn sweep_bucket(&self, index: u32, now: u32) -> u32 {
        table::sweep_bucket(self, index, now)
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

/// A dialog's buckets are full.
pub const E2BIG: i32 = 7;
/// Other CPUs took every free slot of a dialog's buckets.
pub const EBUSY: i32 = 16;
/// The limit on unconfirmed dialogs.
pub const EDQUOT: i32 = 122;
