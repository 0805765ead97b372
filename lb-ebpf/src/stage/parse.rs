//! First stage: the headers around a message. What is not UDP over IPv4 is none of our business.

use crate::{
    maps::Datagram,
    packet::{Header, Packet},
};
use lb_common::{
    map::service::{ServiceKey, UDP},
    verdict::Verdict,
    wire::{ethernet, ipv4, udp},
};

/// What the headers say beside what [`Datagram`] keeps.
#[derive(Clone, Copy)]
pub struct Headers {
    /// Where the datagram comes from and goes to.
    pub datagram: Datagram,
    /// Bytes behind the datagram that are not part of it.
    pub trailer: usize,
    /// Why the datagram cannot be steered even if it is ours.
    pub fault: Option<Verdict>,
}

/// Reads the headers. `Err`: not ours.
#[inline(always)]
pub fn parse(packet: &Packet) -> Result<Headers, Verdict> {
    let frame: Header<{ ethernet::LEN }> = packet.header(0).ok_or(Verdict::NotOurs)?;
    if ethernet::ethertype(&frame) != ethernet::IPV4 {
        return Err(Verdict::NotOurs);
    }
    let ip: Header<{ ipv4::LEN }> = packet.header(ethernet::LEN).ok_or(Verdict::NotOurs)?;
    let (version, header_length) = ipv4::version_and_length(&ip);
    if version != 4 || header_length < ipv4::LEN || ipv4::protocol(&ip) != UDP {
        return Err(Verdict::NotOurs);
    }
    let udp_at = ethernet::LEN + header_length;
    let transport: Header<{ udp::LEN }> = packet.header(udp_at).ok_or(Verdict::NotOurs)?;
    let (ip_length, udp_length) = (ipv4::total_length(&ip), udp::length(&transport));
    let datagram_end = udp_at + udp_length;
    let contradictory = udp_length < udp::LEN
        || header_length + udp_length > ip_length
        || ethernet::LEN + ip_length > packet.length();
    let fault = if ipv4::is_fragment(&ip) {
        Some(Verdict::PassedFragment)
    } else if contradictory {
        Some(Verdict::DroppedMalformed)
    } else if ipv4::ttl(&ip) <= 1 {
        Some(Verdict::DroppedTtl)
    } else {
        None
    };
    Ok(Headers {
        datagram: Datagram {
            source: ipv4::source(&ip),
            destination: ipv4::destination(&ip),
            source_port: udp::source_port(&transport),
            destination_port: udp::destination_port(&transport),
            ip_length: ip_length as u16,
            udp_at: udp_at as u16,
        },
        trailer: if contradictory { 0 } else { packet.length() - datagram_end },
        fault,
    })
}

/// An IPv4 address (network order) as the maps hold it: `::ffff:a.b.c.d`, in words.
#[inline(always)]
pub const fn mapped(address: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), address]
}

/// The key of an IPv4 address (network order) and a UDP port (host order).
#[inline(always)]
pub fn key(address: u32, port: u16) -> ServiceKey {
    let a = address.to_ne_bytes();
    ServiceKey {
        address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]],
        port,
        transport: UDP,
        _pad: 0,
    }
}
