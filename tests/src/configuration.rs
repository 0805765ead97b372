//! The configuration file of a node in a lab.

use crate::topology::{Backend, Lab};
use anyhow::{Context, Result};
use std::fs;

/// The service that callers send to.
pub const TRUNKS: &str = "trunks";

/// Limits of a backend; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// New calls per second.
    pub max_cps: Option<u32>,
    /// Calls that may come at once beyond that pace; `None`: what the daemon finds right.
    pub cps_burst: Option<u32>,
    /// Calls in progress.
    pub max_channels: Option<u32>,
}

impl Limits {
    /// At most this many calls in progress, at any pace.
    pub fn channels(max_channels: u32) -> Limits {
        Limits { max_channels: Some(max_channels), ..Limits::default() }
    }

    /// At most this many new calls per second, and this many at once beyond that pace.
    pub fn cps(max_cps: u32, cps_burst: u32) -> Limits {
        Limits { max_cps: Some(max_cps), cps_burst: Some(cps_burst), max_channels: None }
    }
}

/// A configuration for a lab: the service [`TRUNKS`] that lists every zone, and with several zones a service of its own
/// for each, which bears the zone's name.
pub struct Config {
    interfaces: Vec<String>,
    node: String,
    trunks: Vec<String>,
    services: String,
    tables: String,
    backends: Vec<Entry>,
}

/// One `[[backend]]`.
struct Entry {
    name: String,
    zone: String,
    address: String,
    limits: Limits,
}

impl Config {
    /// Every backend of the lab, without limits.
    pub fn of(lab: &Lab) -> Config {
        let interfaces = lab.interfaces().iter().map(|name| (*name).to_owned()).collect();
        let key = lab.folder().join("hash.key");
        let node = format!("[node]\nname = \"lb1\"\nhash_key_file = {key:?}\n");
        let zones: Vec<&str> = lab.zones.iter().map(|zone| zone.name.as_str()).collect();
        let trunks = vec![
            format!("listen = [\"{}/udp\"]", lab.service()),
            format!("forwarding = \"{}\"", lab.forwarding),
            format!("zones = {zones:?}"),
        ];
        let (mut services, mut tables) = (String::new(), String::new());
        for zone in &lab.zones {
            let (name, forwarding) = (&zone.name, lab.forwarding);
            if let Some(own) = zone.service {
                services.push_str(&format!(
                    "[[service]]\nname = {name:?}\nlisten = [\"{own}/udp\"]\nforwarding = \"{forwarding}\"\n\
                     zones = [{name:?}]\n\n"
                ));
                tables.push_str(&format!("[[zone]]\nname = {name:?}\naddress = \"{own}\"\n\n"));
            }
        }
        let backends = lab.backends.iter().map(Entry::of).collect();
        Config { interfaces, node, trunks, services, tables, backends }
    }

    /// The same on other interfaces.
    #[must_use]
    pub fn on(mut self, interfaces: &[&str]) -> Config {
        self.interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// The same with the program in the driver or in the network stack.
    #[must_use]
    pub fn in_mode(mut self, xdp_mode: &str) -> Config {
        self.node.push_str(&format!("xdp_mode = {xdp_mode:?}\n"));
        self
    }

    /// The same without one backend.
    #[must_use]
    pub fn without(mut self, name: &str) -> Config {
        self.backends.retain(|entry| entry.name != name);
        self
    }

    /// The same with more lines, a table of its own.
    #[must_use]
    pub fn with(mut self, table: &str) -> Config {
        self.tables.push_str(table);
        self.tables.push_str("\n\n");
        self
    }

    /// The same with one more line in the service [`TRUNKS`], or another line for a key that is there already.
    #[must_use]
    pub fn trunks(mut self, line: &str) -> Config {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        self.trunks.retain(|there| key(there) != key(line));
        self.trunks.push(line.to_owned());
        self
    }

    /// The same with limits for every backend.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Config {
        for entry in &mut self.backends {
            entry.limits = limits;
        }
        self
    }

    /// The same with limits for the backends of a zone, or for one backend.
    #[must_use]
    pub fn limit(mut self, zone_or_backend: &str, limits: Limits) -> Config {
        for entry in &mut self.backends {
            if [&entry.name, &entry.zone].iter().any(|name| *name == zone_or_backend) {
                entry.limits = limits;
            }
        }
        self
    }

    /// The TOML text.
    pub fn text(&self) -> String {
        let trunks = self.trunks.join("\n");
        let backends: String = self.backends.iter().map(Entry::table).collect();
        let Config { interfaces, node, services, tables, .. } = self;
        format!(
            "{node}interfaces = {interfaces:?}\n\n[[service]]\nname = \"{TRUNKS}\"\n{trunks}\n\n{services}{tables}{backends}"
        )
    }
}

impl Entry {
    fn of(backend: &Backend) -> Entry {
        Entry {
            name: backend.name.clone(),
            zone: backend.zone.clone(),
            address: format!("{}:5060", backend.address),
            limits: Limits::default(),
        }
    }

    fn table(&self) -> String {
        let Entry { name, zone, address, limits } = self;
        let limit =
            |limit: Option<u32>| limit.map_or("\"unlimited\"".to_owned(), |number| number.to_string());
        let (cps, channels) = (limit(limits.max_cps), limit(limits.max_channels));
        let burst = limits.cps_burst.map_or_else(String::new, |burst| format!("cps_burst = {burst}\n"));
        format!(
            "[[backend]]\nname = {name:?}\nzone = {zone:?}\naddress = \"{address}\"\nmax_cps = {cps}\n{burst}\
             max_channels = {channels}\n\n"
        )
    }
}

/// Gives the lab's node a hash key that is the same in every run, so that the same Call-IDs always meet the same backends.
/// To be called before the daemon starts, which makes a random key if there is none.
///
/// # Errors
/// When the lab's folder cannot be written.
pub fn fix_hash_key(lab: &Lab) -> Result<()> {
    let path = lab.folder().join("hash.key");
    fs::write(&path, "000102030405060708090a0b0c0d0e0f\n")
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let entry = |name: &str, zone: &str| Entry {
            name: name.into(),
            zone: zone.into(),
            address: "10.0.0.11:5060".into(),
            limits: Limits::default(),
        };
        Config {
            interfaces: vec!["eth0".into()],
            node: "[node]\n".into(),
            trunks: vec!["zones = [\"uk\"]".into()],
            services: String::new(),
            tables: String::new(),
            backends: vec![entry("uk1", "uk"), entry("germany1", "germany")],
        }
    }

    #[test]
    fn limits_meet_a_backend_or_its_zone() {
        let text = config().limit("uk", Limits::channels(7)).limit("germany1", Limits::cps(9, 3)).text();
        let (uk, germany) = text.split_once("name = \"germany1\"").unwrap_or_default();
        assert!(uk.contains("max_channels = 7") && uk.contains("max_cps = \"unlimited\""), "{text}");
        assert!(germany.contains("max_cps = 9\ncps_burst = 3\nmax_channels = \"unlimited\""), "{text}");
    }

    #[test]
    fn a_line_of_the_service_replaces_the_one_with_the_same_key() {
        let text = config().trunks("policy = \"consistent\"").trunks("zones = [\"germany\"]").text();
        assert!(text.contains("policy = \"consistent\"\nzones = [\"germany\"]\n"), "{text}");
        assert!(!text.contains("[\"uk\"]"), "{text}");
    }
}
