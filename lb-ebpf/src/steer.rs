//! A packet's way through the stages.

use crate::{
    apart,
    maps::{self, Counted, Datagram, Inspected},
    packet::Packet,
    stage::{
        forward::{self, Departure},
        parse::{self, mapped},
        route,
    },
    tables::KernelTables,
};
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    decide::{
        source::source_hash,
        track::{self, Sender},
    },
    map::{dialog::DialogKey, service::forwarding, settings::direction},
    sip::{Kind, Method},
    verdict::{Fate, Verdict},
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
    let headers = parse::parse(&packet)?;
    let tables = KernelTables::open().ok_or(Verdict::PassedBroken)?;
    route::route(&packet, &headers.datagram, tables.settings, tables.scratch)?;
    if let Some(fault) = headers.fault {
        return Err(fault);
    }
    tables.scratch.set_datagram(&headers.datagram);
    let packet = if headers.trailer == 0 {
        packet
    } else {
        packet.trimmed(headers.trailer).ok_or(Verdict::DroppedMalformed)?
    };
    apart::inspect(&packet, headers.datagram.udp_at as usize + udp::LEN);
    let departure = if tables.scratch.direction() == direction::TO_SERVICE {
        to_service(&packet, &tables)
    } else {
        from_backend(&packet, &tables)
    };
    let jiffies = maps::jiffies();
    if tables.scratch.is_new_jiffy(jiffies as u32) {
        apart::tend(jiffies);
    }
    Ok(departure)
}

#[inline(always)]
fn to_service(packet: &Packet, tables: &KernelTables) -> Departure {
    let bytes = packet.length() as u64;
    let service = tables.scratch.service();
    maps::count_service(service.service, bytes, method_slot(tables.scratch.message().kind));
    let Datagram { source, source_port, udp_at, .. } = tables.scratch.datagram();
    let source = source_hash(&tables.settings.hash_key, &mapped(source), source_port);
    if let Inspected { kind: Kind::Request(Method::Invite), call_key: Some(call_key), .. } =
        tables.scratch.message()
    {
        maps::fetch_for_call(&DialogKey::new(call_key, service.service), tables.settings.bucket_mask);
    }
    let steering = apart::steer(packet, udp_at as usize + udp::LEN, source);
    if !matches!(steering.verdict, Verdict::SteeredPinned) {
        maps::count_detour(service.service, steering.verdict);
    }
    if !matches!(steering.verdict.fate(), Fate::Sent) {
        return Departure { verdict: steering.verdict, action: xdp_action::XDP_ABORTED };
    }
    let sees_answers = service.forwarding == forwarding::NAT;
    let counted =
        counted(tables.scratch.message().kind, steering.verdict, tables.scratch.met(), sees_answers);
    maps::count_to_backend(steering.backend, bytes, counted);
    let datagram = tables.scratch.datagram();
    forward::to_backend(packet, &datagram, service.forwarding, steering.backend, steering.verdict)
}

#[inline(always)]
fn from_backend(packet: &Packet, tables: &KernelTables) -> Departure {
    let Datagram { destination, destination_port, udp_at, .. } = tables.scratch.datagram();
    let destination = source_hash(&tables.settings.hash_key, &mapped(destination), destination_port);
    let leaving = apart::reply(packet, udp_at as usize + udp::LEN, destination);
    let answers =
        track::is_answer(tables.scratch.message().kind, tables.scratch.met(), Sender::Backend, true);
    maps::count_from_backend(tables.scratch.from().backend, packet.length() as u64, answers);
    let next_hop = tables.scratch.next_hop();
    let datagram = tables.scratch.datagram();
    forward::from_backend(packet, &datagram, next_hop, leaving.service, leaving.listener, leaving.verdict)
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
fn counted(kind: Kind, verdict: Verdict, met: u8, sees_answers: bool) -> Counted {
    match (verdict, kind) {
        (Verdict::SteeredUnpinned, Kind::Request(Method::Invite)) => Counted::UnpinnedCall,
        (Verdict::SteeredNew | Verdict::SteeredOverflow, Kind::Request(Method::Invite)) => Counted::Call,
        (Verdict::SteeredNew | Verdict::SteeredUnpinned, _) => Counted::Transaction,
        (_, kind) if track::is_answer(kind, met, Sender::Stranger, sees_answers) => Counted::Answer,
        _ => Counted::Packet,
    }
}
