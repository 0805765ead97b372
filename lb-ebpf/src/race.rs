//! Test-only programs: packets of one CPU against expiry on another one, on the same few keys, with the product's own
//! decision code and maps. They are built beside `sipsteer` and never shipped.
//!
//! The packets' CPU stops now and then between finding a dialog and using it, until the other CPU has deleted that dialog
//! and given its memory to another one. What a dialog may be follows from its key, so a write through the stale pointer
//! shows: a call of an even key is never answered nor ended, every call has its key's backend and peer.
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
use racing::{AS_IT_IS, WITHOUT_COMPARISON, WITHOUT_GENERATION, WITHOUT_KEY};

/// Packets, steered as the product does.
#[xdp]
pub fn packets(_context: XdpContext) -> u32 {
    done(racing::packet::<AS_IT_IS>())
}

/// The same with plain stores in place of compare-and-swap: shows that the race finds what it looks for.
#[xdp]
pub fn packets_without_comparison(_context: XdpContext) -> u32 {
    done(racing::packet::<WITHOUT_COMPARISON>())
}

/// The same with a comparison that leaves out the generation.
#[xdp]
pub fn packets_without_generation(_context: XdpContext) -> u32 {
    done(racing::packet::<WITHOUT_GENERATION>())
}

/// The same without a look at the key in the value.
#[xdp]
pub fn packets_without_key(_context: XdpContext) -> u32 {
    done(racing::packet::<WITHOUT_KEY>())
}

/// Expiry, and new dialogs in the memory of the old ones.
#[xdp]
pub fn expiry(_context: XdpContext) -> u32 {
    done(racing::expiry())
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
