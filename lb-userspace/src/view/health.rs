//! How a backend is, why, and what its probes found.

use crate::{
    config::How,
    core::health::{Outcome, Patient},
    probe::Heard,
    wall,
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The health of one backend that is probed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthView {
    /// up, draining or down.
    pub health: String,
    /// Whether new calls got no answer from it lately.
    pub suspected: bool,
    /// Since when it is so, RFC 3339.
    pub since: String,
    /// For how long.
    pub since_seconds: u64,
    /// Why.
    pub reason: String,
    /// For how much longer good answers do not bring it up, because it fell too often or did not answer calls; `null`: not.
    pub held_seconds: Option<u64>,
    /// `options` or `tcp`.
    pub probe: String,
    /// Time between two probes.
    pub interval_seconds: f64,
    /// How long an answer may take.
    pub timeout_seconds: f64,
    /// Good answers in a row that bring it up.
    pub rise: u32,
    /// Failures in a row that end that.
    pub fall: u32,
    /// What became of the latest probe: a status code, `connected`, `timeout`, `refused`, or why it could not be sent; `null`:
    /// there was none yet.
    pub last_outcome: Option<String>,
    /// When that was known, RFC 3339.
    pub last_at: Option<String>,
    /// How long the latest answer took; `null`: there was none.
    pub last_rtt_seconds: Option<f64>,
    /// Probes since the daemon started, or since the backend is probed.
    pub probes: u64,
    /// Those of them that got no answer.
    pub probes_lost: u64,
}

impl HealthView {
    /// The view at `now` of the monotonic clock. `counts`: probes, and those without an answer.
    pub fn new(
        patient: &Patient,
        last: Option<&Heard>,
        last_rtt: Option<Duration>,
        [probes, probes_lost]: [u64; 2],
        now: Duration,
    ) -> HealthView {
        let probing = patient.probing();
        HealthView {
            health: patient.health().word().to_owned(),
            suspected: patient.is_suspected(),
            since: wall(patient.since(), now),
            since_seconds: now.saturating_sub(patient.since()).as_secs(),
            reason: patient.reason().to_owned(),
            held_seconds: patient.held_for(now).map(|left| left.as_secs_f64().ceil() as u64),
            probe: match probing.how {
                How::Options => "options",
                How::Tcp => "tcp",
            }
            .to_owned(),
            interval_seconds: probing.interval.as_secs_f64(),
            timeout_seconds: probing.timeout.as_secs_f64(),
            rise: probing.rise,
            fall: probing.fall,
            last_outcome: last.map(|heard| outcome(&heard.outcome)),
            last_at: last.map(|heard| wall(heard.at, now)),
            last_rtt_seconds: last_rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e6),
            probes,
            probes_lost,
        }
    }

    /// Health and what else has to be known of it, in a word or two: `up, suspected`.
    pub fn word(&self) -> String {
        let suspected = if self.is_suspected() { ", suspected" } else { "" };
        format!("{}{suspected}", self.health)
    }

    /// Whether that is worth a word: of one that is down it is known.
    pub fn is_suspected(&self) -> bool {
        self.suspected && self.health != "down"
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { code, .. } => code.to_string(),
        Outcome::Connected { .. } => "connected".to_owned(),
        Outcome::TimedOut => "timeout".to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::NotAsked(why) => why.clone(),
    }
}

/// A moment of the monotonic clock as people write it: what the time is now, less its age.
fn wall(at: Duration, now: Duration) -> String {
    let age = SignedDuration::try_from(now.saturating_sub(at)).unwrap_or(SignedDuration::ZERO);
    let then = wall::now().saturating_sub(age).unwrap_or_default();
    then.round(jiff::Unit::Second).unwrap_or(then).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Probing, core::standing::Health};
    use jiff::Timestamp;

    #[test]
    fn what_is_not_known_is_null_and_what_is_has_its_unit() {
        let start = Duration::from_secs(100);
        let mut patient = Patient::new(Probing::DEFAULT, Health::Up, start);
        let fresh = HealthView::new(&patient, None, None, [0, 0], start);
        assert_eq!((fresh.health.as_str(), fresh.since_seconds), ("up", 0));
        assert_eq!((fresh.last_outcome, fresh.last_at, fresh.last_rtt_seconds), (None, None, None));

        for second in 1..3 {
            patient.note(&Outcome::TimedOut, None, start + Duration::from_secs(second));
        }
        let now = start + Duration::from_secs(60);
        let rtt = Some(Duration::from_nanos(1_234_567));
        let down = HealthView::new(&patient, None, rtt, [9, 2], now);
        assert_eq!((down.word().as_str(), down.since_seconds), ("down", 58));
        assert_eq!(down.reason, "2 probes in a row got no answer within 500ms");
        assert_eq!((down.last_rtt_seconds, down.probes, down.probes_lost), (Some(0.001_235), 9, 2));
        assert!(down.since.parse::<Timestamp>().is_ok());
        assert_eq!(down.held_seconds, None);
    }
}
