//! Part of the door to map memory: what backends and zones may get and carry.

use super::{RELAXED, SEQ, swap};
use core::{
    intrinsics::atomic_xadd,
    ptr::{NonNull, read_volatile, write_volatile},
};
use lb_common::{
    decide::{Counted, capacity::NOBODY},
    limits,
    map::{
        load::Load,
        zone::{Policy, Zone},
    },
    verdict::Verdict,
};

/// What a backend or a zone carries. Other CPUs change it too.
#[derive(Clone, Copy)]
pub struct LoadPointer(NonNull<Load>);

/// What a backend carries.
#[inline(always)]
pub fn backend_load(id: u16) -> Option<LoadPointer> {
    super::BACKEND_LOADS.get_ptr_mut(id as u32).and_then(NonNull::new).map(LoadPointer)
}

/// What a zone carries.
#[inline(always)]
pub fn zone_load(zone: u16) -> Option<LoadPointer> {
    super::ZONE_LOADS.get_ptr_mut(zone as u32).and_then(NonNull::new).map(LoadPointer)
}

/// A pointer to a field of a [`Load`], which stays where it is; inside `unsafe`.
macro_rules! word {
    ($load:expr, $field:ident) => {
        &raw mut (*$load.0.as_ptr()).$field
    };
}

impl LoadPointer {
    /// Reads everything.
    #[inline(always)]
    pub fn read(self) -> Load {
        // SAFETY: aligned loads of words that others change atomically.
        unsafe {
            Load {
                channels: read_volatile(word!(self, channels)),
                next_arrival: read_volatile(word!(self, next_arrival)),
                rate: read_volatile(word!(self, rate)),
                calls: 0,
                over_channels: 0,
                over_cps: 0,
                full_until: read_volatile(word!(self, full_until)),
                refusals: 0,
            }
        }
    }

    /// Adds to the calls in progress; what they were.
    #[inline(always)]
    pub fn add_channels(self, by: i64) -> u64 {
        // SAFETY: an aligned word, changed by an atomic addition.
        unsafe { atomic_xadd::<u64, u64, { SEQ }>(word!(self, channels), by as u64) }
    }

    /// The pace's word.
    #[inline(always)]
    pub fn next_arrival(self) -> u64 {
        // SAFETY: as in `read`.
        unsafe { read_volatile(word!(self, next_arrival)) }
    }

    /// Compare-and-swap of the pace's word.
    #[inline(always)]
    pub fn swap_next_arrival(self, from: u64, to: u64) -> bool {
        // SAFETY: an aligned word, changed by one atomic instruction.
        unsafe { swap(word!(self, next_arrival), from, to) }
    }

    /// The rate's word.
    #[inline(always)]
    pub fn rate(self) -> u64 {
        // SAFETY: as in `read`.
        unsafe { read_volatile(word!(self, rate)) }
    }

    /// Compare-and-swap of the rate's word.
    #[inline(always)]
    pub fn swap_rate(self, from: u64, to: u64) -> bool {
        // SAFETY: an aligned word, changed by one atomic instruction.
        unsafe { swap(word!(self, rate), from, to) }
    }

    /// Until when the backend counts as full.
    #[inline(always)]
    pub fn full_until(self) -> u64 {
        // SAFETY: as in `read`.
        unsafe { read_volatile(word!(self, full_until)) }
    }

    /// Sets that.
    #[inline(always)]
    pub fn set_full_until(self, until: u64) {
        // SAFETY: an aligned store.
        unsafe { write_volatile(word!(self, full_until), until) }
    }

    /// Counts one.
    #[inline(always)]
    pub fn count(self, what: Counted) {
        // SAFETY: an aligned word, changed by an atomic addition.
        unsafe {
            let at = match what {
                Counted::Calls => word!(self, calls),
                Counted::OverChannels => word!(self, over_channels),
                Counted::OverCps => word!(self, over_cps),
                Counted::Refusals => word!(self, refusals),
            };
            atomic_xadd::<u64, u64, { RELAXED }>(at, 1);
        }
    }
}

/// How a service chooses.
#[inline(always)]
pub fn policy(service: u16) -> Option<&'static Policy> {
    super::POLICIES.get(service as u32)
}

/// Number of the zone of a service's tier.
#[inline(always)]
pub fn tier_zone(service: u16, tier: u32) -> u16 {
    let Some(policy) = super::POLICIES.get_ptr(service as u32) else { return u16::MAX };
    let slot = (tier & (limits::MAX_TIERS - 1)) as usize;
    // SAFETY: the masked index lies inside; the daemon writes whole numbers.
    unsafe { read_volatile((&raw const (*policy).zones).cast::<u16>().add(slot)) }
}

const _: () = assert!(limits::MAX_TIERS.is_power_of_two());

/// A zone.
#[inline(always)]
pub fn zone(zone: u16) -> Option<&'static Zone> {
    super::ZONES.get(zone as u32)
}

/// How many backends of a zone take new calls.
#[inline(always)]
pub fn members(zone: u16) -> u32 {
    match super::ZONE_MEMBERS.get(zone as u32) {
        Some(members) => members.count,
        None => 0,
    }
}

/// One of them; [`NOBODY`] behind the last.
#[inline(always)]
pub fn member(zone: u16, index: u32) -> u16 {
    let Some(members) = super::ZONE_MEMBERS.get_ptr(zone as u32) else { return NOBODY };
    let slot = (index & (limits::MAX_BACKENDS - 1)) as usize;
    // SAFETY: the masked index lies inside; the daemon writes whole ids.
    unsafe {
        if index >= read_volatile(&raw const (*members).count) {
            return NOBODY;
        }
        read_volatile((&raw const (*members).ids).cast::<u16>().add(slot))
    }
}

const _: () = assert!(limits::MAX_BACKENDS.is_power_of_two());

/// Counts a new call of a service that left the straight way.
#[inline(always)]
pub fn count_detour(service: u16, verdict: Verdict) {
    if let Some(p) = super::SERVICE_COUNTERS.get_ptr_mut(service as u32) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            match verdict {
                Verdict::SteeredOverflow => (*p).overflowed += 1,
                Verdict::Redirected => (*p).redirected += 1,
                Verdict::RefusedFull => (*p).refused_full += 1,
                Verdict::RefusedDown => (*p).refused_down += 1,
                _ => {}
            }
        }
    }
}
