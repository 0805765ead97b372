//! The decision core's tables in plain memory: [`MemoryTables`].
//!
//! The dialog table is the kernel's: the same buckets, and the same code that finds and puts in. All words are atomic, so
//! several threads may steer at once. The clock moves only when it is told to.

mod failures;
mod interruptions;
mod loads;
mod slots;

pub use loads::{MemoryLoad, NO_LIMITS};
pub use slots::{MemoryBucket, MemorySlot};

use interruptions::Interruption;
use lb_common::{
    decide::{
        BackendView, Inbound, Inspect, LoadCell, Tables, ZoneView,
        capacity::{self, NOBODY},
        expiry,
        remember::{self, Opening, Remembered},
        reply::{self, Leaving, Outbound},
        steer::{self, Steering},
        track::{Seen, is_answer},
    },
    limits::{MAX_BACKENDS, MAX_ERRNO, MAX_TIERS, MAX_ZONES},
    map::{
        backend::{Limits, health, takes_dialogs, will},
        dialog::{BUCKET_SLOTS, Dialog, DialogKey, State, Tally, buckets_for},
        load::Load,
        settings::Settings,
        zone::{Policy, zone_will},
    },
};
use loads::{Capacity, Words};
use slots::{Disturbances, Place};
use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

/// Tables in plain memory.
pub struct MemoryTables {
    settings: Settings,
    now: AtomicU32,
    places: Box<[Place]>,
    disturbances: Disturbances,
    interruption: Interruption,
    entries: AtomicI64,
    unconfirmed: AtomicI64,
    rings: RwLock<HashMap<(u16, u32), Vec<u16>>>,
    /// Will in the low byte, health in the high one.
    backends: Box<[AtomicU16]>,
    capacity: RwLock<Capacity>,
    backend_loads: Box<[Words]>,
    zone_loads: Box<[Words]>,
    nanoseconds: AtomicU64,
    daemon_answers: AtomicBool,
    swept_at: AtomicU64,
    hand: AtomicU64,
    expired: [AtomicU64; 16],
    write_errors: Box<[AtomicU64]>,
    /// The error number of all insertions; 0: they work.
    failing: AtomicI32,
}

fn all<T: Default>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::default()).collect()
}

impl MemoryTables {
    /// Empty tables with room for `dialogs` dialogs, at tick 0, without rings and backends. Each tick is a jiffy, and each
    /// jiffy looks at the whole table for old dialogs.
    pub fn new(settings: Settings, dialogs: u32) -> Self {
        let buckets = buckets_for(dialogs);
        MemoryTables {
            settings: Settings {
                bucket_mask: buckets - 1,
                sweep_buckets: buckets,
                tick_shift: 0,
                ..settings
            },
            now: AtomicU32::new(0),
            places: all((buckets * BUCKET_SLOTS) as usize),
            disturbances: Disturbances::default(),
            interruption: Interruption::default(),
            entries: AtomicI64::new(0),
            unconfirmed: AtomicI64::new(0),
            rings: RwLock::default(),
            backends: all(MAX_BACKENDS as usize),
            capacity: RwLock::default(),
            backend_loads: all(MAX_BACKENDS as usize),
            zone_loads: all(MAX_ZONES as usize),
            nanoseconds: AtomicU64::new(0),
            daemon_answers: AtomicBool::new(false),
            swept_at: AtomicU64::new(0),
            hand: AtomicU64::new(0),
            expired: Default::default(),
            write_errors: all(MAX_ERRNO as usize),
            failing: AtomicI32::new(0),
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

    /// One service, id 0, with one zone, number 0, of `backends` enabled backends without limits, ids from 0, in turn on
    /// its ring.
    pub fn with_backends(self, backends: u16) -> Self {
        self.add_zone(0, &(0..backends).map(|id| (id, NO_LIMITS)).collect::<Vec<_>>());
        self.add_service(0, 0, &(0..backends).collect::<Vec<_>>());
        self
    }

    /// Adds a service with one zone, which chooses by its ring as long as nobody is full.
    pub fn add_service(&self, service: u16, zone: u16, ring: &[u16]) {
        let mut zones = [0; MAX_TIERS as usize];
        zones[0] = zone;
        self.set_policy(service, Policy { tiers: 1, target: 1024, zones, ..Policy::default() });
        self.set_ring(service, 0, ring);
    }

    /// Adds a zone with its backends, all enabled and up.
    pub fn add_zone(&self, zone: u16, backends: &[(u16, Limits)]) {
        let mut capacity = self.capacity.write().unwrap_or_else(PoisonError::into_inner);
        for (id, limits) in backends {
            self.set_backend(*id, will::ENABLED, health::UP);
            capacity.limits.insert(*id, *limits);
            capacity.zone_of.insert(*id, zone);
        }
        let ids: Vec<u16> = backends.iter().map(|(id, _)| *id).collect();
        capacity.configured.insert(zone, ids.clone());
        capacity.members.insert(zone, ids);
        let sum = |of: fn(&Limits) -> u32| backends.iter().map(|(_, limits)| of(limits)).sum();
        let view = ZoneView {
            will: zone_will::ENABLED,
            remote: 0,
            takers: backends.len() as u32,
            capacity_channels: sum(|l| l.capacity_channels),
            capacity_cps: sum(|l| l.capacity_cps),
        };
        capacity.zones.insert(zone, view);
    }

    /// Writes anew which backends of a zone take new calls, as the daemon does after a change.
    pub fn publish_members(&self, zone: u16) {
        let mut capacity = self.capacity.write().unwrap_or_else(PoisonError::into_inner);
        let configured = capacity.configured.get(&zone).cloned().unwrap_or_default();
        let takes = |id: &u16| {
            let [will, health] = self.backends[*id as usize].load(SeqCst).to_le_bytes();
            takes_dialogs(will, health)
        };
        let members: Vec<u16> = configured.into_iter().filter(takes).collect();
        if let Some(view) = capacity.zones.get_mut(&zone) {
            view.takers = members.len() as u32;
        }
        capacity.members.insert(zone, members);
    }

    /// Sets what a backend may get.
    pub fn set_limits(&self, id: u16, limits: Limits) {
        self.capacity.write().unwrap_or_else(PoisonError::into_inner).limits.insert(id, limits);
    }

    /// Replaces what a zone's entry says.
    pub fn set_zone(&self, zone: u16, view: ZoneView) {
        self.capacity.write().unwrap_or_else(PoisonError::into_inner).zones.insert(zone, view);
    }

    /// Says how a service chooses.
    pub fn set_policy(&self, service: u16, policy: Policy) {
        self.capacity.write().unwrap_or_else(PoisonError::into_inner).policies.insert(service, policy);
    }

    /// Sets the monotonic clock.
    pub fn set_nanoseconds(&self, now: u64) {
        self.nanoseconds.store(now, SeqCst);
    }

    /// Says whether the daemon answers.
    pub fn set_daemon_answers(&self, answers: bool) {
        self.daemon_answers.store(answers, SeqCst);
    }

    /// What a backend carries.
    pub fn load_of(&self, id: u16) -> Load {
        MemoryLoad(&self.backend_loads[id as usize]).read()
    }

    /// What a zone carries.
    pub fn load_of_zone(&self, zone: u16) -> Load {
        MemoryLoad(&self.zone_loads[zone as usize]).read()
    }

    fn capacity(&self) -> RwLockReadGuard<'_, Capacity> {
        self.capacity.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets another CPU come first at each of `changes` of a state, the first `after` left out: it changes the listener of a
    /// dialog, and uses a free slot for a moment.
    pub fn disturb(&self, after: u32, changes: u32) {
        self.disturbances.set(after, changes);
    }

    /// Sets how many buckets have been looked at for old dialogs.
    pub fn set_hand(&self, buckets: u64) {
        self.hand.store(buckets, SeqCst);
    }

    /// How many buckets have been looked at for old dialogs.
    pub fn hand(&self) -> u64 {
        self.hand.load(SeqCst)
    }

    /// All dialogs.
    pub fn dialogs(&self) -> Vec<(DialogKey, Dialog)> {
        let dialogs = self.places.iter().map(Place::dialog);
        dialogs.filter(|d| d.state.is_live()).map(|d| (d.key(), d)).collect()
    }

    /// Dialogs of a phase, by its number, that were found to be over.
    pub fn expired(&self, phase: u8) -> u64 {
        self.expired[phase as usize].load(SeqCst)
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

    /// [`steer::steer`].
    pub fn steer(&self, packet: &Inbound, inspect: &impl Inspect) -> Steering {
        steer::steer(&self, packet, inspect)
    }

    /// [`reply::reply`].
    pub fn reply(&self, packet: &Outbound<'_>, inspect: &impl Inspect) -> Leaving {
        reply::reply(&self, packet, inspect)
    }

    /// [`expiry::tend`] at the present tick, as often as it takes to see the whole table.
    pub fn tend(&self) {
        expiry::tend(&self, u64::from(Tables::now(&self)));
        for _ in 0..=self.settings.bucket_mask / lb_common::limits::MAX_SWEEP {
            expiry::sweep(&self, lb_common::limits::MAX_SWEEP);
        }
    }
}

impl<'a> Tables for &'a MemoryTables {
    type Slot = MemorySlot<'a>;
    type Bucket = MemoryBucket<'a>;
    type Load = MemoryLoad<'a>;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> u32 {
        self.now.load(SeqCst)
    }

    fn bucket(&self, index: u32) -> Option<MemoryBucket<'a>> {
        let first = (index * BUCKET_SLOTS) as usize;
        let places = self.places.get(first..first + BUCKET_SLOTS as usize)?;
        Some(MemoryBucket::new(places, &self.disturbances))
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

    fn backend(&self, id: u16) -> BackendView {
        let Some(backend) = self.backends.get(id as usize) else { return BackendView::default() };
        let [will, health] = backend.load(SeqCst).to_le_bytes();
        BackendView { will, health, zone: self.capacity().zone_of.get(&id).copied().unwrap_or(0) }
    }

    fn limits(&self, id: u16) -> Limits {
        self.capacity().limits.get(&id).copied().unwrap_or(NO_LIMITS)
    }

    fn backend_load(&self, id: u16) -> Option<MemoryLoad<'a>> {
        self.backend_loads.get(id as usize).map(MemoryLoad)
    }

    fn policy(&self, service: u16) -> Policy {
        self.capacity().policies.get(&service).copied().unwrap_or_default()
    }

    fn tier_zone(&self, service: u16, tier: u32) -> u16 {
        self.policy(service).zones[tier as usize]
    }

    fn zone(&self, zone: u16) -> ZoneView {
        self.capacity().zones.get(&zone).copied().unwrap_or_default()
    }

    fn zone_load(&self, zone: u16) -> Option<MemoryLoad<'a>> {
        self.zone_loads.get(zone as usize).map(MemoryLoad)
    }

    fn members(&self, zone: u16) -> u32 {
        self.capacity().members.get(&zone).map_or(0, |members| members.len() as u32)
    }

    fn member(&self, zone: u16, index: u32) -> u16 {
        let capacity = self.capacity();
        capacity.members.get(&zone).and_then(|m| m.get(index as usize)).copied().unwrap_or(NOBODY)
    }

    fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(SeqCst)
    }

    fn daemon_answers(&self) -> bool {
        self.daemon_answers.load(SeqCst)
    }

    fn move_channel(&self, from: u16, to: u16) {
        self.interrupt();
        capacity::move_channel(self, from, to);
    }

    fn swept_at(&self) -> Option<u64> {
        Some(self.swept_at.load(SeqCst))
    }

    fn set_swept_at(&self, from: u64, to: u64) -> bool {
        self.swept_at.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn advance_hand(&self, count: u32) -> u64 {
        self.hand.fetch_add(u64::from(count), SeqCst)
    }

    fn count_expired(&self, phase: u8) {
        self.expired[phase as usize].fetch_add(1, SeqCst);
    }

    fn count_answer<I: Inspect>(&self, state: State, inspect: &I, seen: &Seen) {
        let is = is_answer(inspect.kind(), state.phase, seen.sender, seen.sees_answers);
        self.backend_loads[state.backend as usize].answers.fetch_add(is.into(), SeqCst);
    }

    fn remember(&self, opening: &Opening) -> Remembered {
        match self.failing.load(SeqCst) {
            0 => remember::remember(self, opening),
            errno => {
                self.count_write_error(errno);
                Remembered::Not
            }
        }
    }

    fn count_write_error(&self, errno: i32) {
        let last = self.write_errors.len() - 1;
        let slot = usize::try_from(errno).unwrap_or(last).min(last);
        self.write_errors[slot].fetch_add(1, SeqCst);
    }
}
