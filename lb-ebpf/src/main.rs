//! The XDP program of sipsteer. Reads top to bottom as the packet travels:
//! parse -> route -> inspect -> decide (`lb-common`) -> forward -> verdict.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![feature(core_intrinsics)]
#![allow(internal_features, reason = "the BPF target has no stable atomic read-modify-write operations")]

mod apart;
mod expire;
mod maps;
mod packet;
mod pass;
mod stage;
mod steer;
mod tables;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::verdict::Fate;
use packet::Packet;

/// Steers SIP; everything else goes to the host untouched.
#[xdp]
#[inline(always)]
pub fn sipsteer(context: XdpContext) -> u32 {
    let packet = Packet::new(context.ctx);
    let bytes = packet.length() as u64;
    let departure = steer::steer(packet);
    maps::count_verdict(departure.verdict, bytes);
    match departure.verdict.fate() {
        Fate::Host | Fate::HostForwards => xdp_action::XDP_PASS,
        Fate::Sent => departure.action,
        Fate::Daemon if maps::daemon_answers() => xdp_action::XDP_PASS,
        Fate::Daemon | Fate::Dropped => xdp_action::XDP_DROP,
    }
}

/// Buries dialogs that are due, and examines those that the daemon names. See [`expire::expire`].
#[xdp]
pub fn expire(context: XdpContext) -> u32 {
    expire::expire(&Packet::new(context.ctx))
}

/// Takes dialogs of another table in. See [`expire::carry`].
#[xdp]
pub fn carry(context: XdpContext) -> u32 {
    expire::carry(&Packet::new(context.ctx))
}

/// Sets right what a backend or a zone counts as its calls in progress. See [`expire::recount`].
#[xdp]
pub fn recount(context: XdpContext) -> u32 {
    expire::recount(&Packet::new(context.ctx))
}

/// Tells the daemon how fast `jiffies` runs. See [`expire::clock`].
#[xdp]
pub fn clock(context: XdpContext) -> u32 {
    expire::clock(&Packet::new(context.ctx))
}

/// For the far ends of veth pairs. See [`pass::pass`].
#[xdp]
pub fn pass(_context: XdpContext) -> u32 {
    pass::pass()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
