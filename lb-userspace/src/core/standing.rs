//! What was observed of a backend, and what it may carry for that reason. Made by probes and the controller, kept by name.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a backend is, apart from what operators want of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Answers, or is not probed.
    #[default]
    Up,
    /// Answers, but asks for no new calls: those it has stay.
    Draining,
    /// Does not answer: its calls move.
    Down,
}

impl Health {
    /// As people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Health::Up => "up",
            Health::Draining => "draining",
            Health::Down => "down",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a backend may carry at the moment. Where the configuration or an operator allows less, that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Calls in progress; `None` is unlimited.
    pub max_channels: Option<u32>,
    /// New calls per second; `None` is unlimited.
    pub max_cps: Option<u32>,
    /// Share of new calls relative to the others of its zone, 1 to [`crate::config::MAX_WEIGHT`].
    pub weight: u16,
    /// Calls in progress there that did not come through this balancer.
    pub other_channels: u32,
    /// New calls per second there that do not come through this balancer.
    pub other_cps: u32,
}

impl Capacity {
    /// In words, for the log.
    pub fn told(capacity: Option<Capacity>) -> String {
        let Some(capacity) = capacity else { return "what the configuration says".to_owned() };
        let limit = |limit: Option<u32>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
        format!(
            "{} channels and {} cps at weight {}",
            limit(capacity.max_channels),
            limit(capacity.max_cps),
            capacity.weight
        )
    }
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How probes find it.
    pub health: Health,
    /// Whether a telemetry source says that it wants no new calls.
    pub drains: bool,
    /// What it may carry; `None`: what the configuration and operators say.
    pub capacity: Option<Capacity>,
}

impl Standing {
    /// How it is, its own words included. They are believed only to its disadvantage: who does not answer is down.
    pub const fn seen(&self) -> Health {
        match self.health {
            Health::Up if self.drains => Health::Draining,
            probed => probed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_drain_who_is_up_and_bring_nobody_back() {
        let seen = |health, drains| Standing { health, drains, capacity: None }.seen();
        assert_eq!([seen(Health::Up, false), seen(Health::Up, true)], [Health::Up, Health::Draining]);
        assert_eq!([seen(Health::Draining, false), seen(Health::Draining, true)], [Health::Draining; 2]);
        assert_eq!([seen(Health::Down, false), seen(Health::Down, true)], [Health::Down; 2]);
    }
}
