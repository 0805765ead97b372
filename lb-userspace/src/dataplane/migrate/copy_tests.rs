//! Which dialogs are brought over, and in which order.

use super::*;
use lb_common::map::dialog::State;

fn dialog(phase: Phase, backend: u16, seen: u16) -> Dialog {
    Dialog {
        call_key: 1,
        state: State { backend, phase: phase as u8, seen, ..State::default() },
        ..Dialog::default()
    }
}

fn wanted(seen_within: Option<u32>) -> Wanted {
    let settings = Settings {
        unanswered_ticks: 180,
        answered_ticks: 1000,
        ended_ticks: 32,
        subscribed_ticks: 700,
        ..Settings::default()
    };
    Wanted { backends: vec![true, false, true], settings, now: 0x1_0010, seen_within }
}

/// The tick so many ago, across the wrap of 16 bits.
fn ago(ticks: u16) -> u16 {
    0x10_u16.wrapping_sub(ticks)
}

#[test]
fn dialogs_of_backends_that_are_gone_are_left_behind() {
    let refuses = |backend| wanted(None).refuses(&dialog(Phase::Answered, backend, ago(1)));
    assert_eq!([0, 1, 2, 3, u16::MAX].map(refuses).map(|r| r.is_none()), [true, false, true, false, false]);
    assert_eq!(refuses(1), Some(Unwanted::OfNoBackend));
}

#[test]
fn dialogs_come_until_their_lifetime_is_over() {
    let lifetimes =
        [(Phase::Answered, 1000), (Phase::Ringing, 180), (Phase::Ended, 32), (Phase::Subscribed, 700)];
    for (phase, lifetime) in lifetimes {
        assert_eq!(wanted(None).refuses(&dialog(phase, 0, ago(lifetime - 1))), None, "{phase:?}");
        assert_eq!(
            wanted(None).refuses(&dialog(phase, 0, ago(lifetime))),
            Some(Unwanted::Expired),
            "{phase:?}"
        );
    }
}

#[test]
fn after_an_interruption_only_those_come_that_were_seen_since() {
    let refuses = |ticks| wanted(Some(3)).refuses(&dialog(Phase::Answered, 0, ago(ticks)));
    assert_eq!([0, 3].map(refuses), [None, None]);
    assert_eq!(refuses(4), Some(Unwanted::Old));
    assert_eq!(
        wanted(Some(3)).refuses(&dialog(Phase::Answered, 0, 0x12)),
        None,
        "another CPU's clock is ahead"
    );
}

#[test]
fn established_dialogs_come_first_and_those_that_are_over_last() {
    let classes = Phase::ALL.map(|phase| (class(phase as u8), phase));
    for (class, phase) in classes {
        assert!(class < CLASSES);
        assert_eq!(class == 0, matches!(phase, Phase::Answered | Phase::Subscribed), "{phase:?}");
        assert_eq!(
            class == 1,
            matches!(phase, Phase::Unanswered | Phase::Ringing | Phase::Cancelled),
            "{phase:?}"
        );
    }
}

#[test]
fn counts_add_up() {
    let one = Counts { put: 1, changed: 2, removed: 3, expired: 4, of_no_backend: 5, ..Counts::default() };
    let mut sum = one;
    sum += Counts { established_without_room: 6, others_without_room: 7, ..one };
    let twice = Counts { put: 2, changed: 4, removed: 6, expired: 8, of_no_backend: 10, ..sum };
    assert_eq!((sum, sum.news()), (twice, 12));
    assert_eq!((sum.established_without_room, sum.others_without_room), (6, 7));
}
