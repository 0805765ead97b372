//! A packet's way through the stages.

use crate::{
    maps::{self, Opening},
    packet::Packet,
    stage::{
        forward::{self, Departure},
        inspect::{self, Message},
        parse::{self, Datagram, mapped},
        route,
    },
    tables::KernelTables,
};
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    decide::{
        Inbound, Tables,
        reply::{self, Outbound},
        source::source_hash,
        steer as decision,
    },
    map::settings::direction,
    sip::{Kind, Method},
    verdict::Verdict,
    wire::udp,
};

/// Steers a packet; the verdict says what became of it.
#[inline(always)]
pub fn steer(packet: Packet) -> Departure {
    match try_steer(packet) {
        Ok(departure) => departure,
        Err(verdict) => Departure { verdict, action: xdp_action::XDP_ABORTED },
    }
}

#[inline(always)]
fn try_steer(packet: Packet) -> Result<Departure, Verdict> {
    let datagram = parse::parse(&packet)?;
    let settings = maps::settings().ok_or(Verdict::PassedBroken)?;
    let scratch = maps::scratch().ok_or(Verdict::PassedBroken)?;
    route::route(&packet, &datagram, settings, scratch)?;
    let packet = if datagram.trailer == 0 {
        packet
    } else {
        packet.trimmed(datagram.trailer).ok_or(Verdict::DroppedMalformed)?
    };
    let message = inspect::inspect(&packet, datagram.udp_at + udp::LEN, scratch);
    let tables = KernelTables { settings, scratch };
    let (departure, tend) = if scratch.direction() == direction::TO_SERVICE {
        to_service(&packet, &datagram, &message, &tables)
    } else {
        from_backend(&packet, &datagram, &message, &tables)
    };
    if tend {
        tables.tend(tables.now());
    }
    Ok(departure)
}

#[inline(always)]
fn to_service(
    packet: &Packet,
    datagram: &Datagram,
    message: &Message,
    tables: &KernelTables,
) -> (Departure, bool) {
    let service = tables.scratch.service();
    let inbound = Inbound {
        service: service.service,
        listener: service.listener,
        tiers: service.tiers,
        kind: message.kind,
        call_key: message.call_key,
        source: source_hash(&tables.settings.hash_key, &mapped(datagram.source), datagram.source_port),
    };
    let bytes = packet.length() as u64;
    maps::count_service(service.service, bytes, method_slot(message.kind));
    let steering = decision::steer(tables, &inbound, message);
    if matches!(steering.verdict, Verdict::DroppedNoBackend | Verdict::DroppedNotSip) {
        return (Departure { verdict: steering.verdict, action: xdp_action::XDP_DROP }, false);
    }
    maps::count_to_backend(steering.backend, bytes, opening(message.kind, steering.verdict));
    let departure =
        forward::to_backend(packet, datagram, service.forwarding, steering.backend, steering.verdict);
    (departure, steering.tend)
}

#[inline(always)]
fn from_backend(
    packet: &Packet,
    datagram: &Datagram,
    message: &Message,
    tables: &KernelTables,
) -> (Departure, bool) {
    let from = tables.scratch.from();
    let outbound = Outbound {
        from,
        kind: message.kind,
        call_key: message.call_key,
        destination: source_hash(&tables.settings.hash_key, &mapped(datagram.destination), datagram.destination_port),
    };
    let leaving = reply::reply(tables, &outbound, message);
    maps::count_from_backend(from.backend, packet.length() as u64);
    let next_hop = tables.scratch.next_hop();
    let departure =
        forward::from_backend(packet, datagram, &next_hop, leaving.service, leaving.listener, leaving.verdict);
    (departure, leaving.tend)
}

/// A request's method as its slot among a service's counters; 0 for everything else.
#[inline(always)]
fn method_slot(kind: Kind) -> u8 {
    match kind {
        Kind::Request(method) => method as u8,
        _ => 0,
    }
}

/// What a packet to a backend is counted as.
#[inline(always)]
fn opening(kind: Kind, verdict: Verdict) -> Opening {
    match (verdict, kind) {
        (Verdict::SteeredNew | Verdict::SteeredUnpinned, Kind::Request(Method::Invite)) => Opening::Call,
        (Verdict::SteeredNew | Verdict::SteeredUnpinned, _) => Opening::Transaction,
        _ => Opening::Nothing,
    }
}
