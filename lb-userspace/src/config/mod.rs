//! The configuration: a file in, a [`Config`] that is valid by construction out, or every complaint at once.
//!
//! [`load`] reads a file, [`parse`] a text, [`access`] the files that `[api]` names. On the way: `syntax` (what is not TOML),
//! `read` and its like for health, services, telemetry and the API with `section` and `values` (each key by itself), `check` and
//! `check_service` (what must hold between them), `draft` (what was understood so far). Complaints are gathered in a `report` and
//! shown by `render`. [`Config::settings`] is what tells two of them apart.

mod access;
mod answers;
mod api;
mod check;
mod check_service;
mod complaint;
mod draft;
mod load;
mod probing;
mod read;
mod read_api;
mod read_health;
mod read_service;
mod read_telemetry;
mod render;
mod report;
mod section;
mod service;
mod settings;
mod syntax;
mod telemetry;
mod template;
mod untimely;
mod values;

pub use access::{Access, access, token};
pub use answers::{AnswerRates, NoPrefix, Prefix};
pub use api::{Api, Identity};
pub use complaint::{Code, Complaint, Complaints, Severity};
pub use load::{Loaded, MAX_FILE, load, parse};
pub use probing::{Accepted, How, Probing};
pub use report::Words;
pub use service::{Forwarding, FullAfterRefusal, HashBy, Overflow, Policy, Service, Tier};
pub use settings::Settings;
pub use telemetry::{Algorithm, Control, Login, Place, Source, Telemetry, Url};
pub use template::{Answers, template};

use lb_common::limits;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Where the configuration is looked for if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/sipsteer/sipsteer.toml";

/// Largest weight of a backend.
pub const MAX_WEIGHT: u16 = 1000;
/// Largest limit that is a number: as many calls as the dialog table could hold, and more than any server takes.
pub const MAX_LIMIT: u32 = 1_000_000;
/// Most answers of our own per second to one source, if they are limited.
pub const MAX_ANSWERS_PER_SOURCE: u32 = 10_000;
/// Most answers of our own per second to all sources together.
pub const MAX_ANSWERS: u32 = 100_000;
/// Most prefixes in `answers.trusted`: they are looked through for every request that is answered.
pub const MAX_TRUSTED: u32 = 64;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This balancer.
    pub node: Node,
    /// Lifetimes and size of the dialog table.
    pub dialogs: Dialogs,
    /// How many answers of our own go out.
    pub answers: AnswerRates,
    /// `[metrics]` `listen`: where metrics are served over TCP; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// `[api]`: where the API is served over TCP; `None`: nowhere.
    pub api: Option<Api>,
    /// How backends are fed.
    pub control: Control,
    /// Who says how backends are, in the order of the file.
    pub telemetry: Vec<Telemetry>,
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
        let declared = self.zones.iter().map(|z| z.name.as_str());
        let listed = self.services.iter().flat_map(Service::zones);
        let mut names: Vec<&str> = Vec::new();
        for name in declared.chain(listed).chain(self.backends.iter().map(|b| b.zone.as_str())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The source that hears what this backend says in answers to probes, the first of them, and what its probes offer.
    pub fn overload_control(&self, backend: &str) -> Option<(&Telemetry, &[Algorithm])> {
        self.telemetry.iter().filter(|t| t.backends.iter().any(|b| b == backend)).find_map(|telemetry| {
            match &telemetry.source {
                Source::OverloadControl { algorithms } => Some((telemetry, algorithms.as_slice())),
                _ => None,
            }
        })
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
    /// New calls per second, at most [`MAX_LIMIT`]; `None` is unlimited.
    pub max_cps: Option<u32>,
    /// `cps_burst`: calls that may come at once beyond that pace; `None`: a tenth of it, at least 1.
    pub cps_burst: Option<u32>,
    /// Calls in progress, at most [`MAX_LIMIT`]; `None` is unlimited.
    pub max_channels: Option<u32>,
    /// Share of new calls relative to the others of its zone, 1 to [`MAX_WEIGHT`].
    pub weight: u16,
    /// `[health]` with what `health` of this backend says otherwise; `None`: it is not probed.
    pub probing: Option<Probing>,
}

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod health_tests;
#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod telemetry_tests;
