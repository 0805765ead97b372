//! The part that deals with what backends and zones carry.

use super::{number_of_seconds, seconds_of_number};
use crate::tables::KernelTables;
use lb_common::{
    decide::{
        capacity::{self, NOBODY},
        reply,
        select::{self, Room},
        steer,
    },
    map::dialog::DialogKey,
};

/// [`select::zone_room`].
#[inline(always)]
pub fn zone_room(zone: u16, now: u64) -> Room {
    match sipsteer_zone_room(zone as u64, now) {
        0 => Room::Some,
        1 => Room::Full,
        _ => Room::Down,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_zone_room(zone: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 2 };
    match select::zone_room(&tables, zone as u16, now) {
        Room::Some => 0,
        Room::Full => 1,
        Room::Down => 2,
    }
}

/// [`select::candidate`].
#[inline(always)]
pub fn candidate(service: u16, tier: u32, key: u64, except: u16, now: u64) -> u16 {
    sipsteer_candidate(service as u64 | (except as u64) << 16, tier as u64, key, now) as u16
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_candidate(ids: u64, tier: u64, key: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NOBODY as u64 };
    select::candidate(&tables, ids as u16, tier as u32, key, (ids >> 16) as u16, now) as u64
}

/// [`select::walk`].
#[inline(always)]
pub fn walk(zone: u16, from: u32, except: u16, now: u64) -> u16 {
    sipsteer_walk(zone as u64, from as u64, except as u64, now) as u16
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_walk(zone: u64, from: u64, except: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NOBODY as u64 };
    select::walk(&tables, zone as u16, from as u32, except as u16, now) as u64
}

/// [`capacity::admit`].
#[inline(always)]
pub fn admit(id: u16, now: u64) -> bool {
    sipsteer_admit(id as u64, now) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_admit(id: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    capacity::admit(&tables, id as u16, now) as u64
}

/// [`capacity::takes_one_more`].
#[inline(always)]
pub fn takes_one_more(id: u16, now: u64) -> bool {
    sipsteer_takes_one_more(id as u64, now) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_takes_one_more(id: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    capacity::takes_one_more(&tables, id as u16, now) as u64
}

/// [`capacity::utilisation_of`].
#[inline(always)]
pub fn utilisation(id: u16, now: u64) -> u32 {
    sipsteer_utilisation(id as u64, now) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_utilisation(id: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return u32::MAX as u64 };
    capacity::utilisation_of(&tables, id as u16, now) as u64
}

/// [`capacity::mean_utilisation`].
#[inline(always)]
pub fn mean_utilisation(zone: u16, now: u64) -> u32 {
    sipsteer_mean_utilisation(zone as u64, now) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_mean_utilisation(zone: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    capacity::mean_utilisation(&tables, zone as u16, now) as u64
}

/// [`capacity::move_channel`].
#[inline(always)]
pub fn move_channel(from: u16, to: u16) {
    sipsteer_move_channel(from as u64, to as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_move_channel(from: u64, to: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    capacity::move_channel(&tables, from as u16, to as u16);
    1
}

/// [`steer::reopen`].
#[inline(always)]
pub fn reopen(key: &DialogKey, from: u16, to: u16, branch: u32) {
    let backends = from as u64 | (to as u64) << 16;
    sipsteer_reopen(key.call_key, key.service as u64, backends, branch as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_reopen(call_key: u64, service: u64, backends: u64, branch: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = DialogKey::new(call_key, service as u16);
    steer::reopen(&tables, &key, backends as u16, (backends >> 16) as u16, branch as u32);
    1
}

/// [`reply::turned_away`].
#[inline(always)]
pub fn turned_away(backend: u16, service: u16, retry_after: Option<u32>) {
    sipsteer_turned_away(backend as u64, service as u64, number_of_seconds(retry_after));
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_turned_away(backend: u64, service: u64, retry_after: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    reply::turned_away(&tables, backend as u16, service as u16, seconds_of_number(retry_after));
    1
}
