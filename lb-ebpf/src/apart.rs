//! The rare parts of the decision as global functions: the verifier walks through each of them once, whatever it knows of
//! the packet at the call, and a call costs some 10 ns. Their arguments and results are plain numbers for that reason.

#![allow(
    unsafe_code,
    reason = "a global function needs a symbol of its own, and naming one counts as unsafe"
)]

use crate::{
    maps::{self, ScratchCell},
    packet::Packet,
    stage::{
        inspect::{self, Message},
        route,
    },
    tables::KernelTables,
};
use aya_ebpf::bindings::xdp_md;
use lb_common::{
    decide::{
        Inbound, Tables, expiry,
        remember::{self, Opening, Remembered},
        reply::{self, Leaving, Outbound},
        select,
        steer::{self, Steering},
    },
    map::dialog::DialogKey,
    sip::{self, DialogHeaders, Notes, Place},
    verdict::Verdict,
};

/// [`inspect::inspect`]; the result stands in SCRATCH.
#[inline(always)]
pub fn inspect(packet: &Packet, payload_at: usize) {
    sipsteer_inspect(packet.context(), payload_at as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_inspect(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let packet = Packet::new(context);
    inspect::inspect(&packet, payload_at as usize, tables.settings, tables.scratch);
    1
}

/// [`route::next_hop`]; the next hop stands in SCRATCH. False: the packet is not forwarded.
#[inline(always)]
pub fn next_hop(packet: &Packet, source: u32, destination: u32, length: u16) -> bool {
    let addresses = source as u64 | (destination as u64) << 32;
    sipsteer_next_hop(packet.context(), addresses, length as u64) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_next_hop(context: *mut xdp_md, addresses: u64, length: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let packet = Packet::new(context);
    match route::next_hop(&packet, addresses as u32, (addresses >> 32) as u32, length as u16, tables.settings)
    {
        Some(next_hop) => {
            tables.scratch.set_next_hop(next_hop);
            1
        }
        None => 0,
    }
}

/// [`steer::steer`] for the packet that SCRATCH tells of.
#[inline(always)]
pub fn steer(packet: &Packet, payload_at: usize, source: u64) -> Steering {
    let number = sipsteer_steer(packet.context(), payload_at as u64, source);
    Steering {
        backend: number as u16,
        tend: number >> 24 & 1 != 0,
        verdict: Verdict::from_index((number >> 32) as u32).unwrap_or(Verdict::PassedBroken),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_steer(context: *mut xdp_md, payload_at: u64, source: u64) -> u64 {
    let broken = (Verdict::PassedBroken.index() as u64) << 32;
    let Some(tables) = KernelTables::open() else { return broken };
    let scratch = tables.scratch;
    let message = Message { packet: Packet::new(context), payload_at: payload_at as usize, scratch };
    let service = scratch.service();
    let inbound = Inbound {
        service: service.service,
        listener: service.listener,
        tiers: service.tiers,
        call_key: scratch.message().call_key,
        source,
    };
    let steering = steer::steer(&tables, &inbound, &message);
    steering.backend as u64 | (steering.tend as u64) << 24 | (steering.verdict.index() as u64) << 32
}

/// [`reply::reply`] for the packet that SCRATCH tells of.
#[inline(always)]
pub fn reply(packet: &Packet, payload_at: usize, destination: u64) -> Leaving {
    let number = sipsteer_reply(packet.context(), payload_at as u64, destination);
    Leaving {
        service: number as u16,
        listener: (number >> 16) as u8,
        tend: number >> 24 & 1 != 0,
        verdict: match (number >> 32) as u32 {
            REPLY_NEW => Verdict::ReplyNew,
            REPLY_UNPINNED => Verdict::ReplyUnpinned,
            _ => Verdict::Reply,
        },
    }
}

const REPLY_NEW: u32 = Verdict::ReplyNew.index();
const REPLY_UNPINNED: u32 = Verdict::ReplyUnpinned.index();

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_reply(context: *mut xdp_md, payload_at: u64, destination: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let scratch = tables.scratch;
    let message = Message { packet: Packet::new(context), payload_at: payload_at as usize, scratch };
    let outbound = Outbound { from: scratch.from(), call_key: scratch.message().call_key, destination };
    let leaving = reply::reply(&tables, &outbound, &message);
    leaving.service as u64
        | (leaving.listener as u64) << 16
        | (leaving.tend as u64) << 24
        | (leaving.verdict.index() as u64) << 32
}

/// [`sip::dialog_headers`] of the message whose headers SCRATCH tells of. In pieces, so that the verifier walks through the
/// reading of a parameter once for both headers.
#[inline(always)]
pub fn dialog_headers(packet: &Packet, payload_at: usize, scratch: ScratchCell) -> DialogHeaders {
    if scratch.lacks(Place::TO) || scratch.lacks(Place::VIA) {
        sipsteer_onward(packet.context(), payload_at as u64);
    }
    let parameter =
        |place: Place| sipsteer_parameter(packet.context(), payload_at as u64, place.index() as u64) as u32;
    DialogHeaders { to_tag: parameter(Place::TO), branch: parameter(Place::VIA) }
}

/// [`sip::onward`]; what it notes stands in SCRATCH.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_onward(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return 0 };
    sip::onward(Packet::new(context).window(payload_at as usize), scratch);
    1
}

/// [`sip::parameter`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_parameter(context: *mut xdp_md, payload_at: u64, place: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let window = Packet::new(context).window(payload_at as usize);
    sip::parameter(window, tables.scratch, Place::from_index(place), &tables.settings.hash_key) as u64
}

/// [`sip::user_key`] of the message whose headers SCRATCH tells of.
#[allow(dead_code, reason = "for policies that choose by user; the decision asks by Call-ID and by source")]
#[inline(always)]
pub fn user_key(
    packet: &Packet,
    payload_at: usize,
    scratch: ScratchCell,
    start: usize,
    which: u8,
) -> Option<u64> {
    if sip::user_place(which).is_some_and(|place| scratch.lacks(place)) {
        sipsteer_onward(packet.context(), payload_at as u64);
    }
    match sipsteer_user_key(packet.context(), payload_at as u64, start as u64, which as u64) {
        0 => None,
        key => Some(key),
    }
}

/// [`sip::noted_user_key`]; 0 for none. It does not call [`sipsteer_onward`] itself, as the stack would not do for both.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_user_key(context: *mut xdp_md, payload_at: u64, start: u64, which: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let window = Packet::new(context).window(payload_at as usize);
    let key = &tables.settings.hash_key;
    sip::noted_user_key(window, tables.scratch, start as usize, which as u8, key).unwrap_or(0)
}

/// No backend, as the result of [`ring_choice`].
const NONE: u64 = u64::MAX;

/// [`select::ring_choice`].
#[inline(always)]
pub fn ring_choice(service: u16, tiers: u8, key: u64) -> Option<u16> {
    match sipsteer_ring_choice(service as u64, tiers as u64, key) {
        NONE => None,
        backend => Some(backend as u16),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_ring_choice(service: u64, tiers: u64, key: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NONE };
    match select::ring_choice(&tables, service as u16, tiers as u8, key) {
        Some(backend) => backend as u64,
        None => NONE,
    }
}

/// [`remember::remember`].
#[inline(always)]
pub fn remember(opening: &Opening) -> Remembered {
    let ids = opening.service as u64
        | (opening.backend as u64) << 16
        | (opening.phase as u64) << 32
        | (opening.listener as u64) << 40;
    let hashes = opening.peer as u64 | (opening.evidence as u64) << 32;
    Remembered::from_number(sipsteer_remember(opening.call_key, ids, hashes, opening.now as u64) as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_remember(call_key: u64, ids: u64, hashes: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return Remembered::Not.to_number() as u64 };
    let opening = Opening {
        call_key,
        service: ids as u16,
        backend: (ids >> 16) as u16,
        phase: (ids >> 32) as u8,
        listener: (ids >> 40) as u8,
        peer: hashes as u32,
        evidence: (hashes >> 32) as u32,
        now: now as u32,
    };
    remember::remember(&tables, &opening).to_number() as u64
}

/// [`steer::move_pin`].
#[inline(always)]
pub fn move_pin(key: &DialogKey, from: u16, to: u16, now: u32) {
    sipsteer_move_pin(key.call_key, key.service as u64, from as u64 | (to as u64) << 16, now as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_move_pin(call_key: u64, service: u64, backends: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = DialogKey::new(call_key, service as u16);
    steer::move_pin(&tables, &key, backends as u16, (backends >> 16) as u16, now as u32);
    1
}

/// [`expiry::tend`].
#[inline(always)]
pub fn tend(now: u32) {
    sipsteer_tend(now as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_tend(now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    expiry::tend(&tables, now as u32);
    1
}

/// [`expiry::expire`].
#[inline(always)]
pub fn expire(key: &DialogKey) {
    sipsteer_expire(key.call_key, key.service as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_expire(call_key: u64, service: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    expiry::expire(&tables, &DialogKey::new(call_key, service as u16), tables.now()) as u64
}
