//! Second stage: is the packet for a service, or from a backend? Notes the answer in SCRATCH.

use super::parse::{Datagram, key, mapped};
use crate::{
    maps::{self, ScratchCell},
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

/// Finds out whose packet this is. `Err`: it ends here.
#[inline(always)]
pub fn route(
    packet: &Packet,
    datagram: &Datagram,
    settings: &Settings,
    scratch: ScratchCell,
) -> Result<(), Verdict> {
    if let Some(service) = maps::service(&key(datagram.destination, datagram.destination_port)) {
        scratch.set_service(direction::TO_SERVICE, service);
    } else {
        let from = maps::backend_address(&key(datagram.source, datagram.source_port)).ok_or(Verdict::NotOurs)?;
        // A backend may also talk to this host, and to others that the host does not forward to.
        let next_hop = next_hop(packet, datagram, settings).ok_or(Verdict::NotOurs)?;
        scratch.set_backend(direction::FROM_BACKEND, from, next_hop);
    }
    if datagram.fragment {
        return Err(Verdict::PassedFragment);
    }
    if datagram.contradictory {
        return Err(Verdict::DroppedMalformed);
    }
    if datagram.ttl <= 1 {
        return Err(Verdict::DroppedTtl);
    }
    Ok(())
}

/// The next hop towards the destination, from this CPU's cache or from the routing table. An ifindex of 0: the host
/// has to find it. `None`: not forwarded.
#[inline(always)]
fn next_hop(packet: &Packet, datagram: &Datagram, settings: &Settings) -> Option<NextHop> {
    let address = mapped(datagram.destination);
    let now = maps::jiffies() as u32;
    let slot = datagram.destination.wrapping_mul(0x9e37_79b1) >> (32 - NEXT_HOP_SLOTS.trailing_zeros());
    let cached = maps::cached_next_hop(slot)?;
    if cached.next_hop.ifindex != 0
        && cached.address[3] == address[3]
        && cached.address[2] == address[2]
        && cached.address[1] == 0
        && cached.address[0] == 0
        && now.wrapping_sub(cached.looked_up) < settings.next_hop_jiffies
    {
        return Some(cached.next_hop);
    }
    match packet.route(datagram.source, datagram.destination, datagram.ip_length) {
        Route::Via(next_hop) => {
            maps::cache_next_hop(slot, CachedNextHop { address, looked_up: now, next_hop });
            Some(next_hop)
        }
        Route::Unresolved => Some(NextHop::default()),
        Route::NotForwarded => None,
    }
}
