//! What a backend carried of our own calls at each look, so that a report can be compared with the moment it is about.

use std::{collections::VecDeque, time::Duration};

/// Looks that are kept: two minutes of one a second, longer than any report may be believed.
const LOOKS: usize = 128;

/// What a backend carries of our own calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Calls in progress.
    pub channels: u64,
    /// Calls begun so far; only differences mean something.
    pub calls: u64,
}

/// The last looks, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<(Duration, Own)>);

impl History {
    /// Notes what is seen now. A clock that does not go on replaces the last look; a counter that began anew forgets all.
    pub(super) fn note(&mut self, now: Duration, own: Own) {
        if self.0.back().is_some_and(|(_, last)| own.calls < last.calls) {
            self.0.clear();
        }
        while self.0.back().is_some_and(|(at, _)| *at >= now) {
            self.0.pop_back();
        }
        self.0.push_back((now, own));
        while self.0.len() > LOOKS {
            self.0.pop_front();
        }
    }

    /// Calls in progress at a moment, between two looks in proportion; before the first look what that saw.
    pub(super) fn channels_at(&self, moment: Duration) -> f64 {
        self.at(moment, |own| own.channels as f64)
    }

    /// Calls begun from one moment to another.
    pub(super) fn calls_between(&self, from: Duration, to: Duration) -> f64 {
        (self.at(to, |own| own.calls as f64) - self.at(from, |own| own.calls as f64)).max(0.0)
    }

    /// Calls begun since a moment.
    pub(super) fn calls_since(&self, moment: Duration) -> u64 {
        let last = self.0.back().map_or(moment, |(at, _)| *at);
        self.calls_between(moment, last).round() as u64
    }

    fn at(&self, moment: Duration, value: impl Fn(&Own) -> f64) -> f64 {
        let after = self.0.partition_point(|(at, _)| *at < moment);
        match (after.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(after)) {
            (Some((earlier, a)), Some((later, b))) => {
                let part = (moment - *earlier).as_secs_f64() / (*later - *earlier).as_secs_f64();
                value(a) + (value(b) - value(a)) * part
            }
            (Some((_, only)), None) | (None, Some((_, only))) => value(only),
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn history(looks: &[(u64, u64, u64)]) -> History {
        let mut history = History::default();
        for (at, channels, calls) in looks {
            history.note(seconds(*at), Own { channels: *channels, calls: *calls });
        }
        history
    }

    #[test]
    fn between_two_looks_it_is_in_proportion() {
        let history = history(&[(10, 100, 1000), (12, 200, 1300)]);
        assert_eq!(history.channels_at(seconds(10)), 100.0);
        assert_eq!(history.channels_at(seconds(11)), 150.0);
        assert_eq!(history.channels_at(seconds(12)), 200.0);
        assert_eq!((history.channels_at(seconds(1)), history.channels_at(seconds(99))), (100.0, 200.0));
        assert_eq!((history.calls_since(seconds(11)), history.calls_since(seconds(12))), (150, 0));
        assert_eq!(history.calls_between(seconds(10), seconds(12)), 300.0);
        assert_eq!(History::default().channels_at(seconds(1)), 0.0);
    }

    #[test]
    fn a_counter_that_begins_anew_and_a_clock_that_stands_still_confuse_nothing() {
        let anew = history(&[(10, 100, 1000), (11, 5, 3)]);
        assert_eq!((anew.channels_at(seconds(10)), anew.calls_since(seconds(10))), (5.0, 0));
        let still = history(&[(10, 100, 1000), (11, 110, 1010), (11, 120, 1020), (9, 130, 1030)]);
        assert_eq!(still.channels_at(seconds(10)), 130.0);
    }

    #[test]
    fn it_does_not_grow() {
        let mut history = History::default();
        for second in 0..1000 {
            history.note(seconds(second), Own::default());
        }
        assert_eq!(history.0.len(), LOOKS);
    }
}
