//! When dialogs are forgotten: every lifetime to the tick on both sides, the search for old ones, and wraps.

use lb_common::{
    decide::{Tables, expiry},
    limits::MAX_SWEEP,
    map::{
        backend::{health, will},
        dialog::{Phase, State},
        settings::Settings,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::{
    memory::MemoryTables,
    story::{BRANCH, Message, Story, message, request, settings},
};

const CALL: u64 = 0x1234_5678_9abc_def0;
const TAG: u32 = 0x7a6;

/// A story that has come to a phase at tick 0, and the lifetime of that phase.
fn stories() -> Vec<(Phase, u32, Vec<Message>)> {
    let invite = request(Method::Invite, CALL);
    let accepted = request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG);
    let s = settings();
    vec![
        (Phase::Unanswered, s.unanswered_ticks, vec![invite]),
        (Phase::Answered, s.answered_ticks, vec![invite, accepted]),
        (Phase::Cancelled, s.ended_ticks, vec![invite, request(Method::Cancel, CALL)]),
        (Phase::Ended, s.ended_ticks, vec![invite, request(Method::Ack, CALL)]),
        (Phase::Ended, s.ended_ticks, vec![invite, accepted, request(Method::Bye, CALL)]),
        (Phase::Transaction, s.ended_ticks, vec![request(Method::Register, CALL)]),
        (Phase::Subscribed, s.subscribed_ticks, vec![request(Method::Subscribe, CALL)]),
    ]
}

/// A packet of the call that changes no phase: an answer to a request that is not the INVITE.
fn telling_nothing() -> Message {
    message(Kind::Response(200), CALL).branch(BRANCH + 9)
}

/// Looks at the whole table, and says whether the call is forgotten.
fn dies(story: &Story) -> bool {
    story.tables.tend();
    story.phase(CALL).is_none()
}

#[test]
fn every_lifetime_ends_at_its_tick_and_not_before() {
    for start in [0, 0xffff, u32::MAX - 5] {
        for (phase, lifetime, messages) in stories() {
            let story = Story::new();
            story.tables.set_now(start);
            for m in &messages {
                story.arrives(*m);
            }
            assert_eq!(story.phase(CALL), Some(phase));
            story.sleeps(lifetime - 1);
            assert!(!dies(&story), "{phase:?} from tick {start}, one tick early");
            assert_eq!(story.tables.expired(phase as u8), 0);
            story.sleeps(1);
            assert!(dies(&story), "{phase:?} from tick {start}");
            assert_eq!(story.tables.expired(phase as u8), 1);
            assert_eq!(story.tables.dialogs(), []);
            assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        }
    }
}

/// The phases that no request brings about have a lifetime too.
#[test]
fn each_phase_has_the_lifetime_of_its_kind() {
    let s = settings();
    for phase in Phase::ALL {
        let expected = match phase {
            Phase::Unanswered | Phase::Ringing => s.unanswered_ticks,
            Phase::Answered => s.answered_ticks,
            Phase::Subscribed => s.subscribed_ticks,
            _ => s.ended_ticks,
        };
        assert_eq!(expiry::lifetime(&s, phase as u8), expected, "{phase:?}");
        let state = State { phase: phase as u8, seen: 0xfff0, ..State::default() };
        let at = |age: u32| expiry::is_over(&s, state, 0xfff0 + age);
        // A slot that is being written is nobody's to remove.
        let lives = phase != Phase::Claimed;
        assert_eq!((at(expected - 1), at(expected)), (false, lives), "{phase:?}");
    }
    assert!(!expiry::is_over(&s, State::default(), 5000), "an unused slot");
}

#[test]
fn a_packet_at_the_last_tick_begins_the_lifetime_anew() {
    for (phase, lifetime, messages) in stories() {
        let story = Story::new();
        for m in &messages {
            story.arrives(*m);
        }
        story.sleeps(lifetime - 1);
        story.arrives(telling_nothing());
        story.sleeps(lifetime - 1);
        assert!(!dies(&story), "{phase:?}");
        // One from the backend's side too.
        let backend = story.dialog(CALL).expect("alive").state.backend;
        story.leaves(backend, &[0], telling_nothing());
        story.sleeps(lifetime - 1);
        assert!(!dies(&story), "{phase:?}");
        story.sleeps(1);
        assert!(dies(&story), "{phase:?}");
    }
}

/// Each write to a dialog is one that other CPUs have to fetch, so most packets of a call write nothing.
#[test]
fn a_packet_is_noted_when_more_than_a_64th_of_the_lifetime_has_passed() {
    for (phase, lifetime, messages) in stories() {
        for (after, noted) in [(lifetime / 64, false), (lifetime / 64 + 1, true)] {
            let story = Story::new();
            for m in &messages {
                story.arrives(*m);
            }
            let before = story.dialog(CALL);
            story.sleeps(after);
            story.arrives(telling_nothing());
            assert_eq!(story.dialog(CALL) != before, noted, "{phase:?}, {after} ticks later");
            // Either way it is remembered for 63 of 64 parts of its lifetime after that packet.
            story.sleeps(lifetime - lifetime / 64 - 1);
            assert!(!dies(&story), "{phase:?}, {after} ticks later");
        }
    }
}

#[test]
fn a_stream_of_packets_keeps_a_dialog_whatever_their_distance() {
    for (phase, lifetime, messages) in stories() {
        for distance in (1..lifetime).step_by(lifetime as usize / 30 + 1).chain([lifetime - 1]) {
            let story = Story::new();
            for m in &messages {
                story.arrives(*m);
            }
            for _ in 0..=3 * lifetime / distance {
                story.sleeps(distance);
                assert!(!dies(&story), "{phase:?} with a packet every {distance} ticks");
                let seen = story.arrives(telling_nothing());
                assert_eq!(seen.verdict, Verdict::SteeredPinned);
            }
            story.sleeps(lifetime);
            assert!(dies(&story), "{phase:?} with a packet every {distance} ticks");
        }
    }
}

#[test]
fn what_changes_the_phase_is_noted_at_once() {
    let story = Story::new();
    let Settings { ended_ticks, answered_ticks, .. } = settings();
    story.answered(CALL, TAG);
    story.sleeps(answered_ticks / 64);
    story.arrives(request(Method::Bye, CALL).to_tag(TAG));
    story.sleeps(ended_ticks - 1);
    assert!(!dies(&story), "the lifetime of an ended call begins with its BYE");
    story.sleeps(1);
    assert!(dies(&story));
}

#[test]
fn packets_of_other_calls_forget_every_dialog_at_its_tick() {
    for start in [0, 0xfff0, u32::MAX - 50] {
        for (phase, lifetime, messages) in stories() {
            let story = Story::new();
            story.tables.set_now(start);
            for m in &messages {
                story.arrives(*m);
            }
            story.passes(lifetime - 1);
            assert_eq!(story.phase(CALL), Some(phase), "from tick {start}, one tick early");
            story.passes(1);
            assert_eq!(story.tables.dialogs(), [], "{phase:?} from tick {start}");
            assert_eq!(story.tables.tally(), Some(story.tables.counted()));
            assert_eq!(story.tables.all_write_errors(), 0);
        }
    }
}

/// One jiffy a tick, with a search of `buckets` buckets in each.
fn slow(buckets: u32, dialogs: u32) -> Story {
    let mut story = Story::with(settings(), dialogs);
    story.tables.settings_mut().sweep_buckets = buckets;
    story
}

/// What the XDP program does when a packet is the first in a jiffy.
fn tend(tables: &MemoryTables) {
    expiry::tend(&tables, u64::from((&tables).now()));
}

#[test]
fn a_search_of_some_buckets_a_jiffy_forgets_all_in_one_round_after_the_lifetime() {
    for (sweep, hand) in [(1, 0), (3, 0), (7, u64::from(u32::MAX) - 3), (128, u64::MAX - 200)] {
        let story = slow(sweep, 256);
        story.tables.set_hand(hand);
        let buckets = (&story.tables).settings().bucket_mask + 1;
        for call in 0..200u64 {
            story.arrives(request(Method::Register, call.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        }
        assert_eq!(story.tables.dialogs().len(), 200);
        for tick in 1..settings().ended_ticks {
            story.sleeps(1);
            tend(&story.tables);
            assert_eq!(story.tables.dialogs().len(), 200, "tick {tick}");
        }
        for _ in 0..buckets.div_ceil(sweep) {
            story.sleeps(1);
            tend(&story.tables);
        }
        assert_eq!(story.tables.dialogs(), [], "{sweep} buckets a jiffy, from {hand}");
        assert_eq!(story.tables.expired(Phase::Transaction as u8), 200);
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

#[test]
fn a_jiffy_is_searched_once_and_silence_is_made_up_for_within_bounds() {
    let story = slow(3, 4096);
    let looked = |until: u32| {
        let before = story.tables.hand();
        story.tables.set_now(until);
        tend(&story.tables);
        (&story.tables).swept_at().map(|at| (at, story.tables.hand() - before))
    };
    assert_eq!(looked(0), Some((0, 0)), "no time has passed");
    assert_eq!(looked(1), Some((1, 3)));
    assert_eq!(looked(1), Some((1, 0)), "another CPU in the same jiffy");
    // A CPU that read its clock before.
    assert_eq!(looked(0), Some((1, 0)));
    assert_eq!(looked(3), Some((3, 6)), "two jiffies");
    let most = u64::from(MAX_SWEEP);
    assert_eq!(looked(3 + 42), Some((45, 126)));
    assert_eq!(looked(45 + 43), Some((88, most)));
    assert_eq!(looked(u32::MAX), Some((u64::from(u32::MAX), most)), "a long silence");
}

#[test]
fn a_short_life_is_over_on_the_tick() {
    let story = Story::new();
    let Settings { ended_ticks, .. } = settings();
    story.arrives(request(Method::Register, CALL));
    story.passes(ended_ticks - 1);
    assert_eq!(story.phase(CALL), Some(Phase::Transaction));
    story.passes(1);
    assert_eq!(story.phase(CALL), None);
}

#[test]
fn a_clock_that_another_cpu_read_later_forgets_nobody() {
    // One CPU reads tick 99, another one a packet of the call at tick 100; then the first one looks at the table.
    let story = Story::new();
    story.tables.set_now(100);
    story.answered(CALL, TAG);
    story.tables.set_now(99);
    assert!(!dies(&story));
    // Nor does a packet of the earlier clock set the dialog back.
    let before = story.dialog(CALL);
    story.arrives(telling_nothing());
    assert_eq!(story.dialog(CALL), before);
    for (now, age) in [(100, 0), (101, 1), (99, 0), (100 + 0xfeff, 0xfeff)] {
        assert_eq!(State { seen: 100, ..State::default() }.age(now), age, "at tick {now}");
    }
}

#[test]
fn a_dialog_that_a_packet_changes_just_when_it_is_to_go_goes_the_next_time() {
    let story = Story::new();
    story.arrives(request(Method::Register, CALL));
    story.sleeps(settings().ended_ticks);
    story.tables.disturb(0, 1);
    let tables = &&story.tables;
    let looked: u32 =
        (0..=tables.settings().bucket_mask).map(|bucket| tables.sweep_bucket(bucket, tables.now())).sum();
    assert_eq!((looked, story.tables.expired(Phase::Transaction as u8)), (0, 0), "nothing was removed");
    assert_eq!(story.phase(CALL), Some(Phase::Transaction));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    assert!(dies(&story));
    assert_eq!(story.tables.expired(Phase::Transaction as u8), 1);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_slot_is_used_again_through_every_generation_and_its_wrap() {
    const LIVES: u32 = (1 << 16) + 300;
    let story = Story::new();
    let mut last = None;
    for life in 1..=LIVES {
        assert_eq!(story.arrives(request(Method::Register, CALL)).verdict, Verdict::SteeredNew);
        let dialog = story.dialog(CALL).expect("just opened");
        assert_eq!(
            u32::from(dialog.state.generation),
            life & 0xffff,
            "each life is told from the one before"
        );
        assert_eq!(dialog.evidence.generation, dialog.state.generation);
        if let Some(before) = last.replace(dialog.state) {
            assert_ne!(before, dialog.state);
        }
        story.sleeps(settings().ended_ticks);
        assert!(dies(&story), "life {life}");
    }
    assert_eq!(story.tables.expired(Phase::Transaction as u8), u64::from(LIVES));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_dialog_that_moved_to_another_backend_lives_and_dies_as_before() {
    let story = Story::new();
    let backend = story.answered(CALL, TAG);
    story.sleeps(settings().answered_ticks - 1);
    story.tables.set_backend(backend, will::ENABLED, health::DOWN);
    story.arrives(request(Method::Info, CALL).to_tag(TAG));
    story.sleeps(settings().answered_ticks - 1);
    assert!(!dies(&story));
    story.sleeps(1);
    assert!(dies(&story));
}
