//! When dialogs are forgotten: every lifetime to the tick on both sides, burial, wraps, laps and failures.

use lb_common::{
    decide::ENOSPC,
    map::{
        backend::{health, will},
        dialog::{DialogKey, Phase, State},
        expiry::{LONG, SHORT},
        settings::Settings,
    },
    sip::{Kind, Method},
};
use lb_tests::story::{BRANCH, Message, Story, message, request, settings};

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

/// Examines the call as the daemon's search does, which looks at any time, and says whether it is dead.
fn dies(story: &Story) -> bool {
    story.tables.expire(&DialogKey::new(CALL, 0));
    story.phase(CALL) == Some(Phase::Dead)
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
            story.sleeps(1);
            assert!(dies(&story), "{phase:?} from tick {start}");
            assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        }
    }
}

#[test]
fn a_packet_at_the_last_tick_begins_the_lifetime_anew() {
    for (phase, lifetime, messages) in stories() {
        let story = Story::new();
        for m in &messages {
            story.arrives(*m);
        }
        story.sleeps(lifetime - 1);
        story.arrives(message(Kind::Response(200), CALL));
        story.sleeps(lifetime - 1);
        assert!(!dies(&story), "{phase:?}");
        // One from the backend's side too.
        let backend = story.dialog(CALL).expect("alive").state.backend;
        story.leaves(backend, &[0], message(Kind::Response(200), CALL));
        story.sleeps(lifetime - 1);
        assert!(!dies(&story), "{phase:?}");
        story.sleeps(1);
        assert!(dies(&story), "{phase:?}");
    }
}

#[test]
fn the_queues_alone_forget_every_dialog_soon_after_its_lifetime() {
    for start in [0, 0xfff0, u32::MAX - 50] {
        for (phase, lifetime, messages) in stories() {
            let story = Story::new();
            story.tables.set_now(start);
            for m in &messages {
                story.arrives(*m);
            }
            story.passes(lifetime - 1);
            assert_eq!(story.phase(CALL), Some(phase), "from tick {start}, one tick early");
            // Between two visits lies at most the wait in the long queue.
            let wait = settings().unanswered_ticks - settings().ended_ticks;
            story.passes(wait + 1);
            let left = story.phase(CALL);
            assert!(matches!(left, None | Some(Phase::Dead)), "{phase:?} from tick {start}: {left:?}");
            story.passes(settings().burial_ticks);
            assert_eq!(story.tables.dialogs(), [], "{phase:?} from tick {start}");
            assert_eq!(story.tables.tally(), Some(story.tables.counted()));
            assert_eq!(story.tables.all_write_errors(), 0);
        }
    }
}

#[test]
fn a_short_life_is_over_on_the_tick() {
    let story = Story::new();
    let Settings { ended_ticks, burial_ticks, .. } = settings();
    story.arrives(request(Method::Register, CALL));
    story.passes(ended_ticks - 1);
    assert_eq!(story.phase(CALL), Some(Phase::Transaction));
    story.passes(1);
    assert_eq!(story.phase(CALL), Some(Phase::Dead));
    story.passes(burial_ticks - 1);
    assert_eq!(story.phase(CALL), Some(Phase::Dead));
    story.passes(1);
    assert_eq!(story.phase(CALL), None);
}

#[test]
fn a_dialog_marked_dead_late_is_still_buried_no_sooner_than_its_burial_time() {
    let story = Story::new();
    let Settings { ended_ticks, burial_ticks, .. } = settings();
    story.arrives(request(Method::Register, CALL));
    // Nothing comes by for ages: both visits are overdue at once.
    story.sleeps(ended_ticks + 500);
    for waited in 0..burial_ticks {
        story.tables.tend();
        assert_eq!(story.phase(CALL), Some(Phase::Dead), "{waited} ticks after its death");
        // Nor by the daemon's search.
        story.tables.expire(&DialogKey::new(CALL, 0));
        assert_eq!(story.phase(CALL), Some(Phase::Dead), "{waited} ticks after its death");
        story.sleeps(1);
    }
    story.tables.tend();
    assert_eq!(story.phase(CALL), None);
}

#[test]
fn the_daemons_search_buries_a_dead_dialog_once() {
    let story = Story::new();
    let key = DialogKey::new(CALL, 0);
    story.arrives(request(Method::Register, CALL));
    assert!(!story.tables.expire(&key), "alive");
    story.sleeps(settings().ended_ticks);
    assert!(story.tables.expire(&key), "marked");
    assert!(!story.tables.expire(&key), "not buried yet");
    story.sleeps(settings().burial_ticks);
    assert!(story.tables.expire(&key), "buried");
    assert!(!story.tables.expire(&key), "gone");
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    // Its entry in the queue finds nothing, and harms nobody.
    story.opens(CALL);
    story.passes(2);
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
}

#[test]
fn a_clock_that_another_cpu_read_later_kills_nobody() {
    // One CPU reads tick 99, another one a packet of the call at tick 100; then the first one examines the call.
    let story = Story::new();
    story.tables.set_now(100);
    story.answered(CALL, TAG);
    let key = DialogKey::new(CALL, 0);
    story.tables.set_now(99);
    story.tables.expire(&key);
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
    // The same for a death at tick 100: it was no burial time ago.
    story.tables.set_now(100 + settings().answered_ticks);
    assert!(dies(&story));
    story.tables.set_now(99 + settings().answered_ticks);
    story.tables.expire(&key);
    assert_eq!(story.phase(CALL), Some(Phase::Dead));
    for (now, age) in [(100, 0), (101, 1), (99, 0), (100 + 0xfeff, 0xfeff)] {
        assert_eq!(State { seen: 100, ..State::default() }.age(now), age, "at tick {now}");
    }
}

#[test]
fn a_deletion_that_fails_is_counted_and_done_later() {
    for errno in [1, 12, 16, 159] {
        let story = Story::new();
        story.arrives(request(Method::Register, CALL));
        story.tables.fail_deletes(errno);
        story.passes(settings().ended_ticks + settings().burial_ticks);
        assert_eq!(story.tables.write_errors(errno), 1);
        assert_eq!(story.phase(CALL), Some(Phase::Dead), "errno {errno}: still to be buried");
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        story.tables.fail_deletes(0);
        story.passes(settings().ended_ticks + settings().burial_ticks);
        assert_eq!(story.tables.dialogs(), [], "errno {errno}");
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        assert_eq!(story.tables.all_write_errors(), 1);
    }
}

#[test]
fn a_dialog_that_somebody_else_deleted_is_no_reason_to_try_again() {
    use lb_common::decide::Tables;
    let story = Story::new();
    let key = DialogKey::new(CALL, 0);
    story.arrives(request(Method::Register, CALL));
    assert_eq!((&story.tables).delete_dialog(&key), Ok(()));
    (&story.tables).add_to_tally(-1, -1);
    story.passes(3 * settings().ended_ticks);
    assert_eq!(story.tables.all_write_errors(), 0);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    let cursors = (&story.tables).cursors(SHORT).expect("short queue");
    assert_eq!((cursors.tail, cursors.dying, cursors.burying), (1, 1, 1));
}

#[test]
fn a_dialog_that_finds_its_queue_full_is_counted_and_left_to_the_daemon() {
    // Room for six entries in each queue; the long one is full of entries that are not due.
    let story: Story<8> = Story::with(settings(), 256);
    for call in 0..6u64 {
        assert!(lb_common::decide::expiry::put(&&story.tables, LONG, &DialogKey::new(call, 9), 10_000));
    }
    story.answered(CALL, TAG);
    story.passes(settings().ended_ticks);
    assert_eq!(story.tables.write_errors(ENOSPC), 1);
    assert_eq!(story.phase(CALL), Some(Phase::Answered), "it steers on");
    story.sleeps(settings().answered_ticks);
    assert!(story.tables.expire(&DialogKey::new(CALL, 0)));
    assert_eq!(story.phase(CALL), Some(Phase::Dead));
}

#[test]
fn an_entry_is_not_read_before_it_is_written() {
    use lb_common::decide::Tables;
    let story = Story::new();
    // A CPU has claimed the first slot and is still writing; another one comes by with the second.
    let tables = &story.tables;
    assert_eq!(tables.claim_tail(SHORT), Some(0));
    story.arrives(request(Method::Register, CALL));
    story.passes(500);
    assert_eq!(tables.cursors(SHORT).map(|c| c.dying), Some(0));
    assert_eq!(story.phase(CALL), Some(Phase::Transaction));
    let word = lb_common::map::expiry::DueWord { tick: 0, service: 0, lap: 1 };
    tables.put_due(SHORT, 0, lb_common::map::expiry::Due { call_key: 1, word });
    story.passes(1);
    assert_eq!(story.phase(CALL), Some(Phase::Dead), "both entries were visited");
}

#[test]
fn the_queues_go_round_lap_after_lap_and_the_lap_number_wraps() {
    const SLOTS: u64 = 16;
    // From the first lap, across the last of 65,535 laps, and where the cursors' low 32 bits wrap.
    for start in [0, 0xfffe * SLOTS - 20, 0xffff * SLOTS - 3, (1 << 32) - 5] {
        let story: Story<16> = Story::with(settings(), 64);
        story.tables.set_cursors(SHORT, start);
        story.tables.set_cursors(LONG, start);
        for round in 0..30u64 {
            for call in 0..5 {
                story.opens((round << 8 | call) << 30);
            }
            // Two visits a tick: five dialogs take three ticks.
            story.passes(settings().unanswered_ticks + settings().burial_ticks + 2);
            assert_eq!(story.tables.dialogs(), [], "round {round} from index {start}");
        }
        assert_eq!(story.tables.all_write_errors(), 0);
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
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
