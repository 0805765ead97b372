//! Which backends a packet may go to: their states, packets without a dialog, and tables that refuse a write.

use lb_common::{
    decide::{E2BIG, EBUSY, EDQUOT, Inbound},
    limits::MAX_TIERS,
    map::{
        backend::{health, will},
        dialog::Phase,
        zone::Policy,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::{
    memory::NO_LIMITS,
    story::{BRANCH, CALLER, Message, STRANGER, Story, message, request, settings},
};

const CALL: u64 = 0x1234_5678_9abc_def0;
const TAG: u32 = 0x7a6;

/// Every will and health of a backend; whether its dialogs stay, whether new ones come.
const STATES: [(u8, u8, bool, bool); 10] = [
    (will::ENABLED, health::UP, true, true),
    (will::DRAINING, health::UP, true, false),
    (will::REMOVED, health::UP, true, false),
    (will::DISABLED, health::UP, false, false),
    (will::ABSENT, health::UP, false, false),
    (will::ENABLED, health::DOWN, false, false),
    (will::DRAINING, health::DOWN, false, false),
    (will::REMOVED, health::DOWN, false, false),
    (will::DISABLED, health::DOWN, false, false),
    (will::ABSENT, health::DOWN, false, false),
];

#[test]
fn a_pinned_call_leaves_its_backend_only_when_that_keeps_no_dialogs() {
    for (will, health, stays, _) in STATES {
        let story = Story::new();
        let backend = story.opens(CALL);
        story.tables.set_backend(backend, will, health);
        for method in [Method::Invite, Method::Bye] {
            let steering = story.arrives(request(method, CALL));
            let pin = story.dialog(CALL).expect("still there").state.backend;
            assert_eq!(steering.backend, pin, "will {will} health {health}: the pin tells the truth");
            if stays {
                assert_eq!((steering.verdict, pin), (Verdict::SteeredPinned, backend));
            } else {
                assert_ne!(pin, backend, "will {will} health {health}");
            }
        }
    }
}

#[test]
fn the_first_packet_moves_the_pin_and_the_next_ones_follow_it() {
    let story = Story::new();
    let backend = story.opens(CALL);
    story.tables.set_backend(backend, will::ENABLED, health::DOWN);
    let moved = story.arrives(request(Method::Invite, CALL));
    assert_eq!(moved.verdict, Verdict::SteeredMoved);
    // Also when the old backend comes back: a call moves once.
    story.tables.set_backend(backend, will::ENABLED, health::UP);
    let next = story.arrives(request(Method::Invite, CALL));
    assert_eq!((next.verdict, next.backend), (Verdict::SteeredPinned, moved.backend));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

/// Seed 502741 of the simulation: the calls of dead backends filled the others for half a day.
#[test]
fn the_bye_that_moves_a_call_ends_it_and_takes_no_channel_elsewhere() {
    for (of_caller, channels) in [(true, [0, 0]), (false, [0, 1])] {
        let story = Story::new();
        let channels_of = |id| story.tables.load_of(id).channels;
        let backend = story.answered(CALL, TAG);
        assert_eq!((story.phase(CALL), channels_of(backend)), (Some(Phase::Answered), 1));
        story.tables.set_backend(backend, will::ENABLED, health::DOWN);
        let mut bye = request(Method::Bye, CALL).branch(BRANCH + 2).to_tag(TAG);
        if !of_caller {
            // Whoever does not know the tag ends nothing: the call moves as it is.
            bye = bye.by(STRANGER).to_tag(TAG + 1);
        }
        let steering = story.arrives(bye);
        assert_eq!(steering.verdict, Verdict::SteeredMoved);
        assert_eq!([backend, steering.backend].map(channels_of), channels, "{of_caller}");
        assert_eq!(story.phase(CALL) == Some(Phase::Ended), of_caller);
        // Where it went, it is followed.
        assert_eq!(story.arrives(bye).backend, steering.backend);
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

#[test]
fn a_new_call_goes_only_to_a_backend_that_takes_dialogs() {
    for (will, health, _, takes) in STATES {
        let story = Story::new();
        story.tables.add_zone(0, &[(1, NO_LIMITS)]);
        story.tables.set_backend(1, will, health);
        story.tables.set_ring(0, 0, &[1]);
        // Before the daemon has written who takes calls, and after.
        for (published, otherwise) in [(false, Verdict::RefusedFull), (true, Verdict::RefusedDown)] {
            if published {
                story.tables.publish_members(0);
            }
            let call = CALL + u64::from(published);
            let steering = story.arrives(request(Method::Invite, call));
            let expected = if takes { Verdict::SteeredNew } else { otherwise };
            assert_eq!(steering.verdict, expected, "will {will} health {health}");
            assert_eq!(story.phase(call).is_some(), takes, "a refused call leaves nothing behind");
            let other = story.arrives(request(Method::Register, call << 8));
            let expected = if takes { Verdict::SteeredNew } else { Verdict::DroppedNoBackend };
            assert_eq!(other.verdict, expected, "will {will} health {health}: no daemon answers a REGISTER");
        }
    }
}

#[test]
fn a_backend_out_of_service_still_in_the_ring_is_passed_over() {
    let story = Story::new();
    let first = Story::new().opens(CALL);
    story.tables.set_backend(first, will::DRAINING, health::UP);
    let steering = story.arrives(request(Method::Invite, CALL));
    assert_eq!(steering.verdict, Verdict::SteeredNew);
    assert_ne!(steering.backend, first);
}

#[test]
fn the_second_tier_takes_what_the_first_cannot() {
    let story = Story::new();
    for id in 0..3 {
        story.tables.set_backend(id, will::ENABLED, health::DOWN);
    }
    story.tables.publish_members(0);
    story.tables.add_zone(1, &[(9, NO_LIMITS)]);
    story.tables.set_ring(0, 1, &[9]);
    let steer = |m: Message, tiers| {
        let (service, call_key) = (m.service, m.call_key);
        let packet = Inbound { service, listener: 0, tiers, sees_answers: false, call_key, source: CALLER };
        let steering = story.tables.steer(&packet, &m);
        (steering.verdict, steering.backend)
    };
    let (invite, register) = (request(Method::Invite, CALL), request(Method::Register, CALL + 1));
    assert_eq!(steer(invite, 1).0, Verdict::RefusedDown);
    assert_eq!(steer(register, 1).0, Verdict::DroppedNoBackend);
    let mut zones = [0; MAX_TIERS as usize];
    zones[1] = 1;
    story.tables.set_policy(0, Policy { tiers: 2, target: 1024, zones, ..Policy::default() });
    assert_eq!(steer(invite, 2), (Verdict::SteeredOverflow, 9));
    assert_eq!(steer(register, 2), (Verdict::SteeredNew, 9));
    // A service without any tier.
    assert_eq!(steer(invite.to(5), 1).0, Verdict::RefusedDown);
    assert_eq!(steer(register.to(5), 0).0, Verdict::DroppedNoBackend);
}

#[test]
fn without_a_call_id_the_source_decides_and_always_the_same_way() {
    let story = Story::new();
    let mut backends = [0; 3];
    for source in 0..300u64 {
        let source = source.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let m = request(Method::Invite, 0).without_call_id().by(source);
        let first = story.arrives(m);
        assert_eq!(first.verdict, Verdict::SteeredSource);
        backends[first.backend as usize] += 1;
        for kind in [Kind::Request(Method::Bye), Kind::Response(200)] {
            let next = story.arrives(message(kind, 0).without_call_id().by(source));
            assert_eq!((next.verdict, next.backend), (Verdict::SteeredSource, first.backend));
        }
        for kind in [Kind::KeepAlive, Kind::Stun] {
            let next = story.arrives(message(kind, 0).without_call_id().by(source));
            assert_eq!((next.verdict, next.backend), (Verdict::SteeredKeepAlive, first.backend));
        }
    }
    assert!(backends.iter().all(|count| *count > 50), "one source does not stand for all: {backends:?}");
    assert_eq!(story.tables.dialogs(), [], "nothing of it is remembered");
}

#[test]
fn what_is_not_sip_is_dropped_unless_it_has_a_call_id() {
    let story = Story::new();
    let garbage = message(Kind::NotSip, CALL);
    assert_eq!(story.arrives(garbage.without_call_id()).verdict, Verdict::DroppedNotSip);
    assert_eq!(story.arrives(garbage).verdict, Verdict::SteeredRing);
    assert_eq!(story.tables.dialogs(), []);
    let backend = story.opens(CALL);
    let steering = story.arrives(garbage);
    assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
}

/// A table of two buckets, which every dialog may stand in, and that many calls in it.
fn crowded(calls: u64) -> Story {
    let story = Story::with(settings(), 1);
    for call in 0..calls {
        story.opens(call << 40 | 1);
    }
    story
}

/// Slots of [`crowded`].
const SLOTS: u64 = 8;

#[test]
fn a_full_table_steers_by_ring_and_leaves_established_calls_where_they_are() {
    let story = crowded(SLOTS);
    let pinned: Vec<_> = story.tables.dialogs();
    assert_eq!(pinned.len() as u64, SLOTS, "every slot was used");
    let by_ring = Story::new().opens(CALL);
    for attempt in 1..=3 {
        let steering = story.arrives(request(Method::Invite, CALL));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredUnpinned, by_ring));
        assert_eq!((story.tables.write_errors(E2BIG), story.tables.all_write_errors()), (attempt, attempt));
    }
    // The rest of that call finds the same backend.
    let bye = story.arrives(request(Method::Bye, CALL).to_tag(1));
    assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredRing, by_ring));
    for (key, dialog) in &pinned {
        let steering = story.arrives(request(Method::Invite, key.call_key));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, dialog.state.backend));
    }
    assert_eq!(story.tables.dialogs(), pinned);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_full_table_makes_room_from_dialogs_whose_lifetime_is_over_and_from_no_others() {
    let story = crowded(SLOTS - 2);
    let young = story.tables.dialogs();
    story.arrives(request(Method::Register, 1 << 20));
    story.arrives(request(Method::Register, 2 << 20));
    // One tick early there is no room.
    story.sleeps(settings().ended_ticks - 1);
    assert_eq!(story.arrives(request(Method::Invite, CALL)).verdict, Verdict::SteeredUnpinned);
    assert_eq!(story.tables.write_errors(E2BIG), 1);
    story.sleeps(1);
    assert_eq!(story.arrives(request(Method::Invite, CALL)).verdict, Verdict::SteeredNew);
    assert_eq!(story.arrives(request(Method::Invite, CALL + 1)).verdict, Verdict::SteeredNew);
    assert_eq!(story.arrives(request(Method::Invite, CALL + 2)).verdict, Verdict::SteeredUnpinned);
    assert_eq!(story.tables.write_errors(E2BIG), 2);
    assert_eq!(story.tables.expired(Phase::Transaction as u8), 2);
    assert_eq!(story.tables.expired(Phase::Unanswered as u8), 0);
    let after = story.tables.dialogs();
    assert!(young.iter().all(|dialog| after.contains(dialog)), "the others stand where they stood");
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn whatever_the_reason_an_unpinned_call_is_steered_and_counted_by_it() {
    type Change = fn(&mut Story);
    let with_limit: [Change; 2] = [
        |story| story.tables.settings_mut().unconfirmed_limit = 0,
        |story| story.tables.settings_mut().unconfirmed_limit = 1,
    ];
    let full: [Change; 2] = [
        |story| {
            for call in 0..SLOTS {
                story.opens(call << 40 | 1);
            }
        },
        |story| {
            story.sleeps(settings().unanswered_ticks);
            story.tables.tend();
        },
    ];
    // Other CPUs take the slot at both attempts; then they leave.
    let contended: [Change; 2] = [|story| story.tables.disturb(0, 2), |story| story.tables.disturb(0, 0)];
    let by_ring = Story::new().opens(CALL);
    for (errno, [reason, remedy]) in [(EDQUOT, with_limit), (E2BIG, full), (EBUSY, contended)] {
        let mut story = Story::with(settings(), 1);
        reason(&mut story);
        let steering = story.arrives(request(Method::Invite, CALL));
        assert_eq!(
            (steering.verdict, steering.backend),
            (Verdict::SteeredUnpinned, by_ring),
            "errno {errno}"
        );
        assert_eq!((story.tables.write_errors(errno), story.tables.all_write_errors()), (1, 1));
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        // When the reason is gone, the retransmission pins.
        remedy(&mut story);
        assert_eq!(story.opens(CALL), by_ring, "errno {errno}");
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

#[test]
fn a_slot_that_another_cpu_took_once_is_no_reason_to_give_up() {
    let story = Story::new();
    story.tables.disturb(0, 1);
    story.opens(CALL);
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
    assert_eq!(story.tables.all_write_errors(), 0);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn an_invite_of_a_call_whose_lifetime_is_over_follows_its_pin_until_it_is_forgotten() {
    for forgotten in [false, true] {
        let story = Story::new();
        let backend = story.opens(CALL);
        story.arrives(request(Method::Ack, CALL));
        story.sleeps(settings().ended_ticks);
        if forgotten {
            story.tables.tend();
        }
        assert_eq!(story.phase(CALL), if forgotten { None } else { Some(Phase::Ended) });
        // The ring changed meanwhile.
        story.tables.set_ring(0, 0, &[(backend + 1) % 3]);
        let steering = story.arrives(request(Method::Invite, CALL).branch(BRANCH + 1));
        let expected = match forgotten {
            true => (Verdict::SteeredNew, (backend + 1) % 3),
            false => (Verdict::SteeredPinned, backend),
        };
        assert_eq!((steering.verdict, steering.backend), expected);
        assert_eq!(story.phase(CALL), Some(Phase::Unanswered), "it lives anew");
        story.passes(settings().ended_ticks);
        assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

#[test]
fn the_limit_of_unconfirmed_calls_is_met_exactly() {
    let limit = 5;
    let story =
        Story::with(lb_common::map::settings::Settings { unconfirmed_limit: limit, ..settings() }, 256);
    for call in 0..u64::from(limit) {
        story.opens(call << 40);
    }
    let one_more = request(Method::Invite, CALL);
    assert_eq!(story.arrives(one_more).verdict, Verdict::SteeredUnpinned);
    assert_eq!(story.arrives(request(Method::Register, CALL)).verdict, Verdict::SteeredUnpinned);
    assert_eq!(story.tables.write_errors(EDQUOT), 2);
    assert_eq!(story.tables.counted().unconfirmed, u64::from(limit));
    // One of them is answered: there is room for one.
    story.arrives(request(Method::Ack, 0).branch(BRANCH + 1).to_tag(1));
    assert_eq!(story.arrives(one_more).verdict, Verdict::SteeredNew);
    assert_eq!(story.arrives(request(Method::Invite, CALL + 1)).verdict, Verdict::SteeredUnpinned);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn every_way_out_of_the_unconfirmed_is_counted_once() {
    let story = Story::new();
    let unconfirmed = || story.tables.tally().expect("never below zero").unconfirmed;
    for (call, then) in [
        (1, request(Method::Ack, 1)),
        (2, request(Method::Ack, 2).branch(BRANCH + 1).to_tag(1)),
        (3, request(Method::Cancel, 3)),
        (4, request(Method::Bye, 4)),
    ] {
        story.opens(call);
        assert_eq!(unconfirmed(), 1);
        story.arrives(then);
        story.arrives(then);
        assert_eq!(unconfirmed(), 0, "{then:?}");
    }
    story.opens(5);
    story.arrives(request(Method::Register, 6));
    assert_eq!(unconfirmed(), 2);
    story.passes(settings().unanswered_ticks);
    assert_eq!(unconfirmed(), 0, "both are forgotten");
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_call_that_another_cpu_pinned_meanwhile_follows_that_pin() {
    use lb_common::decide::remember::{self, Opening, Remembered};
    let story = Story::new();
    let opening = |backend| Opening {
        call_key: CALL,
        service: 0,
        backend,
        phase: Phase::Unanswered as u8,
        listener: 0,
        peer: 7,
        evidence: BRANCH,
        now: 0,
        admitted: false,
    };
    assert_eq!(remember::pin(&&story.tables, &opening(1)), Remembered::New);
    assert_eq!(remember::pin(&&story.tables, &opening(2)), Remembered::Already(1));
    assert_eq!(story.tables.all_write_errors(), 0, "no failure: the call is pinned");
    assert_eq!(story.dialog(CALL).map(|d| d.state.backend), Some(1));
    assert_eq!(story.tables.counted().entries, 1);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    for remembered in [
        Remembered::New,
        Remembered::Doubled,
        Remembered::Not,
        Remembered::Full,
        Remembered::Already(0),
        Remembered::Already(u16::MAX),
    ] {
        assert_eq!(Remembered::from_number(remembered.to_number()), remembered);
    }
}

#[test]
fn a_stranger_follows_the_pin_like_anybody() {
    let story = Story::new();
    let backend = story.answered(CALL, 1);
    for kind in [Kind::Request(Method::Info), Kind::Response(200)] {
        let steering = story.arrives(message(kind, CALL).to_tag(1).by(STRANGER));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
    }
}
