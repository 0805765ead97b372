//! Choosing a backend for a dialog that has no pin.

use super::Tables;
use crate::{
    limits::{MAX_TIERS, RING_SLOTS},
    map::backend::takes_dialogs,
};

/// Slots of one ring that are looked at: the ring holds only backends that take dialogs, so a second look is needed
/// only while a new ring is on its way.
const CHOICES: u32 = 3;

/// The slot of a key: its upper 32 bits, scaled.
#[inline(always)]
pub const fn ring_slot(key: u64) -> u32 {
    (((key >> 32) * RING_SLOTS as u64) >> 32) as u32
}

/// The key of the next choice.
#[inline(always)]
const fn rehash(key: u64) -> u64 {
    let mixed = (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32) ^ (key << 32)
}

/// The ring's choice for a key: the first backend that takes dialogs, tier by tier.
#[inline(always)]
pub fn ring_choice<T: Tables>(tables: &T, service: u16, tiers: u8, key: u64) -> Option<u16> {
    let mut tier = 0;
    while tier < MAX_TIERS {
        if tier >= tiers as u32 {
            return None;
        }
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
        tier += 1;
    }
    None
}
