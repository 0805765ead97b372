//! What the kernel would decide, asked from userspace: the decision core on the pinned maps, which it only reads.

use super::tables::Tables as Pinned;
use crate::failure::Failure;
use lb_common::{
    decide::{self, BackendView, Slot, select},
    map::{
        dialog::{BUCKET_SLOTS, Bucket, Dialog, DialogKey, Evidence, State},
        settings::Settings,
    },
};
use std::cell::RefCell;

/// Where the ring sends a call of a service that is not in the table: a backend id, or none when no backend takes calls.
/// Needs CAP_SYS_ADMIN, as reading rings does.
///
/// # Errors
/// The kernel's.
pub fn ring_choice(tables: &Pinned, service: u16, tiers: u8, call_key: u64) -> Result<Option<u16>, Failure> {
    let view = View { tables, settings: tables.maps.settings()?, failure: RefCell::new(None) };
    let choice = select::ring_choice(&view, service, tiers, call_key);
    view.failure.into_inner().map_or(Ok(choice), Err)
}

/// The pinned maps as the decision core wants them. Choosing from a ring reads rings and backends only; everything else
/// is answered as by tables that are empty and refuse writes.
struct View<'a> {
    tables: &'a Pinned,
    settings: Settings,
    failure: RefCell<Option<Failure>>,
}

impl View<'_> {
    fn or_note<T>(&self, result: Result<Option<T>, Failure>) -> Option<T> {
        result.unwrap_or_else(|failure| {
            self.failure.borrow_mut().get_or_insert(failure);
            None
        })
    }
}

/// A slot that is only looked at.
#[derive(Clone, Copy)]
struct Seen(Dialog);

impl Slot for Seen {
    fn call_key(&self) -> u64 {
        self.0.call_key
    }

    fn service(&self) -> u32 {
        self.0.service
    }

    fn state(&self) -> State {
        self.0.state
    }

    fn read(&self) -> Dialog {
        self.0
    }

    fn swap_state(&self, _from: State, _to: State) -> bool {
        false
    }

    fn swap_evidence(&self, _from: Evidence, _to: Evidence) -> bool {
        false
    }

    fn write(&self, _key: &DialogKey, _peer: u32, _evidence: Evidence) {}
}

/// A bucket that is only looked at.
#[derive(Clone, Copy)]
struct SeenBucket(Bucket);

impl decide::Bucket for SeenBucket {
    type Slot = Seen;

    fn slot(&self, index: u32) -> Seen {
        Seen(self.0.slots[(index % BUCKET_SLOTS) as usize])
    }
}

impl decide::Tables for View<'_> {
    type Slot = Seen;
    type Bucket = SeenBucket;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> u32 {
        0
    }

    fn bucket(&self, index: u32) -> Option<SeenBucket> {
        self.or_note(self.tables.maps.bucket(index).map(Some)).map(SeenBucket)
    }

    fn add_to_tally(&self, _entries: i64, _unconfirmed: i64) {}

    fn unconfirmed(&self) -> u64 {
        0
    }

    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        self.or_note(self.tables.rings.slot(service, tier, slot)).and_then(|id| u16::try_from(id).ok())
    }

    fn backend(&self, id: u16) -> Option<BackendView> {
        self.or_note(self.tables.maps.backend(id).map(Some))
            .map(|b| BackendView { will: b.will, health: b.health })
    }

    fn swept_at(&self) -> Option<u64> {
        None
    }

    fn set_swept_at(&self, _from: u64, _to: u64) -> bool {
        false
    }

    fn advance_hand(&self, _count: u32) -> u64 {
        0
    }

    fn count_expired(&self, _phase: u8) {}

    fn count_write_error(&self, _errno: i32) {}
}
