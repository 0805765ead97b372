//! What the daemon runs by BPF_PROG_TEST_RUN: it never touches dialogs itself, it asks the kernel to look again.

use crate::{apart, maps, packet::Packet, tables::KernelTables};
use aya_ebpf::bindings::xdp_action;
use lb_common::{decide::Tables, map::expiry::request::MAX_KEYS};

/// Visits what is due in the expiry queues and examines the dialogs that the packet names, see
/// [`lb_common::map::expiry::request`]. Returns XDP_PASS, or XDP_ABORTED without settings or without a request.
#[inline(always)]
pub fn expire(packet: &Packet) -> u32 {
    let (Some(tables), Some(request)) = (KernelTables::open(), packet.request()) else {
        return xdp_action::XDP_ABORTED;
    };
    tables.tend(tables.now());
    let count = request.count();
    let mut examined = 0;
    while examined < MAX_KEYS && examined < count {
        apart::expire(&request.key(examined));
        examined += 1;
    }
    xdp_action::XDP_PASS
}

/// Writes `jiffies` and the monotonic time in nanoseconds into the packet's first 16 bytes.
#[inline(always)]
pub fn clock(packet: &Packet) -> u32 {
    let Some(request) = packet.request() else { return xdp_action::XDP_ABORTED };
    request.answer(maps::jiffies(), maps::nanoseconds());
    xdp_action::XDP_PASS
}
