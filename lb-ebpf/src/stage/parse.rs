//! First stage: the headers around a message. What is not UDP over IPv4 is none of our business.

use crate::packet::{Header, Packet};
use lb_common::{
    map::service::{ServiceKey, UDP},
    verdict::Verdict,
    wire::{ethernet, ipv4, udp},
};

/// A UDP datagram in an IPv4 packet in an Ethernet frame.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Offset of the UDP header in the frame.
    pub udp_at: usize,
    /// Length of the IP packet in bytes.
    pub ip_length: u16,
    /// Source address, network order.
    pub source: u32,
    /// Destination address, network order.
    pub destination: u32,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Bytes behind the datagram that are not part of it.
    pub trailer: usize,
    /// A fragment's ports, and whether it has any, are not known.
    pub fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// The lengths in the headers contradict one another or the frame.
    pub contradictory: bool,
}

/// Reads the headers. `Err`: not ours.
#[inline(always)]
pub fn parse(packet: &Packet) -> Result<Datagram, Verdict> {
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
    Ok(Datagram {
        udp_at,
        ip_length: ip_length as u16,
        source: ipv4::source(&ip),
        destination: ipv4::destination(&ip),
        source_port: udp::source_port(&transport),
        destination_port: udp::destination_port(&transport),
        trailer: if contradictory { 0 } else { packet.length() - datagram_end },
        fragment: ipv4::is_fragment(&ip),
        ttl: ipv4::ttl(&ip),
        contradictory,
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
