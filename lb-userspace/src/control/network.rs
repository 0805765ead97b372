//! Interfaces that come and go, and next hops that change.

use super::{
    daemon::Daemon,
    start::{self, netlink_failure},
};
use crate::{
    dataplane::{
        attach::{self, Attachment, Found},
        neighbours::Change,
        netlink::{Event, Events, Link},
    },
    failure::Failure,
    view::{self, status::remedy},
};
use lb_common::map::{backend::will, service::unmapped};
use std::net::IpAddr;

impl Daemon {
    /// Lets packets leave by all our interfaces.
    pub(super) fn set_ports(&mut self) -> Result<(), Failure> {
        let present: Vec<u32> = self
            .attachments
            .iter()
            .map(|a| a.ifindex)
            .filter(|ifindex| self.neighbours.link_by_index(*ifindex).is_some())
            .collect();
        self.tables.maps.set_ports(&present)
    }

    /// Follows the next hops of all backends of the model.
    pub(super) fn watch_backends(&mut self) -> Result<(), Failure> {
        let backends = self.tables.maps.backends()?;
        let targets: Vec<(u16, IpAddr, _)> = backends
            .iter()
            .filter(|(_, b)| b.will != will::DISABLED)
            .map(|(id, b)| (*id, unmapped(b.address), b.next_hop))
            .collect();
        self.neighbours.set_targets(targets, &self.ways());
        Ok(())
    }

    /// Names that packets may leave by: those of the configuration, and what the interfaces are called now that the program
    /// is attached to, which goes by number.
    fn ways(&self) -> Vec<String> {
        let mut names = self.config.node.interfaces.clone();
        for attachment in &self.attachments {
            let now = self.neighbours.link_by_index(attachment.ifindex).map(|link| link.name.clone());
            names.extend(now.filter(|name| !self.config.node.interfaces.contains(name)));
        }
        names
    }

    /// Something happened to the network.
    pub(super) fn on_event(&mut self, event: Event) {
        match &event {
            Event::Link(link) => {
                let before = self.neighbours.link_by_index(link.ifindex);
                let held = self.attachments.iter().find(|a| a.ifindex == link.ifindex);
                if before != Some(link)
                    && (held.is_some() || self.config.node.interfaces.contains(&link.name))
                {
                    if let (Some(held), Some(before)) = (held, before) {
                        self.tell_change(&held.interface, before, link);
                    }
                    self.interfaces_changed = true;
                }
            }
            Event::LinkGone(link) => {
                if let Some(held) = self.attachments.iter().find(|a| a.ifindex == link.ifindex) {
                    self.tell_gone(&held.interface);
                    self.interfaces_changed = true;
                }
            }
            Event::Lost => self.interfaces_changed = true,
            _ => {}
        }
        self.neighbours.note(event);
    }

    /// Says what somebody should know, or do, about an interface that the program is attached to.
    fn tell_change(&self, interface: &str, before: &Link, link: &Link) {
        let name = &link.name;
        if before.name != link.name && name != interface {
            tracing::error!(
                "{interface}: is called {name} now and goes on; {}",
                remedy::renamed(interface, name)
            );
        } else if before.name != link.name {
            tracing::info!("{interface}: has its name again");
        }
        if before.up != link.up {
            match link.up {
                true => tracing::info!("{name}: is up"),
                false => tracing::error!("{name}: is down; {}", remedy::down(name)),
            }
        }
        if before.controller != link.controller {
            let controller = link.controller.and_then(|number| self.neighbours.link_by_index(number));
            match controller {
                Some(of) => tracing::error!(
                    "{name}: is a port of {} now and steers calls as before; {}",
                    of.name,
                    remedy::port(name, &of.name)
                ),
                None => tracing::info!("{name}: is a port of nothing any more"),
            }
        }
    }

    /// The interfaces that the program is attached to, as they are known now.
    fn held_links(&self) -> Vec<(String, Link)> {
        let link =
            |a: &Attachment| Some((a.interface.clone(), self.neighbours.link_by_index(a.ifindex)?.clone()));
        self.attachments.iter().filter_map(link).collect()
    }

    /// Tells what has changed since: whoever reads the interfaces anew is ahead of the kernel's messages, which bring nothing
    /// new then.
    fn tell_changes(&self, since: &[(String, Link)]) {
        for (interface, before) in since {
            if let Some(link) = self.neighbours.link_by_index(before.ifindex)
                && link != before
            {
                self.tell_change(interface, before, link);
            }
        }
    }

    fn tell_gone(&self, interface: &str) {
        let pinned = attach::pinned_link(&self.options.places.pins, interface);
        match pinned {
            // The kernel keeps the link's interface only while there is one.
            Ok(Some(link)) if link.ifindex != 0 => tracing::error!(
                "{interface}: the interface is gone to another network namespace, and the program with it; {}",
                remedy::gone(interface)
            ),
            _ => tracing::error!("{interface}: the interface is gone; {}", remedy::gone(interface)),
        }
    }

    /// Draws the conclusions about the interfaces themselves: what came back is attached to.
    async fn follow_interfaces(&mut self) {
        if !std::mem::take(&mut self.interfaces_changed) {
            return;
        }
        if let Err(e) = self.neighbours.read_links().await {
            self.interfaces_changed = true;
            return tracing::error!("{}", netlink_failure(&e));
        }
        if self.lacks_program() {
            self.attach_again();
        }
        if let Err(failure) = self.set_ports() {
            tracing::error!("{failure}");
        }
        self.neighbours.set_interfaces(self.ways());
    }

    /// Whether an interface of the configuration is there and does not carry the program.
    fn lacks_program(&self) -> bool {
        let lacks = |name: &String| {
            let attached = |link: &Link| {
                self.attachments.iter().any(|a| a.ifindex == link.ifindex) && link.xdp.is_some()
            };
            self.neighbours.link(name).is_some_and(|link| !attached(link))
        };
        self.config.node.interfaces.iter().any(lacks)
    }

    /// Attaches to all interfaces that are there: some were gone, or are others than before.
    fn attach_again(&mut self) {
        let links = self.neighbours.links();
        let there = |name: &&String| links.iter().any(|l| l.name == **name);
        let present: Vec<String> = self.config.node.interfaces.iter().filter(there).cloned().collect();
        let pins = &self.options.places.pins;
        match attach::attach(pins, &self.programs, &present, self.config.node.xdp_mode, Found::Stays, &links)
        {
            Ok(attachments) => {
                let anew: Vec<Attachment> = attachments
                    .iter()
                    .filter(|a| !self.attachments.iter().any(|b| b.link == a.link))
                    .cloned()
                    .collect();
                start::tell(&anew, &self.programs);
                // Those that are still gone keep their old number, so that their return is noticed.
                self.attachments.retain(|a| !present.contains(&a.interface));
                self.attachments.extend(attachments);
            }
            Err(failure) => tracing::error!("cannot attach again: {failure}"),
        }
    }

    /// Follows the network again after the connection to the kernel was lost; `None`: not yet.
    pub(super) fn reconnect(&mut self) -> Option<Events> {
        match self.neighbours.reconnect() {
            Ok(events) => {
                tracing::warn!("the connection that tells of the network was lost and made anew");
                Some(events)
            }
            Err(e) => {
                tracing::error!("{}; trying again soon", netlink_failure(&e));
                None
            }
        }
    }

    /// Draws the conclusions of what happened to the network.
    pub(super) async fn settle(&mut self) {
        let before = self.held_links();
        self.follow_interfaces().await;
        let changes = self.neighbours.settle().await;
        self.tell_changes(&before);
        self.write_next_hops(changes);
    }

    /// Reads the network anew and has the kernel confirm the neighbours.
    pub(super) async fn refresh_neighbours(&mut self) {
        let before = self.held_links();
        let refreshed = self.neighbours.refresh().await;
        self.tell_changes(&before);
        match refreshed {
            Ok(changes) => self.write_next_hops(changes),
            Err(e) => tracing::error!("{}", netlink_failure(&e)),
        }
        // An event about an interface may have been lost, or an attempt to attach failed.
        if self.lacks_program() {
            self.interfaces_changed = true;
            self.settle().await;
        }
    }

    fn write_next_hops(&mut self, changes: Vec<Change>) {
        for change in changes {
            if let Err(failure) = self.tables.set_next_hop(change.backend, change.next_hop) {
                tracing::error!("{failure}");
                continue;
            }
            let name = self.backend_name(change.backend);
            if let Some(hop) = change.next_hop {
                let interface = self.neighbours.link_by_index(hop.ifindex).map_or("?", |l| l.name.as_str());
                let mac = view::mac(hop.destination_mac);
                tracing::info!("backend {name}: next hop {mac} on {interface}");
            }
        }
    }

    /// Says which backends have no next hop yet, and why.
    pub(super) fn tell_unresolved(&self) {
        for id in self.model.backends.keys() {
            if let Some(reason) = self.neighbours.reason(*id) {
                tracing::warn!("backend {} has no next hop: {reason}", self.backend_name(*id));
            }
        }
    }
}
