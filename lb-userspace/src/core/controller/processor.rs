//! How a server whose processors are busy gets less: as much as brings it to where it should be.
//!
//! How busy a server is from one second to the next is noise for the most part, as calls do not come evenly. So what it would be
//! with the whole of its share is told from all samples, and one that is much above the others counts when the next one is so
//! too.

use super::pace::{FLOOR, UP};
use std::time::Duration;

/// Time that a change of the share needs to show in a sample.
const SETTLE: Duration = Duration::from_secs(2);
/// Part of what is told that is the newest sample.
const NEWEST: f64 = 0.1;
/// By as much less than it has is worth a change, and by as much more.
const LESS: f64 = 0.05;
const MORE: f64 = 0.15;

/// The part of its own that a server can do, as far as its processors tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor {
    share: f64,
    /// How busy it would be with the whole of its share: told from all samples, and from the last one alone.
    load: Option<f64>,
    latest: f64,
    /// When the share last changed.
    changed: Duration,
    /// When the last sample was taken that counted.
    seen: Duration,
}

impl Default for Processor {
    fn default() -> Processor {
        Processor { share: 1.0, load: None, latest: 0.0, changed: Duration::ZERO, seen: Duration::ZERO }
    }
}

impl Processor {
    /// Part of its own, from a sample (how busy, and when that was) and the time since the last step. Without a sample the
    /// rest comes back little by little.
    pub(super) fn step(
        &mut self,
        sample: Option<(f64, Duration)>,
        target: f64,
        now: Duration,
        time: Duration,
    ) -> f64 {
        // A clock that goes back.
        (self.seen, self.changed) = (self.seen.min(now), self.changed.min(now));
        let Some((busy, taken)) = sample else {
            self.load = None;
            self.share = (self.share + UP * time.as_secs_f64()).min(1.0);
            return self.share;
        };
        let fresh = taken > self.seen && (self.share == 1.0 || taken >= self.changed + SETTLE);
        if !fresh {
            return self.share;
        }
        let since = taken.saturating_sub(self.seen).min(Duration::from_secs(10)).as_secs_f64();
        self.seen = taken;
        let load = self.learn(busy / self.share);
        let wanted = target / load.max(0.01);
        let share = if wanted < self.share * (1.0 - LESS) {
            wanted.max(FLOOR)
        } else if wanted > self.share * (1.0 + MORE) {
            wanted.min(self.share + UP * since).min(1.0)
        } else {
            self.share
        };
        if share != self.share {
            (self.share, self.changed) = (share, now);
        }
        self.share
    }

    /// Takes what the newest sample says of the load into what is told of it.
    fn learn(&mut self, newest: f64) -> f64 {
        let before = std::mem::replace(&mut self.latest, newest);
        let load = match self.load {
            None => newest,
            Some(load) => (load + (newest - load) * NEWEST).max(newest.min(before)),
        };
        self.load = Some(load);
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{
        prelude::*,
        test_runner::{RngAlgorithm, TestRng},
    };

    /// A server that is as busy as this times its share; a sample is as old as `delay`. Shares, second by second.
    fn play(load: f64, delay: u64, seconds: u64) -> Vec<f64> {
        let mut processor = Processor::default();
        let mut shares = vec![1.0];
        for second in 1..=seconds {
            let now = Duration::from_secs(second);
            let then = second.saturating_sub(delay);
            let busy = (load * shares[then.min(second - 1) as usize]).min(1.0);
            let sample = Some((busy, Duration::from_secs(then)));
            shares.push(processor.step(sample, 0.8, now, Duration::from_secs(1)));
        }
        shares
    }

    #[test]
    fn a_busy_server_settles_where_it_should_be() {
        for (load, delay) in [(0.9, 0), (1.0, 1), (1.2, 1), (1.5, 3), (3.0, 2)] {
            let shares = play(load, delay, 200);
            let last = &shares[150..];
            let (least, most) = last.iter().fold((f64::MAX, 0.0_f64), |(a, b), s| (a.min(*s), b.max(*s)));
            assert!(most - least < 0.02, "{load}, {delay} s late: {least} to {most}");
            assert!((0.69..=0.81).contains(&(load * most)), "{load}: busy {}", load * most);
        }
    }

    #[test]
    fn an_idle_one_keeps_all_and_nobody_falls_below_the_floor() {
        assert!(play(0.75, 1, 50).iter().all(|share| *share == 1.0));
        assert!(play(0.8, 1, 50).iter().all(|share| *share == 1.0));
        assert!(play(50.0, 1, 100).iter().all(|share| *share >= FLOOR));
        assert_eq!(*play(50.0, 1, 100).last().unwrap(), FLOOR);
    }

    #[test]
    fn a_clock_that_goes_back_stops_nothing() {
        let mut processor = Processor::default();
        let second = Duration::from_secs(1);
        assert_eq!(processor.step(Some((1.0, 3600 * second)), 0.5, 3600 * second, second), 0.5);
        assert_eq!(processor.step(Some((1.0, 10 * second)), 0.5, 10 * second, second), 0.5, "too early");
        assert!(processor.step(Some((1.0, 12 * second)), 0.5, 12 * second, second) < 0.5);
        assert_eq!(processor.step(Some((1.0, 14 * second)), 0.5, 14 * second, second), 0.25);
    }

    #[test]
    fn noise_does_not_make_it_swing() {
        let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut processor = Processor::default();
        let mut shares = vec![1.0];
        let second = Duration::from_secs(1);
        for now in 1..=2000 {
            // As busy as it should be with four fifths of its share, and each second up to 40 % off that.
            let busy = processor.share * random.random_range(0.6..1.4_f64);
            let sample = (busy.min(1.0), now * second);
            shares.push(processor.step(Some(sample), 0.8, now * second, second));
        }
        let moves: Vec<bool> = shares.windows(2).filter(|s| s[0] != s[1]).map(|s| s[0] < s[1]).collect();
        let turns = moves.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(turns < 150, "{turns} turns in 2000 s");
        let settled = &shares[100..];
        let mean = settled.iter().sum::<f64>() / settled.len() as f64;
        assert!((0.6..0.9).contains(&mean), "{mean}");
    }

    #[test]
    fn a_peak_is_noise_and_two_in_a_row_are_none() {
        let second = Duration::from_secs(1);
        for (peaks, share) in [(1, 1.0), (2, 0.8)] {
            let mut processor = Processor::default();
            for now in 1..10 {
                assert_eq!(processor.step(Some((0.5, now * second)), 0.8, now * second, second), 1.0);
            }
            for now in 10..10 + peaks {
                processor.step(Some((1.0, now * second)), 0.8, now * second, second);
            }
            assert_eq!(processor.share, share, "{peaks}");
        }
    }

    #[test]
    fn without_a_sample_the_rest_comes_back() {
        let mut processor = Processor::default();
        let second = Duration::from_secs(1);
        let share = processor.step(Some((1.0, second)), 0.5, second, second);
        assert_eq!(share, 0.5);
        let share = processor.step(None, 0.5, 2 * second, second);
        assert!((share - 0.55).abs() < 1e-9);
        for _ in 0..20 {
            processor.step(None, 0.5, 3 * second, second);
        }
        assert_eq!(processor.step(None, 0.5, 3 * second, second), 1.0);
    }
}
