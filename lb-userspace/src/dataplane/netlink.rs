//! The kernel's view of interfaces, routes and neighbours: rtnetlink, wrapped here and nowhere else.

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// A MAC address.
pub type Mac = [u8; 6];

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Number; another one after the interface was made anew.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// MAC address; none on tunnels and the like.
    pub mac: Option<Mac>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Number of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// The XDP program it carries.
    pub xdp: Option<Xdp>,
}

/// An attached XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// Number of the program.
    pub program: u32,
    /// Whether it runs in the network stack instead of the driver.
    pub generic: bool,
}

/// Where packets for an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Interface they leave by.
    pub ifindex: u32,
    /// Whose MAC address they carry: the gateway, or the address itself.
    pub via: IpAddr,
    /// The route's own limit on packets, in bytes.
    pub mtu: Option<u32>,
    /// Whether the address is one of this host.
    pub local: bool,
}

/// What happened to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is new or changed.
    Link(Link),
    /// An interface is gone.
    LinkGone(Link),
    /// A neighbour's MAC address is known, or no longer.
    Neighbour {
        /// Interface it is behind.
        ifindex: u32,
        /// Its IP address.
        address: IpAddr,
        /// Its MAC address, while usable.
        mac: Option<Mac>,
    },
    /// A route or an address changed.
    Routes,
    /// More happened than the kernel kept for us: everything must be read anew.
    Lost,
}

/// Longest time for an answer of the kernel, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the kernel. Belongs to the network namespace of the thread that made it.
///
/// Questions and events have a socket each: when events overflow theirs, an answer that came the same way would be lost,
/// and waited for in vain.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    drivers: [JoinHandle<()>; 2],
}

/// What happens to the network, as it happens.
pub type Events = futures_util::stream::BoxStream<'static, Event>;

impl Drop for Netlink {
    fn drop(&mut self) {
        self.drivers.iter().for_each(JoinHandle::abort);
    }
}

fn other(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error.to_string()),
    }
}

/// Waits for an answer, but not for ever.
async fn in_time<T>(answer: impl Future<Output = Result<T, rtnetlink::Error>>) -> io::Result<T> {
    match timeout(PATIENCE, answer).await {
        Ok(result) => result.map_err(other),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer")),
    }
}

impl Netlink {
    /// Connects and subscribes to interfaces, neighbours, addresses and routes. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn connect() -> io::Result<(Netlink, Events)> {
        let (questions, handle, _) = new_connection()?;
        let (connection, _, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let drivers = [tokio::spawn(questions), tokio::spawn(connection)];
        let events = messages.filter_map(async |(message, _)| event(message)).boxed();
        Ok((Netlink { handle, drivers }, events))
    }

    /// All interfaces.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn links(&self) -> io::Result<Vec<Link>> {
        let messages: Vec<LinkMessage> = in_time(self.handle.link().get().execute().try_collect()).await?;
        Ok(messages.iter().map(link).collect())
    }

    /// MAC addresses of all neighbours that are known: interface, address, MAC.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn neighbours(&self) -> io::Result<Vec<(u32, IpAddr, Mac)>> {
        let messages: Vec<NeighbourMessage> =
            in_time(self.handle.neighbours().get().execute().try_collect()).await?;
        Ok(messages
            .iter()
            .filter_map(|m| match neighbour(m)? {
                (ifindex, address, Some(mac)) => Some((ifindex, address, mac)),
                _ => None,
            })
            .collect())
    }

    /// The way to an address.
    ///
    /// # Errors
    /// The kernel's: `ENETUNREACH` when there is no route.
    pub async fn route(&self, to: IpAddr) -> io::Result<Route> {
        let request = match to {
            IpAddr::V4(v4) => RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(v4, 32).build(),
            IpAddr::V6(v6) => RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(v6, 128).build(),
        };
        let mut answers = std::pin::pin!(self.handle.route().get(request).execute());
        let answer = in_time(answers.try_next()).await?;
        answer
            .and_then(|message| route(&message, to))
            .ok_or_else(|| io::Error::other("the kernel's answer names no interface"))
    }

    /// Asks the kernel to find out or confirm a neighbour's MAC address; returns before it has.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn resolve(&self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        // NTF_USE acts as if a packet had been sent: an unknown neighbour is asked for, a stale one confirmed.
        let request = self
            .handle
            .neighbours()
            .add(ifindex, address)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace();
        in_time(request.execute()).await
    }

    /// Whether an address is one of this host.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn is_local(&self, address: IpAddr) -> io::Result<bool> {
        match self.route(address).await {
            Ok(route) => Ok(route.local),
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES)
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

fn event(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<Event> {
    let message = match message.payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Event::Lost),
        _ => return None,
    };
    match message {
        // A bridge tells of its ports in messages of the same kind; a port that left is no interface that is gone.
        RouteNetlinkMessage::NewLink(m) | RouteNetlinkMessage::DelLink(m)
            if m.header.interface_family != AddressFamily::Unspec =>
        {
            None
        }
        RouteNetlinkMessage::NewLink(m) => Some(Event::Link(link(&m))),
        RouteNetlinkMessage::DelLink(m) => Some(Event::LinkGone(link(&m))),
        RouteNetlinkMessage::NewNeighbour(m) => {
            let (ifindex, address, mac) = neighbour(&m)?;
            Some(Event::Neighbour { ifindex, address, mac })
        }
        RouteNetlinkMessage::DelNeighbour(m) => {
            let (ifindex, address, _) = neighbour(&m)?;
            Some(Event::Neighbour { ifindex, address, mac: None })
        }
        RouteNetlinkMessage::NewRoute(_)
        | RouteNetlinkMessage::DelRoute(_)
        | RouteNetlinkMessage::NewAddress(_)
        | RouteNetlinkMessage::DelAddress(_) => Some(Event::Routes),
        _ => None,
    }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        controller: None,
        xdp: None,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = Mac::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(number) => link.controller = (*number != 0).then_some(*number),
            LinkAttribute::Xdp(parts) => link.xdp = xdp(parts),
            _ => {}
        }
    }
    link
}

fn xdp(parts: &[LinkXdp]) -> Option<Xdp> {
    let mut generic = false;
    let mut program = None;
    for part in parts {
        match part {
            LinkXdp::Attached(attached) => generic = *attached == XdpAttached::SocketBuffer,
            LinkXdp::ProgId(id) => program = Some(*id),
            // With several programs at once the one in the driver sees packets first.
            LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
                program = program.or(Some(*id));
            }
            _ => {}
        }
    }
    program.filter(|id| *id != 0).map(|program| Xdp { program, generic })
}

fn neighbour(message: &NeighbourMessage) -> Option<(u32, IpAddr, Option<Mac>)> {
    let usable = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    Some((message.header.ifindex, address?, mac.filter(|_| usable)))
}

fn route(message: &RouteMessage, to: IpAddr) -> Option<Route> {
    let mut route = Route { ifindex: 0, via: to, mtu: None, local: message.header.kind == RouteType::Local };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = *ifindex,
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => route.via = IpAddr::V4(*v4),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => route.via = IpAddr::V6(*v6),
            RouteAttribute::Via(RouteVia::Inet(v4)) => route.via = IpAddr::V4(*v4),
            RouteAttribute::Via(RouteVia::Inet6(v6)) => route.via = IpAddr::V6(*v6),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|m| match m {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (route.ifindex != 0 && message.header.address_family != AddressFamily::Unspec).then_some(route)
}
