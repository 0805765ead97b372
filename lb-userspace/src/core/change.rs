//! A change of what operators want: what it does, in words, and how to undo it.

use super::wishes::{Limit, Will, Wish, Wishes};
use crate::{
    config::{Config, MAX_LIMIT, MAX_WEIGHT},
    failure::Failure,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A change, as commands and the API name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A backend is enabled, drained or disabled.
    BackendWill {
        /// Its name.
        name: String,
        /// What is wanted.
        will: Will,
    },
    /// A backend's limits; those that are absent stay as they are.
    BackendLimit {
        /// Its name.
        name: String,
        /// `max_cps`.
        #[serde(default)]
        max_cps: Option<Wanted<Limit>>,
        /// `max_channels`.
        #[serde(default)]
        max_channels: Option<Wanted<Limit>>,
    },
    /// A backend's weight.
    BackendWeight {
        /// Its name.
        name: String,
        /// The weight.
        weight: Wanted<u16>,
    },
    /// A zone takes new calls or does not.
    ZoneWill {
        /// Its name.
        name: String,
        /// Whether it takes new calls.
        enabled: bool,
    },
}

/// A value, or `file`: what the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wanted<T> {
    /// As the configuration says.
    File(FileWord),
    /// This value.
    Value(T),
}

/// The word `file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileWord {
    /// `file`.
    File,
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What operators want afterwards.
    pub wishes: Wishes,
    /// What is then so, in words: `draining` for instance.
    pub done: String,
    /// The command that undoes it; `None`: nothing changes.
    pub undo: Option<String>,
    /// What to write in the configuration to have it there too.
    pub lasting: Option<String>,
}

impl<T> Wanted<T> {
    /// The value; `None`: what the configuration says.
    pub fn value(self) -> Option<T> {
        match self {
            Wanted::File(_) => None,
            Wanted::Value(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for Wanted<T> {
    fn from(value: Option<T>) -> Wanted<T> {
        value.map_or(Wanted::File(FileWord::File), Wanted::Value)
    }
}

impl<T: fmt::Display> fmt::Display for Wanted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::File(_) => f.write_str("file"),
            Wanted::Value(value) => value.fmt(f),
        }
    }
}

impl<T: FromStr> FromStr for Wanted<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Wanted<T>, T::Err> {
        if text == "file" { Ok(None.into()) } else { text.parse().map(Wanted::Value) }
    }
}

impl Change {
    /// What it is about.
    pub fn name(&self) -> &str {
        match self {
            Change::BackendWill { name, .. }
            | Change::BackendLimit { name, .. }
            | Change::BackendWeight { name, .. }
            | Change::ZoneWill { name, .. } => name,
        }
    }

    /// What becomes of `wishes`.
    ///
    /// # Errors
    /// When there is no such backend or zone, or a value is out of range.
    pub fn outcome(&self, wishes: &Wishes, config: &Config) -> Result<Outcome, Failure> {
        self.check(config)?;
        let name = self.name();
        let before = wishes.of(name);
        let mut after = wishes.clone();
        let (done, undo, lasting) = match self {
            Change::BackendWill { will, .. } => {
                after.change(name, |wish| wish.will = *will);
                (will.word().to_owned(), format!("backend {} {name}", verb(before.will)), None)
            }
            Change::BackendLimit { max_cps, max_channels, .. } => {
                after.change(name, |wish| {
                    wish.max_cps = max_cps.map_or(wish.max_cps, Wanted::value);
                    wish.max_channels = max_channels.map_or(wish.max_channels, Wanted::value);
                });
                limits([*max_cps, *max_channels], before, name)
            }
            Change::BackendWeight { weight, .. } => {
                after.change(name, |wish| wish.weight = weight.value());
                let undo = format!("backend weight {name} {}", Wanted::from(before.weight));
                let lasting = weight.value().map(|weight| format!("weight = {weight}"));
                (format!("weight {}", as_file(*weight)), undo, lasting)
            }
            Change::ZoneWill { enabled, .. } => {
                let was = !wishes.disabled_zones.contains(name);
                if *enabled {
                    after.disabled_zones.remove(name);
                } else {
                    after.disabled_zones.insert(name.to_owned());
                }
                let verb = if was { "enable" } else { "disable" };
                let done = if *enabled { "enabled" } else { "disabled, takes no new calls" };
                (done.to_owned(), format!("zone {verb} {name}"), None)
            }
        };
        let undo = (after != *wishes).then(|| format!("sipsteer {undo}"));
        Ok(Outcome { wishes: after, done, undo, lasting })
    }

    fn check(&self, config: &Config) -> Result<(), Failure> {
        let name = self.name();
        if let Change::ZoneWill { .. } = self {
            let known = config.zone_names().contains(&name);
            return if known { Ok(()) } else { Err(unknown("zone", name, "zone list")) };
        }
        if !config.backends.iter().any(|b| b.name == name) {
            return Err(unknown("backend", name, "backend list"));
        }
        let sane = |limit: &Option<Wanted<Limit>>| {
            limit.and_then(Wanted::value).and_then(Limit::number).is_none_or(|n| n <= MAX_LIMIT)
        };
        let in_range = match self {
            Change::BackendLimit { max_cps, max_channels, .. } => sane(max_cps) && sane(max_channels),
            Change::BackendWeight { weight, .. } => {
                weight.value().is_none_or(|w| (1..=MAX_WEIGHT).contains(&w))
            }
            _ => true,
        };
        if in_range {
            return Ok(());
        }
        Err(Failure::bad("out_of_range", format!("a limit or the weight of {name} is out of range")).remedy(
            format!("limits go up to {MAX_LIMIT} or are `unlimited`, weights go from 1 to {MAX_WEIGHT}"),
        ))
    }
}

/// The command that leads to a will.
const fn verb(will: Will) -> &'static str {
    match will {
        Will::Enabled => "enable",
        Will::Draining => "drain",
        Will::Disabled => "disable",
    }
}

/// What is done, how to undo it, and what lasts, of `max_cps` and `max_channels`.
fn limits(wanted: [Option<Wanted<Limit>>; 2], before: Wish, name: &str) -> (String, String, Option<String>) {
    let (mut done, mut undo, mut lasting) = (Vec::new(), Vec::new(), Vec::new());
    let keys = [("max_cps", before.max_cps), ("max_channels", before.max_channels)];
    for ((key, before), wanted) in keys.into_iter().zip(wanted) {
        let Some(wanted) = wanted else { continue };
        done.push(format!("{key} {}", as_file(wanted)));
        undo.push(format!(" {key}={}", Wanted::from(before)));
        match wanted.value() {
            Some(Limit::Unlimited) => lasting.push(format!("{key} = \"unlimited\"")),
            Some(Limit::Calls(calls)) => lasting.push(format!("{key} = {calls}")),
            None => {}
        }
    }
    let lasting = (!lasting.is_empty()).then(|| lasting.join(", "));
    (done.join(", "), format!("backend limit {name}{}", undo.concat()), lasting)
}

fn as_file<T: fmt::Display>(wanted: Wanted<T>) -> String {
    match wanted {
        Wanted::File(_) => "as the file says".to_owned(),
        Wanted::Value(value) => value.to_string(),
    }
}

fn unknown(what: &str, name: &str, list: &str) -> Failure {
    let code = if what == "zone" { "zone_not_found" } else { "backend_not_found" };
    Failure::bad(code, format!("there is no {what} {name:?} in the configuration"))
        .remedy(format!("`sipsteer {list}` lists them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::examples::simple;

    fn will(name: &str, will: Will) -> Change {
        Change::BackendWill { name: name.to_owned(), will }
    }

    fn limit(max_cps: &str, max_channels: &str) -> Change {
        let wanted = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Change::BackendLimit {
            name: "sw1".to_owned(),
            max_cps: wanted(max_cps),
            max_channels: wanted(max_channels),
        }
    }

    /// Makes the change and returns what it says; undone, everything is as it was.
    fn told(wishes: &mut Wishes, change: &Change) -> (String, String, String) {
        let outcome = change.outcome(wishes, &simple(2)).unwrap();
        *wishes = outcome.wishes;
        (outcome.done, outcome.undo.unwrap_or_default(), outcome.lasting.unwrap_or_default())
    }

    fn texts(told: &(String, String, String)) -> [&str; 3] {
        [&told.0, &told.1, &told.2]
    }

    #[test]
    fn every_change_says_how_it_is_undone() {
        let mut wishes = Wishes::default();
        let mut does = |change: &Change| told(&mut wishes, change);
        assert_eq!(
            texts(&does(&will("sw1", Will::Draining))),
            ["draining", "sipsteer backend enable sw1", ""]
        );
        assert_eq!(
            texts(&does(&will("sw1", Will::Disabled))),
            ["disabled", "sipsteer backend drain sw1", ""]
        );
        assert_eq!(texts(&does(&will("sw1", Will::Disabled))), ["disabled", "", ""], "it was so");
        assert_eq!(
            texts(&does(&limit("80", "unlimited"))),
            [
                "max_cps 80, max_channels unlimited",
                "sipsteer backend limit sw1 max_cps=file max_channels=file",
                "max_cps = 80, max_channels = \"unlimited\""
            ]
        );
        assert_eq!(
            texts(&does(&limit("file", ""))),
            ["max_cps as the file says", "sipsteer backend limit sw1 max_cps=80", ""]
        );
        let weight = |w: &str| Change::BackendWeight { name: "sw2".to_owned(), weight: w.parse().unwrap() };
        assert_eq!(
            texts(&does(&weight("50"))),
            ["weight 50", "sipsteer backend weight sw2 file", "weight = 50"]
        );
        assert_eq!(texts(&does(&weight("file")))[1], "sipsteer backend weight sw2 50");
        let zone = |enabled| Change::ZoneWill { name: "uk".to_owned(), enabled };
        assert_eq!(texts(&does(&zone(true)))[1], "", "it was so");
        assert_eq!(texts(&does(&zone(false)))[1], "sipsteer zone enable uk");
        assert_eq!(texts(&does(&zone(true)))[1], "sipsteer zone disable uk");
    }

    #[test]
    fn what_is_not_there_or_out_of_range_is_refused() {
        let refused = |change: &Change| change.outcome(&Wishes::default(), &simple(1)).unwrap_err();
        assert_eq!(refused(&will("sw2", Will::Draining)).code, "backend_not_found");
        let zone = Change::ZoneWill { name: "france".to_owned(), enabled: false };
        assert_eq!(refused(&zone).code, "zone_not_found");
        let weight = |weight| Change::BackendWeight { name: "sw1".to_owned(), weight: Wanted::Value(weight) };
        for weight in [weight(0), weight(MAX_WEIGHT + 1)] {
            assert_eq!(refused(&weight).code, "out_of_range");
        }
        assert!(weight(MAX_WEIGHT).outcome(&Wishes::default(), &simple(1)).is_ok());
        let max_cps = Some(Wanted::Value(Limit::Calls(MAX_LIMIT + 1)));
        let limit = Change::BackendLimit { name: "sw1".to_owned(), max_cps, max_channels: None };
        assert_eq!(refused(&limit).code, "out_of_range");
    }

    #[test]
    fn the_api_takes_numbers_and_words() {
        let read = |text: &str| serde_json::from_str::<Change>(text).unwrap();
        assert_eq!(
            read(r#"{"change":"backend-limit","name":"sw1","max_cps":80,"max_channels":"unlimited"}"#),
            limit("80", "unlimited")
        );
        assert_eq!(read(r#"{"change":"backend-limit","name":"sw1","max_cps":"file"}"#), limit("file", ""));
        let weight = Change::BackendWeight { name: "sw1".to_owned(), weight: Wanted::Value(7) };
        assert_eq!(read(r#"{"change":"backend-weight","name":"sw1","weight":7}"#), weight);
        assert!(serde_json::from_str::<Change>(r#"{"change":"backend-will","name":"sw1"}"#).is_err());
    }
}
