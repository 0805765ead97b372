//! Slots and buckets of the dialog table in plain memory, whose changes another CPU may disturb.

use lb_common::{
    decide::{Bucket, Slot},
    map::dialog::{Dialog, DialogKey, Evidence, State},
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// Memory of one slot.
#[derive(Default)]
pub(super) struct Place {
    call_key: AtomicU64,
    service: AtomicU32,
    peer: AtomicU32,
    evidence: AtomicU64,
    state: AtomicU64,
}

impl Place {
    fn state(&self) -> State {
        State::from_word(self.state.load(SeqCst))
    }

    pub(super) fn dialog(&self) -> Dialog {
        // The order that the kernel's slot keeps: the state first.
        let state = self.state();
        let evidence = Evidence::from_word(self.evidence.load(SeqCst));
        let peer = self.peer.load(SeqCst);
        let (call_key, service) = (self.call_key.load(SeqCst), self.service.load(SeqCst));
        Dialog { call_key, service, peer, evidence, state }
    }
}

/// Changes of a state that are to find another CPU's before them.
#[derive(Default)]
pub(super) struct Disturbances {
    /// Changes that come before them.
    after: AtomicU32,
    left: AtomicU32,
}

impl Disturbances {
    /// As many changes are disturbed, the first `after` left out.
    pub(super) fn set(&self, after: u32, changes: u32) {
        self.after.store(after, SeqCst);
        self.left.store(changes, SeqCst);
    }

    /// Whether it is the turn of one.
    fn comes(&self) -> bool {
        let take = |count: &AtomicU32| count.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
        !take(&self.after) && take(&self.left)
    }
}

/// A slot, whoever it belongs to at the moment.
#[derive(Clone, Copy)]
pub struct MemorySlot<'a> {
    place: &'a Place,
    disturbances: &'a Disturbances,
}

impl Slot for MemorySlot<'_> {
    fn call_key(&self) -> u64 {
        self.place.call_key.load(SeqCst)
    }

    fn service(&self) -> u32 {
        self.place.service.load(SeqCst)
    }

    fn state(&self) -> State {
        self.place.state()
    }

    fn read(&self) -> Dialog {
        self.place.dialog()
    }

    fn swap_state(&self, from: State, to: State) -> bool {
        if self.disturbances.comes() {
            let state = self.place.state();
            let by_another_cpu = match state.is_live() {
                true => State { listener: state.listener ^ 1, ..state },
                false => State { generation: state.generation.wrapping_add(1), ..state },
            };
            self.place.state.store(by_another_cpu.to_word(), SeqCst);
        }
        self.place.state.compare_exchange(from.to_word(), to.to_word(), SeqCst, SeqCst).is_ok()
    }

    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        self.place.evidence.compare_exchange(from.to_word(), to.to_word(), SeqCst, SeqCst).is_ok()
    }

    fn write(&self, key: &DialogKey, peer: u32, evidence: Evidence) {
        self.place.call_key.store(key.call_key, SeqCst);
        self.place.service.store(key.service, SeqCst);
        self.place.peer.store(peer, SeqCst);
        self.place.evidence.store(evidence.to_word(), SeqCst);
    }
}

/// A bucket of the table.
#[derive(Clone, Copy)]
pub struct MemoryBucket<'a> {
    places: &'a [Place],
    disturbances: &'a Disturbances,
}

impl<'a> MemoryBucket<'a> {
    /// The bucket of these slots.
    pub(super) fn new(places: &'a [Place], disturbances: &'a Disturbances) -> Self {
        MemoryBucket { places, disturbances }
    }
}

impl<'a> Bucket for MemoryBucket<'a> {
    type Slot = MemorySlot<'a>;

    fn slot(&self, index: u32) -> MemorySlot<'a> {
        MemorySlot { place: &self.places[index as usize], disturbances: self.disturbances }
    }
}
