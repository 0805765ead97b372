//! What became of calls that found no room, in the last minute. Counters only grow; an operator asks about now.

use lb_common::map::counters::ServiceCounter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How far back we look.
const WINDOW: Duration = Duration::from_secs(60);

/// New calls of a service that did not go to the first choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Calls {
    /// To another backend of the first zone.
    pub spilled: u64,
    /// To a further zone.
    pub overflowed: u64,
    /// Answered with a 302.
    pub redirected: u64,
    /// Refused because every backend in reach was full.
    pub refused_full: u64,
    /// Refused because no backend in reach takes calls.
    pub refused_down: u64,
}

impl From<&ServiceCounter> for Calls {
    fn from(counter: &ServiceCounter) -> Calls {
        Calls {
            spilled: counter.spilled,
            overflowed: counter.overflowed,
            redirected: counter.redirected,
            refused_full: counter.refused_full,
            refused_down: counter.refused_down,
        }
    }
}

impl Calls {
    /// What came since; nothing if the counter began anew.
    fn since(self, before: Calls) -> Calls {
        Calls {
            spilled: self.spilled.saturating_sub(before.spilled),
            overflowed: self.overflowed.saturating_sub(before.overflowed),
            redirected: self.redirected.saturating_sub(before.redirected),
            refused_full: self.refused_full.saturating_sub(before.refused_full),
            refused_down: self.refused_down.saturating_sub(before.refused_down),
        }
    }
}

/// Counts of all services at one time, by service id.
type Sample = BTreeMap<u16, Calls>;

/// Samples of the last minute.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, Sample)>);

impl Recent {
    /// Notes the counts of now. Those older than the window go, but for the last of them.
    pub(super) fn note(&mut self, now: Instant, sample: Sample) {
        self.0.push_back((now, sample));
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// What came to a service in the window, and how long that is; `None` before the second sample.
    pub(super) fn of(&self, service: u16) -> Option<(Duration, Calls)> {
        let ((first, before), (last, after)) = (self.0.front()?, self.0.back()?);
        let of = |sample: &Sample| sample.get(&service).copied();
        let calls = of(after)?.since(of(before).unwrap_or_default());
        Some((last.duration_since(*first), calls)).filter(|(length, _)| !length.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(count: u64) -> Sample {
        [(0, Calls { refused_full: count, ..Calls::default() })].into()
    }

    #[test]
    fn what_is_older_than_a_minute_does_not_count() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut recent = Recent::default();
        assert_eq!(recent.of(0), None);
        recent.note(start, refused(5));
        assert_eq!(recent.of(0), None, "one look shows no change");
        for second in 1..=59 {
            recent.note(after(second), refused(8));
        }
        let of = |recent: &Recent| recent.of(0).map(|(length, calls)| (length.as_secs(), calls.refused_full));
        assert_eq!(of(&recent), Some((59, 3)));
        recent.note(after(60), refused(8));
        assert_eq!(of(&recent), Some((60, 3)));
        recent.note(after(61), refused(8));
        assert_eq!(of(&recent), Some((60, 0)));
        assert_eq!(recent.of(1), None, "there is no such service");
    }

    #[test]
    fn a_counter_that_begins_anew_is_no_flood() {
        let start = Instant::now();
        let mut recent = Recent::default();
        recent.note(start, refused(5));
        recent.note(start + Duration::from_secs(1), refused(2));
        assert_eq!(recent.of(0).unwrap().1, Calls::default());
    }
}
