//! Choosing a backend for a dialog that has no pin.

use super::{Tables, capacity::NOBODY};
use crate::{
    limits::{CANDIDATES, MAX_TIERS, MAX_WALK, RING_SLOTS},
    map::{
        backend::takes_dialogs,
        load::FULL,
        zone::{choice, zone_will},
    },
};

/// Slots of one ring that are looked at for what is no call: the ring holds only backends that take dialogs, so a second
/// look is needed only while a new ring is on its way.
const CHOICES: u32 = 3;

/// The slot of a key: its upper 32 bits, scaled.
#[inline(always)]
pub const fn ring_slot(key: u64) -> u32 {
    (((key >> 32) * RING_SLOTS as u64) >> 32) as u32
}

/// The key of the next choice.
#[inline(always)]
pub const fn rehash(key: u64) -> u64 {
    let mixed = (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32) ^ (key << 32)
}

/// The number of a tier's zone, if that takes new calls.
#[inline(always)]
fn open_zone<T: Tables>(tables: &T, service: u16, tier: u32) -> Option<u16> {
    let number = tables.tier_zone(service, tier)?;
    match tables.zone(number) {
        Some(zone) if zone.will == zone_will::ENABLED => Some(number),
        _ => None,
    }
}

/// The ring's choice for a key, whatever backends carry: the first that takes dialogs, tier by tier.
#[inline(always)]
pub fn ring_choice<T: Tables>(tables: &T, service: u16, tiers: u8, key: u64) -> Option<u16> {
    let mut tier = 0;
    while tier < MAX_TIERS {
        if tier >= tiers as u32 {
            return None;
        }
        if open_zone(tables, service, tier).is_some() {
            let mut candidate = key;
            let mut choice = 0;
            while choice < CHOICES {
                let Some(id) = tables.ring_backend(service, tier, ring_slot(candidate)) else { break };
                match tables.backend(id) {
                    Some(b) if takes_dialogs(b.will, b.health) => return Some(id),
                    _ => candidate = rehash(candidate),
                }
                choice += 1;
            }
        }
        tier += 1;
    }
    None
}

/// What came of the search for a backend that has room for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This backend, which has a channel reserved for it; in the first tier, or in a further one.
    Backend {
        /// Backend id.
        id: u16,
        /// It is not in the first tier.
        overflow: bool,
    },
    /// None in the tiers that calls are forwarded to, but a tier has room that they are redirected to.
    Redirect,
    /// Every backend that takes calls is at its limit.
    Full,
    /// No backend takes calls.
    Down,
}

/// Finds a backend for a new call, tier by tier, and reserves a channel there. `except` is passed over.
#[inline(always)]
pub fn call<T: Tables>(tables: &T, service: u16, key: u64, except: u16, now: u64) -> Choice {
    let Some(policy) = tables.policy(service) else { return Choice::Down };
    let mut full = false;
    let mut tier = 0;
    while tier < MAX_TIERS {
        if tier >= policy.tiers as u32 {
            break;
        }
        if let Some(zone) = open_zone(tables, service, tier) {
            if policy.redirects >> tier & 1 != 0 {
                match tables.zone_room(zone, now) {
                    Room::Some => return Choice::Redirect,
                    Room::Full => full = true,
                    Room::Down => {}
                }
            } else {
                match tables.admit_in_zone(service, tier, key, except) {
                    Ok(id) => return Choice::Backend { id, overflow: tier > 0 },
                    Err(Refusal::Full) => full = true,
                    Err(Refusal::Down) => {}
                }
            }
        }
        tier += 1;
    }
    if full { Choice::Full } else { Choice::Down }
}

/// Whether a zone has room for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has, or its backends are not ours to know.
    Some,
    /// Its backends that take calls are at their limits.
    Full,
    /// None of its backends takes calls.
    Down,
}

/// Why a zone has no backend for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Those that take calls are at their limits.
    Full,
    /// None takes calls.
    Down,
}

/// Whether any of a zone's first [`MAX_WALK`] backends has room.
#[inline(always)]
pub fn zone_room<T: Tables>(tables: &T, zone: u16, now: u64) -> Room {
    let Some(view) = tables.zone(zone) else { return Room::Down };
    if view.remote != 0 {
        return Room::Some;
    }
    if view.takers == 0 {
        return Room::Down;
    }
    let mut i = 0;
    while i < MAX_WALK {
        match tables.member(zone, i) {
            Some(id) if tables.has_room(id, now) => return Room::Some,
            Some(_) => i += 1,
            None => break,
        }
    }
    Room::Full
}

/// A backend of a tier for a new call, with a channel reserved there.
///
/// `consistent` looks at some of the ring's choices and takes the first below the preferred ceiling and not far above its
/// zone's mean; when there is none, the least utilised of them. `least-loaded` takes the less utilised of two. Whatever
/// these cannot give, and `primary-secondary` from the beginning, the zone's backends are asked for one by one, so that no
/// call is refused while one of the first [`MAX_WALK`] has room.
#[inline(always)]
pub fn admit_in_zone<T: Tables>(
    tables: &T,
    service: u16,
    tier: u32,
    key: u64,
    except: u16,
) -> Result<u16, Refusal> {
    let (Some(policy), Some(zone)) = (tables.policy(service), tables.tier_zone(service, tier)) else {
        return Err(Refusal::Down);
    };
    match tables.zone(zone) {
        Some(view) if view.takers > 0 => {}
        _ => return Err(Refusal::Down),
    }
    let now = tables.nanoseconds();
    let mut from = 0;
    if policy.choice != choice::PRIMARY_SECONDARY {
        let looks = if policy.choice == choice::LEAST_LOADED { 2 } else { CANDIDATES };
        let ceiling = if policy.choice == choice::LEAST_LOADED {
            // Both are compared, whatever they carry.
            0
        } else if policy.bound == 0 {
            policy.target as u32
        } else {
            let mean = tables.mean_utilisation(zone, now);
            // One or two calls are no imbalance.
            let bound = (mean as u64 * policy.bound as u64 / FULL as u64) as u32 + SLACK;
            if bound < policy.target as u32 { bound } else { policy.target as u32 }
        };
        let (mut least, mut least_utilised) = (NOBODY, u32::MAX);
        let mut candidate = key;
        let mut look = 0;
        while look < CANDIDATES {
            if look >= looks {
                break;
            }
            let Some(id) = tables.ring_backend(service, tier, ring_slot(candidate)) else { break };
            let utilised = if id == except { u32::MAX } else { tables.utilisation(id, now) };
            if utilised < least_utilised {
                (least, least_utilised) = (id, utilised);
                if utilised < ceiling {
                    break;
                }
            }
            candidate = rehash(candidate);
            look += 1;
        }
        if least != NOBODY && tables.admit(least, now) {
            return Ok(least);
        }
        from = (key >> 32) as u32;
    }
    walk(tables, zone, from, except, now)
}

/// Utilisation that is no imbalance yet, in units of 1/1024: 3 channels of 100.
const SLACK: u32 = 32;

/// Asks a zone's backends one by one, from some place on.
#[inline(always)]
fn walk<T: Tables>(tables: &T, zone: u16, from: u32, except: u16, now: u64) -> Result<u16, Refusal> {
    let count = tables.members(zone);
    if count == 0 {
        return Err(Refusal::Down);
    }
    let mut at = from % count;
    let mut i = 0;
    while i < MAX_WALK {
        if i >= count {
            break;
        }
        if let Some(id) = tables.member(zone, at)
            && id != except
            && tables.admit(id, now)
        {
            return Ok(id);
        }
        at += 1;
        if at >= count {
            at = 0;
        }
        i += 1;
    }
    Err(Refusal::Full)
}
