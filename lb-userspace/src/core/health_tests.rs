//! What is seen of a backend, and what follows.

use super::{Health::*, *};
use crate::config::{Accepted, Probing};
use proptest::prelude::*;

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn patient() -> Patient {
    Patient::new(Probing::DEFAULT, Up, Duration::ZERO)
}

pub(super) fn answer(code: u16) -> Outcome {
    Outcome::Answered { code, rtt: Duration::from_millis(1) }
}

/// The health after each probe of a story, one a second: a letter each. `y` is answered, `3` with 503, `t` is not, `r` is
/// refused, `l` is not and the answer comes late, `L` likewise with a 503, `n` cannot be sent.
pub(super) fn story(patient: &mut Patient, from: u64, letters: &str) -> Vec<Health> {
    let late = |code| Outcome::Answered { code, rtt: Duration::from_millis(900) };
    let mut seen = Vec::new();
    for (second, letter) in (from..).zip(letters.chars()) {
        let outcomes = match letter {
            'y' => vec![answer(200)],
            '3' => vec![answer(503)],
            't' => vec![Outcome::TimedOut],
            'r' => vec![Outcome::Refused],
            'l' => vec![Outcome::TimedOut, late(200)],
            'L' => vec![Outcome::TimedOut, late(503)],
            'n' => vec![Outcome::NotAsked("network is unreachable".to_owned())],
            other => panic!("{other} is no outcome"),
        };
        for outcome in outcomes {
            patient.note(&outcome, None, seconds(second));
        }
        seen.push(patient.health());
    }
    seen
}

#[test]
fn fall_and_rise_have_two_sides() {
    for (letters, expected) in [
        ("yty", vec![Up, Up, Up]),
        ("tt", vec![Up, Down]),
        ("rr", vec![Up, Down]),
        ("tr", vec![Up, Down]),
        ("nn", vec![Up, Up]),
        ("tnnt", vec![Up, Up, Up, Down]),
        ("ttnny", vec![Up, Down, Down, Down, Down]),
        ("ttyty", vec![Up, Down, Down, Down, Down]),
        ("ttyy", vec![Up, Down, Down, Up]),
        ("33", vec![Up, Draining]),
        ("3y33", vec![Up, Up, Up, Draining]),
        ("33tt", vec![Up, Draining, Draining, Down]),
        ("33yy", vec![Up, Draining, Draining, Up]),
        ("33y3yy", vec![Up, Draining, Draining, Draining, Draining, Up]),
        ("tt3", vec![Up, Down, Down]),
        ("tt33", vec![Up, Down, Down, Draining]),
        ("3t", vec![Up, Draining]),
        ("t3", vec![Up, Draining]),
    ] {
        assert_eq!(story(&mut patient(), 0, letters), expected, "{letters}");
    }
}

#[test]
fn every_change_has_its_reason() {
    for (letters, reason) in [
        ("tt", "2 probes in a row got no answer within 500ms"),
        ("rr", "2 probes in a row found nobody listening"),
        ("33", "it answers 503 to probes"),
        ("3t", "2 probes in a row failed, the last one got no answer within 500ms"),
        ("ttyy", "2 probes in a row answered well"),
        ("ytytytyt", "4 of the last 8 probes got no answer within 500ms"),
    ] {
        let mut patient = patient();
        story(&mut patient, 0, letters);
        assert_eq!(patient.reason(), reason, "{letters}");
        let since = if letters == "ttyy" { 3 } else { letters.len() as u64 - 1 };
        assert_eq!(patient.since(), seconds(since));
    }
}

#[test]
fn a_backend_that_answers_every_other_probe_is_drained_and_not_cut() {
    let seen = story(&mut patient(), 0, "ytytytytyty");
    assert_eq!(seen[6], Up);
    assert!(seen[7..].iter().all(|h| *h == Draining), "{seen:?}");
    let rare = "yyty".repeat(30);
    assert!(story(&mut patient(), 0, &rare).iter().all(|h| *h == Up), "one in four may get lost");
}

#[test]
fn a_slow_answer_is_an_answer_but_brings_nobody_up() {
    assert!(story(&mut patient(), 0, &"l".repeat(20)).iter().all(|h| *h == Up));
    let mut down = patient();
    story(&mut down, 0, "tt");
    assert!(story(&mut down, 2, &"l".repeat(20)).iter().all(|h| *h == Down));
    let slow_503 = story(&mut patient(), 0, "LL");
    assert_eq!(slow_503, [Up, Draining]);
}

#[test]
fn other_rules_are_other_rules() {
    let probing = Probing { rise: 3, fall: 1, accept: Accepted(vec![200..=200]), ..Probing::DEFAULT };
    let mut patient = Patient::new(probing.clone(), Up, Duration::ZERO);
    assert_eq!(story(&mut patient, 0, "tyyy"), [Down, Down, Down, Up]);
    patient.note(&answer(404), None, seconds(9));
    assert_eq!(patient.health(), Draining);
    patient.set_probing(Probing { accept: Accepted::default(), ..probing });
    for second in 10..13 {
        patient.note(&answer(404), None, seconds(second));
    }
    assert_eq!(patient.health(), Up);
}

#[test]
fn a_new_daemon_does_not_bring_a_dead_backend_up() {
    let mut dead = Patient::new(Probing::DEFAULT, Down, Duration::ZERO);
    assert_eq!(story(&mut dead, 0, "tyty"), [Down; 4]);
    assert_eq!(story(&mut dead, 4, "yy")[1], Up);
}

#[test]
fn who_falls_again_and_again_is_held_down_and_not_forever() {
    let mut patient = patient();
    assert_eq!(story(&mut patient, 0, "ttyyttyytt").iter().filter(|h| **h == Up).count(), 5);
    assert!(patient.held_for(seconds(9)).is_some_and(|left| left > seconds(15)));
    let seen = story(&mut patient, 10, &"y".repeat(30));
    let up = seen.iter().position(|h| *h == Up).unwrap();
    assert!((15..25).contains(&up), "{up}");
    assert_eq!(patient.held_for(seconds(40)), None);
    // After an hour in which it was well two falls are free again.
    story(&mut patient, 40, &"y".repeat(3600));
    assert_eq!(story(&mut patient, 3640, "ttyyttyy")[7], Up);
}

#[test]
fn an_hour_in_which_nobody_watched_makes_nobody_well() {
    let mut patient = patient();
    story(&mut patient, 0, "ttyyttyy");
    assert_eq!(story(&mut patient, 3608, "ttyy"), [Up, Down, Down, Down]);
}

#[test]
fn probes_before_a_pause_and_after_it_are_not_in_a_row() {
    // Twice what it takes to find out, 2.7 s with the defaults.
    for (pause, health) in [(5, Down), (6, Up)] {
        let mut patient = patient();
        story(&mut patient, 0, "yt");
        assert_eq!(story(&mut patient, 1 + pause, "t"), [health], "{pause}");
        assert_eq!(story(&mut patient, 2 + pause, "t"), [Down], "{pause}");
    }
    // Its probes wait for their turn.
    let mut patient = patient();
    story(&mut patient, 0, "yt");
    (2..60).for_each(|second| drop(patient.look(Traffic::default(), false, seconds(second))));
    assert_eq!(story(&mut patient, 60, "t"), [Down]);
}

#[test]
fn who_was_silent_for_no_fault_of_its_own_is_not_held_down_for_it() {
    let mut patient = patient();
    story(&mut patient, 0, "ttyyttyytty");
    assert!(patient.held_for(seconds(10)).is_some() && patient.recovers());
    patient.pardon();
    assert_eq!(patient.held_for(seconds(10)), None);
    assert_eq!(story(&mut patient, 11, "y"), [Up]);
    // Twice is twice, and the next is the third.
    story(&mut patient, 12, "tt");
    patient.pardon();
    patient.pardon();
    story(&mut patient, 14, "yytt");
    assert!(patient.held_for(seconds(17)).is_some());
    // What was no silence is not pardoned.
    let mut unwell = Patient::new(Probing::DEFAULT, Up, Duration::ZERO);
    story(&mut unwell, 0, "33yy33yy33");
    unwell.pardon();
    assert!(unwell.held_for(seconds(10)).is_some());
}

#[test]
fn silence_is_told_from_other_ways_to_be_unwell() {
    for (letters, health, quiet_since, refused, but_for_silence) in [
        ("y", Up, None, false, Up),
        ("yt", Up, Some(1), false, Up),
        ("yty", Up, None, false, Up),
        ("ytt", Down, Some(1), false, Up),
        ("ytr", Down, Some(1), true, Up),
        ("ytty", Down, Some(1), false, Up),
        ("yttyy", Up, None, false, Up),
        ("y33", Draining, None, false, Draining),
        ("33tt", Down, Some(2), false, Draining),
        ("tt33", Draining, None, false, Draining),
        ("ytytytyt", Draining, Some(7), false, Up),
        ("ytytytyt33", Draining, None, false, Draining),
    ] {
        let mut patient = patient();
        story(&mut patient, 0, letters);
        let seen = (patient.health(), patient.quiet_since(), patient.is_refused());
        assert_eq!(seen, (health, quiet_since.map(seconds), refused), "{letters}");
        assert_eq!(patient.health_but_for_silence(), but_for_silence, "{letters}");
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let codes = prop_oneof![Just(200_u16), Just(404), Just(408), Just(503), 100_u16..800];
    prop_oneof![
        4 => (codes, 0_u64..1500).prop_map(|(code, ms)| Outcome::Answered { code, rtt: Duration::from_millis(ms) }),
        1 => Just(Outcome::Connected { rtt: Duration::ZERO }),
        3 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Refused),
        1 => Just(Outcome::NotAsked("no route".to_owned())),
    ]
}

/// Probes of some seconds each: one outcome over and over, as servers have it, or a mixture.
fn any_history() -> impl Strategy<Value = Vec<Outcome>> {
    let run = (any_outcome(), 1_usize..12).prop_map(|(outcome, times)| vec![outcome; times]);
    let mixture = proptest::collection::vec(any_outcome(), 1..12);
    proptest::collection::vec(prop_oneof![run, mixture], 1..60).prop_map(|parts| parts.concat())
}

/// Calls, packets and answers as they come, and whether others answer.
fn any_traffic() -> impl Strategy<Value = Vec<([u64; 3], bool)>> {
    let some = || prop_oneof![2 => Just(0_u64), 1 => 0_u64..20];
    let step =
        (0_u64..20, some(), some()).prop_map(|(calls, others, answers)| [calls, others + answers, answers]);
    proptest::collection::vec((step, any::<bool>()), 200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_a_well_backend_comes_up_and_a_dead_one_goes_down(
        history in any_history(),
        traffic in any_traffic(),
    ) {
        let mut patient = patient();
        let mut second = 0;
        let mut sum = Traffic::default();
        for (outcome, ([calls, replies, answered], others)) in history.iter().zip(traffic.iter().cycle()) {
            second += 1;
            sum = Traffic {
                calls: sum.calls + calls,
                replies: sum.replies + replies,
                answered: sum.answered + answered,
            };
            patient.note(outcome, Some(sum.replies), seconds(second));
            patient.look(sum, *others, seconds(second));
        }
        let mut well = patient.clone();
        for _ in 0..=flaps::LONGEST.as_secs() + 2 {
            second += 1;
            well.note(&answer(200), None, seconds(second));
        }
        prop_assert_eq!(well.health(), Up);
        for _ in 0..3 {
            second += 1;
            patient.note(&Outcome::TimedOut, Some(sum.replies), seconds(second));
        }
        prop_assert_eq!(patient.health(), Down);
    }

    #[test]
    fn nobody_who_answers_is_cut_and_nobody_comes_up_by_silence(history in any_history()) {
        let mut patient = patient();
        for (second, outcome) in (0..).zip(&history) {
            let before = patient.health();
            let turn = patient.note(outcome, None, seconds(second));
            prop_assert_eq!(turn.as_ref().map_or(before, |t| t.health), patient.health());
            prop_assert!(turn.as_ref().is_none_or(|t| t.health != before && t.reason == patient.reason()));
            let answered = matches!(outcome, Outcome::Answered { .. } | Outcome::Connected { .. });
            match turn.map(|t| t.health) {
                Some(Up) => prop_assert!(answered),
                Some(Down) => prop_assert!(!answered),
                _ => {}
            }
        }
    }

    #[test]
    fn an_hour_of_the_worst_flapping_has_few_falls(
        pattern in proptest::collection::vec(prop_oneof![Just('y'), Just('t'), Just('3')], 1..40)
    ) {
        let mut patient = patient();
        let mut falls = 0;
        for (second, letter) in (0..3600).zip(pattern.iter().cycle()) {
            let before = patient.health();
            story(&mut patient, second, &letter.to_string());
            falls += u32::from(before == Up && patient.health() != Up);
        }
        prop_assert!(falls <= 45, "{falls} falls");
    }

    #[test]
    fn a_clock_that_stands_still_or_leaps_does_no_harm(
        history in proptest::collection::vec((any_outcome(), 0_u64..1_000_000, any::<bool>()), 1..200)
    ) {
        let mut patient = patient();
        let mut second = 0_u64;
        for (outcome, leap, back) in &history {
            second = if *back { second.saturating_sub(*leap) } else { second + leap % 7 * leap };
            patient.note(outcome, None, seconds(second));
            prop_assert!(patient.held_for(seconds(second)).is_none_or(|left| left <= flaps::LONGEST));
        }
        for _ in 0..=flaps::LONGEST.as_secs() + 2 {
            second += 1;
            patient.note(&answer(200), None, seconds(second));
        }
        prop_assert_eq!(patient.health(), Up);
    }
}
