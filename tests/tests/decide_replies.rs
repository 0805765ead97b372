//! Packets from backends: where they leave from, and the dialogs that backends open themselves.

use lb_common::{
    decide::{E2BIG, Tables},
    map::{
        backend::{health, will},
        dialog::Phase,
        zone::Policy,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::{
    memory::MemoryTables,
    story::{BRANCH, CALLER, Message, STRANGER, Story, message, request, settings},
};

const CALL: u64 = 0x1234_5678_9abc_def0;
const TAG: u32 = 0x7a6;

#[test]
fn an_answer_leaves_from_the_listener_of_the_last_request() {
    let story = Story::new();
    let backend = story.arrives(request(Method::Invite, CALL).at(3)).backend;
    let leave = || story.leaves(backend, &[0], message(Kind::Response(180), CALL));
    assert_eq!((leave().service, leave().listener, leave().verdict), (0, 3, Verdict::Reply));
    story.arrives(request(Method::Cancel, CALL).at(5));
    assert_eq!(leave().listener, 5);
    // A packet of the backend itself does not change that.
    story.leaves(backend, &[0], request(Method::Info, CALL).to_tag(1).at(1));
    assert_eq!(leave().listener, 5);
}

#[test]
fn an_answer_without_a_dialog_leaves_from_the_backends_first_service() {
    let story = Story::new();
    for m in [
        message(Kind::Response(200), CALL),
        message(Kind::Response(200), CALL).without_call_id(),
        request(Method::Bye, CALL).to_tag(TAG),
        request(Method::Invite, CALL).to_tag(TAG),
        request(Method::Ack, CALL),
        request(Method::Invite, CALL).without_call_id(),
        message(Kind::NotSip, CALL),
        message(Kind::KeepAlive, CALL).without_call_id(),
    ] {
        let leaving = story.leaves(1, &[4, 0], m);
        let expected = (4, 0, Verdict::Reply);
        assert_eq!((leaving.service, leaving.listener, leaving.verdict), expected, "{m:?}");
    }
    assert_eq!(story.tables.dialogs(), []);
}

#[test]
fn a_bye_from_the_backend_ends_the_call_with_or_without_tags() {
    for tag in [0, TAG, TAG + 1] {
        let story = Story::new();
        let backend = story.answered(CALL, TAG);
        let bye = story.leaves(backend, &[0], request(Method::Bye, CALL).to_tag(tag));
        assert_eq!(bye.verdict, Verdict::Reply);
        assert_eq!(story.phase(CALL), Some(Phase::Ended));
    }
}

#[test]
fn another_backends_bye_ends_nothing() {
    let story = Story::new();
    let backend = story.answered(CALL, TAG);
    let before = story.dialog(CALL);
    let bye = story.leaves((backend + 1) % 3, &[0], request(Method::Bye, CALL).to_tag(TAG));
    assert_eq!(bye.verdict, Verdict::Reply);
    assert_eq!(story.dialog(CALL), before);
}

#[test]
fn a_call_of_a_backend_is_pinned_to_it_and_its_answer_finds_it() {
    for backend in 0..3 {
        let story = Story::new();
        let invite = story.leaves(backend, &[0], request(Method::Invite, CALL));
        assert_eq!((invite.verdict, invite.service), (Verdict::ReplyNew, 0));
        assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
        // Its retransmission.
        let again = story.leaves(backend, &[0], request(Method::Invite, CALL));
        assert_eq!(again.verdict, Verdict::Reply);
        for (status, phase) in [(100, Phase::Unanswered), (180, Phase::Ringing), (200, Phase::Answered)] {
            let answer = story.arrives(message(Kind::Response(status), CALL).to_tag(TAG));
            assert_eq!((answer.verdict, answer.backend), (Verdict::SteeredPinned, backend));
            assert_eq!(story.phase(CALL), Some(phase));
        }
        // The answer told the far side's tag, the backend's ACK tells nothing more.
        let dialog = story.dialog(CALL).expect("pinned");
        assert_eq!(dialog.evidence.hash, TAG);
        story.leaves(backend, &[0], request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG + 1));
        assert_eq!(story.dialog(CALL), Some(dialog));
    }
}

#[test]
fn the_far_side_of_a_backends_call_may_end_it_and_a_stranger_may_not() {
    let story = Story::new();
    story.leaves(2, &[0], request(Method::Invite, CALL));
    story.arrives(message(Kind::Response(200), CALL).to_tag(TAG));
    story.leaves(2, &[0], request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG));
    let forged = story.arrives(request(Method::Bye, CALL).to_tag(TAG + 1).by(STRANGER));
    assert_eq!((forged.verdict, forged.backend), (Verdict::SteeredPinned, 2));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
    // The far side's BYE carries the backend's tag, which nobody learnt; its address is enough.
    let bye = story.arrives(request(Method::Bye, CALL).to_tag(TAG + 2).by(CALLER));
    assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredPinned, 2));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
}

#[test]
fn a_refused_call_of_a_backend_ends_with_its_ack() {
    let story = Story::new();
    story.leaves(1, &[0], request(Method::Invite, CALL));
    let ack = story.leaves(1, &[0], request(Method::Ack, CALL).to_tag(TAG));
    assert_eq!(ack.verdict, Verdict::Reply);
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
}

#[test]
fn a_backends_call_that_cannot_be_pinned_leaves_all_the_same() {
    // A table of eight slots.
    let story = Story::with(settings(), 1);
    for call in 1..=8 {
        story.opens(call);
    }
    let invite = story.leaves(1, &[0], request(Method::Invite, CALL));
    assert_eq!((invite.verdict, invite.service), (Verdict::ReplyUnpinned, 0));
    assert_eq!(story.tables.write_errors(E2BIG), 1);
    // It makes room from what is over, as a caller's does.
    story.sleeps(settings().unanswered_ticks);
    let again = story.leaves(1, &[0], request(Method::Invite, CALL));
    assert_eq!((again.verdict, again.service), (Verdict::ReplyNew, 0));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn the_dialog_tells_which_service_of_a_backend_an_answer_belongs_to() {
    let story = Story::new();
    story.tables.add_service(1, 0, &[2]);
    story.arrives(request(Method::Invite, CALL).to(1).at(6));
    let leaving = story.leaves(2, &[0, 3, 1], message(Kind::Response(200), CALL));
    assert_eq!((leaving.service, leaving.listener), (1, 6));
    // Not found in any: the first.
    let leaving = story.leaves(2, &[0, 3, 1], message(Kind::Response(200), CALL + 1));
    assert_eq!(leaving.service, 0);
}

/// A call comes in by service 0 to backend 1, which sends it on through service 1 to backend 2 with the same Call-ID.
fn chained() -> Story {
    let story = Story::new();
    story.tables.set_ring(0, 0, &[1]);
    story.tables.add_service(1, 0, &[2]);
    story.arrives(request(Method::Invite, CALL).at(1));
    story.arrives(request(Method::Invite, CALL).to(1).by(PROXY).at(2));
    story
}
/// Source hash of backend 1 of [`chained`].
const PROXY: u64 = 0xb0b0_0000_0000_0001;

#[test]
fn two_backends_of_a_chain_answer_each_from_their_own_service() {
    let story = chained();
    let from_2 = story.leaves(2, &[0, 1], message(Kind::Response(200), CALL).by(PROXY));
    assert_eq!((from_2.service, from_2.listener), (1, 2), "backend 2 has the dialog of service 1");
    let from_1 = story.leaves(1, &[0, 1], message(Kind::Response(200), CALL));
    assert_eq!((from_1.service, from_1.listener), (0, 1));
    let from_1 = story.leaves(1, &[1, 0], message(Kind::Response(200), CALL));
    assert_eq!(
        (from_1.service, from_1.listener),
        (0, 1),
        "the order of a backend's services does not matter"
    );
    // The BYE of backend 2 ends its own dialog alone.
    story.leaves(2, &[0, 1], request(Method::Bye, CALL).to_tag(TAG).by(PROXY));
    assert_eq!(story.dialog_of(CALL, 1).map(|d| d.state.phase), Some(Phase::Ended as u8));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
}

#[test]
fn a_backend_with_both_dialogs_of_a_chain_answers_each_side_from_its_service() {
    let story = Story::new();
    story.tables.set_ring(0, 0, &[1]);
    story.tables.add_service(1, 0, &[1]);
    story.arrives(request(Method::Invite, CALL).at(1));
    story.arrives(request(Method::Invite, CALL).to(1).by(PROXY).at(2));
    for services in [[0, 1], [1, 0]] {
        let to_proxy = story.leaves(1, &services, message(Kind::Response(200), CALL).by(PROXY));
        assert_eq!((to_proxy.service, to_proxy.listener), (1, 2));
        let to_caller = story.leaves(1, &services, message(Kind::Response(200), CALL).by(CALLER));
        assert_eq!((to_caller.service, to_caller.listener), (0, 1));
    }
}

#[test]
fn the_far_side_answers_a_backends_call_and_nobody_else_does() {
    for (code, phase) in
        [(180, Phase::Ringing), (200, Phase::Answered), (302, Phase::Ended), (503, Phase::Ended)]
    {
        let story = Story::new();
        // A backend's call is the backend's own: its answers send it nowhere else.
        let mut policy = Policy { tiers: 1, target: 1024, ..Default::default() };
        policy.retries_refused = 1;
        story.tables.set_policy(0, policy);
        story.leaves(1, &[0], request(Method::Invite, CALL));
        let before = story.dialog(CALL);
        let answer = message(Kind::Response(code), CALL).to_tag(TAG);
        story.arrives(answer.by(STRANGER));
        if code >= 200 {
            story.arrives(answer.branch(BRANCH + 1));
        }
        assert_eq!(story.dialog(CALL), before, "{code}");
        story.arrives(answer);
        assert_eq!(story.phase(CALL), Some(phase), "{code}");
    }
}

/// A call that its backend turned away needs room elsewhere, whatever has become of that backend.
#[test]
fn a_call_that_was_turned_away_is_admitted_elsewhere_even_if_its_backend_is_gone() {
    for gone in [false, true] {
        let story = Story::new();
        let policy = (&story.tables).policy(0);
        story.tables.set_policy(0, Policy { retries_refused: 1, ..policy });
        let first = story.opens(CALL);
        story.leaves(first, &[0], message(Kind::Response(503), CALL).to_tag(TAG));
        assert_eq!(story.phase(CALL), Some(Phase::TurnedAway));
        assert_eq!(story.tables.load_of(first).channels, 0);
        if gone {
            story.tables.set_backend(first, will::DISABLED, health::UP);
        }
        let again = story.arrives(request(Method::Invite, CALL).branch(BRANCH + 1));
        assert_eq!(again.verdict, Verdict::SteeredNew);
        assert_ne!(again.backend, first);
        let dialog = story.dialog(CALL).expect("pinned");
        assert_eq!((dialog.state.phase, dialog.state.backend), (Phase::Unanswered as u8, again.backend));
        assert_eq!(story.tables.load_of(again.backend).channels, 1);
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

/// A message of the caller's side or of a backend, and whether it shows that backend 0 answered a new call.
enum Step {
    Arrives(Message, u64),
    Leaves(u16, Message, u64),
}

/// Plays steps at a balancer of one backend.
fn counts(story: &Story, steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        let before = story.tables.answers(0);
        let expected = match *step {
            Step::Arrives(message, more) => {
                story.arrives(message);
                more
            }
            Step::Leaves(backend, message, more) => {
                story.leaves(backend, &[0], message);
                more
            }
        };
        assert_eq!(story.tables.answers(0) - before, expected, "step {number}");
        assert_eq!(story.tables.answers(1), 0, "step {number}");
    }
}

fn of_one_backend(sees_answers: bool) -> Story {
    let tables = MemoryTables::new(settings(), 1000).with_backends(1);
    Story { tables, sees_answers }
}

#[test]
fn a_backends_own_responses_to_a_call_without_an_answer_show_that_it_answers() {
    use Step::{Arrives, Leaves};
    let answer = |code| message(Kind::Response(code), CALL).to_tag(TAG);
    let invite = request(Method::Invite, CALL);
    counts(
        &of_one_backend(true),
        &[
            Arrives(invite, 0),
            Arrives(invite, 0),
            Leaves(1, answer(100), 0),
            Leaves(0, request(Method::Options, CALL).to_tag(TAG), 0),
            Leaves(0, answer(100), 1),
            Leaves(0, answer(183), 1),
            // Now it has one.
            Leaves(0, answer(183), 0),
            Leaves(0, answer(200), 0),
            Arrives(request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG), 0),
            Arrives(invite.branch(BRANCH + 2).to_tag(TAG), 0),
            Leaves(0, answer(200).branch(BRANCH + 2), 0),
            Arrives(request(Method::Bye, CALL).to_tag(TAG), 0),
            Leaves(0, answer(200).branch(BRANCH + 3), 0),
        ],
    );
    // Another attempt is another call without an answer.
    counts(
        &of_one_backend(true),
        &[
            Arrives(invite, 0),
            Leaves(0, answer(401), 1),
            Leaves(0, answer(401), 0),
            Arrives(invite.branch(BRANCH + 1), 0),
            Leaves(0, answer(503).branch(BRANCH + 1), 1),
        ],
    );
    // A stranger's ACK is none where answers pass, nor is what has no INVITE, or no dialog, or is the backend's own call.
    counts(
        &of_one_backend(true),
        &[
            Arrives(invite, 0),
            Arrives(request(Method::Ack, CALL), 0),
            Arrives(request(Method::Register, CALL + 1), 0),
            Leaves(0, message(Kind::Response(200), CALL + 1), 0),
            Leaves(0, message(Kind::Response(200), CALL + 2), 0),
            Leaves(0, request(Method::Invite, CALL + 3), 0),
            Arrives(message(Kind::Response(180), CALL + 3), 0),
        ],
    );
}

#[test]
fn where_answers_pass_elsewhere_the_first_ack_of_a_call_shows_that_it_was_answered() {
    use Step::Arrives;
    let invite = request(Method::Invite, CALL);
    let accepted = request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG);
    let (refused, cancel) = (request(Method::Ack, CALL).to_tag(TAG), request(Method::Cancel, CALL));
    for steps in [
        vec![
            Arrives(invite, 0),
            Arrives(invite, 0),
            Arrives(accepted, 1),
            Arrives(accepted, 0),
            Arrives(invite.branch(BRANCH + 2).to_tag(TAG), 0),
            Arrives(accepted.branch(BRANCH + 3), 0),
            Arrives(request(Method::Bye, CALL).to_tag(TAG), 0),
        ],
        vec![Arrives(invite, 0), Arrives(refused, 1), Arrives(refused, 0)],
        vec![Arrives(invite, 0), Arrives(refused, 1), Arrives(invite.branch(9), 0), Arrives(accepted, 1)],
        vec![Arrives(invite, 0), Arrives(cancel, 0), Arrives(refused, 1), Arrives(refused, 0)],
        vec![Arrives(accepted, 0), Arrives(request(Method::Register, CALL), 0), Arrives(accepted, 0)],
    ] {
        counts(&of_one_backend(false), &steps);
    }
}
