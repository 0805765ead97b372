//! The daemon's clock. It is monotonic, and yet: what if it stands still, leaps or goes back? The kernel's goes on as it should.

use super::Protection;
use crate::simulation::Random;
use sipsteer::core::steady::Steady;
use std::time::Duration;

/// The clock at the beginning, so that it can go back by an hour.
const START: u64 = 10_000;

/// A clock that mostly goes right, and what is made of it.
pub(super) struct Clock {
    /// What it says beyond the true second.
    ahead: i64,
    still_until: u64,
    /// The last second in which it did something else than go on.
    wild: u64,
    now: u64,
    /// What is made of it; `None`: nothing.
    steady: Option<Steady>,
    time: Duration,
}

impl Clock {
    pub(super) fn new(without: Option<Protection>) -> Clock {
        let steady = (without != Some(Protection::SteadyClock)).then_some(Steady::START);
        let mut clock =
            Clock { ahead: START as i64, still_until: 0, wild: 0, now: START, steady, time: Duration::ZERO };
        clock.says(START);
        clock
    }

    /// Another second.
    pub(super) fn pass(&mut self, second: u64, random: &mut Random) {
        let leap = match random.below(1600) {
            0 => 3600,
            1 => -3600,
            2 => random.below(20) as i64,
            3 => -(random.below(20) as i64),
            4 => {
                self.still_until = second + random.below(10);
                0
            }
            _ => 0,
        };
        // Two hours back would be before its beginning.
        self.ahead = (self.ahead + leap).max(0);
        if second < self.still_until {
            self.ahead -= 1;
        }
        let now = (second as i64 + self.ahead).max(0) as u64;
        if now != self.now + 1 {
            self.wild = second;
        }
        self.says(now);
    }

    fn says(&mut self, now: u64) {
        self.now = now;
        let clock = Duration::from_secs(now);
        self.time = self.steady.as_mut().map_or(clock, |steady| steady.at(clock));
    }

    /// What the daemon goes by.
    pub(super) fn now(&self) -> Duration {
        self.time
    }

    /// For how long it has gone right.
    pub(super) fn right_for(&self, second: u64) -> u64 {
        second.saturating_sub(self.wild)
    }
}
