//! The standings of all backends: by name, across reloads, and what of them a new daemon finds in the maps.

use super::{
    model::Model,
    standing::{Capacity, Health, Standing},
};
use crate::config::{Backend, Config};
use lb_common::map::{
    backend::{health, name_of},
    service::ServiceKey,
};
use std::collections::BTreeMap;

/// What was observed of one backend. Health and capacity have different observers, so each says its own part only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Name of the backend.
    pub backend: String,
    /// What is so now.
    pub now: Aspect,
    /// Why, in a few words: `3 probes in a row got no answer`.
    pub reason: String,
}

/// One part of a [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// [`Standing::health`].
    Health(Health),
    /// [`Standing::drains`].
    Drains(bool),
    /// [`Standing::capacity`].
    Capacity(Option<Capacity>),
}

/// A standing that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Name of the backend.
    pub backend: String,
    /// What it was.
    pub old: Standing,
    /// What it is.
    pub new: Standing,
    /// Why.
    pub reason: String,
}

impl Changed {
    /// One line in the log. Capacities follow telemetry and may change every second; health is what people wait for.
    pub fn tell(&self) {
        let Changed { backend, old, new, reason } = self;
        let (was, is) = (old.seen(), new.seen());
        match (was == is, is) {
            (true, _) => tracing::debug!(
                "backend {backend}: may carry {}, was {}: {reason}",
                Capacity::told(new.capacity),
                Capacity::told(old.capacity)
            ),
            (false, Health::Up) => {
                tracing::info!("backend {backend}: {was} -> {is}: {reason}");
            }
            (false, _) => tracing::warn!("backend {backend}: {was} -> {is}: {reason}"),
        }
    }
}

/// All standings. A backend that is absent is up and may carry what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings(BTreeMap<String, Standing>);

impl Standings {
    /// The standings that a new daemon starts with: the health that `before`, the contents of the maps it found, holds of
    /// backends that `keeps` says so of. Nobody has looked at them since, and a dead one must not get calls until somebody has.
    /// A backend that has another address now is another server.
    pub fn found(before: &Model, config: &Config, keeps: impl Fn(&Backend) -> bool) -> Standings {
        let health_of = |backend: &Backend| {
            let key = ServiceKey::udp(backend.address);
            let here = |found: &&lb_common::map::backend::Backend| {
                name_of(&found.name) == backend.name && (found.address, found.port) == (key.address, key.port)
            };
            before.backends.values().find(here).map_or(Health::Up, |found| health_of_number(found.health))
        };
        let kept = config.backends.iter().filter(|b| keeps(b)).map(|b| (b.name.clone(), health_of(b)));
        Standings(
            kept.filter(|(_, health)| *health != Health::Up)
                .map(|(name, health)| (name, Standing { health, ..Standing::default() }))
                .collect(),
        )
    }

    /// By name.
    pub fn by_name(&self) -> &BTreeMap<String, Standing> {
        &self.0
    }

    /// Of one backend.
    pub fn of(&self, backend: &str) -> Standing {
        self.0.get(backend).copied().unwrap_or_default()
    }

    /// Takes note of an observation; `None`: nothing new.
    pub fn note(&mut self, observation: &Observation) -> Option<Changed> {
        let Observation { backend, now, reason } = observation;
        let old = self.of(backend);
        let new = match *now {
            Aspect::Health(health) => Standing { health, ..old },
            Aspect::Drains(drains) => Standing { drains, ..old },
            Aspect::Capacity(capacity) => Standing { capacity, ..old },
        };
        if old == new {
            return None;
        }
        self.0.remove(backend);
        if new != Standing::default() {
            self.0.insert(backend.clone(), new);
        }
        Some(Changed { backend: backend.clone(), old, new, reason: reason.clone() })
    }

    /// What of these holds when `new` follows on `old`: that of backends which have kept their name and address.
    #[must_use]
    pub fn after(&self, old: &Config, new: &Config) -> Standings {
        let address =
            |config: &Config, name: &str| config.backends.iter().find(|b| b.name == name).map(|b| b.address);
        let same = |name: &str| address(new, name).is_some_and(|now| address(old, name) == Some(now));
        let kept = self.0.iter().filter(|(name, _)| same(name));
        Standings(kept.map(|(name, standing)| (name.clone(), *standing)).collect())
    }
}

/// A health that the maps hold; one that is not known is that of a newer version, whose daemon will say.
const fn health_of_number(number: u8) -> Health {
    match number {
        health::DOWN => Health::Down,
        health::DRAINING => Health::Draining,
        _ => Health::Up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        examples::{backend, simple},
        model::Circumstances,
    };

    fn health(backend: &str, now: Health) -> Observation {
        Observation {
            backend: backend.to_owned(),
            now: Aspect::Health(now),
            reason: "it was seen".to_owned(),
        }
    }

    fn capacity(backend: &str, weight: Option<u16>) -> Observation {
        let now = weight.map(|weight| Capacity {
            max_channels: None,
            max_cps: Some(7),
            weight,
            other_channels: 0,
            other_cps: 0,
        });
        Observation { now: Aspect::Capacity(now), ..health(backend, Health::Up) }
    }

    #[test]
    fn each_observer_says_its_own_part_and_what_is_not_new_is_not_told() {
        let mut standings = Standings::default();
        assert_eq!(standings.note(&health("sw1", Health::Up)), None);
        let down = standings.note(&health("sw1", Health::Down)).unwrap();
        assert_eq!((down.old.health, down.new.health), (Health::Up, Health::Down));
        assert_eq!(standings.note(&health("sw1", Health::Down)), None);

        let limited = standings.note(&capacity("sw1", Some(50))).unwrap();
        assert_eq!(limited.new.health, Health::Down, "capacity says nothing of health");
        assert_eq!(standings.of("sw1").capacity.unwrap().weight, 50);
        let up = standings.note(&health("sw1", Health::Up)).unwrap();
        assert_eq!(up.new.capacity.unwrap().weight, 50, "health says nothing of capacity");
        let drains = |drains| Observation { now: Aspect::Drains(drains), ..health("sw1", Health::Up) };
        let draining = standings.note(&drains(true)).unwrap();
        assert_eq!((draining.old.seen(), draining.new.seen()), (Health::Up, Health::Draining));
        assert_eq!(standings.note(&health("sw1", Health::Down)).unwrap().new.seen(), Health::Down);
        standings.note(&health("sw1", Health::Up)).unwrap();
        standings.note(&drains(false)).unwrap();
        standings.note(&capacity("sw1", None)).unwrap();
        assert_eq!(standings, Standings::default(), "one that is as usual is not kept");
    }

    #[test]
    fn a_reload_keeps_what_was_seen_of_servers_that_stay_where_they_are() {
        let old = simple(4);
        let mut new = old.clone();
        new.backends.remove(0);
        new.backends[0].address.set_port(5070);
        new.backends.push(backend("sw9", 99, &old.backends[0].zone));
        let mut standings = Standings::default();
        for name in old.backends.iter().map(|b| b.name.clone()).collect::<Vec<_>>() {
            standings.note(&health(&name, Health::Down)).unwrap();
        }
        let kept = standings.after(&old, &new);
        let names: Vec<&String> = kept.by_name().keys().collect();
        let expected: Vec<&String> = old.backends[2..].iter().map(|b| &b.name).collect();
        assert_eq!(names, expected, "one is gone, one is elsewhere");
        assert_eq!(standings.after(&old, &old), standings);
    }

    #[test]
    fn a_new_daemon_starts_with_the_health_that_the_maps_hold() {
        let config = simple(4);
        let mut standings = Standings::default();
        standings.note(&health(&config.backends[0].name, Health::Down)).unwrap();
        standings.note(&health(&config.backends[1].name, Health::Draining)).unwrap();
        standings.note(&health(&config.backends[2].name, Health::Down)).unwrap();
        let circumstances =
            Circumstances { standings: standings.by_name().clone(), ..Circumstances::default() };
        let before = Model::from_config(&config, &circumstances).unwrap();
        assert_eq!(Standings::found(&before, &config, |_| true), standings);

        let mut moved = config.clone();
        moved.backends[0].address.set_port(5070);
        let found = Standings::found(&before, &moved, |b| b.name != config.backends[2].name);
        assert_eq!(found.by_name().keys().collect::<Vec<_>>(), [&config.backends[1].name]);
        assert_eq!(found.of(&config.backends[1].name).health, Health::Draining);
        assert_eq!(Standings::found(&Model::default(), &config, |_| true), Standings::default());
    }
}
