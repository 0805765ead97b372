//! Flap damping: whoever falls again and again stays down for longer.

use std::time::Duration;

/// What was counted halves in this time.
const HALF_LIFE: Duration = Duration::from_secs(300);
/// As many falls as this, not yet halved, cost nothing: a server that is restarted twice does not flap.
const FREE: f64 = 2.0;
/// How long the first fall that costs something holds a backend down, before it doubles with each further one.
const FIRST: Duration = Duration::from_secs(10);
/// The longest time that a backend is held down: one that is well at last is not forgotten.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Falls of one backend. Each counts one and fades.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flaps {
    count: f64,
    at: Duration,
}

impl Flaps {
    /// A fall at `now`; returns how long the backend is to stay down for it.
    pub fn fall(&mut self, now: Duration) -> Duration {
        *self = Flaps { count: self.count(now) + 1.0, at: now };
        if self.count <= FREE {
            return Duration::ZERO;
        }
        let hold = FIRST.as_secs_f64() * (self.count - FREE).exp2();
        Duration::from_secs_f64(hold.min(LONGEST.as_secs_f64()))
    }

    /// What is left of all falls at `now`.
    pub fn count(&self, now: Duration) -> f64 {
        let age = now.saturating_sub(self.at).as_secs_f64();
        self.count * (-age / HALF_LIFE.as_secs_f64()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_falls_are_free_and_more_cost_more_and_more() {
        let mut flaps = Flaps::default();
        let holds: Vec<u64> = (0..8).map(|i| flaps.fall(seconds(i)).as_secs()).collect();
        assert_eq!(holds[..2], [0, 0]);
        assert_eq!(holds[2..], [19, 39, 78, 156, 300, 300]);
    }

    #[test]
    fn falls_are_forgotten() {
        let mut flaps = Flaps::default();
        for i in 0..8 {
            flaps.fall(seconds(i));
        }
        assert!(flaps.count(seconds(7 + 300)) < 4.1);
        assert_eq!(flaps.fall(seconds(7 + 3600)), Duration::ZERO);
        // One an hour is never held.
        for hour in 2..50 {
            assert_eq!(flaps.fall(seconds(hour * 3600)), Duration::ZERO);
        }
    }

    proptest! {
        #[test]
        fn the_hold_has_a_bound_and_time_that_stands_still_harms_nobody(
            steps in proptest::collection::vec(0_u64..2000, 1..200)
        ) {
            let mut flaps = Flaps::default();
            let mut now = 0;
            for step in steps {
                now += step;
                prop_assert!(flaps.fall(seconds(now)) <= LONGEST);
                prop_assert!(flaps.count(seconds(now)) >= 1.0);
                prop_assert!(flaps.count(seconds(now) + HALF_LIFE) <= flaps.count(seconds(now)) / 2.0 + 1e-9);
            }
        }
    }
}
