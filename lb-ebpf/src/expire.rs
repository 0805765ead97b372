//! What the daemon runs by BPF_PROG_TEST_RUN: it never touches dialogs itself, nor what is counted of them while packets do. It
//! asks the kernel to look at them, to put them in, or to set their number right.

use crate::{apart, maps, packet::Packet, tables::KernelTables};
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    decide::{Tables, capacity},
    limits::MAX_SWEEP,
    map::{
        carry::MAX_ENTRIES,
        expiry::request::MAX_BUCKETS,
        recount::{NONE, Recount},
    },
};

/// Looks at as many buckets for old dialogs as the packet says, see [`lb_common::map::expiry::request`]. Returns XDP_PASS, or
/// XDP_ABORTED without settings or without a request.
#[inline(always)]
pub fn expire(packet: &Packet) -> u32 {
    let (Some(_), Some(request)) = (KernelTables::open(), packet.request()) else {
        return xdp_action::XDP_ABORTED;
    };
    let mut left = request.count();
    let mut part = 0;
    while part < MAX_BUCKETS / MAX_SWEEP as u64 {
        let count = if left < MAX_SWEEP as u64 { left } else { MAX_SWEEP as u64 };
        apart::sweep(count as u32);
        left -= count;
        part += 1;
    }
    xdp_action::XDP_PASS
}

/// Brings as many dialogs over as the packet says, see [`lb_common::map::carry`]. Returns XDP_PASS, or XDP_ABORTED without
/// settings or without a request.
#[inline(always)]
pub fn carry(packet: &Packet) -> u32 {
    let (Some(_), Some(request)) = (KernelTables::open(), packet.request()) else {
        return xdp_action::XDP_ABORTED;
    };
    let count = request.count();
    let mut index = 0;
    while index < MAX_ENTRIES && (index as u64) < count {
        apart::carry(packet, index);
        index += 1;
    }
    xdp_action::XDP_PASS
}

/// Adds to the calls in progress of a backend, a zone or both what the packet says, see [`lb_common::map::recount`]. Returns
/// XDP_PASS, or XDP_ABORTED without settings or without a request.
#[inline(always)]
pub fn recount(packet: &Packet) -> u32 {
    let (Some(tables), Some(request)) = (KernelTables::open(), packet.request()) else {
        return xdp_action::XDP_ABORTED;
    };
    let Recount { by, backend, zone } = request.recount();
    if backend != NONE
        && let Some(load) = tables.backend_load(backend as u16)
    {
        capacity::correct(&load, by);
    }
    if zone != NONE
        && let Some(load) = tables.zone_load(zone as u16)
    {
        capacity::correct(&load, by);
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
