//! The decision core's tables in plain memory: [`MemoryTables`].
//!
//! They behave as the kernel's do where it matters. A dialog's place is memory that survives its entry: after a
//! deletion it is given to the next dialog that is added, and whoever still holds a [`MemorySlot`] then reads and writes
//! that one's value. All words are atomic, so several threads may steer at once. The clock moves only when it is told to,
//! and every write can be made to fail with any error number.

use lb_common::{
    decide::{
        BackendView, Cursor, E2BIG, EEXIST, ENOENT, Inbound, Inspect, Slot, Tables, expiry,
        reply::{self, Leaving, Outbound},
        steer::{self, Steering},
    },
    limits::{MAX_BACKENDS, MAX_ERRNO},
    map::{
        backend::{health, will},
        dialog::{Dialog, DialogKey, Evidence, State, Tally},
        expiry::{Cursors, Due, DueWord, QUEUES},
        settings::Settings,
    },
};
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicI32, AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

/// Memory of one dialog, whoever it belongs to at the moment.
#[derive(Default)]
struct Place {
    call_key: AtomicU64,
    service: AtomicU32,
    peer: AtomicU32,
    evidence: AtomicU64,
    state: AtomicU64,
}

/// A pointer to a dialog's memory, as the kernel's look-up gives one: it outlives the dialog.
#[derive(Clone, Copy)]
pub struct MemorySlot<'a>(&'a Place);

impl Slot for MemorySlot<'_> {
    fn read(&self) -> Dialog {
        // The order that the kernel's slot keeps: the state first, the key last.
        let state = State::from_word(self.0.state.load(SeqCst));
        let evidence = Evidence::from_word(self.0.evidence.load(SeqCst));
        let peer = self.0.peer.load(SeqCst);
        let service = self.0.service.load(SeqCst);
        Dialog { call_key: self.0.call_key.load(SeqCst), service, peer, evidence, state }
    }

    fn read_state(&self, key: &DialogKey) -> (State, bool) {
        let state = State::from_word(self.0.state.load(SeqCst));
        let service = self.0.service.load(SeqCst);
        (state, self.0.call_key.load(SeqCst) == key.call_key && service == key.service)
    }

    fn swap_state(&self, from: State, to: State) -> bool {
        self.0.state.compare_exchange(from.to_word(), to.to_word(), SeqCst, SeqCst).is_ok()
    }

    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        self.0.evidence.compare_exchange(from.to_word(), to.to_word(), SeqCst, SeqCst).is_ok()
    }
}

/// Which dialog has which place.
struct Index {
    places: HashMap<DialogKey, usize>,
    /// Places without a dialog; the last one freed is given away first, as in the kernel.
    free: Vec<usize>,
}

/// One expiry queue.
struct Queue {
    tail: AtomicU64,
    dying: AtomicU64,
    burying: AtomicU64,
    /// Call key and word of each slot.
    slots: Box<[(AtomicU64, AtomicU64)]>,
}

/// Tables in plain memory, with expiry queues of `QUEUE_SLOTS` slots, a power of two.
pub struct MemoryTables<const QUEUE_SLOTS: u32 = 4096> {
    settings: Settings,
    now: AtomicU32,
    generation: AtomicU32,
    places: Box<[Place]>,
    index: Mutex<Index>,
    entries: AtomicI64,
    unconfirmed: AtomicI64,
    rings: RwLock<HashMap<(u16, u32), Vec<u16>>>,
    /// Will in the low byte, health in the high one.
    backends: Box<[AtomicU16]>,
    queues: [Queue; QUEUES as usize],
    write_errors: Box<[AtomicU64]>,
    insert_errno: AtomicI32,
    delete_errno: AtomicI32,
}

fn all<T: Default>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::default()).collect()
}

impl<const QUEUE_SLOTS: u32> MemoryTables<QUEUE_SLOTS> {
    /// Empty tables with room for `capacity` dialogs, at tick 0, without rings and backends.
    pub fn new(settings: Settings, capacity: usize) -> Self {
        let queue = || Queue {
            tail: AtomicU64::new(0),
            dying: AtomicU64::new(0),
            burying: AtomicU64::new(0),
            slots: all(QUEUE_SLOTS as usize),
        };
        MemoryTables {
            settings,
            now: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            places: all(capacity),
            index: Mutex::new(Index { places: HashMap::new(), free: (0..capacity).rev().collect() }),
            entries: AtomicI64::new(0),
            unconfirmed: AtomicI64::new(0),
            rings: RwLock::default(),
            backends: all(MAX_BACKENDS as usize),
            queues: [queue(), queue()],
            write_errors: all(MAX_ERRNO as usize),
            insert_errno: AtomicI32::new(0),
            delete_errno: AtomicI32::new(0),
        }
    }

    /// The settings, to change them.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Sets the clock to a tick.
    pub fn set_now(&self, tick: u32) {
        self.now.store(tick, SeqCst);
    }

    /// Moves the clock on by some ticks, across the wrap of 32 bits too.
    pub fn pass(&self, ticks: u32) {
        self.now.fetch_add(ticks, SeqCst);
    }

    /// Makes the ring of a service's tier: `backends` in turn over the slots. Empty: no ring.
    pub fn set_ring(&self, service: u16, tier: u32, backends: &[u16]) {
        let mut rings = self.rings.write().unwrap_or_else(PoisonError::into_inner);
        rings.insert((service, tier), backends.to_vec());
    }

    /// Sets a backend's will and health, see [`lb_common::map::backend`].
    pub fn set_backend(&self, id: u16, will: u8, health: u8) {
        self.backends[id as usize].store(u16::from(will) | u16::from(health) << 8, SeqCst);
    }

    /// One service, id 0, with `backends` enabled backends, ids from 0, in turn on its ring.
    pub fn with_backends(self, backends: u16) -> Self {
        for id in 0..backends {
            self.set_backend(id, will::ENABLED, health::UP);
        }
        self.set_ring(0, 0, &(0..backends).collect::<Vec<_>>());
        self
    }

    /// From now on dialogs cannot be added for this reason. 0: they can.
    pub fn fail_inserts(&self, errno: i32) {
        self.insert_errno.store(errno, SeqCst);
    }

    /// From now on dialogs cannot be deleted for this reason. 0: they can.
    pub fn fail_deletes(&self, errno: i32) {
        self.delete_errno.store(errno, SeqCst);
    }

    /// Moves an empty queue's cursors to an index, as if so many entries had passed.
    pub fn set_cursors(&self, queue: u32, index: u64) {
        let queue = &self.queues[queue as usize];
        for cursor in [&queue.tail, &queue.dying, &queue.burying] {
            cursor.store(index, SeqCst);
        }
    }

    /// The generation that the next dialog gets.
    pub fn set_generation(&self, next: u16) {
        self.generation.store(u32::from(next), SeqCst);
    }

    /// All dialogs, the dead included.
    pub fn dialogs(&self) -> Vec<(DialogKey, Dialog)> {
        let index = self.lock();
        index.places.iter().map(|(key, place)| (*key, MemorySlot(&self.places[*place]).read())).collect()
    }

    /// The numbers that the core keeps; `None` when one is below zero, which it never may be while nothing runs.
    pub fn tally(&self) -> Option<Tally> {
        Some(Tally {
            entries: self.entries.load(SeqCst).try_into().ok()?,
            unconfirmed: self.unconfirmed.load(SeqCst).try_into().ok()?,
        })
    }

    /// The tally as the table itself says.
    pub fn counted(&self) -> Tally {
        let dialogs = self.dialogs();
        let unconfirmed = dialogs.iter().filter(|(_, d)| d.state.is_unconfirmed()).count();
        Tally { entries: dialogs.len() as u64, unconfirmed: unconfirmed as u64 }
    }

    /// Failed writes of an error number.
    pub fn write_errors(&self, errno: i32) -> u64 {
        self.write_errors[errno as usize].load(SeqCst)
    }

    /// Failed writes of any error number.
    pub fn all_write_errors(&self) -> u64 {
        self.write_errors.iter().map(|count| count.load(SeqCst)).sum()
    }

    /// [`steer::steer`].
    pub fn steer(&self, packet: &Inbound, inspect: &impl Inspect) -> Steering {
        steer::steer(&self, packet, inspect)
    }

    /// [`reply::reply`].
    pub fn reply(&self, packet: &Outbound<'_>, inspect: &impl Inspect) -> Leaving {
        reply::reply(&self, packet, inspect)
    }

    /// [`expiry::tend`] at the present tick.
    pub fn tend(&self) {
        expiry::tend(&self, Tables::now(&self));
    }

    /// [`expiry::expire`] at the present tick.
    pub fn expire(&self, key: &DialogKey) -> bool {
        expiry::expire(&self, key, Tables::now(&self))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue_slot(&self, queue: u32, index: u64) -> Option<&(AtomicU64, AtomicU64)> {
        self.queues.get(queue as usize)?.slots.get((index % u64::from(QUEUE_SLOTS)) as usize)
    }
}

impl<'a, const SLOTS: u32> Tables for &'a MemoryTables<SLOTS> {
    type Slot = MemorySlot<'a>;
    const QUEUE_SLOTS: u32 = SLOTS;
    const QUEUE_MARGIN: u32 = 2;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> u32 {
        self.now.load(SeqCst)
    }

    fn next_generation(&self) -> u16 {
        self.generation.fetch_add(1, SeqCst) as u16
    }

    fn dialog(&self, key: &DialogKey) -> Option<MemorySlot<'a>> {
        let place = *self.lock().places.get(key)?;
        Some(MemorySlot(&self.places[place]))
    }

    fn insert_dialog(&self, key: &DialogKey, dialog: &Dialog) -> Result<(), i32> {
        match self.insert_errno.load(SeqCst) {
            0 => {}
            errno => return Err(errno),
        }
        let mut index = self.lock();
        if index.places.contains_key(key) {
            return Err(EEXIST);
        }
        let at = index.free.pop().ok_or(E2BIG)?;
        let place = &self.places[at];
        // As the kernel copies a value: from its beginning to its end, so the key is new before the state is.
        place.call_key.store(dialog.call_key, SeqCst);
        place.service.store(dialog.service, SeqCst);
        place.peer.store(dialog.peer, SeqCst);
        place.evidence.store(dialog.evidence.to_word(), SeqCst);
        place.state.store(dialog.state.to_word(), SeqCst);
        index.places.insert(*key, at);
        Ok(())
    }

    fn delete_dialog(&self, key: &DialogKey) -> Result<(), i32> {
        match self.delete_errno.load(SeqCst) {
            0 => {}
            errno => return Err(errno),
        }
        let mut index = self.lock();
        let place = index.places.remove(key).ok_or(ENOENT)?;
        index.free.push(place);
        Ok(())
    }

    fn add_to_tally(&self, entries: i64, unconfirmed: i64) {
        self.entries.fetch_add(entries, SeqCst);
        self.unconfirmed.fetch_add(unconfirmed, SeqCst);
    }

    fn unconfirmed(&self) -> u64 {
        self.unconfirmed.load(SeqCst).try_into().unwrap_or(0)
    }

    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let ring = rings.get(&(service, tier)).filter(|ring| !ring.is_empty())?;
        Some(ring[slot as usize % ring.len()])
    }

    fn backend(&self, id: u16) -> Option<BackendView> {
        let [will, health] = self.backends.get(id as usize)?.load(SeqCst).to_le_bytes();
        Some(BackendView { will, health })
    }

    fn cursors(&self, queue: u32) -> Option<Cursors> {
        let queue = self.queues.get(queue as usize)?;
        // The hindmost first, so that a cursor never seems to be ahead of the one before it.
        let burying = queue.burying.load(SeqCst);
        let dying = queue.dying.load(SeqCst);
        Some(Cursors { tail: queue.tail.load(SeqCst), dying, burying, ..Cursors::default() })
    }

    fn claim_tail(&self, queue: u32) -> Option<u64> {
        Some(self.queues.get(queue as usize)?.tail.fetch_add(1, SeqCst))
    }

    fn advance(&self, queue: u32, cursor: Cursor, from: u64) -> bool {
        let Some(queue) = self.queues.get(queue as usize) else { return false };
        let cursor = match cursor {
            Cursor::Dying => &queue.dying,
            Cursor::Burying => &queue.burying,
        };
        cursor.compare_exchange(from, from + 1, SeqCst, SeqCst).is_ok()
    }

    fn due(&self, queue: u32, index: u64) -> Option<Due> {
        let (call_key, word) = self.queue_slot(queue, index)?;
        let word = DueWord::from_word(word.load(SeqCst));
        Some(Due { call_key: call_key.load(SeqCst), word })
    }

    fn put_due(&self, queue: u32, index: u64, due: Due) {
        let Some((call_key, word)) = self.queue_slot(queue, index) else { return };
        call_key.store(due.call_key, SeqCst);
        word.store(due.word.to_word(), SeqCst);
    }

    fn count_write_error(&self, errno: i32) {
        let last = self.write_errors.len() - 1;
        let slot = usize::try_from(errno).unwrap_or(last).min(last);
        self.write_errors[slot].fetch_add(1, SeqCst);
    }
}
