//! What the traffic of a backend shows, and what follows: black holes, signs of life, pauses.

use super::{
    Health::*,
    tests::{answer, patient, seconds, story},
    *,
};

/// A look a second at counters that grow by so many calls and answers to new ones, each of them a packet.
fn looks(patient: &mut Patient, from: u64, steps: &[(u64, u64)], others: bool) -> Vec<Look> {
    let steps: Vec<_> = steps.iter().map(|(calls, answers)| (*calls, *answers, *answers)).collect();
    looks_at_all(patient, from, &steps, others)
}

/// The same with other packets beside: calls, packets, answers.
fn looks_at_all(patient: &mut Patient, from: u64, steps: &[(u64, u64, u64)], others: bool) -> Vec<Look> {
    let mut sum = Traffic { calls: 1000 * from, replies: 1000 * from, answered: 1000 * from };
    let mut seen = Vec::new();
    for (second, (calls, replies, answered)) in (from..).zip(steps) {
        sum = Traffic {
            calls: sum.calls + calls,
            replies: sum.replies + replies,
            answered: sum.answered + answered,
        };
        seen.push(patient.look(sum, others, seconds(second)));
    }
    seen
}

/// Seed 34 of the simulation: the end of a pause, far in the future after the clock had gone back, hid the hold.
#[test]
fn a_clock_that_went_back_after_a_black_hole_lets_nobody_flap() {
    let mut patient = patient();
    looks(&mut patient, 3600, &[(0, 0), (9, 0), (9, 0), (9, 0), (9, 0)], true);
    assert_eq!(patient.health(), Draining);
    let seen = story(&mut patient, 10, &"ttyy".repeat(20));
    let falls = seen.windows(2).filter(|pair| pair[0] == Up && pair[1] != Up).count();
    assert!(falls <= 5, "{falls} falls in 80 s: {seen:?}");
}

/// Seed 400156 of the simulation: calls from before the clock went back were forgotten, and after it came too few.
#[test]
fn a_clock_that_goes_back_hides_no_black_hole() {
    let mut patient = patient();
    let calls = |calls| Traffic { calls, ..Traffic::default() };
    let moments = [(3600, 0), (3601, 9), (3602, 9), (2, 10), (3, 10)];
    let mut health = Vec::new();
    for (second, sum) in moments {
        patient.look(calls(sum), true, seconds(second));
        health.push(patient.health());
    }
    assert_eq!(health, [Up; 5], "watched for two seconds");
    patient.look(calls(10), true, seconds(4));
    assert_eq!(patient.health(), Draining);
}

#[test]
fn calls_without_any_packet_make_the_first_silent_probe_enough() {
    let mut after = patient();
    let seen = looks(&mut after, 0, &[(0, 0), (1, 0), (0, 0)], false);
    assert_eq!(seen.iter().map(|l| l.newly_suspected).collect::<Vec<_>>(), [false, false, true]);
    assert!(after.is_suspected() && after.health() == Up);
    let turn = after.note(&Outcome::TimedOut, Some(0), seconds(3)).unwrap();
    assert_eq!(turn.health, Down);

    // The other way round: the probe was silent first.
    let mut before = patient();
    assert_eq!(before.note(&Outcome::TimedOut, Some(0), Duration::ZERO), None);
    let seen = looks(&mut before, 0, &[(0, 0), (1, 0), (0, 0)], false);
    let turn = seen[2].turn.clone().unwrap();
    assert_eq!(turn.health, Down);
    assert_eq!(turn.reason, "a probe got no answer, and new calls got none either");

    // An answered call clears it.
    let mut cleared = patient();
    looks(&mut cleared, 0, &[(0, 0), (1, 0), (0, 0), (0, 1)], false);
    assert!(!cleared.is_suspected());
    assert_eq!(cleared.note(&Outcome::TimedOut, Some(0), seconds(4)), None);
}

#[test]
fn who_answered_a_probe_after_these_calls_is_patiently_asked_until_there_are_more() {
    for (calls, turn) in [(1, None), (2, Some(Down))] {
        let mut patient = patient();
        looks(&mut patient, 0, &[(0, 0), (1, 0), (0, 0)], false);
        patient.note(&answer(200), None, seconds(3));
        patient.look(Traffic { calls, replies: 0, answered: 0 }, false, seconds(4));
        assert!(patient.is_suspected());
        let noted = patient.note(&Outcome::TimedOut, Some(0), seconds(5));
        assert_eq!(noted.map(|turn| turn.health), turn, "{calls}");
    }
}

#[test]
fn a_black_hole_is_drained_if_others_answer_and_gets_another_chance() {
    let hole = [(0, 0), (9, 0), (9, 0), (9, 0), (9, 0)];
    let mut alone = patient();
    assert!(looks(&mut alone, 0, &hole, false).iter().all(|l| l.turn.is_none()));
    assert_eq!((alone.health(), alone.is_suspected()), (Up, true));

    let mut among_others = patient();
    let seen = looks(&mut among_others, 0, &hole, true);
    let turn = seen[4].turn.clone().unwrap();
    assert_eq!(turn.health, Draining);
    assert_eq!(
        turn.reason,
        "it answers probes, but answered none of 36 new calls in 3 s, while others answer theirs"
    );
    let up = story(&mut among_others, 5, &"y".repeat(40)).iter().position(|h| *h == Up);
    assert_eq!(up, Some(29), "30 s after the fall");
    assert!(!among_others.is_suspected());
}

#[test]
fn an_answer_ends_the_pause_of_a_black_hole_and_another_packet_does_not() {
    for (answers, after) in [(1, [Draining, Up]), (0, [Draining; 2])] {
        let mut patient = patient();
        let steps = [(0, 0, 0), (9, 0, 0), (9, 0, 0), (9, 0, 0), (9, 0, 0), (0, 1, answers)];
        looks_at_all(&mut patient, 0, &steps, true);
        assert_eq!(patient.health(), Draining);
        assert_eq!(story(&mut patient, 6, "yy"), after);
    }
}

#[test]
fn one_that_swallows_new_calls_and_goes_on_with_the_others_is_drained_and_not_cut() {
    let hole = [(0, 9, 0), (9, 9, 0), (9, 9, 0), (9, 9, 0), (9, 9, 0)];
    let mut among_others = patient();
    let seen = looks_at_all(&mut among_others, 0, &hole, true);
    assert_eq!(seen.iter().filter(|look| look.newly_suspected).count(), 1);
    assert_eq!((among_others.health(), among_others.is_suspected()), (Draining, true));
    // One lost probe cuts no call while the calls that are up show that it lives; as many as always do, if they stop too.
    let mut alone = patient();
    looks_at_all(&mut alone, 0, &hole, false);
    assert_eq!((alone.health(), alone.is_suspected()), (Up, true));
    alone.note(&Outcome::TimedOut, Some(45), seconds(5));
    assert_eq!(alone.health(), Up);
    alone.note(&Outcome::TimedOut, Some(54), seconds(6));
    assert_eq!(alone.health(), Draining);
    for second in 7..9 {
        alone.note(&Outcome::TimedOut, Some(54), seconds(second));
    }
    assert_eq!(alone.health(), Down);
}

#[test]
fn without_acks_it_takes_as_long_as_it_may_ring() {
    let mut direct = patient();
    direct.set_hearing(Hearing::Acks);
    let hole: Vec<_> = (0..38).map(|second| (5 * u64::from(second > 0), 0)).collect();
    let seen = looks(&mut direct, 0, &hole, true);
    let turns: Vec<_> = (0..).zip(&seen).filter_map(|(s, look)| Some((s, look.turn.clone()?))).collect();
    let reason = "it answers probes, but its callers acknowledged no answer to 165 new calls in 32 s, while others answer theirs";
    assert_eq!(turns, [(33, Turn { health: Draining, reason: reason.to_owned() })]);
    assert_eq!((direct.voice(seconds(37)), direct.is_suspected()), (Voice::Mute, true));
    // Its packets are not seen, so that there are none says nothing: probes have to fail as often as always.
    let mut silent = patient();
    silent.set_hearing(Hearing::Acks);
    looks(&mut silent, 0, &hole, false);
    assert!(silent.is_suspected());
    assert_eq!(story(&mut silent, 38, "tt"), [Up, Down]);
    assert_eq!(silent.voice(seconds(40)), Voice::Unknown);
}

#[test]
fn packets_of_calls_are_a_sign_of_life_while_probes_are_not_answered() {
    let mut patient = patient();
    let replies = [5, 7, 9, 11, 11, 11];
    let mut seen = Vec::new();
    for (second, replies) in (0..).zip(replies) {
        patient.note(&Outcome::TimedOut, Some(replies), seconds(second));
        seen.push(patient.health());
    }
    assert_eq!(seen, [Up, Draining, Draining, Draining, Draining, Down]);
}

/// Seed 606581 of the simulation: the first probe after a pause was lost, before anybody had looked at the traffic again.
#[test]
fn who_seemed_dead_before_a_pause_is_looked_at_anew() {
    for (pause, health) in [(1, Down), (20, Up)] {
        let mut patient = patient();
        looks(&mut patient, 0, &[(0, 0), (9, 0), (9, 0)], true);
        assert!(patient.is_suspected());
        patient.note(&Outcome::TimedOut, Some(0), seconds(2 + pause));
        assert_eq!(patient.health(), health, "{pause}");
    }
}

/// Seed 402316 of the simulation: calls that it swallowed meanwhile were forgotten, and no more came.
#[test]
fn who_was_silent_and_not_believed_to_be_dead_has_to_answer_for_its_calls() {
    for (pardoned, health) in [(true, Draining), (false, Up)] {
        let mut patient = patient();
        story(&mut patient, 0, "tttt");
        assert_eq!((patient.health(), patient.health_but_for_silence()), (Down, Up));
        let calls = |calls| Traffic { calls, ..Traffic::default() };
        patient.look(calls(0), true, seconds(3));
        patient.look(calls(9), true, seconds(4));
        story(&mut patient, 4, "y");
        if pardoned {
            patient.pardon();
        }
        assert_eq!(story(&mut patient, 5, "yyyy"), [Up; 4]);
        patient.look(calls(9), true, seconds(9));
        assert_eq!(patient.health(), health, "{pardoned}");
    }
}

/// Seeds 100902 and 401736 of the simulation: who was silent all over sends packets again, and is cut off.
#[test]
fn who_was_found_dead_and_sends_packets_of_calls_again_keeps_them() {
    let mut patient = patient();
    story(&mut patient, 0, "tt");
    assert_eq!((patient.health(), patient.health_but_for_silence()), (Down, Up));
    let mut look = |second, replies, probe: Option<Outcome>| {
        if let Some(outcome) = probe {
            patient.note(&outcome, Some(replies), seconds(second));
        }
        patient.look(Traffic { replies, ..Traffic::default() }, false, seconds(second));
        (patient.health(), patient.health_but_for_silence())
    };
    assert_eq!(look(2, 11, None), (Down, Up), "what stood there before");
    assert_eq!(look(3, 12, None), (Down, Up), "once may be what was on the way");
    assert_eq!(look(4, 12, None), (Down, Up));
    assert_eq!(look(5, 13, Some(Outcome::TimedOut)), (Down, Up));
    assert_eq!(look(6, 14, Some(answer(200))), (Draining, Up), "twice in a row is no accident");
    // Then it goes on as with one that never stopped.
    for (second, replies, health) in [(7, 15, Draining), (8, 16, Draining), (9, 16, Draining), (10, 16, Down)]
    {
        assert_eq!(look(second, replies, Some(Outcome::TimedOut)), (health, Up), "{second}");
    }
    // Packets on the way when it fell do not bring it back.
    assert_eq!(look(11, 17, Some(Outcome::TimedOut)), (Down, Up));
    assert_eq!(look(12, 17, Some(Outcome::TimedOut)), (Down, Up));
}
