//! What a telemetry source says about one backend at one moment. Whatever is absent is unknown, never zero.

use std::time::Duration;

/// One report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Calls in progress on the server, whoever sent them.
    pub channels: Option<u32>,
    /// Most calls in progress that it says it can carry.
    pub max_channels: Option<u32>,
    /// New calls per second on the server, whoever sent them.
    pub cps: Option<f64>,
    /// Most new calls per second that it says it can carry.
    pub max_cps: Option<u32>,
    /// How busy its processors are, 0 to 1.
    pub cpu: Option<f64>,
    /// Part of its usual share that it asks for, 0 to 1: the `N%` of an agent, what RFC 7339's `loss` leaves.
    pub share: Option<f64>,
    /// What it says about taking calls.
    pub admits: Option<Admits>,
}

/// What a server says about taking calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// New calls are welcome.
    Calls,
    /// No new calls; those it has stay.
    Drain,
    /// It is going down, or is down.
    Nothing,
}

/// A report, and how long it may be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When what it says was true, on the daemon's steady clock: the moment of the question, not that of the answer.
    pub taken: Duration,
    /// How long after that it may be believed.
    pub valid: Duration,
    /// What it says.
    pub report: Report,
}

impl Sample {
    /// Whether it may be believed at `now`. A sample of the future may not.
    pub fn holds(&self, now: Duration) -> bool {
        now.checked_sub(self.taken).is_some_and(|age| age <= self.valid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_holds_to_its_age_and_not_before_it_was_taken() {
        let sample = Sample {
            taken: Duration::from_secs(10),
            valid: Duration::from_secs(5),
            report: Report::default(),
        };
        let holds = |milliseconds| sample.holds(Duration::from_millis(milliseconds));
        assert!(!holds(9_999) && holds(10_000) && holds(15_000) && !holds(15_001));
    }
}
