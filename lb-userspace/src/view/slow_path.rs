//! What the daemon answers itself.

use crate::slowpath::serve::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The slow path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlowPathView {
    /// Addresses it answers at.
    pub listening: Vec<String>,
    /// Addresses it should answer at, and why it does not.
    pub deaf: BTreeMap<String, String>,
    /// Packets that it answered since the daemon started, by answer and reason.
    pub answered: BTreeMap<String, u64>,
    /// Packets that it did not answer, by reason.
    pub not_answered: BTreeMap<String, u64>,
}

/// The view of a report.
pub fn of(report: &Report) -> SlowPathView {
    let named = |answered: bool| {
        let some = report.tally.seen().filter(move |(outcome, _)| outcome.answered() == answered);
        some.map(|(outcome, count)| (outcome.name().to_owned(), count)).collect()
    };
    SlowPathView {
        listening: report.listening.iter().map(|a| super::listen(*a)).collect(),
        deaf: report.deaf.iter().map(|(a, why)| (super::listen(*a), why.clone())).collect(),
        answered: named(true),
        not_answered: named(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slowpath::tally::{Outcome, Tally};

    #[test]
    fn answers_and_silence_are_told_apart() {
        let mut tally = Tally::default();
        for outcome in [Outcome::Redirected, Outcome::Redirected, Outcome::OtherMethod] {
            tally.count(outcome);
        }
        let address = "203.0.113.10:5060".parse().unwrap();
        let deaf = BTreeMap::from([(address, "taken".to_owned())]);
        let view = of(&Report { listening: vec![address], deaf, tally });
        assert_eq!(view.answered, BTreeMap::from([("redirected".to_owned(), 2)]));
        assert_eq!(view.not_answered, BTreeMap::from([("other_method".to_owned(), 1)]));
        assert_eq!(view.listening, ["203.0.113.10:5060/udp"]);
        assert_eq!(view.deaf["203.0.113.10:5060/udp"], "taken");
    }
}
