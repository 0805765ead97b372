//! A SIP network in namespaces: a client, a balancer and its backends, wired as `nat` or `l2` asks.
//!
//! ```text
//! nat:  client ─── front[balancer]back ─── switch ═══ sw1, sw2, sw3     default route of backends: balancer
//! l2:   client ═══ switch ═══ front[balancer], sw1, sw2, sw3            service address on the backends' loopback
//! ```
//!
//! Backends may stand in several zones. Then each zone also has a service address of its own, which stands for another
//! balancer there and is what a redirect names; the one balancer serves them all.

use crate::{cleanup::Folder, daemon, netns::Namespace, program::PassProgram};
use anyhow::{Context, Result, ensure};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
};

/// Port of every SIP server here.
pub const SIP_PORT: u16 = 5060;
/// The service's address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// The balancer's interface towards clients.
pub const FRONT: &str = "front";
/// The balancer's interface towards backends, in `nat`.
pub const BACK: &str = "back";
/// What [`Lab::bond`] joins the balancer's interface towards the switch and [`SPARE`] to.
pub const BOND: &str = "bond0";
/// The second port of [`BOND`].
pub const SPARE: &str = "spare";
/// The only interface of everybody else.
pub const DEVICE: &str = "eth0";

/// How packets get to the backends; DESIGN's forwarding modes that have a topology here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Destination rewrite, replies through the balancer.
    Nat,
    /// MAC rewrite, replies straight to the caller.
    L2,
}

impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Forwarding::Nat => "nat",
            Forwarding::L2 => "l2",
        })
    }
}

/// Number of the address of the first zone's own service.
const FIRST_ZONE: u8 = 211;
/// Most backends: their addresses end below those of the zones.
const MAX_BACKENDS: usize = 200;
/// Most zones: their addresses end below those of further callers.
const MAX_ZONES: usize = 10;
/// Last number of the address of the first further caller.
const FIRST_CALLER: u8 = 221;
/// Most further callers.
const MAX_CALLERS: u8 = 30;

/// A group of backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// The zone's own service, if there are several zones.
    pub service: Option<SocketAddrV4>,
}

/// One backend.
pub struct Backend {
    /// `sw1`, `sw2`, ..., or with several zones `uk1`, `uk2`, `germany1`, ...
    pub name: String,
    /// The name of its zone.
    pub zone: String,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The address its SIP server binds: its own, or the service's in `l2`.
    pub listens_on: Ipv4Addr,
    /// All addresses a call may come to: its own, or in `l2` that of the service and that of its zone's own service.
    pub reached_at: Vec<Ipv4Addr>,
}

/// The network. Everything in it is gone when it is dropped.
pub struct Lab {
    /// How it is wired.
    pub forwarding: Forwarding,
    /// Where callers live.
    pub client: Namespace,
    /// Where `sipsteer` runs.
    pub balancer: Namespace,
    /// The zones, in order of preference.
    pub zones: Vec<Zone>,
    /// The backends, zone by zone.
    pub backends: Vec<Backend>,
    folder: Folder,
    _far_ends: Vec<PassProgram>,
    switch: Namespace,
}

impl Lab {
    /// Wires a network with this many backends in one zone, at most 200.
    ///
    /// # Errors
    /// Without root, or when `ip` or `ethtool` is missing.
    pub fn new(forwarding: Forwarding, backends: u8) -> Result<Lab> {
        Lab::with_zones(forwarding, &[("here", backends)])
    }

    /// Wires a network with zones, each with its name and its number of backends; 10 zones and 200 backends at most.
    ///
    /// # Errors
    /// As [`Lab::new`], or when there are too many of them.
    pub fn with_zones(forwarding: Forwarding, zones: &[(&str, u8)]) -> Result<Lab> {
        let (places, plans) = plan(forwarding, zones)?;
        // First of all: it may take minutes, and the servers live for a limited time.
        daemon::binary()?;
        let switch = Namespace::new("switch")?;
        switch.ip("link add br0 type bridge")?;
        switch.ip("link set br0 up")?;
        let client = Namespace::new("client")?;
        let balancer = Namespace::new("balancer")?;
        let backends =
            plans.into_iter().map(|p| add_backend(forwarding, &switch, p)).collect::<Result<_>>()?;
        let far_ends = match forwarding {
            Forwarding::Nat => wire_nat(&client, &balancer, &switch)?,
            Forwarding::L2 => wire_l2(&client, &balancer, &switch)?,
        };
        for service in places.iter().filter_map(|zone| zone.service) {
            balancer.ip(&format!("addr add {}/32 dev {FRONT}", service.ip()))?;
        }
        let folder = Folder::new("lab-")?;
        let zones = places;
        Ok(Lab { forwarding, client, balancer, zones, backends, folder, _far_ends: far_ends, switch })
    }

    /// A folder for logs and files, which goes with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where callers send to.
    pub fn service(&self) -> SocketAddrV4 {
        SocketAddrV4::new(VIP, SIP_PORT)
    }

    /// A zone by its name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn zone(&self, name: &str) -> Result<&Zone> {
        self.zones
            .iter()
            .find(|zone| zone.name == name)
            .with_context(|| format!("the lab has no zone {name}"))
    }

    /// Gives the client addresses for this many callers, at most 30, beside its own. To be called once.
    ///
    /// # Errors
    /// When there are too many, or a second time.
    pub fn callers(&self, count: u8) -> Result<Vec<Ipv4Addr>> {
        ensure!(count <= MAX_CALLERS, "{count} callers, {MAX_CALLERS} at most");
        let addresses = (0..count).map(|number| Ipv4Addr::new(203, 0, 113, FIRST_CALLER + number));
        addresses
            .map(|address| {
                self.client.ip(&format!("addr add {address}/24 dev {DEVICE}"))?;
                Ok(address)
            })
            .collect()
    }

    /// Makes the balancer's [`BACK`] anew after it was deleted, with so many queues; what it returns belongs to it.
    ///
    /// # Errors
    /// When it is there.
    pub fn plug_back(&self, queues: u32) -> Result<PassProgram> {
        self.balancer.connect_by(BACK, &self.switch, "lb", queues)?;
        self.switch.ip("link set lb master br0")?;
        self.address_back()?;
        PassProgram::attach(&self.switch, "lb")
    }

    /// Gives the balancer's [`BACK`] its address again, which it loses on its way through other namespaces.
    ///
    /// # Errors
    /// When it has one.
    pub fn address_back(&self) -> Result<()> {
        address_back(&self.balancer)
    }

    /// Joins the balancer's interface towards the switch and a [`SPARE`] one to a [`BOND`], which gets its addresses: one of them
    /// carries, the other takes over. Returns the name of the first.
    ///
    /// # Errors
    /// When the kernel has no bonds.
    pub fn bond(&mut self) -> Result<&'static str> {
        let first = match self.forwarding {
            Forwarding::Nat => BACK,
            Forwarding::L2 => FRONT,
        };
        let addresses: serde_json::Value =
            serde_json::from_str(&self.balancer.ip(&format!("-4 -j addr show dev {first}"))?)?;
        self.balancer.ip(&format!("link add {BOND} type bond mode active-backup miimon 50"))?;
        plug(&self.switch, SPARE, &self.balancer, SPARE)?;
        self._far_ends.push(PassProgram::attach(&self.switch, SPARE)?);
        self.balancer.ip(&format!("addr flush dev {first}"))?;
        for port in [first, SPARE] {
            self.join(port)?;
        }
        self.balancer.ip(&format!("link set {BOND} up"))?;
        for address in addresses[0]["addr_info"].as_array().context("it has addresses")? {
            let (local, length) = (&address["local"], &address["prefixlen"]);
            let local = local.as_str().context("an address")?;
            self.balancer.ip(&format!("addr add {local}/{length} dev {BOND}"))?;
        }
        self.balancer.sysctl(&[("ipv4/conf/bond0/rp_filter", "0"), ("ipv4/conf/bond0/accept_local", "1")])?;
        Ok(first)
    }

    /// Makes an interface of the balancer a port of its [`BOND`].
    ///
    /// # Errors
    /// When there is no such interface, or no bond.
    pub fn join(&self, port: &str) -> Result<()> {
        self.balancer.ip(&format!("link set {port} down"))?;
        self.balancer.ip(&format!("link set {port} master {BOND}")).map(drop)
    }

    /// Whether the switch's end of a link of the balancer, its first one or [`SPARE`], is up.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_carrier(&self, of: &str, up: bool) -> Result<()> {
        let port = if of == SPARE { SPARE } else { "lb" };
        self.switch.ip(&format!("link set {port} {}", if up { "up" } else { "down" })).map(drop)
    }

    /// The balancer's interfaces that `sipsteer` attaches to.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.forwarding {
            Forwarding::Nat => &[FRONT, BACK],
            Forwarding::L2 => &[FRONT],
        }
    }
}

/// Joins a device of a namespace to a new port of the switch.
fn plug(switch: &Namespace, port: &str, namespace: &Namespace, device: &str) -> Result<()> {
    namespace.connect(device, switch, port)?;
    switch.ip(&format!("link set {port} master br0")).map(drop)
}

/// A backend before it is there.
struct PlannedBackend {
    name: String,
    zone: String,
    number: u8,
    services: Vec<Ipv4Addr>,
}

/// Names and addresses of everybody.
fn plan(forwarding: Forwarding, zones: &[(&str, u8)]) -> Result<(Vec<Zone>, Vec<PlannedBackend>)> {
    let total: usize = zones.iter().map(|(_, backends)| usize::from(*backends)).sum();
    ensure!(zones.len() <= MAX_ZONES, "{} zones, {MAX_ZONES} at most", zones.len());
    ensure!(total <= MAX_BACKENDS, "{total} backends, {MAX_BACKENDS} at most");
    let several = zones.len() > 1;
    let (mut places, mut backends) = (Vec::new(), Vec::new());
    for ((zone, members), last) in zones.iter().zip(FIRST_ZONE..) {
        let own = several.then(|| Ipv4Addr::new(203, 0, 113, last));
        for member in 1..=*members {
            let number = backends.len() as u8 + 1;
            let name = if several { format!("{zone}{member}") } else { format!("sw{number}") };
            let services = match forwarding {
                Forwarding::Nat => Vec::new(),
                Forwarding::L2 => std::iter::once(VIP).chain(own).collect(),
            };
            backends.push(PlannedBackend { name, zone: (*zone).to_owned(), number, services });
        }
        let service = own.map(|address| SocketAddrV4::new(address, SIP_PORT));
        places.push(Zone { name: (*zone).to_owned(), service });
    }
    Ok((places, backends))
}

/// A backend as the manual tells operators to set one up.
fn add_backend(forwarding: Forwarding, switch: &Namespace, planned: PlannedBackend) -> Result<Backend> {
    let PlannedBackend { name, zone, number, services } = planned;
    let namespace = Namespace::new(&name)?;
    plug(switch, &name, &namespace, DEVICE)?;
    let (address, reached_at) = match forwarding {
        Forwarding::Nat => {
            let address = Ipv4Addr::new(10, 0, 0, 10 + number);
            namespace.ip(&format!("addr add {address}/24 dev {DEVICE}"))?;
            namespace.ip("route add default via 10.0.0.1")?;
            (address, vec![address])
        }
        Forwarding::L2 => {
            let address = Ipv4Addr::new(203, 0, 113, 10 + number);
            // The service address is on the loopback, and ARP must neither answer for it nor speak of it.
            namespace.sysctl(&[("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2")])?;
            namespace.ip(&format!("addr add {address}/24 dev {DEVICE}"))?;
            for service in &services {
                namespace.ip(&format!("addr add {service}/32 dev lo"))?;
            }
            (address, services)
        }
    };
    Ok(Backend { name, zone, namespace, address, listens_on: reached_at[0], reached_at })
}

/// Two arms: clients in front, backends behind.
fn wire_nat(client: &Namespace, balancer: &Namespace, switch: &Namespace) -> Result<Vec<PassProgram>> {
    client.connect(DEVICE, balancer, FRONT)?;
    plug(switch, "lb", balancer, BACK)?;
    address_balancer(balancer)?;
    balancer.sysctl(&[("ipv4/ip_forward", "1")])?;
    address_back(balancer)?;
    address_client(client)?;
    Ok(vec![PassProgram::attach(client, DEVICE)?, PassProgram::attach(switch, "lb")?])
}

/// One arm: everybody on one segment.
fn wire_l2(client: &Namespace, balancer: &Namespace, switch: &Namespace) -> Result<Vec<PassProgram>> {
    plug(switch, "client", client, DEVICE)?;
    plug(switch, "lb", balancer, FRONT)?;
    address_balancer(balancer)?;
    address_client(client)?;
    Ok(vec![PassProgram::attach(switch, "lb")?])
}

fn address_balancer(balancer: &Namespace) -> Result<()> {
    balancer.ip(&format!("addr add 203.0.113.1/24 dev {FRONT}"))?;
    balancer.ip(&format!("addr add {VIP}/32 dev {FRONT}"))?;
    balancer.sysctl(&[("ipv4/conf/all/rp_filter", "0"), (&format!("ipv4/conf/{FRONT}/rp_filter"), "0")])
}

fn address_back(balancer: &Namespace) -> Result<()> {
    balancer.ip(&format!("addr add 10.0.0.1/24 dev {BACK}"))?;
    // What the program leaves to the host to forward comes in at the back and has the service's address as its source,
    // which is the host's own.
    balancer.sysctl(&[("ipv4/conf/back/accept_local", "1")])
}

/// The client's default route lets it reach the backends themselves, which tests without a balancer do.
fn address_client(client: &Namespace) -> Result<()> {
    client.ip(&format!("addr add {CLIENT}/24 dev {DEVICE}"))?;
    client.ip("route add default via 203.0.113.1").map(drop)
}
