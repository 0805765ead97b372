//! What operators want at the moment beyond what the configuration says: kept by name, across reloads and restarts.

use crate::config::{Config, MAX_LIMIT, MAX_WEIGHT};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Will {
    /// Takes new calls.
    #[default]
    Enabled,
    /// Keeps its calls, takes no new ones.
    Draining,
    /// Takes nothing; its calls move.
    Disabled,
}

/// A limit as people write it: a number or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At most so many; 0: no new calls.
    Calls(u32),
    /// No limit.
    Unlimited,
}

/// Everything that operators want beyond the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// By name of the backend.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<String, Wish>,
    /// Names of the zones that take no new calls.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disabled_zones: BTreeSet<String>,
}

/// What operators want of one backend; `None`: what the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Enabled if nobody says otherwise.
    #[serde(default, skip_serializing_if = "is_enabled")]
    pub will: Will,
    /// `max_cps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cps: Option<Limit>,
    /// `max_channels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<Limit>,
    /// `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// One thing that is not as the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `backend` or `zone`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// `will`, or the key of the configuration.
    pub key: String,
    /// What the configuration says.
    pub file: String,
    /// What holds now.
    pub now: String,
    /// The command that makes it as the configuration says.
    pub undo: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, name, key, file, now, undo } = self;
        write!(f, "{what} {name}: {key} is {now}, the file says {file}; to undo: {undo}")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references over")]
fn is_enabled(will: &Will) -> bool {
    *will == Will::Enabled
}

impl Wishes {
    /// What operators want of a backend.
    pub fn of(&self, backend: &str) -> Wish {
        self.backends.get(backend).copied().unwrap_or_default()
    }

    /// Changes what they want of a backend.
    pub fn change(&mut self, backend: &str, change: impl FnOnce(&mut Wish)) {
        let mut wish = self.of(backend);
        change(&mut wish);
        self.backends.remove(backend);
        if wish != Wish::default() {
            self.backends.insert(backend.to_owned(), wish);
        }
    }

    /// The configuration with the limits and weights that hold now.
    #[must_use]
    pub fn applied(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for backend in &mut config.backends {
            let wish = self.of(&backend.name);
            backend.max_cps = wish.max_cps.map_or(backend.max_cps, Limit::number);
            backend.max_channels = wish.max_channels.map_or(backend.max_channels, Limit::number);
            backend.weight = wish.weight.unwrap_or(backend.weight);
        }
        config
    }

    /// What is not as the configuration says, in its order. Wishes about what is not in it do not count.
    pub fn differences(&self, config: &Config) -> Vec<Difference> {
        let mut differences = Vec::new();
        for zone in config.zone_names().into_iter().filter(|z| self.disabled_zones.contains(*z)) {
            differences.push(Difference {
                what: "zone".to_owned(),
                name: zone.to_owned(),
                key: "will".to_owned(),
                file: "enabled".to_owned(),
                now: "disabled".to_owned(),
                undo: format!("sipsteer zone enable {zone}"),
            });
        }
        for backend in &config.backends {
            let (name, wish) = (&backend.name, self.of(&backend.name));
            let mut add = |key: &str, file: String, now: Option<String>, undo: String| {
                if let Some(now) = now.filter(|now| *now != file) {
                    let (what, name, key) = ("backend".to_owned(), name.clone(), key.to_owned());
                    differences.push(Difference { what, name, key, file, now, undo });
                }
            };
            let enable = format!("sipsteer backend enable {name}");
            add("will", Will::Enabled.word().to_owned(), Some(wish.will.word().to_owned()), enable);
            for (key, file, now) in [
                ("max_cps", backend.max_cps, wish.max_cps),
                ("max_channels", backend.max_channels, wish.max_channels),
            ] {
                let undo = format!("sipsteer backend limit {name} {key}=file");
                add(key, Limit::from(file).to_string(), now.map(|l| l.to_string()), undo);
            }
            let undo = format!("sipsteer backend weight {name} file");
            add("weight", backend.weight.to_string(), wish.weight.map(|w| w.to_string()), undo);
        }
        differences
    }

    /// Whether everything is within the bounds that the configuration's reader keeps, since a file may have been edited.
    pub fn is_sane(&self) -> bool {
        let sane = |limit: Option<Limit>| limit.and_then(Limit::number).is_none_or(|n| n <= MAX_LIMIT);
        self.backends.values().all(|wish| {
            sane(wish.max_cps)
                && sane(wish.max_channels)
                && wish.weight.is_none_or(|w| (1..=MAX_WEIGHT).contains(&w))
        })
    }
}

impl Will {
    /// As people read it.
    pub const fn word(self) -> &'static str {
        match self {
            Will::Enabled => "enabled",
            Will::Draining => "draining",
            Will::Disabled => "disabled",
        }
    }
}

impl Limit {
    /// As the configuration holds it; `None` is unlimited.
    pub const fn number(self) -> Option<u32> {
        match self {
            Limit::Calls(calls) => Some(calls),
            Limit::Unlimited => None,
        }
    }
}

impl From<Option<u32>> for Limit {
    fn from(number: Option<u32>) -> Limit {
        number.map_or(Limit::Unlimited, Limit::Calls)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Calls(calls) => calls.fmt(f),
            Limit::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        if text == "unlimited" {
            return Ok(Limit::Unlimited);
        }
        match text.parse() {
            Ok(calls) if calls <= MAX_LIMIT => Ok(Limit::Calls(calls)),
            _ => Err(format!("{text:?} is no limit: write a whole number up to {MAX_LIMIT}, or unlimited")),
        }
    }
}

/// In JSON a number or `"unlimited"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum LimitText {
    Calls(u32),
    Word(String),
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::Calls(calls) => LimitText::Calls(*calls),
            Limit::Unlimited => LimitText::Word("unlimited".to_owned()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        match LimitText::deserialize(deserializer)? {
            LimitText::Calls(calls) => Ok(Limit::Calls(calls)),
            LimitText::Word(word) if word == "unlimited" => Ok(Limit::Unlimited),
            LimitText::Word(word) => Err(serde::de::Error::custom(format!("{word:?} is no limit"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::examples::simple;

    #[test]
    fn wishes_come_back_from_json_and_those_that_want_nothing_are_forgotten() {
        let mut wishes = Wishes::default();
        wishes.change("sw1", |w| w.will = Will::Draining);
        wishes.change("sw2", |w| w.max_cps = Some(Limit::Calls(80)));
        wishes.change("sw2", |w| w.max_channels = Some(Limit::Unlimited));
        wishes.disabled_zones.insert("uk".to_owned());
        let text = serde_json::to_string(&wishes).unwrap();
        assert_eq!(
            text,
            r#"{"backends":{"sw1":{"will":"draining"},"sw2":{"max_cps":80,"max_channels":"unlimited"}},"disabled_zones":["uk"]}"#
        );
        assert_eq!(serde_json::from_str::<Wishes>(&text).unwrap(), wishes);
        assert!(serde_json::from_str::<Limit>("\"endless\"").is_err());
        wishes.change("sw1", |w| w.will = Will::Enabled);
        assert_eq!(wishes.backends.len(), 1);
    }

    #[test]
    fn limits_and_weights_replace_those_of_the_file() {
        let mut wishes = Wishes::default();
        wishes.change("sw1", |w| {
            (w.max_cps, w.max_channels, w.weight) = (Some(Limit::Unlimited), Some(Limit::Calls(0)), Some(7));
        });
        let config = wishes.applied(&simple(2));
        let (one, two) = (&config.backends[0], &config.backends[1]);
        assert_eq!((one.max_cps, one.max_channels, one.weight), (None, Some(0), 7));
        assert_eq!(*two, simple(2).backends[1]);
    }

    #[test]
    fn differences_say_how_to_undo_them() {
        let mut wishes = Wishes::default();
        wishes.change("sw2", |w| w.will = Will::Disabled);
        wishes.change("sw1", |w| (w.max_cps, w.weight) = (Some(Limit::Calls(80)), Some(100)));
        wishes.change("gone", |w| w.will = Will::Draining);
        wishes.disabled_zones.insert("uk".to_owned());
        let told: Vec<String> = wishes
            .differences(&simple(2))
            .into_iter()
            .map(|d| format!("{} {} {} {} {}: {}", d.what, d.name, d.key, d.file, d.now, d.undo))
            .collect();
        assert_eq!(
            told,
            [
                "zone uk will enabled disabled: sipsteer zone enable uk",
                "backend sw1 max_cps 100 80: sipsteer backend limit sw1 max_cps=file",
                "backend sw2 will enabled disabled: sipsteer backend enable sw2",
            ]
        );
    }

    #[test]
    fn limits_are_read_up_to_their_bounds() {
        assert_eq!("1000000".parse(), Ok(Limit::Calls(MAX_LIMIT)));
        assert_eq!("unlimited".parse(), Ok(Limit::Unlimited));
        for wrong in ["1000001", "-1", "", "1.5", "none"] {
            assert!(wrong.parse::<Limit>().unwrap_err().contains("unlimited"), "{wrong}");
        }
        let sane = |weight, cps| {
            let mut wishes = Wishes::default();
            wishes.change("x", |w| (w.weight, w.max_cps) = (Some(weight), Some(Limit::Calls(cps))));
            wishes.is_sane()
        };
        assert!(sane(1, 0) && sane(MAX_WEIGHT, MAX_LIMIT));
        assert!(!sane(0, 0) && !sane(MAX_WEIGHT + 1, 0) && !sane(1, MAX_LIMIT + 1));
    }
}
