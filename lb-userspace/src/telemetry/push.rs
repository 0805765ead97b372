//! A report that somebody hands over by the API.

use super::number::{amount, part};
use crate::core::report::{Admits, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a server, or who watches it, says; what is absent is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pushed {
    /// Name of the backend.
    pub backend: String,
    /// Calls in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    /// Most calls in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<u32>,
    /// New calls per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cps: Option<f64>,
    /// Most new calls per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cps: Option<u32>,
    /// How busy its processors are, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Part of its usual share that it asks for, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// `calls`, `drain` or `nothing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admits: Option<Word>,
}

/// [`Admits`] as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// New calls are welcome.
    Calls,
    /// No new calls.
    Drain,
    /// It goes down, or is down.
    Nothing,
}

impl Pushed {
    /// The report.
    ///
    /// # Errors
    /// When it says nothing, or a number makes no sense.
    pub fn report(&self) -> Result<Report, String> {
        let named = |name: &'static str| move |why| format!("{name}: {why}");
        let whole = |number: Option<u32>, name| {
            number.map(|n| amount(n.into()).map(|_| n)).transpose().map_err(named(name))
        };
        let ratio = |number: Option<f64>, name| number.map(part).transpose().map_err(named(name));
        let report = Report {
            channels: whole(self.channels, "channels")?,
            max_channels: whole(self.max_channels, "max_channels")?,
            cps: self.cps.map(amount).transpose().map_err(named("cps"))?,
            max_cps: whole(self.max_cps, "max_cps")?,
            cpu: ratio(self.cpu, "cpu")?,
            share: ratio(self.share, "share")?,
            admits: self.admits.map(|word| match word {
                Word::Calls => Admits::Calls,
                Word::Drain => Admits::Drain,
                Word::Nothing => Admits::Nothing,
            }),
        };
        if report == Report::default() {
            const FIGURES: &str = "channels, max_channels, cps, max_cps, cpu, share and admits";
            return Err(format!("it says nothing: give at least one of {FIGURES}"));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Report, String> {
        serde_json::from_str::<Pushed>(text).map_err(|e| e.to_string())?.report()
    }

    #[test]
    fn a_report_is_read() {
        let report = read(r#"{"backend":"sw1","channels":12,"cps":3.5,"cpu":0.5,"admits":"drain"}"#).unwrap();
        let expected = Report {
            channels: Some(12),
            cps: Some(3.5),
            cpu: Some(0.5),
            admits: Some(Admits::Drain),
            ..Report::default()
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, why) in [
            (r#"{"backend":"sw1"}"#, "says nothing"),
            (r#"{"channels":1}"#, "backend"),
            (r#"{"backend":"sw1","chanels":1}"#, "chanels"),
            (r#"{"backend":"sw1","channels":-1}"#, "-1"),
            (r#"{"backend":"sw1","channels":1.5}"#, "1.5"),
            (r#"{"backend":"sw1","channels":4000000000}"#, "channels: 4000000000 is more than anybody"),
            (r#"{"backend":"sw1","cps":-0.5}"#, "cps: -0.5 is below zero"),
            (r#"{"backend":"sw1","share":1.5}"#, "share: 1.5 is more than the whole"),
            (r#"{"backend":"sw1","admits":"yes"}"#, "yes"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(pushed) = serde_json::from_slice::<Pushed>(&bytes) {
                let _ = pushed.report();
            }
        }
    }
}
