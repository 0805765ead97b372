//! Last stage: rewrite the packet and send it on.

use crate::{
    maps::{self, Datagram},
    packet::{Header, Packet},
};
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    map::{
        backend::NextHop,
        listener_index,
        service::{ServiceKey, forwarding},
    },
    verdict::Verdict,
    wire::{ethernet, ipv4, udp, udp::End},
};

/// A packet that leaves by XDP: its verdict and the action that sends it.
#[derive(Clone, Copy)]
pub struct Departure {
    /// How it leaves.
    pub verdict: Verdict,
    /// XDP_TX, XDP_REDIRECT, or what the verdict says.
    pub action: u32,
}

impl Departure {
    #[inline(always)]
    fn by(verdict: Verdict) -> Departure {
        Departure { verdict, action: xdp_action::XDP_ABORTED }
    }
}

/// Sends a caller's packet to a backend.
#[inline(always)]
pub fn to_backend(
    packet: &Packet,
    datagram: &Datagram,
    mode: u8,
    backend: u16,
    verdict: Verdict,
) -> Departure {
    let Some(backend) = maps::backend(backend) else { return Departure::by(Verdict::DroppedNoBackend) };
    let next_hop = &backend.next_hop;
    if mode == forwarding::L2 {
        if datagram.ip_length > next_hop.mtu && next_hop.ifindex != 0 {
            return Departure::by(Verdict::DroppedTooBig);
        }
        return send(packet, next_hop, verdict, Verdict::DroppedNoNeighbour);
    }
    let a = &backend.address;
    let address = u32::from_ne_bytes([a[12], a[13], a[14], a[15]]);
    if rewrite(packet, datagram, End::Destination, address, backend.port).is_none() {
        return Departure::by(Verdict::DroppedMalformed);
    }
    if datagram.ip_length > next_hop.mtu {
        return Departure::by(Verdict::HostForwards);
    }
    send(packet, next_hop, verdict, Verdict::HostForwards)
}

/// Sends a backend's packet to its peer, from the service's address.
#[inline(always)]
pub fn from_backend(
    packet: &Packet,
    datagram: &Datagram,
    next_hop: &NextHop,
    service: u16,
    listener: u8,
    verdict: Verdict,
) -> Departure {
    let Some(listener) = maps::listener(listener_index(service as u32, listener as u32)) else {
        return Departure::by(Verdict::PassedBroken);
    };
    let ServiceKey { address: a, port, .. } = listener.address;
    if port == 0 {
        return Departure::by(Verdict::PassedBroken);
    }
    let address = u32::from_ne_bytes([a[12], a[13], a[14], a[15]]);
    if rewrite(packet, datagram, End::Source, address, port).is_none() {
        return Departure::by(Verdict::DroppedMalformed);
    }
    if datagram.ip_length > next_hop.mtu {
        return Departure::by(Verdict::ReplyHostForwards);
    }
    send(packet, next_hop, verdict, Verdict::ReplyHostForwards)
}

/// Rewrites one end of the datagram. `None`: the headers are not there any more, which cannot be.
#[inline(always)]
fn rewrite(packet: &Packet, datagram: &Datagram, end: End, address: u32, port: u16) -> Option<()> {
    let mut ip: Header<{ ipv4::LEN }> = packet.header(ethernet::LEN)?;
    let mut transport: Header<{ udp::LEN }> = packet.header(datagram.udp_at as usize)?;
    match end {
        End::Source => {
            udp::set_end(&mut transport, end, port, datagram.source, address);
            ipv4::set_source(&mut ip, address);
        }
        End::Destination => {
            udp::set_end(&mut transport, end, port, datagram.destination, address);
            ipv4::set_destination(&mut ip, address);
        }
    }
    Some(())
}

/// Sends the frame to its next hop; `otherwise` is the verdict when that is not known or not ours to send to. The
/// frame's own addresses stay as they are then, so that the host takes it.
#[inline(always)]
fn send(packet: &Packet, next_hop: &NextHop, verdict: Verdict, otherwise: Verdict) -> Departure {
    let ifindex = next_hop.ifindex;
    if ifindex == 0 {
        return Departure::by(otherwise);
    }
    let action = if ifindex == packet.ingress() {
        xdp_action::XDP_TX
    } else if maps::redirect(ifindex) {
        xdp_action::XDP_REDIRECT
    } else {
        return Departure::by(otherwise);
    };
    let (frame, ip) = (packet.header(0), packet.header(ethernet::LEN));
    let (Some(mut frame), Some(mut ip)) = (frame, ip) else {
        return Departure::by(Verdict::DroppedMalformed);
    };
    let frame: &mut Header<{ ethernet::LEN }> = &mut frame;
    let ip: &mut Header<{ ipv4::LEN }> = &mut ip;
    ipv4::decrement_ttl(ip);
    ethernet::set_addresses(frame, &next_hop.destination_mac, &next_hop.source_mac);
    Departure { verdict, action }
}
