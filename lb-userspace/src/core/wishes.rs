//! What operators want at the moment beyond what the configuration says: kept by name, across reloads and restarts.

use crate::config::{Config, MAX_LIMIT, MAX_WEIGHT};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What holds after a restart of the daemon; `null`: the same.
    pub after_restart: Option<String>,
    /// The command that makes it as the configuration says.
    pub undo: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, name, key, file, now, after_restart, undo } = self;
        let restart = match after_restart {
            Some(then) => format!(" (until a restart, then {then})"),
            None => String::new(),
        };
        write!(f, "{what} {name}: {key} is {now}{restart}, the file says {file}; to undo: {undo}")
    }
}

impl Difference {
    /// One between what the file says, what holds now, and what will after a restart; `None`: there is none.
    fn between(
        what: &str,
        name: &str,
        key: &str,
        [file, now, then]: [String; 3],
        undo: String,
    ) -> Option<Difference> {
        let (what, name, key) = (what.to_owned(), name.to_owned(), key.to_owned());
        let after_restart = (then != now).then_some(then);
        (now != file || after_restart.is_some()).then_some(Difference {
            what,
            name,
            key,
            file,
            now,
            after_restart,
            undo,
        })
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

    /// What is not as the configuration says, in its order, or will not be after a restart, which leaves what is `kept`.
    /// Wishes about what is not in it do not count.
    pub fn differences(&self, config: &Config, kept: &Wishes) -> Vec<Difference> {
        let mut differences = Vec::new();
        for zone in config.zone_names() {
            let word =
                |wishes: &Wishes| if wishes.disabled_zones.contains(zone) { "disabled" } else { "enabled" };
            let values = ["enabled", word(self), word(kept)].map(str::to_owned);
            let undo = format!("sipsteer zone enable {zone}");
            differences.extend(Difference::between("zone", zone, "will", values, undo));
        }
        for backend in &config.backends {
            let (name, wish, after) = (&backend.name, self.of(&backend.name), kept.of(&backend.name));
            let mut add = |key: &str, values: [String; 3], undo: String| {
                differences.extend(Difference::between("backend", name, key, values, undo));
            };
            let wills = [Will::Enabled, wish.will, after.will].map(|will| will.word().to_owned());
            add("will", wills, format!("sipsteer backend enable {name}"));
            for (key, file, now, after) in [
                ("max_cps", backend.max_cps, wish.max_cps, after.max_cps),
                ("max_channels", backend.max_channels, wish.max_channels, after.max_channels),
            ] {
                let file = Limit::from(file);
                let limits =
                    [file, now.unwrap_or(file), after.unwrap_or(file)].map(|limit| limit.to_string());
                add(key, limits, format!("sipsteer backend limit {name} {key}=file"));
            }
            let file = backend.weight;
            let weights =
                [file, wish.weight.unwrap_or(file), after.weight.unwrap_or(file)].map(|w| w.to_string());
            add("weight", weights, format!("sipsteer backend weight {name} file"));
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

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "At most so many calls (0: no new ones), or no limit. Limits of zones are sums.",
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": u32::MAX }, { "const": "unlimited" }],
        })
    }
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
            .differences(&simple(2), &wishes)
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
    fn what_a_restart_changes_is_told_even_where_the_file_says_what_holds() {
        let (mut now, mut kept) = (Wishes::default(), Wishes::default());
        now.change("sw1", |w| (w.will, w.max_cps) = (Will::Draining, Some(Limit::Calls(80))));
        kept.change("sw1", |w| w.max_cps = Some(Limit::Calls(80)));
        kept.change("sw2", |w| w.weight = Some(7));
        kept.disabled_zones.insert("uk".to_owned());
        let told: Vec<String> =
            now.differences(&simple(2), &kept).iter().map(|difference| difference.to_string()).collect();
        assert_eq!(
            told,
            [
                "zone uk: will is enabled (until a restart, then disabled), the file says enabled; to undo: sipsteer zone \
                 enable uk",
                "backend sw1: will is draining (until a restart, then enabled), the file says enabled; to undo: sipsteer \
                 backend enable sw1",
                "backend sw1: max_cps is 80, the file says 100; to undo: sipsteer backend limit sw1 max_cps=file",
                "backend sw2: weight is 100 (until a restart, then 7), the file says 100; to undo: sipsteer backend \
                 weight sw2 file",
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
