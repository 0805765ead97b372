//! The configuration: a file in, a [`Config`] that is valid by construction out, or every complaint at once.
//!
//! [`load`] reads a file, [`parse`] a text. On the way: `syntax` (what is not TOML), `read` with `section` and `values`
//! (each key by itself), `check` (what must hold between them), `draft` (what was understood so far). Complaints are
//! gathered in a `report` and shown by `render`.

mod check;
mod complaint;
mod draft;
mod load;
mod read;
mod render;
mod report;
mod section;
mod syntax;
mod template;
mod values;

pub use complaint::{Code, Complaint, Complaints, Severity};
pub use load::{Loaded, MAX_FILE, load, parse};
pub use template::{Answers, template};

use lb_common::limits;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where the configuration is looked for if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sipsteer/sipsteer.toml";

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This balancer.
    pub node: Node,
    /// Lifetimes and size of the dialog table.
    pub dialogs: Dialogs,
    /// Services, in the order of the file.
    pub services: Vec<Service>,
    /// Zones, in the order of the file; zones that only backends or services name are not declared here.
    pub zones: Vec<Zone>,
    /// Backends, in the order of the file.
    pub backends: Vec<Backend>,
}

impl Config {
    /// Names of all zones, each once: those declared, then those only services name, then those only backends name, in
    /// the order of the file.
    pub fn zone_names(&self) -> Vec<&str> {
        let declared = self.zones.iter().map(|z| &z.name);
        let listed = self.services.iter().flat_map(|s| &s.zones);
        let mut names: Vec<&str> = Vec::new();
        for name in declared.chain(listed).chain(self.backends.iter().map(|b| &b.zone)) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name of this balancer.
    pub name: String,
    /// Where XDP attaches; at least one.
    pub interfaces: Vec<String>,
    /// `xdp_mode`.
    pub xdp_mode: XdpMode,
    /// `hash_key_file`: 16 bytes in hex, made at the first start.
    pub hash_key_file: PathBuf,
    /// `zone` this balancer stands in.
    pub zone: Option<String>,
}

/// How XDP attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, or generic with a warning.
    Auto,
    /// Native or not at all.
    Native,
    /// Generic.
    Generic,
}

/// `[dialogs]`, all optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogs {
    /// `max`: entries of the dialog table.
    pub max: u32,
    /// `unanswered`: lifetime of an INVITE without a final answer.
    pub unanswered: Duration,
    /// `answered`: lifetime of a silent answered call.
    pub answered: Duration,
    /// `ended`: lifetime of an ended call and of a transaction.
    pub ended: Duration,
    /// `subscribed`: lifetime of a silent subscription.
    pub subscribed: Duration,
    /// `shortened`: for tests; lets lifetimes be shorter than RFC 3261 allows.
    pub shortened: bool,
}

impl Dialogs {
    /// The four lifetimes, `ended` first.
    pub const fn lifetimes(&self) -> [Duration; 4] {
        [self.ended, self.unanswered, self.answered, self.subscribed]
    }
}

impl Default for Dialogs {
    fn default() -> Dialogs {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Dialogs {
            max: limits::MAX_DIALOGS,
            unanswered: seconds(limits::LIFETIME_UNANSWERED_SECONDS),
            answered: seconds(limits::LIFETIME_ANSWERED_SECONDS),
            ended: seconds(limits::LIFETIME_ENDED_SECONDS),
            subscribed: seconds(limits::LIFETIME_SUBSCRIBED_SECONDS),
            shortened: false,
        }
    }
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// UDP addresses callers send to; 1 to 8, unique in the file.
    pub listen: Vec<SocketAddr>,
    /// How packets get to the backends.
    pub forwarding: Forwarding,
    /// Zones in order of preference: its tiers; each has at least one backend.
    pub zones: Vec<String>,
}

/// `forwarding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Destination rewrite, replies through the balancer.
    Nat,
    /// MAC rewrite, replies straight to the caller.
    L2,
}

/// `[[zone]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Unique name.
    pub name: String,
    /// What a redirect from elsewhere names: host or host:port.
    pub address: Option<String>,
}

/// `[[backend]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Unique name.
    pub name: String,
    /// Its zone, named by at least one service.
    pub zone: String,
    /// Unique address; the port is not 0.
    pub address: SocketAddr,
    /// New calls per second; `None` is unlimited.
    pub max_cps: Option<u32>,
    /// Calls in progress; `None` is unlimited.
    pub max_channels: Option<u32>,
    /// Share of new calls relative to the others of its zone, 1 to 1,000.
    pub weight: u16,
}

impl Backend {
    /// False if a limit of 0 says that no new calls may come.
    pub fn has_room_for_calls(&self) -> bool {
        self.max_cps != Some(0) && self.max_channels != Some(0)
    }
}

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod mutation_tests;
