//! SERVICES and LISTENERS: the addresses callers send to.

use core::mem::size_of;

/// UDP's protocol number, as in the IP header.
pub const UDP: u8 = 17;
/// TCP's protocol number.
pub const TCP: u8 = 6;

/// Key of SERVICES and of BACKEND_ADDRESSES: an address, a port and a transport.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// IPv6 address, or IPv4 mapped (`::ffff:a.b.c.d`), network order.
    pub address: [u8; 16],
    /// Port, host order.
    pub port: u16,
    /// [`UDP`] or [`TCP`].
    pub transport: u8,
    /// Always 0.
    pub _pad: u8,
}

const _: () = assert!(size_of::<ServiceKey>() == 20);

impl ServiceKey {
    /// The key of a UDP socket address.
    pub fn udp(address: core::net::SocketAddr) -> ServiceKey {
        ServiceKey { address: mapped(address.ip()), port: address.port(), transport: UDP, _pad: 0 }
    }

    /// The socket address; an IPv4-mapped address comes back as IPv4.
    pub fn socket_address(&self) -> core::net::SocketAddr {
        core::net::SocketAddr::new(unmapped(self.address), self.port)
    }
}

/// The 16 bytes of an address as maps hold them.
pub fn mapped(ip: core::net::IpAddr) -> [u8; 16] {
    match ip {
        core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        core::net::IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address of 16 bytes from a map.
pub fn unmapped(address: [u8; 16]) -> core::net::IpAddr {
    core::net::Ipv6Addr::from(address).to_canonical()
}

/// Way of getting a packet to its backend.
pub mod forwarding {
    /// Rewrite the destination; replies come back through the balancer.
    pub const NAT: u8 = 0;
    /// Rewrite the MAC address only; replies go straight to the caller.
    pub const L2: u8 = 1;
}

/// Value of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Service id, the first index of LISTENERS and RINGS and the index of SERVICE_COUNTERS.
    pub service: u16,
    /// Which of the service's listeners this is.
    pub listener: u8,
    /// See [`forwarding`].
    pub forwarding: u8,
    /// Number of tiers that have a ring.
    pub tiers: u8,
    /// Explicit padding.
    pub _pad: [u8; 3],
}

const _: () = assert!(size_of::<Service>() == 8);

/// Value of ENDPOINTS: what one CPU remembers of an address and port, so that packet after packet need not ask SERVICES and
/// BACKEND_ADDRESSES. The slot follows from the address and port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose address this is.
    pub address: [u32; 4],
    /// Its port, and above it [`endpoint`].
    pub port_and_kind: u32,
    /// [`super::settings::Settings::endpoints_version`] when it was looked up.
    pub version: u32,
    /// The service, if it is one.
    pub service: Service,
    /// The backend, if it is one.
    pub backend: super::backend::BackendAddress,
}

const _: () = assert!(size_of::<Endpoint>() == 48);

/// What an [`Endpoint`] is: in the second byte from above of `port_and_kind`. 0: nothing is remembered in this slot.
pub mod endpoint {
    /// A service's address, and not a service's address: asked for destinations.
    pub const SERVICE: u32 = 1 << 16;
    /// See [`SERVICE`].
    pub const NO_SERVICE: u32 = 2 << 16;
    /// A backend's address: asked for sources.
    pub const BACKEND: u32 = 3 << 16;
}

/// Value of LISTENERS, indexed by [`super::listener_index`]. Port 0: no such listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Address, port and transport.
    pub address: ServiceKey,
    /// See [`forwarding`].
    pub forwarding: u8,
    /// Explicit padding.
    pub _pad: [u8; 3],
    /// Name of the service, padded with zeros.
    pub name: [u8; crate::limits::NAME_LEN],
}

const _: () = assert!(size_of::<Listener>() == 20 + 4 + 32);
