//! What the kernel would decide, asked from userspace: the decision core on the pinned maps, which it only reads.

use super::tables::Tables as Pinned;
use crate::failure::Failure;
use lb_common::{
    decide::{self, BackendView, Counted, Inspect, Slot, ZoneView, capacity::NOBODY, select, track},
    map::{
        backend::Limits,
        dialog::{BUCKET_SLOTS, Bucket, Dialog, DialogKey, Evidence, State},
        load::Load,
        settings::Settings,
        zone::Policy,
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

/// A load that is only looked at.
#[derive(Clone, Copy)]
struct SeenLoad(Load);

impl decide::LoadCell for SeenLoad {
    fn read(&self) -> Load {
        self.0
    }

    fn add_channels(&self, _by: i64) -> u64 {
        self.0.channels
    }

    fn next_arrival(&self) -> u64 {
        self.0.next_arrival
    }

    fn swap_next_arrival(&self, _from: u64, _to: u64) -> bool {
        false
    }

    fn rate(&self) -> u64 {
        self.0.rate
    }

    fn swap_rate(&self, _from: u64, _to: u64) -> bool {
        false
    }

    fn full_until(&self) -> u64 {
        self.0.full_until
    }

    fn set_full_until(&self, _until: u64) {}

    fn count(&self, _what: Counted) {}
}

impl decide::Tables for View<'_> {
    type Slot = Seen;
    type Bucket = SeenBucket;
    type Load = SeenLoad;

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
        self.or_note(self.tables.rings.slot(service, tier, slot))
    }

    fn backend(&self, id: u16) -> BackendView {
        self.or_note(self.tables.maps.backend(id).map(Some)).map_or_else(BackendView::default, |b| {
            BackendView { will: b.will, health: b.health, zone: b.zone }
        })
    }

    fn limits(&self, id: u16) -> Limits {
        self.or_note(self.tables.maps.backend(id).map(Some)).map(|b| b.limits).unwrap_or_default()
    }

    fn backend_load(&self, _id: u16) -> Option<SeenLoad> {
        None
    }

    fn policy(&self, service: u16) -> Policy {
        self.or_note(self.tables.maps.policy(service).map(Some)).unwrap_or_default()
    }

    fn tier_zone(&self, service: u16, tier: u32) -> u16 {
        self.policy(service).zones.get(tier as usize).copied().unwrap_or(NOBODY)
    }

    fn zone(&self, zone: u16) -> ZoneView {
        let zone = self.or_note(self.tables.maps.zone(zone).map(Some));
        zone.map_or_else(ZoneView::default, |z| ZoneView {
            will: z.will,
            remote: z.remote,
            takers: z.takers,
            capacity_channels: z.capacity_channels,
            capacity_cps: z.capacity_cps,
        })
    }

    fn zone_load(&self, _zone: u16) -> Option<SeenLoad> {
        None
    }

    fn members(&self, _zone: u16) -> u32 {
        0
    }

    fn member(&self, _zone: u16, _index: u32) -> u16 {
        NOBODY
    }

    fn nanoseconds(&self) -> u64 {
        0
    }

    fn daemon_answers(&self) -> bool {
        false
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

    fn count_answer<I: Inspect>(&self, _state: State, _inspect: &I, _seen: &track::Seen) {}

    fn count_write_error(&self, _errno: i32) {}
}
