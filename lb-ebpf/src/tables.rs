//! The decision core's tables, made of BPF maps.

use crate::{
    apart,
    maps::{self, BucketCell, DialogSlot, LoadPointer, ScratchCell},
};
use lb_common::{
    decide::{
        BackendView, Bucket, Counted, Inspect, LoadCell, Slot, Tables, ZoneView,
        remember::{Opening, Remembered},
        select::Room,
        track::Seen,
    },
    map::{
        backend::Limits,
        dialog::{Dialog, DialogKey, Evidence, State},
        load::Load,
        ring_index,
        settings::Settings,
        zone::Policy,
    },
};

/// BPF maps as the decision core wants them.
#[derive(Clone, Copy)]
pub struct KernelTables {
    /// The node's settings.
    pub settings: &'static Settings,
    /// This CPU's memory of the packet in hand.
    pub scratch: ScratchCell,
}

impl KernelTables {
    /// The tables, if the daemon has written the settings.
    #[inline(always)]
    pub fn open() -> Option<KernelTables> {
        Some(KernelTables { settings: maps::settings()?, scratch: maps::scratch()? })
    }
}

impl Slot for DialogSlot {
    #[inline(always)]
    fn call_key(&self) -> u64 {
        DialogSlot::call_key(*self)
    }
    #[inline(always)]
    fn service(&self) -> u32 {
        DialogSlot::service(*self)
    }
    #[inline(always)]
    fn state(&self) -> State {
        DialogSlot::state(*self)
    }
    #[inline(always)]
    fn read(&self) -> Dialog {
        DialogSlot::read(*self)
    }
    #[inline(always)]
    fn swap_state(&self, from: State, to: State) -> bool {
        DialogSlot::swap_state(*self, from, to)
    }
    #[inline(always)]
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        DialogSlot::swap_evidence(*self, from, to)
    }
    #[inline(always)]
    fn write(&self, key: &DialogKey, peer: u32, evidence: Evidence) {
        DialogSlot::write(*self, key, peer, evidence);
    }
}

impl Bucket for BucketCell {
    type Slot = DialogSlot;
    #[inline(always)]
    fn slot(&self, index: u32) -> DialogSlot {
        BucketCell::slot(*self, index)
    }
}

impl LoadCell for LoadPointer {
    #[inline(always)]
    fn read(&self) -> Load {
        LoadPointer::read(*self)
    }
    #[inline(always)]
    fn add_channels(&self, by: i64) -> u64 {
        LoadPointer::add_channels(*self, by)
    }
    #[inline(always)]
    fn next_arrival(&self) -> u64 {
        LoadPointer::next_arrival(*self)
    }
    #[inline(always)]
    fn swap_next_arrival(&self, from: u64, to: u64) -> bool {
        LoadPointer::swap_next_arrival(*self, from, to)
    }
    #[inline(always)]
    fn rate(&self) -> u64 {
        LoadPointer::rate(*self)
    }
    #[inline(always)]
    fn swap_rate(&self, from: u64, to: u64) -> bool {
        LoadPointer::swap_rate(*self, from, to)
    }
    #[inline(always)]
    fn full_until(&self) -> u64 {
        LoadPointer::full_until(*self)
    }
    #[inline(always)]
    fn set_full_until(&self, until: u64) {
        LoadPointer::set_full_until(*self, until);
    }
    #[inline(always)]
    fn count(&self, what: Counted) {
        LoadPointer::count(*self, what);
    }
}

impl Tables for KernelTables {
    type Slot = DialogSlot;
    type Bucket = BucketCell;
    type Load = LoadPointer;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.settings
    }
    #[inline(always)]
    fn now(&self) -> u32 {
        (maps::jiffies() >> (self.settings.tick_shift & 31)) as u32
    }
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<BucketCell> {
        maps::bucket(index)
    }
    #[inline(always)]
    fn add_to_tally(&self, entries: i64, unconfirmed: i64) {
        maps::add_to_tally(entries, unconfirmed);
    }
    #[inline(always)]
    fn unconfirmed(&self) -> u64 {
        maps::unconfirmed()
    }
    #[inline(always)]
    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        maps::ring_backend(ring_index(service as u32, tier), slot)
    }
    #[inline(always)]
    fn backend(&self, id: u16) -> BackendView {
        match maps::backend(id) {
            Some(b) => BackendView { will: b.will, health: b.health, zone: b.zone },
            None => BackendView::default(),
        }
    }
    #[inline(always)]
    fn limits(&self, id: u16) -> Limits {
        match maps::backend(id) {
            Some(b) => b.limits,
            None => Limits::default(),
        }
    }
    #[inline(always)]
    fn backend_load(&self, id: u16) -> Option<LoadPointer> {
        maps::backend_load(id)
    }
    #[inline(always)]
    fn policy(&self, service: u16) -> Policy {
        match maps::policy(service) {
            Some(policy) => *policy,
            None => Policy::default(),
        }
    }
    #[inline(always)]
    fn tier_zone(&self, service: u16, tier: u32) -> u16 {
        maps::tier_zone(service, tier)
    }
    #[inline(always)]
    fn zone(&self, zone: u16) -> ZoneView {
        match maps::zone(zone) {
            Some(z) => ZoneView {
                will: z.will,
                remote: z.remote,
                takers: z.takers,
                capacity_channels: z.capacity_channels,
                capacity_cps: z.capacity_cps,
            },
            None => ZoneView::default(),
        }
    }
    #[inline(always)]
    fn zone_load(&self, zone: u16) -> Option<LoadPointer> {
        maps::zone_load(zone)
    }
    #[inline(always)]
    fn members(&self, zone: u16) -> u32 {
        maps::members(zone)
    }
    #[inline(always)]
    fn member(&self, zone: u16, index: u32) -> u16 {
        maps::member(zone, index)
    }
    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        maps::nanoseconds()
    }
    #[inline(always)]
    fn daemon_answers(&self) -> bool {
        maps::daemon_answers()
    }
    #[inline(always)]
    fn swept_at(&self) -> Option<u64> {
        maps::swept_at()
    }
    #[inline(always)]
    fn set_swept_at(&self, from: u64, to: u64) -> bool {
        maps::set_swept_at(from, to)
    }
    #[inline(always)]
    fn advance_hand(&self, count: u32) -> u64 {
        maps::advance_hand(count)
    }
    #[inline(always)]
    fn count_expired(&self, phase: u8) {
        maps::count_expired(phase);
    }
    #[inline(always)]
    fn count_answer<I: Inspect>(&self, state: State, _inspect: &I, _seen: &Seen) {
        // It is counted with what else is counted of the packet.
        self.scratch.set_met(state.phase);
    }
    #[inline(always)]
    fn count_write_error(&self, errno: i32) {
        maps::count_write_error(errno);
    }
    #[inline(always)]
    fn ring_choice(&self, service: u16, tiers: u8, key: u64) -> Option<u16> {
        apart::ring_choice(service, tiers, key)
    }
    #[inline(always)]
    fn zone_room(&self, zone: u16, now: u64) -> Room {
        apart::zone_room(zone, now)
    }
    #[inline(always)]
    fn candidate(&self, service: u16, tier: u32, key: u64, except: u16, now: u64) -> u16 {
        apart::candidate(service, tier, key, except, now)
    }
    #[inline(always)]
    fn walk(&self, zone: u16, from: u32, except: u16, now: u64) -> u16 {
        apart::walk(zone, from, except, now)
    }
    #[inline(always)]
    fn admit(&self, id: u16, now: u64) -> bool {
        apart::admit(id, now)
    }
    #[inline(always)]
    fn takes_one_more(&self, id: u16, now: u64) -> bool {
        apart::takes_one_more(id, now)
    }
    #[inline(always)]
    fn utilisation(&self, id: u16, now: u64) -> u32 {
        apart::utilisation(id, now)
    }
    #[inline(always)]
    fn mean_utilisation(&self, zone: u16, now: u64) -> u32 {
        apart::mean_utilisation(zone, now)
    }
    #[inline(always)]
    fn move_channel(&self, from: u16, to: u16) {
        apart::move_channel(from, to);
    }
    #[inline(always)]
    fn reopen(&self, key: &DialogKey, from: u16, to: u16, branch: u32) {
        apart::reopen(key, from, to, branch);
    }
    #[inline(always)]
    fn turned_away(&self, backend: u16, service: u16, retry_after: Option<u32>) {
        apart::turned_away(backend, service, retry_after);
    }
    #[inline(always)]
    fn remember(&self, opening: &Opening) -> Remembered {
        apart::remember(opening)
    }
    #[inline(always)]
    fn move_pin(&self, key: &DialogKey, from: u16, to: u16, now: u32) {
        apart::move_pin(key, from, to, now);
    }
    #[inline(always)]
    fn settle(&self, key: &DialogKey) -> u16 {
        apart::settle(key)
    }
    #[inline(always)]
    fn sweep_bucket(&self, index: u32, now: u32) -> u32 {
        apart::sweep_bucket(index, now)
    }
}
