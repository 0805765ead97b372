//! Dialogs that come over from another table, while this one may have gone its own way.

use lb_common::{
    decide::{
        E2BIG, EDQUOT,
        carry::{Carried, Outcome, Version, carry},
    },
    map::{
        dialog::{BUCKET_SLOTS, DialogKey, Phase, State},
        settings::Settings,
    },
    sip::Method,
};
use lb_tests::{
    memory::MemoryTables,
    story::{BRANCH, CALLER, Story, request, settings},
};

const CALL: u64 = 0x1234_5678_9abc_def0;
const TAG: u32 = 0x7a6;
/// Branch of the INVITE that comes after a refusal.
const SECOND: u32 = 0xb2;

/// A dialog of the other table; its slot there has a generation of its own.
fn at(phase: Phase, backend: u16, seen: u16, evidence: u32) -> Version {
    let state = State { backend, phase: phase as u8, listener: 0, seen, generation: 99 };
    Version { state, evidence }
}

const GONE: Version =
    Version { state: State { backend: 0, phase: 0, listener: 0, seen: 0, generation: 0 }, evidence: 0 };

fn comes(story: &Story, was: Version, is: Version) -> Outcome {
    let peer = (CALLER >> 32) as u32;
    carry(&&story.tables, &Carried { key: DialogKey::new(CALL, 0), peer, was, is })
}

/// What is here of the call: phase, backend, evidence, seen.
fn here(story: &Story) -> Option<(Phase, u16, u32, u16)> {
    sums_are_right(&story.tables);
    story.dialog(CALL).map(|d| {
        let phase = Phase::from_number(d.state.phase).expect("a phase");
        (phase, d.state.backend, d.evidence.hash, d.state.seen)
    })
}

fn sums_are_right(tables: &MemoryTables) {
    assert_eq!(tables.tally(), Some(tables.counted()));
    for backend in 0..3 {
        let dialogs = tables.dialogs();
        let of_it = dialogs.iter().filter(|(_, d)| d.state.backend == backend && d.state.holds_channel());
        assert_eq!(tables.load_of(backend).channels, of_it.count() as u64, "backend {backend}");
    }
}

#[test]
fn a_dialog_comes_as_it_is() {
    for phase in Phase::ALL.into_iter().filter(|p| *p != Phase::Claimed) {
        let story = Story::new();
        assert_eq!(comes(&story, GONE, at(phase, 2, 5, TAG)), Outcome::Put, "{phase:?}");
        assert_eq!(here(&story), Some((phase, 2, TAG, 5)));
    }
}

#[test]
fn what_is_dead_or_claimed_does_not_come() {
    let story = Story::new();
    for phase in [0, Phase::Claimed as u8, 10] {
        let state = State { phase, ..at(Phase::Answered, 2, 5, TAG).state };
        assert_eq!(comes(&story, GONE, Version { state, evidence: TAG }), Outcome::Kept);
    }
    assert_eq!(here(&story), None);
}

#[test]
fn what_changed_there_changes_here_as_long_as_nothing_happened_here() {
    let steps = [
        at(Phase::Unanswered, 1, 5, BRANCH),
        at(Phase::Ringing, 1, 6, BRANCH),
        at(Phase::TurnedAway, 1, 6, BRANCH),
        at(Phase::Unanswered, 2, 7, SECOND),
        at(Phase::Answered, 2, 7, TAG),
        at(Phase::Ended, 2, 9, TAG),
    ];
    let story = Story::new();
    assert_eq!(comes(&story, GONE, steps[0]), Outcome::Put);
    for pair in steps.windows(2) {
        assert_eq!(comes(&story, pair[0], pair[1]), Outcome::Changed, "{pair:?}");
        let phase = Phase::from_number(pair[1].state.phase).expect("a phase");
        let Version { state, evidence } = pair[1];
        assert_eq!(here(&story), Some((phase, state.backend, evidence, state.seen)));
    }
    assert_eq!(comes(&story, steps[5], steps[5]), Outcome::Kept);
    assert_eq!(comes(&story, steps[5], GONE), Outcome::Removed);
    assert_eq!(here(&story), None);
    assert_eq!(comes(&story, steps[5], GONE), Outcome::Kept, "it is gone here too");
}

#[test]
fn what_went_on_here_stays_when_it_is_gone_there() {
    let story = Story::new();
    let was = at(Phase::Unanswered, 1, 5, BRANCH);
    comes(&story, GONE, was);
    story.tables.set_now(6);
    story.arrives(request(Method::Ack, CALL).branch(77).to_tag(TAG));
    assert_eq!(here(&story), Some((Phase::Answered, 1, TAG, 6)));
    assert_eq!(comes(&story, was, GONE), Outcome::Kept);
    assert_eq!(here(&story), Some((Phase::Answered, 1, TAG, 6)));
}

/// Was brought over, changed there, and was changed here.
fn meet(was: Version, is: Version, here_is: Version) -> (Phase, u16, u32, u16) {
    let story = Story::new();
    assert_eq!(comes(&story, GONE, here_is), Outcome::Put);
    comes(&story, was, is);
    here(&story).expect("it stays")
}

#[test]
fn a_call_that_went_on_in_both_tables_is_as_far_as_in_either() {
    let open = at(Phase::Unanswered, 1, 5, BRANCH);
    let answered = at(Phase::Answered, 1, 6, TAG);
    let ended = at(Phase::Ended, 1, 7, BRANCH);
    // Answered there; here a retransmission was seen, or a CANCEL that came too late.
    assert_eq!(meet(open, answered, at(Phase::Unanswered, 1, 7, BRANCH)), (Phase::Answered, 1, TAG, 7));
    assert_eq!(meet(open, answered, at(Phase::Cancelled, 1, 7, BRANCH)), (Phase::Answered, 1, TAG, 7));
    // Answered there; here its BYE came.
    assert_eq!(meet(open, answered, ended), (Phase::Ended, 1, BRANCH, 7));
    // Over there; here a packet of the call was seen.
    let over = at(Phase::Ended, 1, 6, TAG);
    assert_eq!(meet(answered, over, at(Phase::Answered, 1, 8, TAG)), (Phase::Ended, 1, TAG, 8));
    // Over there before it was known to be answered; here a retransmission was seen.
    assert_eq!(meet(open, over, at(Phase::Unanswered, 1, 8, BRANCH)), (Phase::Ended, 1, TAG, 8));
}

#[test]
fn a_call_that_opens_again_in_either_table_is_open() {
    let open = at(Phase::Unanswered, 1, 5, BRANCH);
    let refused = at(Phase::Ended, 1, 6, BRANCH);
    let again = at(Phase::Unanswered, 1, 6, SECOND);
    // Refused there for want of credentials, and here the INVITE with them came, though the refusal was not known.
    assert_eq!(meet(open, refused, again), (Phase::Unanswered, 1, SECOND, 6));
    // The other way round: here the refusal's ACK came again.
    assert_eq!(meet(refused, again, at(Phase::Ended, 1, 7, BRANCH)), (Phase::Unanswered, 1, SECOND, 7));
    // Turned away there by backend 1 and pinned to backend 2.
    let elsewhere = at(Phase::Unanswered, 2, 6, SECOND);
    assert_eq!(meet(open, elsewhere, at(Phase::Unanswered, 1, 6, BRANCH)), (Phase::Unanswered, 2, SECOND, 6));
    // And here, because that backend was lost: here's backend holds.
    assert_eq!(meet(open, refused, at(Phase::Unanswered, 2, 6, BRANCH)).1, 2);
}

#[test]
fn of_a_call_that_both_tables_know_and_nobody_knows_what_was_brought_over() {
    // What is here may be the copy, or later.
    let answered = at(Phase::Answered, 1, 6, TAG);
    assert_eq!(meet(GONE, answered, at(Phase::Unanswered, 1, 5, BRANCH)), (Phase::Answered, 1, TAG, 6));
    assert_eq!(meet(GONE, at(Phase::Ended, 1, 7, TAG), answered), (Phase::Ended, 1, TAG, 7));
    assert_eq!(meet(GONE, answered, at(Phase::Ended, 1, 7, TAG)), (Phase::Ended, 1, TAG, 7));
    // It opened again here, or there; both within a tick too.
    let refused = at(Phase::Ended, 1, 6, BRANCH);
    for seen in [6, 7] {
        let again = at(Phase::Unanswered, 1, seen, SECOND);
        assert_eq!(meet(GONE, refused, again), (Phase::Unanswered, 1, SECOND, seen));
        assert_eq!(meet(GONE, again, refused), (Phase::Unanswered, 1, SECOND, seen));
    }
    // The copy of an INVITE whose call is long over there.
    let copy = at(Phase::Unanswered, 1, 5, BRANCH);
    assert_eq!(meet(GONE, at(Phase::Ended, 1, 6, TAG), copy), (Phase::Ended, 1, TAG, 6));
}

#[test]
fn an_invite_that_went_to_two_backends_stays_with_the_first() {
    // It came again while this table did not know it yet, and was sent to backend 2.
    let first = at(Phase::Unanswered, 1, 5, BRANCH);
    assert_eq!(meet(GONE, first, at(Phase::Unanswered, 2, 6, BRANCH)), (Phase::Unanswered, 1, BRANCH, 6));
}

#[test]
fn a_dialog_without_room_is_told_and_counted() {
    let story = Story::with(settings(), 1);
    let slots = 2 * u64::from(BUCKET_SLOTS);
    for call in 0..slots {
        story.opens(call << 40 | call);
    }
    assert_eq!(comes(&story, GONE, at(Phase::Answered, 1, 0, TAG)), Outcome::NoRoom);
    assert_eq!((here(&story), story.tables.write_errors(E2BIG)), (None, 1));
    // One whose lifetime is over makes room; the established one gets it.
    story.sleeps(settings().unanswered_ticks);
    let now = settings().unanswered_ticks as u16;
    assert_eq!(comes(&story, GONE, at(Phase::Answered, 1, now, TAG)), Outcome::Put);
}

#[test]
fn unconfirmed_dialogs_come_up_to_their_limit_and_established_ones_beyond_it() {
    let story = Story::with(Settings { unconfirmed_limit: 1, ..settings() }, 1024);
    story.opens(1);
    assert_eq!(comes(&story, GONE, at(Phase::Unanswered, 1, 0, BRANCH)), Outcome::NoRoom);
    assert_eq!(story.tables.write_errors(EDQUOT), 1);
    assert_eq!(comes(&story, GONE, at(Phase::Ringing, 1, 0, BRANCH)), Outcome::Put);
    let story = Story::with(Settings { unconfirmed_limit: 1, ..settings() }, 1024);
    assert_eq!(comes(&story, GONE, at(Phase::Unanswered, 1, 0, BRANCH)), Outcome::Put);
}

#[test]
fn a_slot_that_others_change_all_the_time_is_left_for_another_try() {
    let story = Story::new();
    let was = at(Phase::Unanswered, 1, 5, BRANCH);
    comes(&story, GONE, was);
    story.tables.disturb(0, 2);
    assert_eq!(comes(&story, was, at(Phase::Answered, 1, 6, TAG)), Outcome::Contended);
    assert_eq!(comes(&story, was, at(Phase::Answered, 1, 6, TAG)), Outcome::Changed);
    assert_eq!(here(&story).map(|h| h.0), Some(Phase::Answered));
}
