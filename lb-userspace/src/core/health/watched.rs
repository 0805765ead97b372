//! Time that somebody was watching. A clock that leaps by an hour, because the host was paused for instance, says nothing of that
//! hour: whoever flapped before it has not been well since.

use std::time::Duration;

/// Longest time between two looks that counts as watched, unless looks are rarer than that.
const LONGEST: Duration = Duration::from_secs(60);

/// A clock that goes on only while somebody looks, and never back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    last: Option<Duration>,
    time: Duration,
}

impl Watched {
    /// A look at `now`, which are `usually` so far apart. The time that was watched so far.
    pub(super) fn look(&mut self, now: Duration, usually: Duration) -> Duration {
        *self = Watched { last: Some(now), time: self.time(now, usually) };
        self.time
    }

    /// How long nobody has looked.
    pub(super) fn gap(&self, now: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last))
    }

    /// The time that would have been watched if somebody looked at `now`.
    pub(super) fn time(&self, now: Duration, usually: Duration) -> Duration {
        self.time + self.gap(now).min(LONGEST.max(usually))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_goes_on_with_the_clock_and_not_with_its_leaps() {
        let mut watched = Watched::default();
        let looks = [(100, 0), (101, 1), (161, 61), (222, 121), (3822, 181), (222, 181), (223, 182)];
        for (now, time) in looks {
            assert_eq!(watched.time(seconds(now), seconds(1)), seconds(time), "{now}");
            assert_eq!(watched.look(seconds(now), seconds(1)), seconds(time), "{now}");
        }
    }

    #[test]
    fn rare_looks_count_as_a_whole() {
        let mut watched = Watched::default();
        watched.look(seconds(0), seconds(330));
        assert_eq!(watched.look(seconds(330), seconds(330)), seconds(330));
        assert_eq!(watched.look(seconds(661), seconds(330)), seconds(660));
    }
}
