//! Test-only programs: packets of one CPU against expiry on another one, on the same few keys, with the product's own
//! decision code and maps. They are built beside `sipsteer` and never shipped.
//!
//! The packets' CPU stops now and then while it reads a dialog or before it changes it, until the other CPU has removed that
//! dialog and given its slot to another one. What a dialog may be follows from its key, so a write to what was found long ago
//! shows: a call of an even key is never answered nor ended, every call has its key's backend and peer. It stops also where
//! it takes a channel for a call that opens again, so a channel that nobody has at the end was taken too late.
//!
//! Two twins put the same dialog in at the same time, again and again: afterwards it is there once.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "the BPF target has no stable atomic read-modify-write operations")]

#[allow(
    dead_code,
    reason = "the race needs the rare parts of the decision only; the rest is for the product's program"
)]
mod apart;
#[allow(dead_code, reason = "as `apart`")]
mod maps;
#[allow(dead_code, reason = "as `apart`")]
mod packet;
#[allow(dead_code, reason = "as `apart`")]
mod stage;
#[allow(dead_code, reason = "as `apart`")]
mod tables;

mod racing;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use racing::{AS_IT_IS, TAKEN_LATE, WITHOUT_COMPARISON, WITHOUT_GENERATION, WITHOUT_KEY, WITHOUT_SETTLING};

/// Packets, steered as the product does.
#[xdp]
pub fn packets(_context: XdpContext) -> u32 {
    done(racing::packet(AS_IT_IS))
}

/// The same with plain stores in place of compare-and-swap: shows that the race finds what it looks for.
#[xdp]
pub fn packets_without_comparison(_context: XdpContext) -> u32 {
    done(racing::packet(WITHOUT_COMPARISON))
}

/// The same with a comparison that leaves out the generation.
#[xdp]
pub fn packets_without_generation(_context: XdpContext) -> u32 {
    done(racing::packet(WITHOUT_GENERATION))
}

/// The same without a look at the key that was read.
#[xdp]
pub fn packets_without_key(_context: XdpContext) -> u32 {
    done(racing::packet(WITHOUT_KEY))
}

/// The same with a channel that is taken after the call can be seen.
#[xdp]
pub fn packets_with_late_channels(_context: XdpContext) -> u32 {
    done(racing::packet(TAKEN_LATE))
}

/// Expiry, and new dialogs in the slots of the old ones.
#[xdp]
pub fn expiry(_context: XdpContext) -> u32 {
    done(racing::expiry())
}

/// One of two CPUs that put the same dialogs in at the same time.
#[xdp]
pub fn twin(_context: XdpContext) -> u32 {
    done(racing::twin(AS_IT_IS, 0))
}

/// The other one.
#[xdp]
pub fn other_twin(_context: XdpContext) -> u32 {
    done(racing::twin(AS_IT_IS, 1))
}

/// One of two that leave what both have put in.
#[xdp]
pub fn twin_without_settling(_context: XdpContext) -> u32 {
    done(racing::twin(WITHOUT_SETTLING, 0))
}

/// The other one.
#[xdp]
pub fn other_twin_without_settling(_context: XdpContext) -> u32 {
    done(racing::twin(WITHOUT_SETTLING, 1))
}

#[inline(always)]
fn done(round: Option<()>) -> u32 {
    match round {
        Some(()) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
