//! The example configurations that ship with sipsteer, and labs that fit them.

use crate::topology::{Forwarding, Lab};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sipsteer::config::{self, Config};
use std::net::{SocketAddr, SocketAddrV4};

/// Their names and texts, in the order in which a network grows.
pub const ALL: [(&str, &str); 7] = [
    ("one-server", include_str!("../../lb-userspace/examples/one-server.toml")),
    ("primary-secondary", include_str!("../../lb-userspace/examples/primary-secondary.toml")),
    ("pool", include_str!("../../lb-userspace/examples/pool.toml")),
    ("pool-l2", include_str!("../../lb-userspace/examples/pool-l2.toml")),
    ("overflow-redirect", include_str!("../../lb-userspace/examples/overflow-redirect.toml")),
    ("overflow-forward", include_str!("../../lb-userspace/examples/overflow-forward.toml")),
    ("six-zones", include_str!("../../lb-userspace/examples/six-zones.toml")),
];

/// One of them.
pub struct Example {
    text: &'static str,
    /// What it says.
    pub config: Config,
}

impl Example {
    /// The example of this name.
    ///
    /// # Errors
    /// When there is none, or it is no valid configuration.
    pub fn named(name: &str) -> Result<Example> {
        let text =
            ALL.iter().find(|(known, _)| *known == name).with_context(|| format!("no example {name}"))?.1;
        let loaded = config::parse(text, name).map_err(|complaints| anyhow!(complaints.render(false)))?;
        Ok(Example { text, config: loaded.config })
    }

    /// A lab with its zones and backends, at its addresses.
    ///
    /// # Errors
    /// As [`Lab::with_zones`], or when its addresses are not those of a lab.
    pub fn lab(&self) -> Result<Lab> {
        let forwarding = match self.config.services[0].forwarding {
            config::Forwarding::Nat => Forwarding::Nat,
            config::Forwarding::L2 => Forwarding::L2,
        };
        let mut zones: Vec<(&str, u8)> = Vec::new();
        for backend in &self.config.backends {
            match zones.last_mut() {
                Some((zone, count)) if *zone == backend.zone => *count += 1,
                _ => zones.push((&backend.zone, 1)),
            }
        }
        let lab = Lab::with_zones(forwarding, &zones)?;
        self.check(&lab)?;
        Ok(lab)
    }

    /// The file for a node in its lab: it attaches to other interfaces, and its hash key lies elsewhere.
    pub fn text(&self, lab: &Lab) -> String {
        let node = format!(
            "interfaces = {:?}\nhash_key_file = {:?}",
            lab.interfaces(),
            lab.folder().join("hash.key")
        );
        let line = |line: &str| if line.starts_with("interfaces =") { node.clone() } else { line.to_owned() };
        let lines: Vec<String> = self.text.lines().map(line).collect();
        lines.join("\n") + "\n"
    }

    /// Everybody is where the example says.
    fn check(&self, lab: &Lab) -> Result<()> {
        for (backend, there) in self.config.backends.iter().zip(&lab.backends) {
            let SocketAddr::V4(address) = backend.address else {
                bail!("{} has no IPv4 address", backend.name)
            };
            ensure!(
                *address.ip() == there.address && backend.zone == there.zone,
                "{} is at {address} in {}, the lab has {} in {}; write the backends zone by zone",
                backend.name,
                backend.zone,
                there.address,
                there.zone
            );
        }
        let addresses: Vec<SocketAddrV4> =
            lab.zones.iter().filter_map(|zone| zone.service).chain([lab.service()]).collect();
        for listener in self.config.services.iter().flat_map(|service| &service.listen) {
            let known = addresses.iter().any(|address| SocketAddr::V4(*address) == *listener);
            ensure!(known, "a service listens on {listener}; the lab has {addresses:?}");
        }
        Ok(())
    }
}
