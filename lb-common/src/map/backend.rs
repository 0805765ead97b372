//! BACKENDS, BACKEND_ADDRESSES and NEXT_HOPS.

use crate::limits::{MAX_SERVICES_PER_BACKEND, NAME_LEN};
use core::mem::size_of;

/// The operator's will.
pub mod will {
    /// No such backend.
    pub const ABSENT: u8 = 0;
    /// Takes new dialogs.
    pub const ENABLED: u8 = 1;
    /// Keeps its dialogs, takes no new ones.
    pub const DRAINING: u8 = 2;
    /// Takes nothing.
    pub const DISABLED: u8 = 3;
    /// No longer in the configuration: keeps its dialogs until the last is over, then its id is free again.
    pub const REMOVED: u8 = 4;
}

/// The observed health.
pub mod health {
    /// Answers, or is not probed.
    pub const UP: u8 = 0;
    /// Does not answer.
    pub const DOWN: u8 = 1;
    /// Answers, but asks for no new dialogs.
    pub const DRAINING: u8 = 2;
}

/// Where frames for an address go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHop {
    /// Interface to leave by; 0: not resolved.
    pub ifindex: u32,
    /// Largest IP packet that may leave there, in bytes.
    pub mtu: u16,
    /// MAC address of the next hop.
    pub destination_mac: [u8; 6],
    /// MAC address of the interface.
    pub source_mac: [u8; 6],
    /// Explicit padding.
    pub _pad: u16,
}

const _: () = assert!(size_of::<NextHop>() == 20);

/// What a backend may get.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most calls in progress; [`UNLIMITED`], or 0: no new calls.
    pub max_channels: u32,
    /// Most new calls per second; [`UNLIMITED`], or 0: no new calls.
    pub max_cps: u32,
    /// Nanoseconds between two calls at `max_cps`; 0 if that is unlimited or 0.
    pub interval_ns: u32,
    /// Calls that may come at once, beyond the pace of `max_cps`.
    pub burst: u32,
    /// Calls in progress at a utilisation of 1: `max_channels`, or a nominal number if that is unlimited.
    pub capacity_channels: u32,
    /// New calls per second at a utilisation of 1, likewise.
    pub capacity_cps: u32,
    /// Calls in progress that telemetry reports beyond our own.
    pub other_channels: u32,
    /// New calls per second that telemetry reports beyond our own.
    pub other_cps: u32,
}

const _: () = assert!(size_of::<Limits>() == 32);

/// A limit that is none.
pub const UNLIMITED: u32 = u32::MAX;

/// Value of BACKENDS, indexed by backend id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// IPv6 address, or IPv4 mapped, network order.
    pub address: [u8; 16],
    /// Port, host order.
    pub port: u16,
    /// See [`will`].
    pub will: u8,
    /// See [`health`].
    pub health: u8,
    /// Next hop, kept by the daemon from netlink.
    pub next_hop: NextHop,
    /// Share of the ring relative to the others.
    pub weight: u16,
    /// Index of the zone in the configuration.
    pub zone: u16,
    /// What it may get.
    pub limits: Limits,
    /// Name, padded with zeros.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Backend>() == 16 + 4 + 20 + 4 + 32 + 32);

impl Backend {
    /// Whether a dialog that is pinned here stays here.
    #[inline(always)]
    pub const fn keeps_dialogs(&self) -> bool {
        keeps_dialogs(self.will, self.health)
    }

    /// Whether new dialogs may come here.
    #[inline(always)]
    pub const fn takes_dialogs(&self) -> bool {
        takes_dialogs(self.will, self.health)
    }
}

/// Whether a dialog pinned to a backend of this will and health stays there.
#[inline(always)]
pub const fn keeps_dialogs(will: u8, health: u8) -> bool {
    health != health::DOWN && (will == will::ENABLED || will == will::DRAINING || will == will::REMOVED)
}

/// Whether new dialogs may come to a backend of this will and health.
#[inline(always)]
pub const fn takes_dialogs(will: u8, health: u8) -> bool {
    health == health::UP && will == will::ENABLED
}

/// Value of BACKEND_ADDRESSES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendAddress {
    /// Backend id.
    pub backend: u16,
    /// How many of `services` are used, 1 to 4.
    pub count: u16,
    /// The `nat` services it serves, the one for its own calls first.
    pub services: [u16; MAX_SERVICES_PER_BACKEND],
    /// Explicit padding.
    pub _pad: u32,
}

const _: () = assert!(size_of::<BackendAddress>() == 16);

/// Value of NEXT_HOPS: a next hop that the kernel's routing table gave, for about a second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedNextHop {
    /// Whose next hop this is.
    pub address: [u32; 4],
    /// Low 32 bits of `jiffies` when it was looked up.
    pub looked_up: u32,
    /// The next hop; ifindex 0: nothing is cached here.
    pub next_hop: NextHop,
}

const _: () = assert!(size_of::<CachedNextHop>() == 40);

/// A name as maps hold it: padded with zeros, cut at [`NAME_LEN`].
pub fn padded_name(name: &str) -> [u8; NAME_LEN] {
    let mut bytes = [0; NAME_LEN];
    for (to, from) in bytes.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// The name in a map's value; empty when it is not UTF-8.
pub fn name_of(bytes: &[u8; NAME_LEN]) -> &str {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(NAME_LEN);
    bytes.get(..end).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("")
}
