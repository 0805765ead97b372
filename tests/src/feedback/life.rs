//! How a server does: it dies, flaps, is slow, or well in one way and not in another.

use crate::simulation::Random;
use sipsteer::core::health::Outcome;
use std::time::Duration;

/// What is the matter with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing; a probe may get lost.
    Well,
    /// It answers nothing.
    Dead,
    /// So many seconds dead, so many well, over and over.
    Flapping(u64),
    /// It answers probes, and messages of calls that are up, and no new calls.
    Hole,
    /// It answers calls, and no probes.
    Closed,
    /// It answers 503 to probes, and calls well.
    Unavailable,
    /// It answers probes too late.
    Slow,
}

/// The states of a server, one after the other.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) state: State,
    since: u64,
    until: u64,
    /// Probes since one got lost.
    arrived: u64,
}

impl Life {
    pub(super) fn new(random: &mut Random) -> Life {
        Life { state: State::Well, since: 0, until: 20 + random.below(200), arrived: 0 }
    }

    /// Another second. True if something new is the matter with it.
    pub(super) fn pass(&mut self, second: u64, random: &mut Random) -> bool {
        if second < self.until {
            return false;
        }
        let well = self.state != State::Well;
        self.state = match random.below(10) {
            _ if well => State::Well,
            0..=3 => State::Dead,
            4..=5 => State::Flapping(1 + random.below(4)),
            6 => State::Hole,
            7 => State::Closed,
            8 => State::Unavailable,
            _ => State::Slow,
        };
        let lasts = match self.state {
            State::Well => 60 + random.below(300),
            State::Flapping(_) => 60 + random.below(120),
            _ => 3 + random.below(30),
        };
        (self.since, self.until) = (second, second + lasts);
        true
    }

    /// For how long the same is the matter.
    pub(super) fn steady_for(&self, second: u64) -> u64 {
        second.saturating_sub(self.since)
    }

    /// Whether anything of it works.
    pub(super) fn is_alive(&self, second: u64) -> bool {
        match self.state {
            State::Dead => false,
            State::Flapping(period) => (second / period).is_multiple_of(2),
            _ => true,
        }
    }

    /// Whether it answers new calls.
    pub(super) fn answers_calls(&self, second: u64) -> bool {
        self.state != State::Hole && self.is_alive(second)
    }

    /// What becomes of a probe in this second. `cut`: none comes through.
    pub(super) fn probed(&mut self, second: u64, cut: bool, random: &mut Random) -> Vec<Outcome> {
        let answered =
            |code, milliseconds| Outcome::Answered { code, rtt: Duration::from_millis(milliseconds) };
        self.arrived += 1;
        if cut || !self.is_alive(second) {
            return vec![Outcome::TimedOut];
        }
        match self.state {
            State::Closed => vec![Outcome::TimedOut],
            State::Unavailable => vec![answered(503, 1)],
            State::Slow => vec![Outcome::TimedOut, answered(200, 900)],
            // Rare enough to be noise: two in a row, or four of eight, are what nobody could tell from a death.
            State::Well if self.arrived > 4 && random.below(12) == 0 => {
                self.arrived = 0;
                vec![Outcome::TimedOut]
            }
            _ => vec![answered(200, 1)],
        }
    }
}
