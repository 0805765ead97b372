//! The steering decision: which backend a packet goes to, and what is remembered of it.
//!
//! Written against [`Tables`], which the XDP program implements on BPF maps and everything else on plain memory. No
//! function here reads a packet: [`Inbound`] says what is known of it, [`Inspect`] finds out more when it is needed.

pub mod capacity;
pub mod carry;
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
        backend::Limits,
        dialog::{Dialog, DialogKey, Evidence, State},
        load::Load,
        settings::Settings,
        zone::Policy,
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

/// What a backend or zone carries, as the tables hold it: every access is one atomic instruction.
pub trait LoadCell: Copy {
    /// Reads everything.
    fn read(&self) -> Load;
    /// Adds to the calls in progress and returns what they were.
    fn add_channels(&self, by: i64) -> u64;
    /// See [`Load::next_arrival`].
    fn next_arrival(&self) -> u64;
    /// Changes that if it is `from`, and says whether it was.
    fn swap_next_arrival(&self, from: u64, to: u64) -> bool;
    /// See [`Load::rate`].
    fn rate(&self) -> u64;
    /// Changes that if it is `from`, and says whether it was.
    fn swap_rate(&self, from: u64, to: u64) -> bool;
    /// See [`Load::full_until`].
    fn full_until(&self) -> u64;
    /// Sets that.
    fn set_full_until(&self, until: u64);
    /// Counts one.
    fn count(&self, what: Counted);
}

/// The counters of a [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// [`Load::calls`].
    Calls,
    /// [`Load::over_channels`].
    OverChannels,
    /// [`Load::over_cps`].
    OverCps,
    /// [`Load::refusals`].
    Refusals,
}

/// What a backend's entry says about taking traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendView {
    /// See [`crate::map::backend::will`].
    pub will: u8,
    /// See [`crate::map::backend::health`].
    pub health: u8,
    /// Number of its zone.
    pub zone: u16,
}

/// What a zone's entry says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneView {
    /// See [`crate::map::zone::zone_will`].
    pub will: u8,
    /// See [`crate::map::zone::Zone::remote`].
    pub remote: u8,
    /// Backends that take new calls.
    pub takers: u32,
    /// Calls in progress at a utilisation of 1.
    pub capacity_channels: u32,
    /// New calls per second at a utilisation of 1.
    pub capacity_cps: u32,
}

/// The tables behind a decision.
pub trait Tables: Sized {
    /// A slot of the dialog table.
    type Slot: Slot;
    /// A bucket of the dialog table.
    type Bucket: Bucket<Slot = Self::Slot>;
    /// A backend's or zone's load.
    type Load: LoadCell;

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
    /// The backend of an id; all zeros, an absent one, if there is none. Values in any case, here and below: the verifier
    /// refuses the copy of an undefined one.
    fn backend(&self, id: u16) -> BackendView;
    /// What a backend may get; nothing if there is none.
    fn limits(&self, id: u16) -> Limits;
    /// What a backend carries.
    fn backend_load(&self, id: u16) -> Option<Self::Load>;
    /// How a service chooses; without any tier if there is none.
    fn policy(&self, service: u16) -> Policy;
    /// Number of the zone of a service's tier.
    fn tier_zone(&self, service: u16, tier: u32) -> u16;
    /// The zone of a number; an absent one if there is none.
    fn zone(&self, zone: u16) -> ZoneView;
    /// What a zone carries.
    fn zone_load(&self, zone: u16) -> Option<Self::Load>;
    /// How many backends of a zone take new calls.
    fn members(&self, zone: u16) -> u32;
    /// One of them, in the order of the configuration; [`capacity::NOBODY`] behind the last.
    fn member(&self, zone: u16, index: u32) -> u16;
    /// The monotonic time in nanoseconds.
    fn nanoseconds(&self) -> u64;
    /// Whether the daemon answers what it is handed.
    fn daemon_answers(&self) -> bool;

    /// `jiffies` up to which the search for old dialogs has come.
    fn swept_at(&self) -> Option<u64>;
    /// Sets that if it is `from`, and says whether it was.
    fn set_swept_at(&self, from: u64, to: u64) -> bool;
    /// Adds to the number of buckets that were looked at, and returns what it was.
    fn advance_hand(&self, count: u32) -> u64;
    /// Counts a dialog of a phase whose lifetime was over.
    fn count_expired(&self, phase: u8);

    /// A message comes to a dialog in a state: counts it as a sign that the backend answers new calls, if it is one by
    /// [`track::is_answer`].
    fn count_answer<I: Inspect>(&self, state: State, inspect: &I, seen: &track::Seen);

    /// Counts a dialog that could not be put in, by an error number below.
    fn count_write_error(&self, errno: i32);

    /// [`select::ring_choice`]. The kernel makes it a function of its own, which the verifier walks through once.
    fn ring_choice(&self, service: u16, tiers: u8, key: u64) -> Option<u16> {
        select::ring_choice(self, service, tiers, key)
    }
    /// [`select::zone_room`], likewise.
    fn zone_room(&self, zone: u16, now: u64) -> select::Room {
        select::zone_room(self, zone, now)
    }
    /// [`select::candidate`], likewise.
    fn candidate(&self, service: u16, tier: u32, key: u64, except: u16, now: u64) -> u16 {
        select::candidate(self, service, tier, key, except, now)
    }
    /// [`select::walk`], likewise.
    fn walk(&self, zone: u16, from: u32, except: u16, now: u64) -> u16 {
        select::walk(self, zone, from, except, now)
    }
    /// [`capacity::admit`], likewise.
    fn admit(&self, id: u16, now: u64) -> bool {
        capacity::admit(self, id, now)
    }
    /// [`capacity::takes_one_more`], likewise.
    fn takes_one_more(&self, id: u16, now: u64) -> bool {
        capacity::takes_one_more(self, id, now)
    }
    /// [`capacity::utilisation_of`], likewise.
    fn utilisation(&self, id: u16, now: u64) -> u32 {
        capacity::utilisation_of(self, id, now)
    }
    /// [`capacity::mean_utilisation`], likewise.
    fn mean_utilisation(&self, zone: u16, now: u64) -> u32 {
        capacity::mean_utilisation(self, zone, now)
    }
    /// [`capacity::move_channel`], likewise.
    fn move_channel(&self, from: u16, to: u16) {
        capacity::move_channel(self, from, to);
    }
    /// [`remember::remember`], likewise.
    fn remember(&self, opening: &remember::Opening) -> remember::Remembered {
        remember::remember(self, opening)
    }
    /// [`steer::move_pin`], likewise.
    fn move_pin(&self, key: &DialogKey, from: u16, to: u16, now: u32) {
        steer::move_pin(self, key, from, to, now);
    }
    /// [`steer::reopen`], likewise.
    fn reopen(&self, key: &DialogKey, from: u16, to: u16, branch: u32) {
        steer::reopen(self, key, from, to, branch);
    }
    /// [`reply::turned_away`], likewise.
    fn turned_away(&self, backend: u16, service: u16, retry_after: Option<u32>) {
        reply::turned_away(self, backend, service, retry_after);
    }
    /// [`table::settle`], likewise.
    fn settle(&self, key: &DialogKey) -> u16 {
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
    /// What the ring is asked with instead of the Call-ID, see [`crate::map::zone::hash_by`]: a hash of the user or address
    /// that the message carries there. `None`: it carries none.
    fn ring_key(&self, hash_by: u8) -> Option<u64>;
    /// The seconds of its Retry-After.
    fn retry_after(&self) -> Option<u32>;
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
    /// Whether answers come back through us (`nat`).
    pub sees_answers: bool,
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
