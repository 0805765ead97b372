//! The rare parts of the decision as global functions: the verifier walks through each of them once, whatever it knows of
//! the packet at the call, and a call costs some 10 ns. Their arguments and results are plain numbers for that reason.

#![allow(unsafe_code, reason = "a global function needs its own symbol name, and naming one counts as unsafe; no unsafe block here")]

use crate::{maps, packet::Packet, stage::inspect, tables::KernelTables};
use aya_ebpf::bindings::xdp_md;
use lb_common::{
    decide::{
        DialogHeaders, expiry,
        remember::{self, Opening, Remembered},
        select,
    },
    sip,
};

/// [`inspect::inspect_apart`]; the result stands in SCRATCH.
#[inline(always)]
pub fn inspect(packet: &Packet, payload_at: usize) {
    sipsteer_inspect(packet.context(), payload_at as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_inspect(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let packet = Packet::new(context);
    let message = inspect::inspect_apart(&packet, payload_at as usize, tables.settings);
    tables.scratch.set_message(message);
    1
}

/// [`sip::dialog_headers`].
#[inline(always)]
pub fn dialog_headers(packet: &Packet, payload_at: usize, start: usize) -> DialogHeaders {
    let hashes = sipsteer_dialog_headers(packet.context(), payload_at as u64, start as u64);
    DialogHeaders { to_tag: hashes as u32, branch: (hashes >> 32) as u32 }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_dialog_headers(context: *mut xdp_md, payload_at: u64, start: u64) -> u64 {
    let Some(settings) = maps::settings() else { return 0 };
    let window = Packet::new(context).window(payload_at as usize);
    let headers = sip::dialog_headers(&window, start as usize, &settings.hash_key);
    headers.to_tag as u64 | (headers.branch as u64) << 32
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
