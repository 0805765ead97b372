//! The clock that everything in here goes by. The kernel's monotonic clock should never go back; if it did, because of a fault
//! of a hypervisor for instance, what was seen before would be of the future, and what is old would be believed for longer.

use std::time::Duration;

/// Makes of a clock that may go back one that stands still for that moment, and goes on as the other does from there. Leaps
/// forward are leaps of both: whatever was believed is too old then, which is the safe side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// What the clock said last.
    last: Duration,
    /// By how much it went back so far.
    lost: Duration,
}

impl Steady {
    /// It begins with whatever the clock says first.
    pub const START: Steady = Steady { last: Duration::ZERO, lost: Duration::ZERO };

    /// The time when the clock says `clock`.
    pub fn at(&mut self, clock: Duration) -> Duration {
        self.lost += self.last.saturating_sub(clock);
        self.last = clock;
        clock + self.lost
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
    fn it_goes_on_and_leaps_with_the_clock_and_stands_still_when_that_goes_back() {
        let mut steady = Steady::START;
        let clock = [
            (100, 100),
            (101, 101),
            (101, 101),
            (3701, 3701),
            (101, 3701),
            (102, 3702),
            (90, 3702),
            (91, 3703),
        ];
        for (clock, time) in clock {
            assert_eq!(steady.at(seconds(clock)), seconds(time), "{clock}");
        }
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_misses_no_step_forward(clock in proptest::collection::vec(0_u64..10_000, 2..100)) {
            let mut steady = Steady::START;
            let times: Vec<Duration> = clock.iter().map(|clock| steady.at(seconds(*clock))).collect();
            for (clock, times) in clock.windows(2).zip(times.windows(2)) {
                prop_assert_eq!(times[1] - times[0], seconds(clock[1].saturating_sub(clock[0])));
            }
        }
    }
}
