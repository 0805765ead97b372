//! The product's tables under one of the rules that the race tries.

use super::{
    MET, REFUSED, TAKEN_LATE, WITHOUT_COMPARISON, WITHOUT_GENERATION, WITHOUT_KEY, WITHOUT_SETTLING, count,
    key_of,
    play::{Place, Play},
    sipsteer_race_stop,
};
use crate::{
    maps::{BucketCell, DialogSlot, LoadPointer},
    tables::KernelTables,
};
use lb_common::{
    decide::{
        BackendView, Bucket, Inspect, Slot, Tables, ZoneView, capacity::NOBODY, select::Room, track::Seen,
    },
    map::{
        backend::Limits,
        dialog::{Dialog, DialogKey, Evidence, State},
        settings::Settings,
        zone::Policy,
    },
};

/// The product's tables with a stop at a place, and with the rule in question.
#[derive(Clone, Copy)]
pub(super) struct Racing {
    pub(super) tables: KernelTables,
    pub(super) rule: u64,
    pub(super) play: Play,
}

impl Racing {
    #[inline(always)]
    fn stop(&self, place: Place) {
        if self.play.held() != 0 && self.play.place() == place {
            sipsteer_race_stop(self.play.held());
        }
    }
}

/// A bucket under a rule.
#[derive(Clone, Copy)]
pub(super) struct RacingBucket {
    bucket: BucketCell,
    racing: Racing,
}

impl Bucket for RacingBucket {
    type Slot = RacingSlot;
    #[inline(always)]
    fn slot(&self, index: u32) -> RacingSlot {
        RacingSlot { slot: self.bucket.slot(index), racing: self.racing }
    }
}

/// A slot under a rule.
#[derive(Clone, Copy)]
pub(super) struct RacingSlot {
    slot: DialogSlot,
    racing: Racing,
}

impl Slot for RacingSlot {
    #[inline(always)]
    fn call_key(&self) -> u64 {
        self.slot.call_key()
    }
    #[inline(always)]
    fn service(&self) -> u32 {
        self.slot.service()
    }
    #[inline(always)]
    fn state(&self) -> State {
        self.slot.state()
    }
    #[inline(always)]
    fn read(&self) -> Dialog {
        self.racing.stop(Place::BeforeReading);
        let state = self.slot.state();
        self.racing.stop(Place::WhileReading);
        let dialog = Dialog { state, ..self.slot.read() };
        if self.racing.rule == WITHOUT_KEY {
            Dialog { call_key: key_of(self.racing.play.index()).call_key, ..dialog }
        } else {
            dialog
        }
    }
    #[inline(always)]
    fn swap_state(&self, from: State, to: State) -> bool {
        let present = self.slot.state();
        if present.generation != from.generation {
            count(REFUSED);
        }
        match self.racing.rule {
            WITHOUT_COMPARISON => self.slot.swap_state(present, to),
            WITHOUT_GENERATION => {
                let alike = State { generation: from.generation, ..present }.to_word() == from.to_word();
                alike && self.slot.swap_state(present, State { generation: present.generation, ..to })
            }
            TAKEN_LATE => {
                let swapped = self.slot.swap_state(from, to);
                if swapped && self.racing.play.opens_again() && to.holds_channel() && !from.holds_channel() {
                    self.racing.stop(Place::BesideChannel);
                    self.racing.tables.move_channel(NOBODY, to.backend);
                }
                swapped
            }
            _ => self.slot.swap_state(from, to),
        }
    }
    #[inline(always)]
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        self.slot.swap_evidence(from, to)
    }
    #[inline(always)]
    fn write(&self, key: &DialogKey, peer: u32, evidence: Evidence) {
        self.slot.write(key, peer, evidence);
    }
}

impl Tables for Racing {
    type Slot = RacingSlot;
    type Bucket = RacingBucket;
    type Load = LoadPointer;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.tables.settings()
    }
    #[inline(always)]
    fn now(&self) -> u32 {
        self.tables.now()
    }
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<RacingBucket> {
        Some(RacingBucket { bucket: self.tables.bucket(index)?, racing: *self })
    }
    #[inline(always)]
    fn add_to_tally(&self, entries: i64, unconfirmed: i64) {
        self.tables.add_to_tally(entries, unconfirmed);
    }
    #[inline(always)]
    fn unconfirmed(&self) -> u64 {
        self.tables.unconfirmed()
    }
    #[inline(always)]
    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        self.tables.ring_backend(service, tier, slot)
    }
    #[inline(always)]
    fn backend(&self, id: u16) -> BackendView {
        self.tables.backend(id)
    }
    #[inline(always)]
    fn limits(&self, id: u16) -> Limits {
        self.tables.limits(id)
    }
    #[inline(always)]
    fn backend_load(&self, id: u16) -> Option<LoadPointer> {
        self.tables.backend_load(id)
    }
    #[inline(always)]
    fn policy(&self, service: u16) -> Policy {
        self.tables.policy(service)
    }
    #[inline(always)]
    fn tier_zone(&self, service: u16, tier: u32) -> u16 {
        self.tables.tier_zone(service, tier)
    }
    #[inline(always)]
    fn zone(&self, zone: u16) -> ZoneView {
        self.tables.zone(zone)
    }
    #[inline(always)]
    fn zone_load(&self, zone: u16) -> Option<LoadPointer> {
        self.tables.zone_load(zone)
    }
    #[inline(always)]
    fn members(&self, zone: u16) -> u32 {
        self.tables.members(zone)
    }
    #[inline(always)]
    fn member(&self, zone: u16, index: u32) -> u16 {
        self.tables.member(zone, index)
    }
    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        self.tables.nanoseconds()
    }
    #[inline(always)]
    fn daemon_answers(&self) -> bool {
        self.tables.daemon_answers()
    }
    #[inline(always)]
    fn candidate(&self, service: u16, tier: u32, key: u64, except: u16, now: u64) -> u16 {
        self.tables.candidate(service, tier, key, except, now)
    }
    #[inline(always)]
    fn walk(&self, zone: u16, from: u32, except: u16, now: u64) -> u16 {
        self.tables.walk(zone, from, except, now)
    }
    #[inline(always)]
    fn zone_room(&self, zone: u16, now: u64) -> Room {
        self.tables.zone_room(zone, now)
    }
    #[inline(always)]
    fn admit(&self, id: u16, now: u64) -> bool {
        self.tables.admit(id, now)
    }
    #[inline(always)]
    fn move_channel(&self, from: u16, to: u16) {
        if self.rule == TAKEN_LATE && self.play.opens_again() {
            return;
        }
        self.stop(Place::BesideChannel);
        self.tables.move_channel(from, to);
    }
    #[inline(always)]
    fn swept_at(&self) -> Option<u64> {
        self.tables.swept_at()
    }
    #[inline(always)]
    fn set_swept_at(&self, from: u64, to: u64) -> bool {
        self.tables.set_swept_at(from, to)
    }
    #[inline(always)]
    fn advance_hand(&self, count: u32) -> u64 {
        self.tables.advance_hand(count)
    }
    #[inline(always)]
    fn count_expired(&self, phase: u8) {
        self.tables.count_expired(phase);
    }
    #[inline(always)]
    fn count_answer<I: Inspect>(&self, state: State, inspect: &I, seen: &Seen) {
        self.tables.count_answer(state, inspect, seen);
    }
    #[inline(always)]
    fn count_write_error(&self, errno: i32) {
        self.tables.count_write_error(errno);
    }
    #[inline(always)]
    fn settle(&self, key: &DialogKey) -> u16 {
        count(MET);
        if self.rule == WITHOUT_SETTLING { NOBODY } else { self.tables.settle(key) }
    }
}
