//! Capacity, call by call: whether a backend gets one more, and what it and its zone carry.
//!
//! A call takes a channel before it is pinned, so that no two CPUs give the last one away twice, and gives it back when its
//! dialog's phase is no longer one of a call in progress. Who changes the phase, by compare-and-swap, moves the channel.

use super::{Counted, LoadCell, Tables};
use crate::{
    limits::LOAD_ATTEMPTS,
    map::{
        backend::{Limits, UNLIMITED, takes_dialogs},
        load::{FULL, Rate, has_channel, has_room, keeps_pace, utilisation},
    },
};

/// No backend.
pub const NOBODY: u16 = u16::MAX;

/// Takes a channel of a backend for a new call, and its place in the pace of its calls per second. False: it is at one of
/// its limits, or takes no calls. [`give_back`] undoes the first half; a place in the pace is gone.
#[inline(always)]
pub fn admit<T: Tables>(tables: &T, id: u16, now: u64) -> bool {
    let Some(load) = tables.backend_load(id) else { return false };
    let (view, limits) = (tables.backend(id), tables.limits(id));
    if !takes_dialogs(view.will, view.health) || load.full_until() > now {
        return false;
    }
    if !take_channel(&load, &limits) {
        load.count(Counted::OverChannels);
        return false;
    }
    if !take_turn(&load, &limits, now) {
        put_channel(&load);
        load.count(Counted::OverCps);
        return false;
    }
    add_call(&load, now);
    if let Some(zone) = tables.zone_load(view.zone) {
        zone.add_channels(1);
        add_call(&zone, now);
    }
    true
}

/// Takes a channel if one is left.
#[inline(always)]
fn take_channel<L: LoadCell>(load: &L, limits: &Limits) -> bool {
    if !has_channel(load.add_channels(1), limits) {
        put_channel(load);
        return false;
    }
    true
}

/// Gives a channel back; what would fall below zero stays.
#[inline(always)]
fn put_channel<L: LoadCell>(load: &L) {
    let before = load.add_channels(-1);
    if before == 0 || before >> 63 != 0 {
        load.add_channels(1);
    }
}

/// Takes a call's place in the pace if it may come now. In any second at most `max_cps` + `burst` get through.
#[inline(always)]
fn take_turn<L: LoadCell>(load: &L, limits: &Limits, now: u64) -> bool {
    if limits.max_cps == UNLIMITED {
        return true;
    }
    let mut attempt = 0;
    while attempt < LOAD_ATTEMPTS {
        let expected = load.next_arrival();
        if !keeps_pace(expected, limits, now) {
            return false;
        }
        let from = if expected > now { expected } else { now };
        if load.swap_next_arrival(expected, from + limits.interval_ns as u64) {
            return true;
        }
        attempt += 1;
    }
    false
}

/// Counts a new call. A sample that another CPU's overtakes is lost, which the decay forgives.
#[inline(always)]
fn add_call<L: LoadCell>(load: &L, now: u64) {
    load.count(Counted::Calls);
    let rate = load.rate();
    load.swap_rate(rate, Rate::from_word(rate).with_call(now).to_word());
}

/// Moves a channel from one backend to another, either of them [`NOBODY`], and between their zones.
#[inline(always)]
pub fn move_channel<T: Tables>(tables: &T, from: u16, to: u16) {
    if from != NOBODY {
        give_back(tables, from);
    }
    if to != NOBODY
        && let Some(load) = tables.backend_load(to)
    {
        load.add_channels(1);
        if let Some(zone) = tables.zone_load(tables.backend(to).zone) {
            zone.add_channels(1);
        }
    }
}

/// Gives a channel of a backend back, and of its zone.
#[inline(always)]
pub fn give_back<T: Tables>(tables: &T, id: u16) {
    let Some(load) = tables.backend_load(id) else { return };
    put_channel(&load);
    if let Some(zone) = tables.zone_load(tables.backend(id).zone) {
        put_channel(&zone);
    }
}

/// Adds to the calls in progress what a recount of the dialogs found missing, or takes off what it found too many. What would
/// fall below zero becomes zero.
#[inline(always)]
pub fn correct<L: LoadCell>(load: &L, by: i64) {
    let after = (load.add_channels(by) as i64).wrapping_add(by);
    if by < 0 && after < 0 {
        // Another CPU that takes off what is not there puts its own part back.
        load.add_channels(if after < by { by.wrapping_neg() } else { after.wrapping_neg() });
    }
}

/// A backend's utilisation in units of 1/1024; `u32::MAX` if it takes no new calls.
#[inline(always)]
pub fn utilisation_of<T: Tables>(tables: &T, id: u16, now: u64) -> u32 {
    let view = tables.backend(id);
    match tables.backend_load(id) {
        Some(load) if takes_dialogs(view.will, view.health) => {
            utilisation(&load.read(), &tables.limits(id), now)
        }
        _ => u32::MAX,
    }
}

/// Whether a backend takes calls and has room for one more now. Only a hint: [`admit`] decides.
#[inline(always)]
pub fn takes_one_more<T: Tables>(tables: &T, id: u16, now: u64) -> bool {
    let Some(load) = tables.backend_load(id) else { return false };
    let view = tables.backend(id);
    takes_dialogs(view.will, view.health) && has_room(&load.read(), &tables.limits(id), now)
}

/// A zone's utilisation in units of 1/1024: the mean of its backends', weighted by their capacity.
#[inline(always)]
pub fn mean_utilisation<T: Tables>(tables: &T, zone: u16, now: u64) -> u32 {
    let Some(load) = tables.zone_load(zone) else { return 0 };
    let view = tables.zone(zone);
    let capacity = Limits {
        capacity_channels: view.capacity_channels,
        capacity_cps: view.capacity_cps,
        ..Limits::default()
    };
    utilisation(&load.read(), &capacity, now)
}

const _: () = assert!(FULL == 1024);
