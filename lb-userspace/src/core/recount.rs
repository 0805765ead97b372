//! What the program counts as calls in progress, held against the dialogs that it pinned. The two are the same but for what
//! happens while one looks; what a crash or a fault of ours left over is found by looking again, and set right.
//!
//! A look at all dialogs takes a while, and calls begin and end meanwhile: each of them may be in what it saw or not. So a look
//! knows about between which two numbers a counter is wrong, and only when several in a row agree that it is, the least of what
//! they agree on is corrected.

use lb_common::map::load::Load;
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Looks in a row that have to agree: what begins and ends is not all counted, a call that is opened again for one.
const LOOKS: u32 = 3;

/// How many times the deviation that chance makes likely a look is granted, before it finds a counter wrong.
const DEVIATIONS: i64 = 4;

/// How it is told that a counter was too high, behind the number.
pub const TAKEN_OFF: &str = " calls counted as in progress have no dialog; taken off";
/// How it is told that it was too low.
pub const ADDED: &str = " calls in progress were not counted; added";

/// Who has a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A backend, by its id.
    Backend(u16),
    /// A zone, by its number.
    Zone(u16),
}

/// A counter at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls that began since it was made.
    pub begun: u64,
    /// Calls in progress.
    pub channels: u64,
}

impl From<&Load> for Counted {
    fn from(load: &Load) -> Counted {
        Counted { begun: load.calls, channels: load.in_progress() }
    }
}

/// A counter before and after a look at all dialogs, or at all counters of a zone's backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Before.
    pub before: Counted,
    /// Afterwards.
    pub after: Counted,
    /// Calls in progress that were seen.
    pub held: u64,
}

impl Look {
    /// By how much the counter was too high before the look, at least and at most; `None`: it was made anew meanwhile.
    ///
    /// Had the look seen all that began meanwhile and nothing that ended, the counter would be too high by the most, in the
    /// contrary case by the least. As dialogs lie anywhere in the table, a look that has come to some part of it has missed the
    /// rest of what ended, and has yet to see as much of what began: what began and ended makes up for each other, and by chance
    /// n of them are off the mean by half the root of n.
    fn excess(&self) -> Option<RangeInclusive<i64>> {
        let begun = signed(self.after.begun.checked_sub(self.before.begun)?);
        let ended = (begun + signed(self.before.channels) - signed(self.after.channels)).max(0);
        // In halves, as the mean lies between two numbers.
        let mean = 2 * (signed(self.before.channels) - signed(self.held)) + begun - ended;
        let likely = (begun - ended).abs() + DEVIATIONS * (begun + ended).isqrt();
        let off = likely.min(begun + ended);
        Some((mean - off).div_euclid(2)..=(mean + off + 1).div_euclid(2))
    }

    /// The part of that which is certain: 0 where nothing may be wrong.
    pub fn certain_excess(&self) -> i64 {
        match self.excess() {
            Some(excess) if *excess.start() > 0 => *excess.start(),
            Some(excess) if *excess.end() < 0 => *excess.end(),
            _ => 0,
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX / 4)
}

/// What looks in a row agreed on so far.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    looks: u32,
    excess: i64,
}

/// Which counters are suspected.
#[derive(Clone, Debug, Default)]
pub struct Recounts {
    suspicions: BTreeMap<Owner, Suspicion>,
}

impl Recounts {
    /// Whether another look should come soon.
    pub fn suspects(&self) -> bool {
        !self.suspicions.is_empty()
    }

    /// Notes a look at counters, and says what to add to which of them.
    pub fn note(&mut self, looks: &BTreeMap<Owner, Look>) -> BTreeMap<Owner, i64> {
        let mut corrections = BTreeMap::new();
        let mut suspicions = BTreeMap::new();
        for (owner, look) in looks {
            let certain = look.certain_excess();
            if certain == 0 {
                continue;
            }
            let before = self.suspicions.get(owner).filter(|s| s.excess.signum() == certain.signum());
            let suspicion = before.map_or(Suspicion { looks: 1, excess: certain }, |s| Suspicion {
                looks: s.looks + 1,
                excess: if s.excess.abs() < certain.abs() { s.excess } else { certain },
            });
            if suspicion.looks >= LOOKS {
                corrections.insert(*owner, -suspicion.excess);
            } else {
                suspicions.insert(*owner, suspicion);
            }
        }
        self.suspicions = suspicions;
        corrections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Owner = Owner::Backend(1);

    /// A look with so many calls begun meanwhile: before, after, held by dialogs.
    fn look(begun: u64, before: u64, after: u64, held: u64) -> Look {
        Look {
            before: Counted { begun: 1000, channels: before },
            after: Counted { begun: 1000 + begun, channels: after },
            held,
        }
    }

    /// The corrections of the same counter after each look.
    fn corrected(looks: &[Look]) -> Vec<i64> {
        let mut recounts = Recounts::default();
        let note = |look: &Look| recounts.note(&[(ONE, *look)].into()).get(&ONE).copied().unwrap_or(0);
        looks.iter().map(note).collect()
    }

    #[test]
    fn without_calls_meanwhile_it_is_known_to_one() {
        assert_eq!(look(0, 7, 7, 7).excess(), Some(0..=0));
        assert_eq!(look(0, 7, 7, 6).excess(), Some(1..=1));
        assert_eq!(look(0, 7, 7, 9).excess(), Some(-2..=-2));
    }

    #[test]
    fn what_began_and_ended_meanwhile_may_have_been_seen_or_not() {
        // Five began and three ended.
        assert_eq!(look(5, 10, 12, 10).excess(), Some(-3..=5));
        for held in 7..=15 {
            assert_eq!(look(5, 10, 12, held).certain_excess(), 0, "{held}");
        }
        assert_eq!((look(5, 10, 12, 6).certain_excess(), look(5, 10, 12, 16).certain_excess()), (1, -1));
    }

    #[test]
    fn of_many_that_began_and_ended_about_half_were_seen() {
        // 200 of each: chance makes the half of 20 likely, and four times that is granted.
        assert_eq!(look(200, 1000, 1000, 1000).excess(), Some(-40..=40));
        assert_eq!(
            (look(200, 1000, 1000, 960).certain_excess(), look(200, 1000, 1000, 959).certain_excess()),
            (0, 1)
        );
        // A burst: as all may have come at the look's beginning or its end, anything goes.
        assert_eq!(look(200, 1000, 1200, 1000).excess(), Some(0..=200));
        assert_eq!(look(200, 1000, 1200, 1200).excess(), Some(-200..=0));
    }

    #[test]
    fn a_counter_that_was_made_anew_says_nothing() {
        let look = Look { after: Counted::default(), ..look(0, 7, 7, 0) };
        assert_eq!((look.excess(), look.certain_excess()), (None, 0));
    }

    #[test]
    fn the_third_look_corrects_by_what_all_agree_on() {
        assert_eq!(
            corrected(&[look(0, 9, 9, 4), look(0, 8, 8, 5), look(0, 9, 9, 5), look(0, 6, 6, 6)]),
            [0, 0, -3, 0]
        );
        assert_eq!(corrected(&[look(0, 4, 4, 9), look(0, 4, 4, 6), look(0, 4, 4, 7)]), [0, 0, 2]);
    }

    #[test]
    fn one_look_that_finds_nothing_wrong_or_the_contrary_begins_anew() {
        let high = look(0, 9, 9, 4);
        assert_eq!(corrected(&[high, high, look(0, 5, 5, 5), high, high, high]), [0, 0, 0, 0, 0, -5]);
        assert_eq!(corrected(&[high, high, look(0, 5, 5, 6), high, high, high]), [0, 0, 0, 0, 0, -5]);
    }

    #[test]
    fn each_counter_is_judged_by_itself_and_one_that_is_gone_is_forgotten() {
        let high = look(0, 9, 9, 4);
        let (two, zone) = (Owner::Backend(2), Owner::Zone(1));
        let mut recounts = Recounts::default();
        assert!(!recounts.suspects());
        assert!(recounts.note(&[(ONE, high), (two, high), (zone, look(0, 9, 9, 9))].into()).is_empty());
        assert!(recounts.suspects());
        assert!(recounts.note(&[(ONE, high)].into()).is_empty());
        assert_eq!(recounts.note(&[(ONE, high), (two, high), (zone, high)].into()), [(ONE, -5)].into());
        assert!(recounts.suspects());
        assert_eq!(recounts.note(&BTreeMap::new()), BTreeMap::new());
        assert!(!recounts.suspects());
    }

    /// Numbers that look random, below `below`.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % below
        }
    }

    /// Looks at a table of a thousand parts while calls come and go in it, each at a moment and in a part of its own, and some
    /// give their channel back and take it again, which nobody counts. The counter is too high by `wrong`.
    fn looked(chance: &mut Chance, begins: u64, ends: u64, again: u64, wrong: i64) -> Look {
        // A call that begins is seen if its part is still to come, one that ends if its part has been passed.
        let mut seen = |count: u64, passed: bool| {
            let is_seen = |_: &u64| (chance.below(1000) < chance.below(1000)) == passed;
            (0..count).filter(is_seen).count() as u64
        };
        const THERE: u64 = 50_000;
        let channels = THERE.saturating_add_signed(wrong);
        Look {
            before: Counted { begun: 0, channels },
            after: Counted { begun: begins, channels: channels + begins - ends },
            held: THERE - ends - again + seen(begins + again, false) + seen(ends + again, true),
        }
    }

    #[test]
    fn traffic_alone_corrects_nothing_and_what_is_wrong_is_never_overdone() {
        let mut chance = Chance(7);
        for (rate, again, wrong) in [
            (0, 0, 0),
            (3, 0, 0),
            (50, 0, 0),
            (50, 50, 0),
            (1000, 0, 0),
            (1000, 1000, 0),
            (3, 3, 40),
            (50, 0, 90),
            (50, 50, -90),
            (1000, 0, 900),
            (1000, 1000, 900),
        ] {
            let mut corrected = 0;
            let mut recounts = Recounts::default();
            for _ in 0..3000 {
                let (begins, ends) = (rate + chance.below(rate / 4 + 1), rate + chance.below(rate / 4 + 1));
                let look = looked(&mut chance, begins, ends, again, wrong + corrected);
                corrected += recounts.note(&[(ONE, look)].into()).get(&ONE).copied().unwrap_or(0);
                assert!(corrected.signum() * wrong.signum() <= 0, "{rate}: {corrected} of {wrong}");
                assert!(corrected.abs() <= wrong.abs(), "{rate}: {corrected} of {wrong}");
            }
            assert!(corrected.abs() * 2 >= wrong.abs(), "{rate}: {corrected} of {wrong}");
        }
    }
}
