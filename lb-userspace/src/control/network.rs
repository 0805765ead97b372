//! Interfaces that come and go, and next hops that change.

use super::{
    daemon::Daemon,
    start::{self, netlink_failure},
};
use crate::{
    dataplane::{
        attach::{self, Attachment},
        neighbours::Change,
        netlink::{Event, Events},
    },
    failure::Failure,
    view,
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
        self.neighbours.set_targets(targets, &self.config.node.interfaces);
        Ok(())
    }

    /// Something happened to the network.
    pub(super) fn on_event(&mut self, event: Event) {
        match &event {
            Event::Link(link) if self.config.node.interfaces.contains(&link.name) => {
                let held = self.attachments.iter().find(|a| a.interface == link.name);
                let another = held.is_some_and(|a| a.ifindex != link.ifindex);
                self.neighbours.note(event.clone());
                if another {
                    self.attach_again();
                }
            }
            Event::LinkGone(link) => {
                if self.attachments.iter().any(|a| a.ifindex == link.ifindex) {
                    tracing::error!(
                        "{}: the interface is gone; it will be attached when one of this name appears",
                        link.name
                    );
                }
                self.neighbours.note(event);
            }
            _ => self.neighbours.note(event),
        }
    }

    /// An interface that was gone is back, with another number.
    fn attach_again(&mut self) {
        let links = self.neighbours.links();
        let present: Vec<String> = self
            .config
            .node
            .interfaces
            .iter()
            .filter(|i| links.iter().any(|l| l.name == **i))
            .cloned()
            .collect();
        let pins = &self.options.places.pins;
        match attach::attach(pins, &self.programs, &present, self.config.node.xdp_mode, &links) {
            Ok(attachments) => {
                let anew: Vec<Attachment> = attachments
                    .iter()
                    .filter(|a| !self.attachments.iter().any(|b| b.ifindex == a.ifindex))
                    .cloned()
                    .collect();
                start::tell(&anew, &self.programs);
                // Those that are still gone keep their old number, so that their return is noticed.
                self.attachments.retain(|a| !present.contains(&a.interface));
                self.attachments.extend(attachments);
                if let Err(failure) = self.set_ports() {
                    tracing::error!("{failure}");
                }
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
        let changes = self.neighbours.settle().await;
        self.write_next_hops(changes);
    }

    /// Reads the network anew and has the kernel confirm the neighbours.
    pub(super) async fn refresh_neighbours(&mut self) {
        match self.neighbours.refresh().await {
            Ok(changes) => self.write_next_hops(changes),
            Err(e) => tracing::error!("{}", netlink_failure(&e)),
        }
        // An event about an interface may have been lost.
        let links = self.neighbours.links();
        let returned = self
            .attachments
            .iter()
            .any(|a| links.iter().any(|l| l.name == a.interface && l.ifindex != a.ifindex));
        if returned {
            self.attach_again();
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
