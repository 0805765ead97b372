//! Next hops of the backends, from the kernel's routes and neighbours, kept true while they change.

use super::netlink::{Event, Events, Link, Mac, Netlink, Route};
use lb_common::map::backend::NextHop;
use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::IpAddr,
    time::{Duration, Instant},
};

/// A MAC address that the kernel forgot is still used for this long while it is asked for again: a flushed neighbour
/// table must not stop calls.
const HOLD: Duration = Duration::from_secs(3);

/// Why a backend has no next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Not looked at yet.
    NotYet,
    /// The kernel knows no way: its reason.
    NoRoute(String),
    /// The address is one of this host.
    Local,
    /// The way leads through an interface that XDP is not attached to.
    ForeignInterface(String),
    /// The interface is down.
    Down(String),
    /// The interface has no MAC address.
    NoMac(String),
    /// The neighbour does not answer: address and interface.
    NoAnswer(IpAddr, String),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unresolved::NotYet => f.write_str("not looked up yet"),
            Unresolved::NoRoute(reason) => write!(f, "no route: {reason}"),
            Unresolved::Local => f.write_str("is an address of this host itself"),
            Unresolved::ForeignInterface(name) => {
                write!(f, "is reached through {name}, which is not in node.interfaces")
            }
            Unresolved::Down(name) => write!(f, "is reached through {name}, which is down"),
            Unresolved::NoMac(name) => write!(f, "is reached through {name}, which has no MAC address"),
            Unresolved::NoAnswer(via, name) => write!(f, "{via} does not answer on {name}"),
        }
    }
}

/// What is known about one backend.
#[derive(Debug)]
struct Target {
    address: IpAddr,
    route: Result<Route, Unresolved>,
    /// What the map holds.
    current: Option<NextHop>,
    reason: Option<Unresolved>,
    lost_at: Option<Instant>,
    /// Whom the way led to last, and by what.
    known: Option<(IpAddr, NextHop)>,
}

/// A next hop that changed; `None` is not resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Backend id.
    pub backend: u16,
    /// What the map should hold now.
    pub next_hop: Option<NextHop>,
    /// Why there is none.
    pub reason: Option<Unresolved>,
}

/// The kernel's network as far as it matters for the backends.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Netlink,
    links: BTreeMap<u32, Link>,
    macs: HashMap<(u32, IpAddr), Mac>,
    targets: BTreeMap<u16, Target>,
    interfaces: Vec<String>,
    routes_changed: bool,
    events_lost: bool,
}

impl Neighbours {
    /// Connects to the kernel and reads interfaces and neighbours.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn connect() -> io::Result<(Neighbours, Events)> {
        let (netlink, events) = Netlink::connect()?;
        let mut neighbours = Neighbours {
            netlink,
            links: BTreeMap::new(),
            macs: HashMap::new(),
            targets: BTreeMap::new(),
            interfaces: Vec::new(),
            routes_changed: false,
            events_lost: false,
        };
        neighbours.read().await?;
        Ok((neighbours, events))
    }

    /// Connects anew, after the connection was lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reconnect(&mut self) -> io::Result<Events> {
        let (netlink, events) = Netlink::connect()?;
        self.netlink = netlink;
        self.events_lost = true;
        Ok(events)
    }

    /// The connection, for questions about the host.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// All interfaces of the host.
    pub fn links(&self) -> Vec<Link> {
        self.links.values().cloned().collect()
    }

    /// The interface of a name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|l| l.name == name)
    }

    /// The interface of a number.
    pub fn link_by_index(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex)
    }

    /// Why a backend has no next hop.
    pub fn reason(&self, backend: u16) -> Option<&Unresolved> {
        self.targets.get(&backend)?.reason.as_ref()
    }

    /// Whose next hops matter from now on, by backend id, with what the map holds, and which interfaces packets may
    /// leave by.
    pub fn set_targets(
        &mut self,
        targets: impl IntoIterator<Item = (u16, IpAddr, NextHop)>,
        interfaces: &[String],
    ) {
        let mut old = std::mem::take(&mut self.targets);
        for (id, address, held) in targets {
            let target = match old.remove(&id) {
                Some(target) if target.address == address => target,
                _ => Target {
                    address,
                    route: Err(Unresolved::NotYet),
                    current: (held.ifindex != 0).then_some(held),
                    reason: Some(Unresolved::NotYet),
                    lost_at: None,
                    known: None,
                },
            };
            self.targets.insert(id, target);
        }
        self.interfaces = interfaces.to_vec();
        self.routes_changed = true;
    }

    /// Which interfaces packets may leave by, if that is another set than before.
    pub fn set_interfaces(&mut self, interfaces: Vec<String>) {
        if self.interfaces != interfaces {
            self.interfaces = interfaces;
            self.routes_changed = true;
        }
    }

    /// Takes note of something that happened. [`Neighbours::settle`] draws the conclusions.
    pub fn note(&mut self, event: Event) {
        match event {
            Event::Link(link) => {
                let before = self.links.insert(link.ifindex, link.clone());
                // Traffic counters and the like are told as well; only this can change a way.
                self.routes_changed |= before.is_none_or(|b| b != link);
            }
            Event::LinkGone(link) => {
                self.links.remove(&link.ifindex);
                self.macs.retain(|(ifindex, _), _| *ifindex != link.ifindex);
                self.routes_changed = true;
            }
            Event::Neighbour { ifindex, address, mac: Some(mac) } => {
                self.macs.insert((ifindex, address), mac);
            }
            Event::Neighbour { ifindex, address, mac: None } => {
                self.macs.remove(&(ifindex, address));
            }
            Event::Routes => self.routes_changed = true,
            Event::Lost => {
                tracing::warn!("more happened to the network than the kernel kept for us: reading it anew");
                self.events_lost = true;
            }
        }
    }

    /// Reads everything anew, in case an event was lost, and has the kernel confirm all neighbours.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn refresh(&mut self) -> io::Result<Vec<Change>> {
        self.read().await?;
        self.routes_changed = true;
        let changes = self.settle().await;
        self.ask(|_| true).await;
        Ok(changes)
    }

    /// Reads the interfaces anew: the kernel tells of most changes, but not of a program that comes or goes.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn read_links(&mut self) -> io::Result<()> {
        let links = self.netlink.links().await?.into_iter().map(|l| (l.ifindex, l)).collect();
        self.routes_changed |= self.links != links;
        self.links = links;
        Ok(())
    }

    async fn read(&mut self) -> io::Result<()> {
        self.read_links().await?;
        self.macs = self.netlink.neighbours().await?.into_iter().map(|(i, a, mac)| ((i, a), mac)).collect();
        Ok(())
    }

    /// What changed for the backends since the last time.
    pub async fn settle(&mut self) -> Vec<Change> {
        if self.events_lost {
            match self.read().await {
                Ok(()) => (self.events_lost, self.routes_changed) = (false, true),
                // The next time may be better; what is known may be old until then.
                Err(e) => tracing::error!("cannot read interfaces and neighbours: {e}"),
            }
        }
        if std::mem::take(&mut self.routes_changed) {
            for target in self.targets.values_mut() {
                target.route = match self.netlink.route(target.address).await {
                    Ok(route) if route.local => Err(Unresolved::Local),
                    Ok(route) => Ok(route),
                    Err(e) => Err(Unresolved::NoRoute(e.to_string())),
                };
            }
        }
        let now = Instant::now();
        let mut changes = Vec::new();
        for (id, target) in &mut self.targets {
            let found = target
                .route
                .clone()
                .and_then(|route| next_hop(route, &self.links, &self.macs, &self.interfaces));
            // A port hears no answers: they are its bridge's or bond's. The neighbour behind it is the same as before.
            let port = |route: &Route| self.links.get(&route.ifindex).is_some_and(|l| l.controller.is_some());
            let hold = if target.route.as_ref().is_ok_and(port) { Duration::MAX } else { HOLD };
            changes.extend(target.conclude(*id, found, hold, now));
        }
        self.ask(|target| target.lost_at.is_some()).await;
        changes
    }

    /// Whether a backend is still waiting for the first answer of its neighbour.
    pub fn waiting(&self) -> bool {
        self.targets.values().any(|t| matches!(t.reason, Some(Unresolved::NoAnswer(..) | Unresolved::NotYet)))
    }

    /// Has the kernel ask or confirm the neighbours of some targets.
    async fn ask(&self, which: impl Fn(&Target) -> bool) {
        let mut asked = Vec::new();
        for target in self.targets.values().filter(|t| which(t)) {
            let Ok(route) = &target.route else { continue };
            let usable = self.links.get(&route.ifindex).is_some_and(|l| l.up && l.mac.is_some());
            if !usable || asked.contains(&(route.ifindex, route.via)) {
                continue;
            }
            asked.push((route.ifindex, route.via));
            if let Err(e) = self.netlink.resolve(route.ifindex, route.via).await {
                tracing::debug!("cannot ask for the MAC address of {}: {e}", route.via);
            }
        }
    }
}

impl Target {
    /// Compares what was found with what the map holds, which stays for so long when the neighbour does not answer. After its
    /// interface was down a neighbour is the same as before, until it answers or that time is over.
    fn conclude(
        &mut self,
        id: u16,
        found: Result<NextHop, Unresolved>,
        hold: Duration,
        now: Instant,
    ) -> Option<Change> {
        let (next_hop, reason) = match found {
            Ok(next_hop) => {
                self.lost_at = None;
                self.known = self.route.as_ref().ok().map(|route| (route.via, next_hop));
                (Some(next_hop), None)
            }
            Err(Unresolved::NoAnswer(via, name)) => {
                let lost_at = *self.lost_at.get_or_insert(now);
                let known = self.current.or_else(|| self.known_by_way());
                match known.filter(|_| now.duration_since(lost_at) < hold) {
                    Some(held) => (Some(held), None),
                    None => {
                        self.known = None;
                        (None, Some(Unresolved::NoAnswer(via, name)))
                    }
                }
            }
            Err(reason) => {
                self.lost_at = None;
                (None, Some(reason))
            }
        };
        let same = next_hop == self.current && reason == self.reason;
        self.current = next_hop;
        self.reason.clone_from(&reason);
        (!same).then_some(Change { backend: id, next_hop, reason })
    }

    /// The next hop that was known last, if the way still leads there.
    fn known_by_way(&self) -> Option<NextHop> {
        let (route, (via, next_hop)) = (self.route.as_ref().ok()?, self.known?);
        (route.via == via && route.ifindex == next_hop.ifindex).then_some(next_hop)
    }
}

/// The next hop of a route.
fn next_hop(
    route: Route,
    links: &BTreeMap<u32, Link>,
    macs: &HashMap<(u32, IpAddr), Mac>,
    interfaces: &[String],
) -> Result<NextHop, Unresolved> {
    let Some(link) = links.get(&route.ifindex) else {
        return Err(Unresolved::NoRoute(format!("its interface {} is gone", route.ifindex)));
    };
    let name = || link.name.clone();
    if !interfaces.contains(&link.name) {
        return Err(Unresolved::ForeignInterface(name()));
    }
    if !link.up {
        return Err(Unresolved::Down(name()));
    }
    let source_mac = link.mac.ok_or_else(|| Unresolved::NoMac(name()))?;
    let destination_mac =
        *macs.get(&(route.ifindex, route.via)).ok_or_else(|| Unresolved::NoAnswer(route.via, name()))?;
    let mtu = route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    Ok(NextHop {
        ifindex: route.ifindex,
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        destination_mac,
        source_mac,
        _pad: 0,
    })
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
