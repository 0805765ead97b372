//! The state of the balancer in one document: from the maps and links, and, when a daemon runs, from it.

use super::{
    backends::BackendView, health::HealthView, services::ServiceView, slow_path::SlowPathView,
    zones::ZoneView,
};
use crate::{
    core::wishes::Difference,
    dataplane::{attach, maps::Maps, netlink::Link, pins::PinDir},
    failure::Failure,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// In so many seconds a certificate expires soon: a fortnight.
const EXPIRES_SOON: i64 = 14 * 24 * 3600;

/// How the balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Zones.
    pub zones: Vec<ZoneView>,
    /// Backends.
    pub backends: Vec<BackendView>,
    /// What operators changed and the configuration does not say.
    pub differences: Vec<Difference>,
    /// The dialog table.
    pub dialogs: DialogsView,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// A configuration that is undone unless it is confirmed, or that was undone; `null`: there is none.
    pub trial: Option<TrialView>,
    /// Where metrics are served over TCP; `null`: the configuration names no address.
    pub metrics: Option<MetricsView>,
    /// Where the API is served over TCP; `null`: the configuration names no address.
    #[serde(default)]
    pub api: Option<ApiView>,
    /// Why backends have no next hop, by name.
    pub unresolved: BTreeMap<String, String>,
    /// How the backends are that are probed, by name.
    #[serde(default)]
    pub health: BTreeMap<String, HealthView>,
    /// Services whose probes are not believed, and why, by name.
    #[serde(default)]
    pub doubts: BTreeMap<String, String>,
    /// What it answers itself.
    pub slow_path: SlowPathView,
}

/// Where metrics are served over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsView {
    /// The address.
    pub listen: String,
    /// Why they are not; `null`: they are.
    pub deaf: Option<String>,
}

/// Where the API is served over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiView {
    /// The address.
    pub listen: String,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The last moment at which the certificate is valid, RFC 3339; `null`: there is none.
    #[serde(default)]
    pub certificate_expires: Option<String>,
    /// How many seconds that is from now; less than 0: ago.
    #[serde(default)]
    pub certificate_seconds: Option<i64>,
    /// Why it is not served; `null`: it is.
    pub deaf: Option<String>,
}

/// Whether calls are steered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadyView {
    /// Attached, with a configuration, and some backend takes new calls.
    pub ready: bool,
    /// How the balancer is.
    pub state: State,
    /// What needs attention, as sentences.
    pub attention: Vec<String>,
}

impl ReadyView {
    /// What a state says about it.
    pub fn of(status: &Status) -> ReadyView {
        let Status { state, attention, .. } = status.clone();
        ReadyView { ready: state != State::Down, state, attention }
    }
}

/// A configuration on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrialView {
    /// When it is undone, RFC 3339; `null`: it was undone, and what held before it holds, although the file says otherwise.
    pub until: Option<String>,
}

/// An interface with the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceView {
    /// Name.
    pub name: String,
    /// Number; 0: it is not on this host, or in another network namespace.
    pub ifindex: u32,
    /// What it is called now, if it was renamed since the program was attached.
    #[serde(default)]
    pub renamed: Option<String>,
    /// Whether it is up.
    #[serde(default)]
    pub up: bool,
    /// The bridge or bond that it is a port of.
    #[serde(default)]
    pub port_of: Option<String>,
    /// native or generic; `null`: not attached.
    pub mode: Option<String>,
    /// Number of the program.
    pub program: u32,
    /// Number of the link.
    pub link: u32,
}

/// The dialog table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
        let port_of = link.and_then(|l| l.controller).map(|number| {
            let controller = links.iter().find(|l| l.ifindex == number);
            controller.map_or_else(|| format!("number {number}"), |l| l.name.clone())
        });
        views.push(InterfaceView {
            ifindex: link.map_or(0, |l| l.ifindex),
            renamed: link.map(|l| l.name.clone()).filter(|now| *now != name),
            up: link.is_some_and(|l| l.up),
            port_of,
            name,
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
pub fn from_maps(pins: &PinDir, maps: &Maps, links: &[Link]) -> Result<Status, Failure> {
    let names = links.iter().map(|l| (l.ifindex, l.name.clone())).collect();
    let tally = maps.tally()?;
    let services = super::services::services(maps)?;
    let mut status = Status {
        state: State::Ok,
        attention: Vec::new(),
        daemon: None,
        interfaces: interfaces(pins, links)?,
        zones: super::zones::zones(maps, &services)?,
        services,
        backends: super::backends::backends(maps, &names)?,
        differences: Vec::new(),
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
        let mut attention = self.about_interfaces();
        attention.extend(self.about_backends());
        let doubts = self.daemon.iter().flat_map(|d| &d.doubts);
        attention.extend(doubts.map(|(service, doubt)| format!("service {service}: {doubt}")));
        attention.extend(self.zones.iter().filter_map(|zone| self.about_zone(zone)));
        attention.extend(self.services.iter().filter_map(about_refusals));
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
        let metrics = self.daemon.iter().filter_map(|d| d.metrics.as_ref());
        attention.extend(
            metrics.filter_map(|m| Some(format!("no metrics at {}: {}", m.listen, m.deaf.as_ref()?))),
        );
        attention.extend(self.daemon.iter().filter_map(|d| d.api.as_ref()).flat_map(about_api));
        attention.extend(self.daemon.iter().filter_map(|d| d.trial.as_ref()).map(about_trial));
        let attached = self.interfaces.iter().any(|i| i.ifindex != 0);
        let disabled = |b: &BackendView| {
            self.zones.iter().any(|z| z.will == "disabled" && b.zone.as_ref() == Some(&z.name))
        };
        let takes = |b: &BackendView| b.will == "enabled" && b.health == "up" && !b.is_closed();
        let takes = self.backends.iter().any(|b| takes(b) && !disabled(b));
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

impl Status {
    fn about_interfaces(&self) -> Vec<String> {
        self.interfaces.iter().flat_map(about_interface).collect()
    }

    fn about_backends(&self) -> Vec<String> {
        let mut attention = Vec::new();
        for backend in &self.backends {
            attention.extend(self.about_health(backend));
            if backend.next_hop.is_none() && backend.will != "disabled" {
                let reason = self.daemon.as_ref().and_then(|d| d.unresolved.get(&backend.name));
                let reason = reason.map(|r| format!(": {r}")).unwrap_or_default();
                attention.push(format!("backend {} has no next hop{reason}", backend.name));
            }
        }
        attention
    }

    /// What is wrong with a backend, and why, if somebody knows.
    fn about_health(&self, backend: &BackendView) -> Option<String> {
        let name = &backend.name;
        let health = self.daemon.as_ref().and_then(|d| d.health.get(name));
        let because = health.map(|h| format!(": {}", h.reason)).unwrap_or_default();
        let held = health.and_then(|h| h.held_seconds);
        let held =
            held.map(|left| format!("; it gets no new calls for another {left} s")).unwrap_or_default();
        match backend.health.as_str() {
            "down" => Some(format!("backend {name} is down{because}{held}")),
            "draining" => Some(format!("backend {name} gets no new calls{because}{held}")),
            _ if health.is_some_and(HealthView::is_suspected) => {
                Some(format!("backend {name} is suspected: new calls got no answer from it"))
            }
            _ => None,
        }
    }

    /// Full, down and hot are three things. What operators wanted is none of them.
    fn about_zone(&self, zone: &ZoneView) -> Option<String> {
        if zone.will != "enabled" || zone.backends == 0 {
            return None;
        }
        let name = &zone.name;
        if zone.takers == 0 {
            return Some(format!("zone {name}: none of its {} backends takes new calls", zone.backends));
        }
        let of_zone = |backend: &&BackendView| backend.zone.as_ref() == Some(name);
        let takes = |backend: &&BackendView| {
            backend.will == "enabled" && backend.health == "up" && !backend.is_closed()
        };
        if self.backends.iter().filter(of_zone).filter(takes).all(|b| b.full.is_some()) {
            return Some(format!("zone {name} is full"));
        }
        let (utilisation, target) = zone.load.utilisation.zip(zone.target_utilisation)?;
        zone.hot.then(|| format!("zone {name} is hot: utilisation {utilisation:.2}, target {target:.2}"))
    }
}

/// What is wrong about an interface, and what to do.
fn about_interface(interface: &InterfaceView) -> Vec<String> {
    let name = &interface.name;
    if interface.ifindex == 0 {
        return vec![format!("interface {name} is gone: {}", remedy::gone(name))];
    }
    let now = interface.renamed.as_ref().unwrap_or(name);
    let mut attention = Vec::new();
    if interface.renamed.is_some() {
        attention.push(format!("interface {name} is called {now}: {}", remedy::renamed(name, now)));
    }
    if !interface.up {
        attention.push(format!("interface {now} is down: {}", remedy::down(now)));
    }
    if let Some(of) = &interface.port_of {
        attention.push(format!("interface {now} is a port of {of}: {}", remedy::port(now, of)));
    }
    if interface.mode.as_deref() == Some("generic") {
        attention.push(format!("{name} runs in generic mode, several times slower: {}", remedy::generic()));
    }
    attention
}

/// What to do about an interface, in the log and here.
pub(crate) mod remedy {
    /// It is not there.
    pub(crate) fn gone(interface: &str) -> String {
        format!(
            "it is attached to again when an interface of this name appears; if it stays away, take {interface} out of \
             node.interfaces and run `sipsteer reload`"
        )
    }

    /// It runs in generic mode.
    pub(crate) fn generic() -> &'static str {
        "once its driver takes XDP (MTU, LRO and queues decide), `node.xdp_mode = \"native\"` and `sipsteer reload` make it \
         native"
    }

    /// It has another name.
    pub(crate) fn renamed(interface: &str, now: &str) -> String {
        format!(
            "write {now} instead of {interface} in node.interfaces and run `sipsteer reload`, or the next start refuses; or \
             rename it back"
        )
    }

    /// It is down.
    pub(crate) fn down(interface: &str) -> String {
        format!("no call comes or goes by it until `ip link set {interface} up`")
    }

    /// It is a port of a bridge or bond.
    pub(crate) fn port(interface: &str, of: &str) -> String {
        format!(
            "what is left to the host comes out of {of}, and next hops that change are not noticed; \
             `ip link set {interface} nomaster` undoes it"
        )
    }
}

/// The API is not served, or clients will refuse it.
fn about_api(api: &ApiView) -> Vec<String> {
    let deaf = api.deaf.as_ref().map(|why| format!("no API at {}: {why}", api.listen));
    let expires = api.certificate_expires.as_deref().zip(api.certificate_seconds);
    let soon = expires.filter(|(_, seconds)| *seconds < EXPIRES_SOON).map(|(at, seconds)| {
        let when = if seconds < 0 { "expired" } else { "expires" };
        format!(
            "the certificate of the API at {} {when} at {at}: put a new one there, and its key, then `sipsteer reload`",
            api.listen
        )
    });
    deaf.into_iter().chain(soon).collect()
}

/// What holds is not for certain what the file says.
fn about_trial(trial: &TrialView) -> String {
    match &trial.until {
        Some(until) => format!("the configuration is undone at {until} unless you run `sipsteer confirm`"),
        None => "the configuration file was undone, and what held before it holds: mend it, or `sipsteer reload` takes it \
                 as it is"
            .to_owned(),
    }
}

/// Calls of the last minute that got no backend, and why.
fn about_refusals(service: &ServiceView) -> Option<String> {
    let recent = service.recent.as_ref()?;
    let (full, down) = (recent.calls.refused_full, recent.calls.refused_down);
    let why = match (full, down) {
        (0, 0) => return None,
        (_, 0) => "every backend in reach is full".to_owned(),
        (0, _) => "no backend in reach takes calls".to_owned(),
        _ => format!("{full} because every backend in reach is full, {down} because none takes calls"),
    };
    let name = &service.name;
    let calls = if full + down == 1 { "call" } else { "calls" };
    Some(format!("{name} refused {} {calls} in the last {} s: {why}", full + down, recent.seconds))
}

impl DialogsView {
    /// How full the table is, in per cent.
    pub fn percent(&self) -> u64 {
        (self.entries * 100).checked_div(self.max.into()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
