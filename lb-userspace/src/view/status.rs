//! The state of the balancer in one document: from the maps and links, and, when a daemon runs, from it.

use super::{backends::BackendView, services::ServiceView, slow_path::SlowPathView};
use crate::{
    dataplane::{attach, maps::Maps, netlink::Link, pins::PinDir},
    failure::Failure,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// Calls are steered, but something needs attention.
    Degraded,
    /// No calls are steered.
    Down,
}

/// The state of the balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it is.
    pub state: State,
    /// What needs attention, as sentences.
    pub attention: Vec<String>,
    /// The daemon; `null`: none runs, or it cannot be asked.
    pub daemon: Option<DaemonView>,
    /// Interfaces with the program.
    pub interfaces: Vec<InterfaceView>,
    /// Services.
    pub services: Vec<ServiceView>,
    /// Backends.
    pub backends: Vec<BackendView>,
    /// The dialog table.
    pub dialogs: DialogsView,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonView {
    /// Process id.
    pub pid: u32,
    /// Version of sipsteer.
    pub version: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// Its configuration file.
    pub config: String,
    /// When that was taken, RFC 3339.
    pub configured: String,
    /// Why the latest reload was refused; `null`: it was not.
    pub reload_refused: Option<String>,
    /// Why backends have no next hop, by name.
    pub unresolved: BTreeMap<String, String>,
    /// What it answers itself.
    pub slow_path: SlowPathView,
}

/// An interface with the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// Number; 0: it has vanished.
    pub ifindex: u32,
    /// native or generic; `null`: not attached.
    pub mode: Option<String>,
    /// Number of the program.
    pub program: u32,
    /// Number of the link.
    pub link: u32,
}

/// The dialog table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogsView {
    /// Entries, those about to be deleted included.
    pub entries: u64,
    /// Entries that no answer has confirmed.
    pub unconfirmed: u64,
    /// Room for entries.
    pub max: u32,
}

/// The interfaces with a pinned link.
///
/// # Errors
/// When a link cannot be looked at.
pub fn interfaces(pins: &PinDir, links: &[Link]) -> Result<Vec<InterfaceView>, Failure> {
    let mut views = Vec::new();
    for name in pins.linked_interfaces()? {
        let Some(pinned) = attach::pinned_link(pins, &name)? else { continue };
        let link = links.iter().find(|l| l.ifindex == pinned.ifindex && pinned.ifindex != 0);
        let mode = link.and_then(|l| l.xdp).map(|x| if x.generic { "generic" } else { "native" }.to_owned());
        views.push(InterfaceView {
            name,
            ifindex: pinned.ifindex,
            mode,
            program: pinned.program,
            link: pinned.link,
        });
    }
    Ok(views)
}

/// The state from the maps and links, without the daemon's part.
///
/// # Errors
/// [`crate::failure::Kind::NotRunning`] when nothing is pinned, or the kernel's.
pub fn from_maps(pins: &PinDir, maps: &Maps, links: &[Link], zones: &[String]) -> Result<Status, Failure> {
    let names = links.iter().map(|l| (l.ifindex, l.name.clone())).collect();
    let tally = maps.tally()?;
    let mut status = Status {
        state: State::Ok,
        attention: Vec::new(),
        daemon: None,
        interfaces: interfaces(pins, links)?,
        services: super::services::services(maps)?,
        backends: super::backends::backends(maps, zones, &names)?,
        dialogs: DialogsView {
            entries: tally.entries,
            unconfirmed: tally.unconfirmed,
            max: maps.dialogs_capacity(),
        },
    };
    status.judge();
    Ok(status)
}

impl Status {
    /// Finds what needs attention and how bad it is.
    pub fn judge(&mut self) {
        let mut attention = Vec::new();
        for interface in &self.interfaces {
            let name = &interface.name;
            match interface.mode.as_deref() {
                _ if interface.ifindex == 0 => attention.push(format!("interface {name} is gone")),
                Some("generic") => {
                    attention.push(format!("{name} runs in generic mode, several times slower"));
                }
                _ => {}
            }
        }
        for backend in &self.backends {
            if backend.health == "down" {
                attention.push(format!("backend {} is down", backend.name));
            }
            if backend.next_hop.is_none() && backend.will != "disabled" {
                let reason = self.daemon.as_ref().and_then(|d| d.unresolved.get(&backend.name));
                let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
                attention.push(format!("backend {} has no next hop{reason}", backend.name));
            }
        }
        if self.dialogs.entries * 10 > u64::from(self.dialogs.max) * 7 {
            attention.push(format!("the dialog table is {} % full", self.dialogs.percent()));
        }
        let deaf = self.daemon.iter().flat_map(|d| &d.slow_path.deaf);
        attention.extend(deaf.map(|(address, why)| format!("the daemon answers nobody at {address}: {why}")));
        match &self.daemon {
            None => attention.push(
                "no daemon runs: calls are steered, but changes of the network and the configuration are not followed"
                    .to_owned(),
            ),
            Some(daemon) if daemon.reload_refused.is_some() => {
                attention.push("the latest reload was refused: `sipsteer check` tells why".to_owned());
            }
            Some(_) => {}
        }
        let attached = self.interfaces.iter().any(|i| i.ifindex != 0);
        let takes = self.backends.iter().any(|b| b.will == "enabled" && b.health == "up");
        if !attached {
            attention.insert(0, "the program is attached to no interface".to_owned());
        }
        if !takes {
            attention.insert(0, "no backend takes new calls".to_owned());
        }
        self.state = match (attached && takes, attention.is_empty()) {
            (false, _) => State::Down,
            (true, true) => State::Ok,
            (true, false) => State::Degraded,
        };
        self.attention = attention;
    }
}

impl DialogsView {
    /// How full the table is, in per cent.
    pub fn percent(&self) -> u64 {
        (self.entries * 100).checked_div(self.max.into()).unwrap_or_default()
    }
}
