//! Second stage: is the packet for a service, or from a backend? Notes the answer in SCRATCH.

use super::parse::{key, mapped};
use crate::{
    apart,
    maps::{self, Datagram, ScratchCell},
    packet::{Packet, Route},
};
use lb_common::{
    limits::{ENDPOINT_SLOTS, NEXT_HOP_SLOTS},
    map::{
        backend::{BackendAddress, CachedNextHop, NextHop},
        service::{
            Endpoint, Service,
            endpoint::{BACKEND, NO_SERVICE, SERVICE},
        },
        settings::{Settings, direction},
    },
    verdict::Verdict,
};

/// Finds out whose packet this is. `Err`: not ours.
#[inline(always)]
pub fn route(
    packet: &Packet,
    datagram: &Datagram,
    settings: &Settings,
    scratch: ScratchCell,
) -> Result<(), Verdict> {
    if let Some(service) = service(datagram.destination, datagram.destination_port, settings) {
        scratch.set_service(direction::TO_SERVICE, service);
    } else {
        let from = backend(datagram.source, datagram.source_port, settings).ok_or(Verdict::NotOurs)?;
        // A backend may also talk to this host, and to others that the host does not forward to.
        if !apart::next_hop(packet, datagram.source, datagram.destination, datagram.ip_length) {
            return Err(Verdict::NotOurs);
        }
        scratch.set_backend(direction::FROM_BACKEND, from);
    }
    Ok(())
}

/// The slot in ENDPOINTS of an address and port; sources have other ones than destinations.
#[inline(always)]
fn slot(address: u32, port: u16, kind: u32) -> u32 {
    let mixed = (address ^ kind).wrapping_mul(0x9e37_79b1) ^ (port as u32).wrapping_mul(0x85eb_ca6b);
    mixed >> (32 - ENDPOINT_SLOTS.trailing_zeros())
}

/// The service of a destination, as this CPU remembers it or from SERVICES.
#[inline(always)]
fn service(address: u32, port: u16, settings: &Settings) -> Option<Service> {
    let slot = slot(address, port, SERVICE);
    if let Some(known) = maps::endpoint(slot)
        && known.version == settings.endpoints_version
        && known.address == mapped(address)
    {
        if known.port_and_kind == port as u32 | SERVICE {
            return Some(known.service);
        }
        if known.port_and_kind == port as u32 | NO_SERVICE {
            return None;
        }
    }
    apart::learn(address, port, SERVICE, slot);
    let known = maps::endpoint(slot)?;
    if known.port_and_kind == port as u32 | SERVICE { Some(known.service) } else { None }
}

/// The backend of a source, likewise from BACKEND_ADDRESSES. What is no backend's is not remembered: there are too many.
#[inline(always)]
fn backend(address: u32, port: u16, settings: &Settings) -> Option<BackendAddress> {
    let slot = slot(address, port, BACKEND);
    if let Some(known) = maps::endpoint(slot)
        && known.version == settings.endpoints_version
        && known.address == mapped(address)
        && known.port_and_kind == port as u32 | BACKEND
    {
        return Some(known.backend);
    }
    if !apart::learn(address, port, BACKEND, slot) {
        return None;
    }
    Some(maps::endpoint(slot)?.backend)
}

/// Has this CPU remember whose an address is, from SERVICES or, if `kind` says so, from BACKEND_ADDRESSES. False: it is no
/// backend's.
#[inline(always)]
pub fn learn(address: u32, port: u16, kind: u32, slot: u32, settings: &Settings) -> bool {
    let (service, backend);
    // Read before the map is: the daemon changes the map first.
    let version = settings.endpoints_version;
    let key = key(address, port);
    let kind = if kind == SERVICE {
        let found = maps::service(&key);
        service = found.unwrap_or_default();
        backend = BackendAddress::default();
        if found.is_some() { SERVICE } else { NO_SERVICE }
    } else {
        let Some(found) = maps::backend_address(&key) else { return false };
        service = Service::default();
        backend = found;
        BACKEND
    };
    let port_and_kind = port as u32 | kind;
    maps::remember_endpoint(
        slot,
        &Endpoint { address: mapped(address), port_and_kind, version, service, backend },
    );
    true
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
