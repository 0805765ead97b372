//! How fast what a backend may carry moves: down quickly, up slowly, and not for every little change.

use std::time::Duration;

/// Least part of its own that a backend keeps when a source only asks, or its processors are busy.
pub const FLOOR: f64 = 0.1;
/// Most that a part falls in a second.
pub const DOWN: f64 = 0.5;
/// Most that it rises in a second.
pub const UP: f64 = 0.05;
/// Changes of less than this are not worth a new ring.
pub const WORTH: f64 = 0.05;
/// Longest time that counts between two steps: a daemon that was stopped does not jump when it goes on.
pub const LONGEST_STEP: Duration = Duration::from_secs(5);

/// Time for which a backend that drained by its own word must not do so before it gets calls again.
pub const DRAINED: Duration = Duration::from_secs(5);

/// All of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// [`FLOOR`].
    pub floor: f64,
    /// [`DOWN`].
    pub down: f64,
    /// [`UP`].
    pub up: f64,
    /// [`WORTH`].
    pub worth: f64,
    /// [`LONGEST_STEP`].
    pub longest_step: Duration,
    /// [`DRAINED`].
    pub drained: Duration,
}

impl Pace {
    /// As they are; the simulation shows what each of them is for.
    pub const DEFAULT: Pace =
        Pace { floor: FLOOR, down: DOWN, up: UP, worth: WORTH, longest_step: LONGEST_STEP, drained: DRAINED };

    fn seconds(&self, time: Duration) -> f64 {
        time.min(self.longest_step).as_secs_f64()
    }
}

/// Whether small changes downwards count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Small changes do not count in either direction.
    Steady,
    /// It is a limit: less is less at once.
    Exact,
}

/// A part of what is configured, 0 to 1, on its way to where it is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    now: f64,
    aim: f64,
}

impl Default for Part {
    fn default() -> Part {
        Part { now: 1.0, aim: 1.0 }
    }
}

impl Part {
    /// Where it goes.
    pub(super) const fn aim(self) -> f64 {
        self.aim
    }

    /// Whether it is still on its way.
    pub(super) fn moves(self) -> bool {
        self.now != self.aim
    }

    /// Goes on for `time` towards `target`.
    pub(super) fn step(&mut self, target: f64, time: Duration, care: Care, pace: &Pace) -> f64 {
        let target = target.clamp(0.0, 1.0);
        let all = target == 1.0;
        if all || (target - self.aim).abs() >= pace.worth || (care == Care::Exact && target < self.aim) {
            self.aim = target;
        }
        let seconds = pace.seconds(time);
        self.now = if self.aim < self.now {
            self.aim.max(self.now - pace.down * seconds)
        } else {
            self.aim.min(self.now + pace.up * seconds)
        };
        self.now
    }
}

/// A limit where none is configured: what a source says, on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Free(Option<f64>);

impl Free {
    /// Goes on for `time` towards a limit. The first one holds at once, and so does none.
    pub(super) fn step(&mut self, target: Option<u32>, time: Duration, pace: &Pace) -> Option<u32> {
        let seconds = pace.seconds(time);
        self.0 = match (self.0, target.map(f64::from)) {
            (None, target) => target,
            (Some(_), None) => None,
            (Some(now), Some(target)) if target < now => {
                Some(target.max(now - now * pace.down * seconds - 1.0))
            }
            (Some(now), Some(target)) => Some(target.min(now + target * pace.up * seconds)),
        };
        self.0.map(|limit| limit.round() as u32)
    }
}

/// Part of its own that a backend gets some time after it came up: a tenth, and the rest little by little in `whole`.
pub(super) fn warmth(up_for: Duration, whole: Duration) -> f64 {
    /// Steps in which it rises, since each is a new ring.
    const STEPS: f64 = 20.0;
    if up_for >= whole {
        return 1.0;
    }
    let part = FLOOR + (1.0 - FLOOR) * up_for.as_secs_f64() / whole.as_secs_f64();
    // Of a twentieth each, of which the first two are the tenth.
    (part * STEPS).floor() / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_falls_fast_and_rises_slowly() {
        let mut part = Part::default();
        assert_eq!(part.step(0.1, SECOND, Care::Steady, &Pace::DEFAULT), 0.5);
        assert!(part.moves());
        assert_eq!(part.step(0.1, SECOND, Care::Steady, &Pace::DEFAULT), 0.1);
        assert!(!part.moves());
        let rise = part.step(1.0, SECOND, Care::Steady, &Pace::DEFAULT) - 0.1;
        assert!((rise - UP).abs() < 1e-9);
        let mut left = 0;
        while part.step(1.0, SECOND, Care::Steady, &Pace::DEFAULT) < 1.0 {
            left += 1;
        }
        assert!((15..=18).contains(&left), "{left} s");
    }

    #[test]
    fn little_is_not_worth_it_but_the_whole_is_and_limits_are_exact() {
        let mut part = Part::default();
        assert_eq!(part.step(0.96, SECOND, Care::Steady, &Pace::DEFAULT), 1.0);
        assert_eq!(part.step(0.5, SECOND, Care::Steady, &Pace::DEFAULT), 0.5);
        assert_eq!(part.step(0.54, SECOND, Care::Steady, &Pace::DEFAULT), 0.5);
        assert_eq!(part.step(0.55, SECOND, Care::Steady, &Pace::DEFAULT), 0.55);
        let mut limit = Part::default();
        assert_eq!(limit.step(0.99, SECOND, Care::Exact, &Pace::DEFAULT), 0.99);
        assert_eq!(limit.step(0.995, SECOND, Care::Exact, &Pace::DEFAULT), 0.99);
        assert_eq!(limit.step(1.0, SECOND, Care::Exact, &Pace::DEFAULT), 1.0);
    }

    #[test]
    fn a_long_sleep_is_no_jump_and_no_time_no_step() {
        let mut part = Part::default();
        part.step(0.1, Duration::from_secs(3600), Care::Steady, &Pace::DEFAULT);
        assert_eq!(part.now, 0.1);
        assert_eq!(part.step(1.0, Duration::from_secs(3600), Care::Steady, &Pace::DEFAULT), 0.1 + 5.0 * UP);
        assert_eq!(part.step(1.0, Duration::ZERO, Care::Steady, &Pace::DEFAULT), 0.1 + 5.0 * UP);
    }

    #[test]
    fn where_nothing_is_configured_the_first_word_counts() {
        let mut free = Free::default();
        assert_eq!(free.step(None, SECOND, &Pace::DEFAULT), None);
        assert_eq!(free.step(Some(500), SECOND, &Pace::DEFAULT), Some(500));
        assert_eq!(free.step(Some(1000), SECOND, &Pace::DEFAULT), Some(550));
        assert_eq!(free.step(Some(10), SECOND, &Pace::DEFAULT), Some(274));
        assert_eq!(free.step(None, SECOND, &Pace::DEFAULT), None);
    }

    #[test]
    fn it_warms_up_from_a_tenth_to_the_whole() {
        let whole = Duration::from_secs(30);
        let at = |seconds| warmth(Duration::from_secs(seconds), whole);
        assert_eq!((at(0), at(15), at(29), at(30)), (0.1, 0.55, 0.95, 1.0));
        assert_eq!(warmth(Duration::ZERO, Duration::ZERO), 1.0);
        assert!((0..30).all(|second| at(second) <= at(second + 1)));
    }
}
