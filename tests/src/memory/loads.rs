//! What backends and zones may get and carry, in plain memory.

use super::MemoryTables;
use lb_common::{
    decide::{Counted, LoadCell, ZoneView},
    map::{
        backend::{Limits, UNLIMITED},
        load::Load,
        zone::Policy,
    },
};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// Words of a [`Load`], and how often a backend showed that it answers new calls.
#[derive(Default)]
pub(super) struct Words {
    channels: AtomicU64,
    next_arrival: AtomicU64,
    rate: AtomicU64,
    calls: AtomicU64,
    over_channels: AtomicU64,
    over_cps: AtomicU64,
    full_until: AtomicU64,
    refusals: AtomicU64,
    pub(super) answers: AtomicU64,
}

/// What a backend or zone carries.
#[derive(Clone, Copy)]
pub struct MemoryLoad<'a>(pub(super) &'a Words);

impl LoadCell for MemoryLoad<'_> {
    fn read(&self) -> Load {
        Load {
            channels: self.0.channels.load(SeqCst),
            next_arrival: self.0.next_arrival.load(SeqCst),
            rate: self.0.rate.load(SeqCst),
            calls: self.0.calls.load(SeqCst),
            over_channels: self.0.over_channels.load(SeqCst),
            over_cps: self.0.over_cps.load(SeqCst),
            full_until: self.0.full_until.load(SeqCst),
            refusals: self.0.refusals.load(SeqCst),
        }
    }

    fn add_channels(&self, by: i64) -> u64 {
        self.0.channels.fetch_add(by as u64, SeqCst)
    }

    fn next_arrival(&self) -> u64 {
        self.0.next_arrival.load(SeqCst)
    }

    fn swap_next_arrival(&self, from: u64, to: u64) -> bool {
        self.0.next_arrival.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn rate(&self) -> u64 {
        self.0.rate.load(SeqCst)
    }

    fn swap_rate(&self, from: u64, to: u64) -> bool {
        self.0.rate.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn full_until(&self) -> u64 {
        self.0.full_until.load(SeqCst)
    }

    fn set_full_until(&self, until: u64) {
        self.0.full_until.store(until, SeqCst);
    }

    fn count(&self, what: Counted) {
        let counter = match what {
            Counted::Calls => &self.0.calls,
            Counted::OverChannels => &self.0.over_channels,
            Counted::OverCps => &self.0.over_cps,
            Counted::Refusals => &self.0.refusals,
        };
        counter.fetch_add(1, SeqCst);
    }
}

/// What backends may get, and how services choose.
#[derive(Default)]
pub(super) struct Capacity {
    pub(super) limits: HashMap<u16, Limits>,
    pub(super) zone_of: HashMap<u16, u16>,
    pub(super) zones: HashMap<u16, ZoneView>,
    /// Backends of a zone, in the order of the configuration.
    pub(super) configured: HashMap<u16, Vec<u16>>,
    /// Those of them that took new calls when the daemon looked last.
    pub(super) members: HashMap<u16, Vec<u16>>,
    pub(super) policies: HashMap<u16, Policy>,
}

/// Limits that are none, with the nominal capacity.
pub const NO_LIMITS: Limits = Limits {
    max_channels: UNLIMITED,
    max_cps: UNLIMITED,
    interval_ns: 0,
    burst: 0,
    capacity_channels: 1000,
    capacity_cps: 100,
    other_channels: 0,
    other_cps: 0,
};

impl MemoryTables {
    /// Signs that a backend answered new calls.
    pub fn answers(&self, backend: u16) -> u64 {
        self.backend_loads[backend as usize].answers.load(SeqCst)
    }
}
