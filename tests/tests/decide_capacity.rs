//! What backends and zones carry, call by call: who is admitted, and that every channel that was taken is given back once.

use lb_common::{
    decide::{E2BIG, EBUSY, EDQUOT, LoadCell, Tables, capacity::correct},
    map::{
        backend::{Limits, UNLIMITED, health, will},
        settings::Settings,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::{
    capacity::{SECOND, TAG, adds_up, answers, carried, channels, invites, key, pace, tiers, with_limits},
    memory::NO_LIMITS,
    story::{BRANCH, Message, STRANGER, Story, message, request, settings},
};
use std::thread;

#[test]
fn calls_are_admitted_up_to_the_last_channel() {
    for max in [0, 1, 2, 7, UNLIMITED] {
        let story = with_limits(&[channels(max)]);
        let admitted = if max == UNLIMITED { 200 } else { u64::from(max) };
        for n in 0..admitted {
            assert_eq!(invites(&story, n), (Verdict::SteeredNew, 0), "{n} of {max}");
        }
        if max != UNLIMITED {
            assert_eq!(invites(&story, admitted).0, Verdict::RefusedFull, "one more than {max}");
            assert_eq!(story.phase(key(admitted)), None);
        }
        let load = story.tables.load_of(0);
        assert_eq!((load.channels, load.calls), (admitted, admitted));
        assert_eq!(load.over_channels > 0, max != UNLIMITED);
        assert_eq!(load.over_cps, 0);
        adds_up(&story, 1, 0);
        // One of them ends: there is room for one.
        if admitted > 0 && max != UNLIMITED {
            answers(&story, 0, 0, 486);
            assert_eq!(invites(&story, 1000).0, Verdict::SteeredNew);
            assert_eq!(invites(&story, 1001).0, Verdict::RefusedFull);
        }
    }
}

#[test]
fn channels_that_telemetry_reports_count() {
    for (other, admitted) in [(0, 5), (3, 2), (5, 0), (9, 0)] {
        let story = with_limits(&[Limits { other_channels: other, ..channels(5) }]);
        for n in 0..6 {
            let expected = if n < admitted { Verdict::SteeredNew } else { Verdict::RefusedFull };
            assert_eq!(invites(&story, n).0, expected, "{n}, {other} elsewhere");
        }
    }
}

#[test]
fn the_pace_is_met_exactly() {
    for (cps, burst) in [(1, 0), (1, 3), (10, 0), (10, 5), (100, 100), (333, 7)] {
        let story = with_limits(&[pace(cps, burst)]);
        let interval = u64::from(pace(cps, burst).interval_ns);
        let start = 50 * SECOND;
        story.tables.set_nanoseconds(start);
        let mut n = 0;
        let mut next = || {
            n += 1;
            invites(&story, n).0
        };
        // As many early as the burst allows, and the one whose time has come.
        for i in 0..=burst {
            assert_eq!(next(), Verdict::SteeredNew, "{cps} with {burst}: {i}");
        }
        for i in 1..5 {
            story.tables.set_nanoseconds(start + i * interval - 1);
            assert_eq!(next(), Verdict::RefusedFull, "{cps} with {burst}: a nanosecond early");
            story.tables.set_nanoseconds(start + i * interval);
            assert_eq!(next(), Verdict::SteeredNew, "{cps} with {burst}: at its time");
            assert_eq!(next(), Verdict::RefusedFull, "{cps} with {burst}: one too many");
        }
        // What was refused took no channel.
        adds_up(&story, 1, 0);
        assert_eq!(story.tables.load_of(0).calls, u64::from(burst) + 5);
        assert!(story.tables.load_of(0).over_cps > 0);
    }
    let story = with_limits(&[Limits { max_cps: 0, ..NO_LIMITS }]);
    assert_eq!(invites(&story, 0).0, Verdict::RefusedFull);
    assert_eq!(carried(&story, 0), 0);
}

#[test]
fn no_second_sees_more_calls_than_the_rate_and_the_burst() {
    let mut x = 1;
    let mut random = move |below: u64| {
        x = key(x);
        x % below
    };
    for (cps, burst) in [(1, 0), (1, 2), (3, 1), (7, 0), (10, 10), (30, 5), (99, 1), (150, 15)] {
        let story = with_limits(&[pace(cps, burst)]);
        let tables = &&story.tables;
        let mut now = 10 * SECOND;
        let mut admitted: Vec<u64> = Vec::new();
        // Some ten times as many as may come, sometimes in silence, sometimes all at once.
        for _ in 0..4000 {
            now += match random(200) {
                0 => random(2 * SECOND),
                1..60 => 0,
                _ => random(SECOND / u64::from(cps) / 5),
            };
            if tables.admit(0, now) {
                admitted.push(now);
            }
        }
        assert!(admitted.len() > 100, "{cps} with {burst}: {}", admitted.len());
        let most = (cps + burst) as usize;
        for window in admitted.windows(most + 1) {
            let span = window[most] - window[0];
            assert!(span >= SECOND, "{cps} with {burst}: {} calls in {span} ns", most + 1);
        }
        assert_eq!(carried(&story, 0), admitted.len() as u64);
    }
}

#[test]
fn threads_never_overshoot_channels_or_pace() {
    const ATTEMPTS: u32 = 20_000;
    let story = with_limits(&[channels(5), pace(50, 10)]);
    let tables = &&story.tables;
    // Channels: each thread takes and gives back, and no more than 5 are held at once.
    let held = std::sync::atomic::AtomicI64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                use std::sync::atomic::Ordering::SeqCst;
                let mut mine = 0;
                for attempt in 0..ATTEMPTS {
                    if tables.admit(0, 0) {
                        assert!(held.fetch_add(1, SeqCst) < 5, "a sixth channel");
                        mine += 1;
                    }
                    if mine > 0 && (attempt % 3 == 0 || mine > 2) {
                        held.fetch_sub(1, SeqCst);
                        tables.move_channel(0, u16::MAX);
                        mine -= 1;
                    }
                }
                for _ in 0..mine {
                    held.fetch_sub(1, SeqCst);
                    tables.move_channel(0, u16::MAX);
                }
            });
        }
    });
    assert_eq!((carried(&story, 0), story.tables.load_of_zone(0).channels), (0, 0));
    // Pace: all at one moment, then at each of the next ones.
    let mut before = 0;
    for (step, most) in [(0, 11), (1, 1), (2, 1), (5, 3)] {
        let now = SECOND + step * u64::from(pace(50, 10).interval_ns);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        tables.admit(1, now);
                    }
                });
            }
        });
        let calls = story.tables.load_of(1).calls;
        assert_eq!(calls - before, most, "step {step}");
        before = calls;
    }
    assert_eq!(carried(&story, 1), before);
}

#[test]
fn a_pin_that_fails_gives_its_channel_back() {
    // No room; too many unconfirmed; every slot taken by other CPUs.
    let full = Story::with(settings(), 1);
    for n in 0..8 {
        full.opens(key(n));
    }
    let too_many = Story::with(Settings { unconfirmed_limit: 0, ..settings() }, 256);
    let contended = Story::new();
    contended.tables.disturb(0, 2);
    for (story, errno, pinned) in [(full, E2BIG, 8), (too_many, EDQUOT, 0), (contended, EBUSY, 0)] {
        assert_eq!(invites(&story, 100).0, Verdict::SteeredUnpinned);
        assert_eq!(story.tables.write_errors(errno), 1);
        assert_eq!(story.tables.load_of_zone(0).channels, pinned);
        assert_eq!(story.tables.dialogs().len() as u64, pinned);
        adds_up(&story, 3, 0);
    }
}

#[test]
fn a_call_that_two_cpus_pin_takes_one_channel() {
    const CALLS: u64 = 3000;
    let story = Story::with(Settings { unconfirmed_limit: 100_000, ..settings() }, 8192);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in 0..CALLS {
                    let (verdict, _) = invites(&story, n);
                    assert!(matches!(verdict, Verdict::SteeredNew | Verdict::SteeredPinned), "{verdict:?}");
                }
            });
        }
    });
    assert_eq!(story.tables.dialogs().len() as u64, CALLS);
    assert_eq!(story.tables.load_of_zone(0).channels, CALLS);
    adds_up(&story, 3, 0);
}

/// Messages in their order; true: it arrives, false: the backend sends it.
type Messages = Vec<(bool, Message)>;

#[test]
fn what_belongs_to_a_call_is_never_refused_at_a_full_backend_and_counted_once() {
    let invite = request(Method::Invite, key(0));
    let stories: [(&str, Messages, u64); 6] = [
        ("retransmission", vec![(true, invite), (true, invite)], 1),
        (
            "re-INVITE",
            vec![
                (false, message(Kind::Response(200), key(0)).to_tag(TAG)),
                (true, invite.branch(BRANCH + 1).to_tag(TAG)),
            ],
            1,
        ),
        ("CANCEL", vec![(true, request(Method::Cancel, key(0)))], 1),
        (
            "ACK",
            vec![
                (false, message(Kind::Response(200), key(0)).to_tag(TAG)),
                (true, request(Method::Ack, key(0)).branch(BRANCH + 2).to_tag(TAG)),
            ],
            1,
        ),
        (
            "INVITE with credentials",
            vec![
                (false, message(Kind::Response(401), key(0)).to_tag(TAG)),
                (true, request(Method::Ack, key(0)).to_tag(TAG)),
                (true, invite.branch(BRANCH + 1)),
                (true, invite.branch(BRANCH + 1)),
                (true, invite),
            ],
            1,
        ),
        (
            "BYE",
            vec![
                (false, message(Kind::Response(200), key(0)).to_tag(TAG)),
                (true, request(Method::Bye, key(0)).to_tag(TAG)),
                (true, request(Method::Bye, key(0)).to_tag(TAG)),
            ],
            0,
        ),
    ];
    for (name, messages, left) in stories {
        let story = with_limits(&[Limits { max_channels: 1, ..pace(1, 0) }]);
        assert_eq!(invites(&story, 0), (Verdict::SteeredNew, 0));
        for (arrives, m) in messages {
            if arrives {
                let steering = story.arrives(m);
                assert_eq!(
                    (steering.verdict, steering.backend),
                    (Verdict::SteeredPinned, 0),
                    "{name}: {m:?}"
                );
            } else {
                story.leaves(0, &[0], m);
            }
        }
        assert_eq!((carried(&story, 0), story.tables.load_of(0).calls), (left, 1), "{name}");
        adds_up(&story, 1, 0);
        // It was full all the time.
        assert_eq!(invites(&story, 1).0, Verdict::RefusedFull, "{name}");
    }
}

#[test]
fn a_call_refused_with_a_challenge_takes_its_channel_again_beyond_the_limit() {
    let story = with_limits(&[channels(1)]);
    invites(&story, 0);
    answers(&story, 0, 0, 407);
    assert_eq!(carried(&story, 0), 0);
    assert_eq!(invites(&story, 1).0, Verdict::SteeredNew, "the channel was free");
    // The first caller comes back with credentials: the backend knows the challenge, nobody else does.
    let again = story.arrives(request(Method::Invite, key(0)).branch(BRANCH + 1));
    assert_eq!(again.verdict, Verdict::SteeredPinned);
    assert_eq!(carried(&story, 0), 2);
    assert_eq!(invites(&story, 2).0, Verdict::RefusedFull);
    answers(&story, 0, 1, 486);
    assert_eq!(invites(&story, 2).0, Verdict::RefusedFull, "at the limit still");
}

#[test]
fn a_strangers_bye_and_cancel_free_nothing() {
    let story = with_limits(&[channels(2)]);
    invites(&story, 0);
    invites(&story, 1);
    answers(&story, 0, 1, 200);
    for m in [
        request(Method::Cancel, key(0)),
        request(Method::Bye, key(0)).to_tag(BRANCH),
        request(Method::Bye, key(1)).to_tag(TAG + 1),
        request(Method::Bye, key(1)).to_tag(0),
        message(Kind::Response(486), key(0)),
        message(Kind::Response(503), key(1)).to_tag(TAG),
    ] {
        story.arrives(m.by(STRANGER));
        assert_eq!(carried(&story, 0), 2, "{m:?}");
    }
    assert_eq!(invites(&story, 2).0, Verdict::RefusedFull);
}

#[test]
fn every_end_gives_the_channel_back_once() {
    let ends: [(bool, Message); 5] = [
        (false, message(Kind::Response(486), key(0)).to_tag(TAG)),
        (false, message(Kind::Response(503), key(0)).to_tag(TAG)),
        (true, request(Method::Bye, key(0)).to_tag(TAG)),
        (false, request(Method::Bye, key(0)).to_tag(TAG)),
        (true, request(Method::Ack, key(0)).to_tag(TAG)),
    ];
    for (arrives, m) in ends {
        let story = with_limits(&[channels(3)]);
        invites(&story, 0);
        invites(&story, 1);
        for _ in 0..3 {
            if arrives {
                story.arrives(m);
            } else {
                story.leaves(0, &[0], m);
            }
            assert_eq!((carried(&story, 0), story.tables.load_of_zone(0).channels), (1, 1), "{m:?}");
        }
        // Forgetting the one that ended gives nothing back, forgetting the other does.
        story.passes(settings().ended_ticks);
        assert_eq!(carried(&story, 0), 1);
        story.passes(settings().unanswered_ticks);
        assert_eq!((carried(&story, 0), story.tables.dialogs().len()), (0, 0));
    }
}

#[test]
fn a_moved_pin_moves_the_channel() {
    let story = with_limits(&[NO_LIMITS]);
    story.tables.add_zone(1, &[(7, channels(1))]);
    invites(&story, 0);
    assert_eq!((carried(&story, 0), story.tables.load_of_zone(0).channels), (1, 1));
    story.tables.set_backend(0, will::ENABLED, health::DOWN);
    story.tables.set_policy(0, tiers(&[0, 1]));
    story.tables.set_ring(0, 0, &[7]);
    let moved = story.arrives(request(Method::Invite, key(0)));
    assert_eq!((moved.verdict, moved.backend), (Verdict::SteeredMoved, 7));
    assert_eq!((carried(&story, 0), story.tables.load_of_zone(0).channels), (0, 0));
    assert_eq!((carried(&story, 7), story.tables.load_of_zone(1).channels), (1, 1));
    // Over the limit if need be: a call in progress is not refused.
    assert_eq!(story.tables.load_of(7).calls, 0, "it is no new call");
    story.arrives(request(Method::Bye, key(0)).to_tag(TAG));
    assert_eq!((carried(&story, 7), story.tables.load_of_zone(1).channels), (0, 0));
}

#[test]
fn a_backends_own_call_takes_a_channel_and_is_not_refused() {
    let story = with_limits(&[channels(1)]);
    for n in 0..2 {
        story.leaves(0, &[0], request(Method::Invite, key(n)));
    }
    assert_eq!(carried(&story, 0), 2);
    assert_eq!(invites(&story, 5).0, Verdict::RefusedFull);
    for n in 0..2 {
        story.arrives(message(Kind::Response(486), key(n)));
    }
    assert_eq!(carried(&story, 0), 0);
    adds_up(&story, 1, 0);
}

#[test]
fn a_correction_adds_what_it_says_and_takes_off_what_is_there() {
    let story = with_limits(&[channels(100)]);
    let load = (&story.tables).backend_load(0).expect("it is there");
    for (by, after) in [(5, 5), (0, 5), (-2, 3), (-3, 0), (-1, 0), (4, 4), (-5, 0), (i64::MIN, 0), (1, 1)] {
        correct(&load, by);
        assert_eq!(carried(&story, 0), after, "{by}");
    }
}

#[test]
fn a_correction_leaves_to_others_what_they_put_back_themselves() {
    for by in [-1, -7, 3, i64::MIN + 1] {
        let story = with_limits(&[channels(100)]);
        let load = (&story.tables).backend_load(0).expect("it is there");
        // Another CPU takes off a channel that is not there, and puts it back afterwards.
        load.add_channels(-1);
        correct(&load, by);
        load.add_channels(1);
        assert_eq!(carried(&story, 0), u64::try_from(by).unwrap_or(0), "{by}");
    }
}
