//! The decision core's tables, made of BPF maps.

use crate::{
    apart,
    maps::{self, DialogSlot, ScratchCell},
};
use lb_common::{
    decide::{
        BackendView, Cursor, Slot, Tables,
        remember::{Opening, Remembered},
    },
    limits,
    map::{
        dialog::{Dialog, DialogKey, Evidence, State},
        expiry::{Cursors, Due},
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
    fn read(&self) -> Dialog {
        DialogSlot::read(*self)
    }
    #[inline(always)]
    fn read_state(&self, key: &DialogKey) -> (State, bool) {
        DialogSlot::read_state(*self, key)
    }
    #[inline(always)]
    fn swap_state(&self, from: State, to: State) -> bool {
        DialogSlot::swap_state(*self, from, to)
    }
    #[inline(always)]
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        DialogSlot::swap_evidence(*self, from, to)
    }
}

impl Tables for KernelTables {
    type Slot = DialogSlot;
    const QUEUE_SLOTS: u32 = limits::EXPIRY_SLOTS;
    const QUEUE_MARGIN: u32 = 4096;

    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.settings
    }
    #[inline(always)]
    fn now(&self) -> u32 {
        (maps::jiffies() >> (self.settings.tick_shift & 31)) as u32
    }
    #[inline(always)]
    fn next_generation(&self) -> u16 {
        // An odd multiplier spreads the counts of two CPUs apart.
        (self.scratch.next_generation().wrapping_mul(0x9e37_79b1) >> 16) as u16
    }
    #[inline(always)]
    fn dialog(&self, key: &DialogKey) -> Option<DialogSlot> {
        maps::dialog(key)
    }
    #[inline(always)]
    fn insert_dialog(&self, key: &DialogKey, dialog: &Dialog) -> Result<(), i32> {
        maps::insert_dialog(key, dialog)
    }
    #[inline(always)]
    fn delete_dialog(&self, key: &DialogKey) -> Result<(), i32> {
        maps::delete_dialog(key)
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
    fn cursors(&self, queue: u32) -> Option<Cursors> {
        maps::cursors(queue)
    }
    #[inline(always)]
    fn claim_tail(&self, queue: u32) -> Option<u64> {
        maps::claim_tail(queue)
    }
    #[inline(always)]
    fn advance(&self, queue: u32, cursor: Cursor, from: u64) -> bool {
        maps::advance(queue, matches!(cursor, Cursor::Burying), from)
    }
    #[inline(always)]
    fn due(&self, queue: u32, index: u64) -> Option<Due> {
        maps::due(queue, index)
    }
    #[inline(always)]
    fn put_due(&self, queue: u32, index: u64, due: Due) {
        maps::put_due(queue, index, due);
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
    fn tend(&self, now: u32) {
        apart::tend(now);
    }
}
