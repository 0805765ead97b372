//! What growing counters show.

use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Looks at counters that grow by so many calls, packets and answers from one second to the next.
fn looks(hearing: Hearing, steps: &[(u64, u64, u64)]) -> (Witness, Vec<Sight>) {
    let mut witness = Witness::default();
    witness.set_hearing(hearing);
    let mut sum = Traffic::default();
    let mut seen = Vec::new();
    for (second, (calls, replies, answered)) in (0..).zip(steps) {
        sum.calls += calls;
        sum.replies += replies;
        sum.answered += answered;
        seen.push(witness.look(sum, seconds(second)));
    }
    (witness, seen)
}

/// The seconds in which something is odd, and those in which it is more than that.
fn seconds_of(seen: &[Sight]) -> (Vec<usize>, Vec<usize>) {
    let of = |is: fn(&Sight) -> bool| {
        seen.iter().enumerate().filter(|(_, sight)| is(sight)).map(|(second, _)| second).collect()
    };
    (of(Sight::is_odd), of(Sight::is_mute))
}

/// A story of looks in which nothing happens beside some of them, by second.
fn quiet(length: usize, but: &[(usize, (u64, u64, u64))]) -> Vec<(u64, u64, u64)> {
    let mut steps = vec![(0, 0, 0); length];
    for (second, step) in but {
        steps[*second] = *step;
    }
    steps
}

#[test]
fn calls_without_an_answer_become_odd_and_then_worse() {
    let steps = [(0, 0, 0), (3, 9, 3), (2, 0, 0), (2, 0, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0)];
    let (_, seen) = looks(Hearing::Answers, &steps);
    assert_eq!(seconds_of(&seen), (vec![3, 4, 5, 6], vec![5, 6]));
    assert_eq!(seen[6].calls, 5);
}

#[test]
fn few_calls_are_odd_at_most() {
    for (calls, mute) in [(CALLS - 1, vec![]), (CALLS, vec![4, 5])] {
        let (_, seen) = looks(Hearing::Answers, &quiet(6, &[(1, (calls, 0, 0))]));
        assert_eq!(seconds_of(&seen), (vec![2, 3, 4, 5], mute), "{calls} calls");
    }
}

#[test]
fn an_answer_to_one_call_clears_all_and_other_packets_clear_none() {
    let steps = [(0, 0, 0), (9, 0, 0), (9, 0, 0), (9, 2, 1), (0, 0, 0), (0, 0, 0), (9, 0, 0)];
    let (_, seen) = looks(Hearing::Answers, &steps);
    assert_eq!(seconds_of(&seen), (vec![2], vec![]), "{seen:?}");
    // The calls that are up go on: BYE, re-INVITE, OPTIONS.
    let steps = [(0, 0, 0), (9, 5, 0), (9, 5, 0), (9, 5, 0), (0, 5, 0), (0, 5, 0)];
    let (_, seen) = looks(Hearing::Answers, &steps);
    assert_eq!(seconds_of(&seen), (vec![2, 3, 4, 5], vec![4, 5]), "{seen:?}");
    assert!(seen[1..].iter().all(|sight| sight.sends && !sight.answers));
}

#[test]
fn a_packet_after_the_first_unanswered_call_shows_that_it_lives() {
    for (packets, lifeless) in [([0, 0], true), ([7, 0], true), ([0, 7], false)] {
        let steps = [(0, 0, 0), (1, packets[0], 0), (0, packets[1], 0)];
        let (_, seen) = looks(Hearing::Answers, &steps);
        assert!(seen[2].is_odd());
        assert_eq!(seen[2].is_lifeless(), lifeless, "{packets:?}");
    }
    // It is another question after the next answer.
    let steps = [(0, 0, 0), (1, 0, 0), (0, 7, 0), (0, 7, 1), (1, 0, 0), (0, 0, 0)];
    let (_, seen) = looks(Hearing::Answers, &steps);
    assert_eq!(
        [seen[2], seen[5]].map(|sight| (sight.is_odd(), sight.is_lifeless())),
        [(true, false), (true, true)]
    );
    // Who is not heard is never lifeless.
    let (_, seen) = looks(Hearing::Acks, &quiet(40, &[(1, (9, 0, 0)), (30, (9, 0, 0))]));
    assert!(seen[33].is_odd() && seen.iter().all(|sight| !sight.is_lifeless()));
}

#[test]
fn what_stood_there_before_and_what_is_long_ago_says_nothing() {
    assert_eq!(looks(Hearing::Answers, &[(500, 0, 0)]).1[0], Sight::default());
    let (_, seen) = looks(Hearing::Answers, &quiet(40, &[(1, (9, 0, 0))]));
    assert!(seen[33].is_mute() && !seen[34].is_odd(), "{seen:?}");
    let calls = |calls| Traffic { calls, ..Traffic::default() };
    // The id belongs to another backend now.
    let mut witness = Witness::default();
    let replies = 7;
    witness.look(Traffic { replies, ..calls(50) }, Duration::ZERO);
    witness.look(Traffic { replies, ..calls(59) }, seconds(1));
    assert_eq!(witness.look(Traffic { replies, ..calls(2) }, seconds(3)).calls, 0);
}

#[test]
fn acks_have_as_long_as_it_may_ring() {
    let steps = |second: u64| (u64::from(second > 0), 0, 0);
    let all: Vec<_> = (0..45).map(steps).collect();
    let (_, seen) = looks(Hearing::Acks, &all);
    // The fifth call was noticed in second 5.
    assert!(!seen[36].is_mute() && seen[37].is_mute(), "{seen:?}");
    assert_eq!(seconds_of(&seen).0, seconds_of(&seen).1, "ringing is not odd");
    // The same backend with one ACK, of whatever call.
    let mut with_ack = all;
    with_ack[20].2 = 1;
    assert_eq!(seconds_of(&looks(Hearing::Acks, &with_ack).1), (vec![], vec![]));
}

#[test]
fn calls_that_came_late_are_not_counted_as_unacknowledged_yet() {
    // One caller lets it ring, or never sends an ACK; the others have just called.
    let (_, seen) = looks(Hearing::Acks, &quiet(60, &[(1, (1, 0, 0)), (31, (8, 0, 0)), (50, (0, 0, 1))]));
    assert_eq!(seconds_of(&seen), (vec![], vec![]));
    // Fewer than enough, for however long.
    let few: Vec<_> = (0..120).map(|second| (u64::from(second > 0 && second % 30 == 1), 0, 0)).collect();
    assert_eq!(seconds_of(&looks(Hearing::Acks, &few).1), (vec![], vec![]));
}

#[test]
fn other_ears_begin_anew() {
    let (mut witness, _) = looks(Hearing::Acks, &quiet(3, &[(1, (9, 0, 0))]));
    let seen = |witness: &mut Witness| witness.look(Traffic { calls: 9, ..Traffic::default() }, seconds(4));
    witness.set_hearing(Hearing::Acks);
    assert_eq!(seen(&mut witness).calls, 9);
    witness.set_hearing(Hearing::Answers);
    assert_eq!(seen(&mut witness), Sight::default());
}

#[test]
fn a_voice_is_heard_for_as_long_as_a_silence_is_borne() {
    for (hearing, patience) in [(Hearing::Answers, MUTE), (Hearing::Acks, FORGOTTEN)] {
        let (witness, _) = looks(hearing, &[(0, 0, 0), (1, 1, 1)]);
        let last = seconds(1) + patience;
        let later = last + Duration::from_millis(1);
        assert_eq!([last, later].map(|now| witness.voice(now)), [Voice::Answers, Voice::Unknown]);
    }
    let (mut mute, _) =
        looks(Hearing::Answers, &[(0, 0, 0), (1, 1, 1), (9, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)]);
    assert_eq!(mute.voice(seconds(5)), Voice::Mute);
    mute.forget();
    assert_eq!(mute.voice(seconds(5)), Voice::Unknown);
}

#[test]
fn calls_are_to_blame_where_more_are_mute_than_answer() {
    let of = |letters: &str| -> Vec<Voice> {
        let voice = |letter| match letter {
            'a' => Voice::Answers,
            'm' => Voice::Mute,
            _ => Voice::Unknown,
        };
        letters.chars().map(voice).collect()
    };
    for (all, answered) in [
        // The first of them asks.
        ("m", false),
        ("a", false),
        ("m-", false),
        ("ma", true),
        ("-a", true),
        ("mma", true),
        ("mmma", false),
        ("mmmaa", true),
        ("m--a-", true),
        ("mmm", false),
    ] {
        let voices = of(all);
        assert_eq!(voices.iter().copied().collect::<Voices>().others_answer(voices[0]), answered, "{all}");
    }
}
