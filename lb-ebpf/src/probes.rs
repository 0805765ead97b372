//! Test-only programs: the scanner of `lb-common` as the kernel runs it, one function a program, so that each can be
//! measured and compared with its native self. They are built beside `sipsteer` and never shipped.
//!
//! A probe reads the datagram that begins behind [`HEAD`] bytes of its packet and writes what it found to REPORT.
#![no_std]
#![no_main]

#[allow(dead_code, reason = "the probes only read; the rest of the door is for the product's program")]
mod packet;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::Array,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    hash::HashKey,
    sip::{self, CallId, Kind},
};
use packet::{Packet, PacketWindow};

/// Bytes before the datagram: what Ethernet, IPv4 and UDP take.
const HEAD: usize = 42;

/// The two halves of the hash key and an opaque 0.
#[btf_map]
static INPUT: Array<[u64; 3], 1> = Array::new();

/// Kind of the datagram; offset of the Call-ID in the low half and its length in the high half, all ones without
/// one, one less for an empty one; call key; hash of the To tag in the low half and of the branch in the high half.
#[btf_map]
static REPORT: Array<[u64; 4], 1> = Array::new();

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

/// Everything, in the order of the product's program.
#[xdp]
pub fn whole(context: XdpContext) -> u32 {
    let Some((window, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, from) = sip::start_line(window, zero);
    let (place, hash) = match sip::call_id(window, from) {
        CallId::Found { at } => {
            let found = sip::call_key(window, at, &key);
            (at as u64 | (found.len as u64) << 32, found.hash)
        }
        CallId::Empty => (u64::MAX - 1, 0),
        CallId::Absent => (u64::MAX, 0),
    };
    report([number(kind), place, hash, 0])
}

/// The start line alone.
#[xdp]
pub fn start_line(context: XdpContext) -> u32 {
    let Some((window, _, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    let (kind, from) = sip::start_line(window, zero);
    number(kind) as u32 + from as u32
}

/// The search for the Call-ID alone.
#[xdp]
pub fn call_id(context: XdpContext) -> u32 {
    let Some((window, _, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    match sip::call_id(window, zero) {
        CallId::Found { at } => at as u32,
        CallId::Empty => 1,
        CallId::Absent => 0,
    }
}

/// The Call-ID and its key.
#[xdp]
pub fn call_key(context: XdpContext) -> u32 {
    let Some((window, key, zero)) = begin(&context) else { return xdp_action::XDP_ABORTED };
    match sip::call_id(window, zero) {
        CallId::Found { at } => sip::call_key(window, at, &key).hash as u32,
        CallId::Empty => 1,
        CallId::Absent => 0,
    }
}

#[inline(always)]
fn begin(context: &XdpContext) -> Option<(PacketWindow, HashKey, usize)> {
    let [k0, k1, zero] = *INPUT.get(0)?;
    let window = Packet::new(context.ctx).window(HEAD);
    Some((window, HashKey { k0, k1 }, zero as usize))
}

#[inline(always)]
fn report(words: [u64; 4]) -> u32 {
    match REPORT.set(0, words, 0) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// A request is 0x1000 and its method, a response 0x2000 and its status code.
#[inline(always)]
fn number(kind: Kind) -> u64 {
    match kind {
        Kind::NotSip => 0,
        Kind::KeepAlive => 1,
        Kind::Stun => 2,
        Kind::Request(method) => 0x1000 | method as u64,
        Kind::Response(code) => 0x2000 | code as u64,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
