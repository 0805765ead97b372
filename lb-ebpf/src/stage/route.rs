//! Second stage: is the packet for a service, or from a backend? Notes the answer in SCRATCH.

use super::parse::{key, mapped};
use crate::{
    apart,
    maps::{self, Datagram, ScratchCell},
    packet::{Packet, Route},
};
use lb_common::{
    limits::NEXT_HOP_SLOTS,
    map::{
        backend::{CachedNextHop, NextHop},
        settings::{Settings, direction},
    },
    verdict::Verdict,
};

/// Finds out whose packet this is. `Err`: not ours.
#[inline(always)]
pub fn route(packet: &Packet, datagram: &Datagram, scratch: ScratchCell) -> Result<(), Verdict> {
    if let Some(service) = maps::service(&key(datagram.destination, datagram.destination_port)) {
        scratch.set_service(direction::TO_SERVICE, service);
    } else {
        let from =
            maps::backend_address(&key(datagram.source, datagram.source_port)).ok_or(Verdict::NotOurs)?;
        // A backend may also talk to this host, and to others that the host does not forward to.
        if !apart::next_hop(packet, datagram.source, datagram.destination, datagram.ip_length) {
            return Err(Verdict::NotOurs);
        }
        scratch.set_backend(direction::FROM_BACKEND, from);
    }
    Ok(())
}

/// The next hop towards the destination, from this CPU's cache or from the routing table. An ifindex of 0: the host
/// has to find it. `None`: not forwarded.
#[inline(always)]
pub fn next_hop(
    packet: &Packet,
    source: u32,
    destination: u32,
    length: u16,
    settings: &Settings,
) -> Option<NextHop> {
    let address = mapped(destination);
    let now = maps::jiffies() as u32;
    let slot = destination.wrapping_mul(0x9e37_79b1) >> (32 - NEXT_HOP_SLOTS.trailing_zeros());
    let cached = maps::cached_next_hop(slot)?;
    if cached.next_hop.ifindex != 0
        && cached.address == address
        && now.wrapping_sub(cached.looked_up) < settings.next_hop_jiffies
    {
        return Some(cached.next_hop);
    }
    match packet.route(source, destination, length) {
        Route::Via(next_hop) => {
            maps::cache_next_hop(slot, CachedNextHop { address, looked_up: now, next_hop });
            Some(next_hop)
        }
        Route::Unresolved => Some(NextHop::default()),
        Route::NotForwarded => None,
    }
}
