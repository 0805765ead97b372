//! The second witness: what the traffic that passes us shows of a backend whose answers we see (`nat`).
//!
//! A backend that gets new calls and sends no packet at all is dead or a black hole, whatever it answers to probes. One that
//! sends packets is alive, whatever it does not answer to probes. Nobody can tell from packets of one backend alone whether
//! the calls are to blame, which a stranger may have sent to be dropped: that its neighbours answer theirs says so.

use std::time::Duration;

/// How long new calls may be without any packet of their backend before that is odd: RFC 3261 section 17.1.1.2 has the
/// INVITE repeated after 0.5 s, and section 17.2.1 wants a 100 after 0.2 s.
pub const ODD: Duration = Duration::from_secs(1);
/// After this time and [`CALLS`] it is more than odd.
pub const MUTE: Duration = Duration::from_secs(3);
/// So many calls without any packet are more than odd.
pub const CALLS: u64 = 5;
/// An INVITE is given up after 64*T1 (RFC 3261 section 17.1.1.2), and what it says of its backend is forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(32);

/// Counters of a backend, which only grow, unless the backend is new in the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Calls opened on it.
    pub calls: u64,
    /// Packets that came from it and were sent on.
    pub replies: u64,
}

/// What the latest look showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// It sent packets since the look before.
    pub sends: bool,
    /// New calls since it sent the last one.
    pub calls: u64,
    /// How long ago the first of them was there.
    pub mute_for: Duration,
}

/// Looks at the counters of one backend from time to time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    before: Option<Traffic>,
    calls: u64,
    /// When the first and the last of these calls were noticed.
    first: Duration,
    last: Duration,
}

impl Witness {
    /// A look at `now`.
    pub fn look(&mut self, traffic: Traffic, now: Duration) -> Sight {
        let Some(before) = self.before.replace(traffic) else { return Sight::default() };
        let sends = traffic.replies != before.replies;
        let back = now < self.last;
        if sends || back || traffic.calls < before.calls || now.saturating_sub(self.last) > FORGOTTEN {
            self.calls = 0;
        }
        // Calls that came in the same time as packets may be younger than those.
        let more = if sends { 0 } else { traffic.calls.saturating_sub(before.calls) };
        if more > 0 {
            if self.calls == 0 {
                self.first = now;
            }
            (self.calls, self.last) = (self.calls + more, now);
        }
        let mute_for = if self.calls == 0 { Duration::ZERO } else { now.saturating_sub(self.first) };
        Sight { sends, calls: self.calls, mute_for }
    }

    /// Forgets the calls that got nothing: the backend gets another chance.
    pub fn forget(&mut self) {
        self.calls = 0;
    }
}

impl Sight {
    /// Whether something seems to be wrong.
    pub fn is_odd(&self) -> bool {
        self.calls > 0 && self.mute_for >= ODD
    }

    /// Whether something is wrong, if others answer.
    pub fn is_mute(&self) -> bool {
        self.calls >= CALLS && self.mute_for >= MUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(steps: &[(u64, u64)]) -> Vec<Sight> {
        let mut witness = Witness::default();
        let sum = |traffic: &mut Traffic, step: &(u64, u64)| {
            traffic.calls += step.0;
            traffic.replies += step.1;
            Some(*traffic)
        };
        let sums: Vec<Traffic> = steps.iter().scan(Traffic::default(), sum).collect();
        (0..).zip(sums).map(|(s, traffic)| witness.look(traffic, Duration::from_secs(s))).collect()
    }

    #[test]
    fn calls_without_a_packet_become_odd_and_then_worse() {
        let seen = looks(&[(0, 0), (3, 9), (2, 0), (2, 0), (1, 0), (0, 0), (0, 0)]);
        let odd: Vec<bool> = seen.iter().map(Sight::is_odd).collect();
        assert_eq!(odd, [false, false, false, true, true, true, true]);
        let mute: Vec<bool> = seen.iter().map(Sight::is_mute).collect();
        assert_eq!(mute, [false, false, false, false, false, true, true]);
        assert_eq!(seen[6].calls, 5);
    }

    #[test]
    fn few_calls_are_odd_at_most() {
        let seen = looks(&[(0, 0), (4, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]);
        assert!(seen[6].is_odd() && !seen[6].is_mute());
    }

    #[test]
    fn one_packet_is_a_sign_of_life() {
        let seen = looks(&[(0, 0), (9, 0), (9, 0), (9, 1), (0, 0), (0, 0), (9, 0)]);
        assert!(seen[2].is_odd());
        assert!(seen[3].sends && seen[3..].iter().all(|s| !s.is_odd()), "{seen:?}");
    }

    #[test]
    fn what_stood_there_before_and_what_is_long_ago_says_nothing() {
        assert_eq!(looks(&[(500, 0)])[0], Sight::default());
        let mut steps = vec![(0, 0), (9, 0)];
        steps.resize(40, (0, 0));
        let seen = looks(&steps);
        assert!(seen[33].is_mute() && !seen[34].is_odd(), "{seen:?}");
        // A clock that goes back.
        let mut witness = Witness::default();
        witness.look(Traffic { calls: 0, replies: 0 }, Duration::from_secs(3600));
        witness.look(Traffic { calls: 9, replies: 0 }, Duration::from_secs(3601));
        assert_eq!(witness.look(Traffic { calls: 11, replies: 0 }, Duration::from_secs(1)).calls, 2);
        assert!(witness.look(Traffic { calls: 19, replies: 0 }, Duration::from_secs(4)).is_mute());
        // The id belongs to another backend now.
        let mut witness = Witness::default();
        witness.look(Traffic { calls: 50, replies: 7 }, Duration::ZERO);
        witness.look(Traffic { calls: 59, replies: 7 }, Duration::from_secs(1));
        assert_eq!(witness.look(Traffic { calls: 2, replies: 7 }, Duration::from_secs(3)).calls, 0);
    }
}
