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

/// Whether a zone takes new calls.
#[inline(always)]
fn is_open<T: Tables>(tables: &T, zone: u16) -> bool {
    tables.zone(zone).will == zone_will::ENABLED
}

/// The ring's choice for a key, whatever backends carry: the first that takes dialogs, tier by tier.
#[inline(always)]
pub fn ring_choice<T: Tables>(tables: &T, service: u16, tiers: u8, key: u64) -> Option<u16> {
    let mut tier = 0;
    while tier < MAX_TIERS {
        if tier >= tiers as u32 {
            return None;
        }
        if is_open(tables, tables.tier_zone(service, tier)) {
            let mut candidate = key;
            let mut choice = 0;
            while choice < CHOICES {
                let Some(id) = tables.ring_backend(service, tier, ring_slot(candidate)) else { break };
                let backend = tables.backend(id);
                if takes_dialogs(backend.will, backend.health) {
                    return Some(id);
                }
                candidate = rehash(candidate);
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
    let policy = tables.policy(service);
    let mut full = false;
    let mut tier = 0;
    while tier < MAX_TIERS {
        if tier >= policy.tiers as u32 {
            break;
        }
        let zone = tables.tier_zone(service, tier);
        if is_open(tables, zone) {
            if policy.redirects >> tier & 1 != 0 {
                match tables.zone_room(zone, now) {
                    Room::Some => return Choice::Redirect,
                    Room::Full => full = true,
                    Room::Down => {}
                }
            } else {
                match admit_in_zone(tables, service, tier, key, except, now) {
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
    let view = tables.zone(zone);
    if view.remote != 0 {
        return Room::Some;
    }
    if view.takers == 0 {
        return Room::Down;
    }
    let mut i = 0;
    while i < MAX_WALK {
        let id = tables.member(zone, i);
        if id == NOBODY {
            break;
        }
        if tables.takes_one_more(id, now) {
            return Room::Some;
        }
        i += 1;
    }
    Room::Full
}

/// A backend of a tier for a new call, with a channel reserved there.
///
/// `consistent` and `least-loaded` ask the ring for a [`candidate`]. Whatever that cannot give, and `primary-secondary` from
/// the beginning, the zone's backends are asked for one by one, so that no call is refused while one of them has room. In
/// a zone of more than [`MAX_WALK`] it is so many of them that are asked, from a place on that the key says.
#[inline(always)]
pub fn admit_in_zone<T: Tables>(
    tables: &T,
    service: u16,
    tier: u32,
    key: u64,
    except: u16,
    now: u64,
) -> Result<u16, Refusal> {
    let zone = tables.tier_zone(service, tier);
    if tables.zone(zone).takers == 0 {
        return Err(Refusal::Down);
    }
    let mut from = 0;
    if tables.policy(service).choice != choice::PRIMARY_SECONDARY {
        let id = tables.candidate(service, tier, key, except, now);
        if id != NOBODY && tables.admit(id, now) {
            return Ok(id);
        }
        from = (key >> 32) as u32;
    }
    match tables.walk(zone, from, except, now) {
        NOBODY => Err(Refusal::Full),
        id => Ok(id),
    }
}

/// The backend that the ring proposes for a new call; [`NOBODY`] if it is empty.
///
/// `consistent` looks at some of the ring's choices and takes the first that is not far above its zone's mean and, while the
/// zone is below the preferred ceiling, below that too; when there is none, the least utilised of them.
/// `least-loaded` takes the less utilised of two.
#[inline(always)]
pub fn candidate<T: Tables>(tables: &T, service: u16, tier: u32, key: u64, except: u16, now: u64) -> u16 {
    let policy = tables.policy(service);
    let mut looks = 2;
    // Both are compared, whatever they carry.
    let mut ceiling = 0;
    if policy.choice == choice::CONSISTENT {
        looks = CANDIDATES;
        ceiling = policy.target as u32;
        if policy.bound != 0 {
            let mean = tables.mean_utilisation(tables.tier_zone(service, tier), now) as u64;
            // One or two calls are no imbalance.
            let bound = (mean * policy.bound as u64 / FULL as u64) as u32 + SLACK;
            // A zone that is above its preferred ceiling as a whole still keeps calls where the ring wants them.
            ceiling = if bound < ceiling || mean >= ceiling as u64 { bound } else { ceiling };
        }
    }
    let (mut least, mut least_utilised) = (NOBODY, u32::MAX);
    let mut candidate = key;
    let mut look = 0;
    while look < CANDIDATES && look < looks {
        let Some(id) = tables.ring_backend(service, tier, ring_slot(candidate)) else { break };
        if id != except {
            let utilised = tables.utilisation(id, now);
            if utilised < least_utilised {
                (least, least_utilised) = (id, utilised);
            }
            if utilised < ceiling {
                break;
            }
        }
        candidate = rehash(candidate);
        look += 1;
    }
    least
}

/// Utilisation that is no imbalance yet, in units of 1/1024: 3 channels of 100.
const SLACK: u32 = 32;

/// Asks a zone's backends one by one, from some place on, and reserves a channel at the first that has room; [`NOBODY`] if
/// none has.
#[inline(always)]
pub fn walk<T: Tables>(tables: &T, zone: u16, from: u32, except: u16, now: u64) -> u16 {
    let count = tables.members(zone);
    let mut i = 0;
    while i < MAX_WALK && i < count {
        // Not of the sum, which would leave some out where it wraps.
        let id = tables.member(zone, (from % count + i) % count);
        if id != NOBODY && id != except && tables.admit(id, now) {
            return id;
        }
        i += 1;
    }
    NOBODY
}
