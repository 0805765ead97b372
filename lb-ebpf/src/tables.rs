//! The decision core's tables, made of BPF maps.

use crate::{
    apart,
    maps::{self, BucketCell, DialogSlot, ScratchCell},
};
use lb_common::{
    decide::{
        BackendView, Bucket, Slot, Tables,
        remember::{Opening, Remembered},
        table::Inserted,
    },
    map::{
        dialog::{Dialog, DialogKey, Evidence, State},
        ring_index,
        settings::Settings,
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

impl Tables for KernelTables {
    type Slot = DialogSlot;
    type Bucket = BucketCell;

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
    fn backend(&self, id: u16) -> Option<BackendView> {
        maps::backend(id).map(|b| BackendView { will: b.will, health: b.health })
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
    fn count_write_error(&self, errno: i32) {
        maps::count_write_error(errno);
    }
    #[inline(always)]
    fn ring_choice(&self, service: u16, tiers: u8, key: u64) -> Option<u16> {
        apart::ring_choice(service, tiers, key)
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
    fn settle(&self, key: &DialogKey) -> Inserted {
        apart::settle(key)
    }
    #[inline(always)]
    fn sweep_bucket(&self, index: u32, now: u32) -> u32 {
        apart::sweep_bucket(index, now)
    }
}
