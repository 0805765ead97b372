//! The maps: names, kinds, layouts, who writes and who reads. No map name stands as a bare string anywhere else.

pub mod backend;
pub mod carry;
pub mod counters;
pub mod dialog;
pub mod expiry;
pub mod layout;
pub mod load;
pub mod recount;
pub mod ring;
pub mod service;
pub mod settings;
pub mod zone;

mod pod;

#[cfg(feature = "aya")]
pub use pod::value_of;

use crate::{limits, verdict::VERDICTS};
use core::mem::size_of;

/// Kind of a BPF map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BPF_MAP_TYPE_ARRAY.
    Array,
    /// BPF_MAP_TYPE_PERCPU_ARRAY.
    PerCpuArray,
    /// BPF_MAP_TYPE_HASH.
    Hash,
    /// BPF_MAP_TYPE_ARRAY_OF_MAPS; the value size is that of the inner maps' id.
    ArrayOfMaps,
    /// BPF_MAP_TYPE_DEVMAP_HASH.
    DevMapHash,
}

/// Who writes or reads a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The XDP program.
    Program,
    /// The daemon.
    Daemon,
    /// Both.
    Both,
}

/// One map as the program declares it and the daemon expects it.
#[derive(Clone, Copy, Debug)]
pub struct MapSpec {
    /// Name in the object, in bpftool and under the pin directory.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Size of a key in bytes.
    pub key_size: u32,
    /// Size of a value in bytes (of one CPU's value in per-CPU maps).
    pub value_size: u32,
    /// Capacity; for DIALOGS the default in buckets, the configuration may choose another.
    pub max_entries: u32,
    /// Who writes.
    pub writer: Party,
    /// Who reads.
    pub reader: Party,
}

/// Names of the maps.
pub mod name {
    /// One value: hash key, lifetimes, capacity.
    pub const SETTINGS: &str = "SETTINGS";
    /// One value: how the keys and values of the other maps lie in memory, for other versions.
    pub const LAYOUT: &str = "LAYOUT";
    /// Address, port and transport of a listener -> its service.
    pub const SERVICES: &str = "SERVICES";
    /// Service and listener number -> address, which replies leave from.
    pub const LISTENERS: &str = "LISTENERS";
    /// Service and tier -> Maglev table of backend ids.
    pub const RINGS: &str = "RINGS";
    /// Backend id -> address, will, health, next hop.
    pub const BACKENDS: &str = "BACKENDS";
    /// Address, port and transport of a backend -> its id and services.
    pub const BACKEND_ADDRESSES: &str = "BACKEND_ADDRESSES";
    /// Number of a bucket -> up to four dialogs.
    pub const DIALOGS: &str = "DIALOGS";
    /// One value: how many dialogs there are.
    pub const DIALOG_TALLY: &str = "DIALOG_TALLY";
    /// One value: where the search for old dialogs stands.
    pub const SWEEP: &str = "SWEEP";
    /// Per-CPU memory of whose addresses are whose.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// Cached next hops towards clients.
    pub const NEXT_HOPS: &str = "NEXT_HOPS";
    /// Backend id -> what it carries now.
    pub const BACKEND_LOADS: &str = "BACKEND_LOADS";
    /// Zone number -> what it carries now.
    pub const ZONE_LOADS: &str = "ZONE_LOADS";
    /// Zone number -> will, capacity, name.
    pub const ZONES: &str = "ZONES";
    /// Zone number -> its backends in order.
    pub const ZONE_MEMBERS: &str = "ZONE_MEMBERS";
    /// Service id -> how it chooses.
    pub const POLICIES: &str = "POLICIES";
    /// One value: until when the daemon answers.
    pub const SLOW_PATH: &str = "SLOW_PATH";
    /// Interfaces that packets may be sent out of.
    pub const PORTS: &str = "PORTS";
    /// Per-CPU memory of one packet.
    pub const SCRATCH: &str = "SCRATCH";
    /// Verdict -> packets and bytes.
    pub const VERDICTS: &str = "VERDICTS";
    /// Backend id -> packets, bytes, dialogs.
    pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
    /// Service id -> packets, bytes, requests by method.
    pub const SERVICE_COUNTERS: &str = "SERVICE_COUNTERS";
    /// Error number of a failed map write -> how often.
    pub const WRITE_ERRORS: &str = "WRITE_ERRORS";
}

macro_rules! spec {
    ($name:ident, $kind:ident, $key:ty, $value:ty, $entries:expr, $writer:ident, $reader:ident) => {
        MapSpec {
            name: name::$name,
            kind: Kind::$kind,
            key_size: size_of::<$key>() as u32,
            value_size: size_of::<$value>() as u32,
            max_entries: $entries,
            writer: Party::$writer,
            reader: Party::$reader,
        }
    };
}

/// The table of maps.
pub const TABLE: &[MapSpec] = &[
    spec!(SETTINGS, Array, u32, settings::Settings, 1, Daemon, Program),
    spec!(LAYOUT, Array, u32, layout::Layout, 1, Daemon, Daemon),
    spec!(
        SERVICES,
        Hash,
        service::ServiceKey,
        service::Service,
        limits::MAX_SERVICES * limits::MAX_LISTENERS,
        Daemon,
        Program
    ),
    spec!(
        LISTENERS,
        Array,
        u32,
        service::Listener,
        limits::MAX_SERVICES * limits::MAX_LISTENERS,
        Daemon,
        Program
    ),
    spec!(RINGS, ArrayOfMaps, u32, u32, limits::MAX_SERVICES * limits::MAX_TIERS, Daemon, Program),
    spec!(BACKENDS, Array, u32, backend::Backend, limits::MAX_BACKENDS, Daemon, Program),
    spec!(
        BACKEND_ADDRESSES,
        Hash,
        service::ServiceKey,
        backend::BackendAddress,
        limits::MAX_BACKENDS,
        Daemon,
        Program
    ),
    spec!(BACKEND_LOADS, Array, u32, load::Load, limits::MAX_BACKENDS, Program, Both),
    spec!(ZONE_LOADS, Array, u32, load::Load, limits::MAX_ZONES, Program, Both),
    spec!(ZONES, Array, u32, zone::Zone, limits::MAX_ZONES, Daemon, Both),
    spec!(ZONE_MEMBERS, Array, u32, zone::Members, limits::MAX_ZONES, Daemon, Program),
    spec!(POLICIES, Array, u32, zone::Policy, limits::MAX_SERVICES, Daemon, Program),
    spec!(SLOW_PATH, Array, u32, settings::SlowPath, 1, Daemon, Program),
    spec!(DIALOGS, Array, u32, dialog::Bucket, dialog::buckets_for(limits::MAX_DIALOGS), Program, Both),
    spec!(DIALOG_TALLY, Array, u32, dialog::Tally, 1, Program, Both),
    spec!(SWEEP, Array, u32, expiry::Sweep, 1, Program, Both),
    spec!(ENDPOINTS, PerCpuArray, u32, service::Endpoint, limits::ENDPOINT_SLOTS, Program, Program),
    spec!(NEXT_HOPS, PerCpuArray, u32, backend::CachedNextHop, limits::NEXT_HOP_SLOTS, Program, Program),
    spec!(PORTS, DevMapHash, u32, u64, limits::MAX_INTERFACES, Daemon, Program),
    spec!(SCRATCH, PerCpuArray, u32, settings::Scratch, 1, Program, Program),
    spec!(VERDICTS, PerCpuArray, u32, counters::Counter, VERDICTS, Program, Daemon),
    spec!(
        BACKEND_COUNTERS,
        PerCpuArray,
        u32,
        counters::BackendCounter,
        limits::MAX_BACKENDS,
        Program,
        Daemon
    ),
    spec!(
        SERVICE_COUNTERS,
        PerCpuArray,
        u32,
        counters::ServiceCounter,
        limits::MAX_SERVICES,
        Program,
        Daemon
    ),
    spec!(WRITE_ERRORS, PerCpuArray, u32, u64, limits::MAX_ERRNO, Program, Daemon),
];

/// Index of a service's ring of one tier in RINGS.
#[inline(always)]
pub const fn ring_index(service: u32, tier: u32) -> u32 {
    service * limits::MAX_TIERS + tier
}

/// Index of a service's listener in LISTENERS.
#[inline(always)]
pub const fn listener_index(service: u32, listener: u32) -> u32 {
    service * limits::MAX_LISTENERS + listener
}
