//! Why a backend may carry what it may: what came in, and what that did.

use super::{super::wishes::Limit, Decided};
use crate::config;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// One input and its effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// What came in, with its numbers.
    pub input: String,
    /// What that did, with its numbers.
    pub effect: String,
}

/// Everything that a decision came from, in the order in which it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation(pub Vec<Line>);

impl Explanation {
    /// Adds a line.
    pub(super) fn add(&mut self, input: impl Into<String>, effect: impl Into<String>) {
        self.0.push(Line { input: input.into(), effect: effect.into() });
    }

    /// What holds before anybody said anything.
    pub(super) fn configured(backend: &config::Backend) -> Explanation {
        let config::Backend { max_channels, max_cps, weight, .. } = backend;
        let (channels, cps) = (Limit::from(*max_channels), Limit::from(*max_cps));
        let mut explanation = Explanation::default();
        explanation.add(
            "configuration and operators",
            format!("max_channels {channels}, max_cps {cps}, weight {weight}"),
        );
        explanation
    }

    /// What came of all of it.
    pub(super) fn conclude(&mut self, decided: &Decided) {
        let Decided { max_channels, max_cps, weight, other_channels, other_cps } = *decided;
        let (channels, cps) = (Limit::from(max_channels), Limit::from(max_cps));
        let mut effect = format!("max_channels {channels}, max_cps {cps}, weight {weight}");
        for (number, what) in [(other_channels, "channels"), (other_cps, "cps")] {
            if number > 0 {
                effect.push_str(&format!(", {number} {what} of others"));
            }
        }
        self.add("in force", effect);
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.0.iter().map(|line| line.input.chars().count()).max().unwrap_or_default();
        for Line { input, effect } in &self.0 {
            writeln!(f, "{input:<wide$}  -> {effect}")?;
        }
        Ok(())
    }
}

/// A time as people read it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
