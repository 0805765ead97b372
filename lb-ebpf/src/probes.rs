//! Test-only programs: the scanner of `lb-common` as the kernel runs it, one function a program, so that each can be
//! measured and compared with its native self. They are built beside `sipsteer` and never shipped.
//!
//! A probe reads the datagram that begins behind [`HEAD`] bytes of its packet and writes what it found to REPORT.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[allow(dead_code, reason = "the probes only read; the rest of the door is for the product's program")]
mod packet;
#[path = "maps/scratch.rs"]
#[allow(
    dead_code,
    reason = "the probes only note headers; the rest of the door is for the product's program"
)]
mod scratch;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    hash::HashKey,
    map::{settings::Scratch, zone::hash_by},
    sip::{self, CallId, Kind, Notes, Place},
};
use packet::{Packet, PacketWindow};
use scratch::ScratchCell;

/// Bytes before the datagram: what Ethernet, IPv4 and UDP take.
const HEAD: usize = 42;

/// The two halves of the hash key and an opaque 0.
#[btf_map]
static INPUT: Array<[u64; 3], 1> = Array::new();

/// Number of the kind, and above it the hash of the To tag; hash of the branch; offset of the Call-ID in the low half and its
/// length in the high half, all ones without one, one less for an empty one; call key.
#[btf_map]
static REPORT: Array<[u64; 4], 1> = Array::new();

/// Keys of the users in From, To and the request line, 0 for none.
#[btf_map]
static USERS: Array<[u64; 3], 1> = Array::new();

/// The seconds of the Retry-After, all ones without one.
#[btf_map]
static RETRY_AFTER: Array<u64, 1> = Array::new();

/// As the product's program has it: what the search for the Call-ID passes is noted here.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Does nothing: what a run costs by itself.
#[xdp]
pub fn empty(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Sends everything back, untouched: the floor that the budget measures the product's program against.
#[xdp]
pub fn empty_tx(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Everything but users. Between the stages what is known rests in REPORT, as the product's program keeps it in a map.
#[xdp]
pub fn whole(context: XdpContext) -> u32 {
    let Some((window, notes, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, from) = sip::start_line(window, zero);
    if REPORT.set(0, [kind.to_number() as u64, from as u64, 0, 0], 0).is_err() {
        return xdp_action::XDP_ABORTED;
    }
    let Some([kind, from, ..]) = REPORT.get(0).copied() else { return xdp_action::XDP_ABORTED };
    let (place, hash) = match sip::call_id(window, from as usize, notes) {
        CallId::Found { at } => {
            let found = sip::call_key(window, at, &key);
            (at as u64 | (found.len as u64) << 32, found.hash)
        }
        CallId::Empty => (u64::MAX - 1, 0),
        CallId::Absent => (u64::MAX, 0),
    };
    if REPORT.set(0, [kind, from, place, hash], 0).is_err() {
        return xdp_action::XDP_ABORTED;
    }
    let Some([kind, _, place, hash]) = REPORT.get(0).copied() else { return xdp_action::XDP_ABORTED };
    let headers = sip::dialog_headers(window, notes, &key);
    let words = [kind | (headers.to_tag as u64) << 32, headers.branch as u64, place, hash];
    match REPORT.set(0, words, 0) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// The users. A program of its own, or old verifiers would walk through too much.
#[xdp]
pub fn users(context: XdpContext) -> u32 {
    let Some((window, notes, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, start) = sip::start_line(window, zero);
    notes.set_start(kind, start);
    let start = notes.message().start;
    // Its result does not matter; what it notes does.
    let _ = sip::call_id(window, start, notes);
    let user = |which: u8| sip::user_key(window, notes, start, which, &key).unwrap_or(0);
    let keys = [user(hash_by::FROM_USER), user(hash_by::TO_USER), user(hash_by::REQUEST_USER)];
    match USERS.set(0, keys, 0) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// The search for Retry-After alone.
#[xdp]
pub fn retry_after(context: XdpContext) -> u32 {
    let Some((window, notes, _, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, start) = sip::start_line(window, zero);
    notes.set_start(kind, start);
    let seconds = match sip::retry_after(window, notes.message().start) {
        Some(seconds) => seconds as u64,
        None => u64::MAX,
    };
    match RETRY_AFTER.set(0, seconds, 0) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// The start line alone.
#[xdp]
pub fn start_line(context: XdpContext) -> u32 {
    let Some((window, _, _, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, from) = sip::start_line(window, zero);
    kind.to_number() as u32 + from as u32
}

/// The search for the Call-ID alone.
#[xdp]
pub fn call_id(context: XdpContext) -> u32 {
    let Some((window, notes, _, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    match sip::call_id(window, zero, notes) {
        CallId::Found { at } => at as u32,
        CallId::Empty => 1,
        CallId::Absent => 0,
    }
}

/// The To tag and the branch, all of whose headers stand behind the place where the search begins.
#[xdp]
pub fn dialog_headers(context: XdpContext) -> u32 {
    let Some((window, notes, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    notes.note(Place::REST, zero as u32 + 1);
    let headers = sip::dialog_headers(window, notes, &key);
    headers.to_tag ^ headers.branch
}

/// The From user's key, whose header stands behind the place where the search begins.
#[xdp]
pub fn user_key(context: XdpContext) -> u32 {
    let Some((window, notes, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    notes.note(Place::REST, zero as u32 + 1);
    sip::user_key(window, notes, zero, hash_by::FROM_USER, &key).unwrap_or(0) as u32
}

/// The Call-ID and its key.
#[xdp]
pub fn call_key(context: XdpContext) -> u32 {
    let Some((window, notes, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    match sip::call_id(window, zero, notes) {
        CallId::Found { at } => sip::call_key(window, at, &key).hash as u32,
        CallId::Empty => 1,
        CallId::Absent => 0,
    }
}

#[inline(always)]
fn begin(context: &XdpContext) -> Option<(PacketWindow, ScratchCell, HashKey, usize)> {
    let [k0, k1, zero] = *INPUT.get(0)?;
    let window = Packet::new(context.ctx).window(HEAD);
    let notes = scratch::scratch()?;
    notes.set_start(Kind::NotSip, 0);
    Some((window, notes, HashKey { k0, k1 }, zero as usize))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
