//! What requests and answers do to a call: each test is a story with its messages in the order they arrive.

use lb_common::{map::dialog::Phase, sip::Kind, sip::Method, verdict::Verdict};
use lb_tests::story::{BRANCH, CALLER, Message, STRANGER, Story, message, request};

const CALL: u64 = 0x1234_5678_9abc_def0;
const TAG: u32 = 0x7a6;

#[test]
fn an_invite_pins_its_call_and_its_retransmission_follows() {
    let story = Story::new();
    let first = story.arrives(request(Method::Invite, CALL));
    assert_eq!(first.verdict, Verdict::SteeredNew);
    let before = story.dialog(CALL).expect("pinned");
    // The ring changes meanwhile: the pin decides.
    story.tables.set_ring(0, 0, &[(first.backend + 1) % 3]);
    let again = story.arrives(request(Method::Invite, CALL));
    assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, first.backend));
    assert_eq!(story.dialog(CALL), Some(before), "a retransmission in the same tick changes nothing");
    assert_eq!(before.evidence.hash, BRANCH);
    assert_eq!(before.evidence.generation, before.state.generation);
}

#[test]
fn the_ack_of_a_refused_invite_repeats_its_branch_and_ends_the_call() {
    let story = Story::new();
    let backend = story.opens(CALL);
    let ack = story.arrives(request(Method::Ack, CALL).to_tag(TAG));
    assert_eq!((ack.verdict, ack.backend), (Verdict::SteeredPinned, backend));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
    // Retransmissions of the ACK are no second end.
    let (ended, tally) = (story.dialog(CALL), story.tables.tally());
    assert_eq!(story.arrives(request(Method::Ack, CALL).to_tag(TAG)).verdict, Verdict::SteeredPinned);
    assert_eq!((story.dialog(CALL), story.tables.tally()), (ended, tally));
    assert_eq!(tally, Some(story.tables.counted()));
}

#[test]
fn the_ack_of_an_accepted_invite_has_a_new_branch_and_answers_the_call() {
    let story = Story::new();
    let backend = story.opens(CALL);
    let ack = story.arrives(request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG));
    assert_eq!((ack.verdict, ack.backend), (Verdict::SteeredPinned, backend));
    let dialog = story.dialog(CALL).expect("pinned");
    assert_eq!((dialog.state.phase, dialog.evidence.hash), (Phase::Answered as u8, TAG));
    // Its retransmission neither ends the call nor changes what was learnt.
    story.arrives(request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG));
    assert_eq!(story.dialog(CALL), Some(dialog));
}

#[test]
fn an_invite_without_a_branch_is_never_taken_for_refused() {
    let story = Story::new();
    story.arrives(request(Method::Invite, CALL).branch(0));
    story.arrives(request(Method::Ack, CALL).branch(0).to_tag(TAG));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
}

#[test]
fn a_request_with_neither_branch_nor_tag_tells_nothing() {
    for method in [Method::Ack, Method::Invite] {
        let story = Story::new();
        let backend = story.opens(CALL);
        story.arrives(request(Method::Cancel, CALL));
        let before = story.dialog(CALL);
        let steering = story.arrives(request(method, CALL).branch(0));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
        assert_eq!(story.dialog(CALL), before, "{method:?}");
    }
}

#[test]
fn an_invite_with_credentials_opens_the_refused_call_again() {
    let story = Story::new();
    let backend = story.opens(CALL);
    story.arrives(request(Method::Ack, CALL).to_tag(TAG));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    let again = story.arrives(request(Method::Invite, CALL).branch(BRANCH + 7));
    assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, backend));
    let dialog = story.dialog(CALL).expect("pinned");
    assert_eq!((dialog.state.phase, dialog.evidence.hash), (Phase::Unanswered as u8, BRANCH + 7));
    // The ACK of this refusal carries the new branch.
    story.arrives(request(Method::Ack, CALL).branch(BRANCH + 7).to_tag(TAG));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_re_invite_leaves_the_call_answered() {
    let story = Story::new();
    let backend = story.answered(CALL, TAG);
    let before = story.dialog(CALL);
    for m in [
        request(Method::Invite, CALL).branch(BRANCH + 2).to_tag(TAG),
        // Its refusal: the ACK repeats the re-INVITE's branch, the call goes on (RFC 3261 section 14.1).
        request(Method::Ack, CALL).branch(BRANCH + 2).to_tag(TAG),
        // A CANCEL of it ends only the re-INVITE.
        request(Method::Cancel, CALL).branch(BRANCH + 2),
    ] {
        let steering = story.arrives(m);
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
        assert_eq!(story.dialog(CALL), before, "{m:?}");
    }
}

#[test]
fn a_re_invite_tells_that_a_call_was_answered_whose_ack_was_not_seen() {
    let story = Story::new();
    story.opens(CALL);
    story.arrives(request(Method::Invite, CALL).branch(BRANCH + 2).to_tag(TAG));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
}

#[test]
fn a_cancel_from_the_caller_cancels_and_the_ack_of_the_487_ends() {
    let story = Story::new();
    let backend = story.opens(CALL);
    let cancel = story.arrives(request(Method::Cancel, CALL));
    assert_eq!((cancel.verdict, cancel.backend), (Verdict::SteeredPinned, backend));
    assert_eq!(story.phase(CALL), Some(Phase::Cancelled));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    story.arrives(request(Method::Ack, CALL).to_tag(TAG));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
}

#[test]
fn a_cancel_that_came_too_late_leaves_the_accepted_call_answered() {
    let story = Story::new();
    story.opens(CALL);
    story.arrives(request(Method::Cancel, CALL));
    // The 200 was on its way already (RFC 3261 section 9.1): its ACK has a new branch.
    story.arrives(request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(TAG));
    let dialog = story.dialog(CALL).expect("pinned");
    assert_eq!((dialog.state.phase, dialog.evidence.hash), (Phase::Answered as u8, TAG));
}

#[test]
fn a_strangers_cancel_cancels_nothing() {
    let story = Story::new();
    let backend = story.opens(CALL);
    let cancel = story.arrives(request(Method::Cancel, CALL).by(STRANGER));
    assert_eq!((cancel.verdict, cancel.backend), (Verdict::SteeredPinned, backend));
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
}

#[test]
fn a_bye_ends_the_call_if_it_comes_from_the_caller() {
    for tag in [0, TAG, TAG + 1] {
        let story = Story::new();
        let backend = story.answered(CALL, TAG);
        let bye = story.arrives(request(Method::Bye, CALL).to_tag(tag).by(CALLER));
        assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredPinned, backend));
        assert_eq!(story.phase(CALL), Some(Phase::Ended));
    }
}

#[test]
fn a_strangers_bye_ends_the_call_only_with_the_tag_from_the_ack() {
    let story = Story::new();
    let backend = story.answered(CALL, TAG);
    let before = story.dialog(CALL);
    for forged in [0, TAG + 1, BRANCH] {
        let bye = story.arrives(request(Method::Bye, CALL).to_tag(forged).by(STRANGER));
        // It reaches the backend, which knows what to answer, but frees nothing here.
        assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredPinned, backend));
        assert_eq!(story.dialog(CALL), before);
    }
    story.arrives(request(Method::Bye, CALL).to_tag(TAG).by(STRANGER));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
}

#[test]
fn a_strangers_bye_without_a_tag_proves_nothing_when_no_tag_was_learnt() {
    let story = Story::new();
    story.opens(CALL);
    story.arrives(request(Method::Ack, CALL).branch(BRANCH + 1).to_tag(0));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
    story.arrives(request(Method::Bye, CALL).to_tag(0).by(STRANGER));
    assert_eq!(story.phase(CALL), Some(Phase::Answered));
}

#[test]
fn a_bye_before_the_answer_ends_the_call_from_the_caller_only() {
    let story = Story::new();
    story.opens(CALL);
    story.arrives(request(Method::Bye, CALL).to_tag(BRANCH).by(STRANGER));
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
    story.arrives(request(Method::Bye, CALL).to_tag(TAG));
    assert_eq!(story.phase(CALL), Some(Phase::Ended));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn requests_inside_a_dialog_without_a_pin_go_by_the_ring_and_are_not_remembered() {
    let story = Story::new();
    let by_ring = story.opens(CALL);
    let lost = Story::new();
    for number in 1..16 {
        let method = Method::from_number(number);
        let steering = lost.arrives(request(method, CALL).to_tag(TAG));
        let expected = (Verdict::SteeredRing, by_ring);
        assert_eq!((steering.verdict, steering.backend), expected, "{method:?}");
    }
    let response = lost.arrives(message(Kind::Response(200), CALL).to_tag(TAG));
    assert_eq!((response.verdict, response.backend), (Verdict::SteeredRing, by_ring));
    assert_eq!(lost.tables.dialogs(), []);
    assert_eq!(lost.tables.tally(), Some(lost.tables.counted()));
}

#[test]
fn requests_that_exist_inside_a_dialog_only_open_none_even_without_a_tag() {
    let story = Story::new();
    for method in [Method::Ack, Method::Bye, Method::Cancel, Method::Prack, Method::Update, Method::Info] {
        assert_eq!(story.arrives(request(method, CALL)).verdict, Verdict::SteeredRing, "{method:?}");
    }
    assert_eq!(story.tables.dialogs(), []);
}

#[test]
fn other_requests_outside_a_dialog_are_remembered_as_what_they_are() {
    for (method, phase) in [
        (Method::Register, Phase::Transaction),
        (Method::Options, Phase::Transaction),
        (Method::Notify, Phase::Transaction),
        (Method::Publish, Phase::Transaction),
        (Method::Refer, Phase::Transaction),
        (Method::Message, Phase::Transaction),
        (Method::Other, Phase::Transaction),
        (Method::Subscribe, Phase::Subscribed),
        (Method::Invite, Phase::Unanswered),
    ] {
        let story = Story::new();
        let first = story.arrives(request(method, CALL));
        assert_eq!(first.verdict, Verdict::SteeredNew, "{method:?}");
        assert_eq!(story.phase(CALL), Some(phase), "{method:?}");
        // A challenge and the same request with credentials: the same backend.
        let again = story.arrives(request(method, CALL).branch(BRANCH + 1));
        assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, first.backend));
        assert_eq!(story.phase(CALL), Some(phase), "{method:?}");
        assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    }
}

#[test]
fn the_same_call_id_at_two_services_is_two_dialogs() {
    let story = Story::new();
    story.tables.add_service(1, 0, &[2]);
    story.tables.set_ring(0, 0, &[1]);
    assert_eq!(story.opens(CALL), 1);
    let other = story.arrives(request(Method::Invite, CALL).to(1));
    assert_eq!((other.verdict, other.backend), (Verdict::SteeredNew, 2));
    // The end of one is not the end of the other.
    story.arrives(request(Method::Ack, CALL).to(1));
    assert_eq!(story.dialog_of(CALL, 1).map(|d| d.state.phase), Some(Phase::Ended as u8));
    assert_eq!(story.phase(CALL), Some(Phase::Unanswered));
}

#[test]
fn the_same_invite_again_changes_no_phase_however_late() {
    let ways: [(&[Message], Phase); 5] = [
        (&[], Phase::Unanswered),
        (&[message(Kind::Response(180), CALL)], Phase::Ringing),
        (&[request(Method::Cancel, CALL)], Phase::Cancelled),
        (&[message(Kind::Response(486), CALL)], Phase::Ended),
        (&[request(Method::Bye, CALL)], Phase::Ended),
    ];
    for (messages, phase) in ways {
        let story = Story::seeing_answers();
        let backend = story.opens(CALL);
        for m in messages {
            match m.kind {
                Kind::Response(_) => drop(story.leaves(backend, &[0], *m)),
                _ => drop(story.arrives(*m)),
            }
        }
        assert_eq!(story.phase(CALL), Some(phase));
        let before = story.dialog(CALL);
        let again = story.arrives(request(Method::Invite, CALL));
        assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, backend));
        assert_eq!(story.dialog(CALL), before, "{phase:?}");
    }
}

/// What an answer of the backend makes of an INVITE, and of a cancelled one.
const ANSWERS: [(u16, Phase, Phase); 14] = [
    (100, Phase::Unanswered, Phase::Cancelled),
    (101, Phase::Ringing, Phase::Cancelled),
    (180, Phase::Ringing, Phase::Cancelled),
    (199, Phase::Ringing, Phase::Cancelled),
    // With the INVITE's branch it may be the answer to the CANCEL.
    (200, Phase::Answered, Phase::Cancelled),
    (299, Phase::Answered, Phase::Cancelled),
    (300, Phase::Ended, Phase::Ended),
    (302, Phase::Ended, Phase::Ended),
    (399, Phase::Ended, Phase::Ended),
    (401, Phase::Ended, Phase::Ended),
    (487, Phase::Ended, Phase::Ended),
    (503, Phase::Ended, Phase::Ended),
    (600, Phase::Ended, Phase::Ended),
    (699, Phase::Ended, Phase::Ended),
];

#[test]
fn an_answer_to_the_invite_moves_the_phase_and_no_other_does() {
    for (code, phase, cancelled) in ANSWERS {
        for (cancel, expected) in [(false, phase), (true, cancelled)] {
            let story = Story::seeing_answers();
            let backend = story.opens(CALL);
            if cancel {
                story.arrives(request(Method::Cancel, CALL));
            }
            let before = story.dialog(CALL);
            let answer = message(Kind::Response(code), CALL).to_tag(TAG);
            // Of another backend; of whoever sends answers to the service; a final one to another request.
            story.leaves((backend + 1) % 3, &[0], answer);
            story.arrives(answer.by(STRANGER));
            if code >= 200 {
                story.leaves(backend, &[0], answer.branch(BRANCH + 1));
                story.leaves(backend, &[0], answer.branch(0));
            }
            assert_eq!(story.dialog(CALL), before, "{code}");
            // That it rings says any provisional answer, and its headers are not read.
            story.leaves(backend, &[0], if code < 200 { answer.branch(0) } else { answer });
            let dialog = story.dialog(CALL).expect("pinned");
            assert_eq!(dialog.state.phase, expected as u8, "{code}, cancelled: {cancel}");
            let evidence = if expected == Phase::Answered { TAG } else { BRANCH };
            assert_eq!(dialog.evidence.hash, evidence, "{code}");
            assert_eq!(story.tables.tally(), Some(story.tables.counted()));
        }
    }
}

#[test]
fn a_later_answer_does_not_undo_a_final_one() {
    for (first, phase) in [(200, Phase::Answered), (486, Phase::Ended)] {
        let story = Story::seeing_answers();
        let backend = story.opens(CALL);
        story.leaves(backend, &[0], message(Kind::Response(180), CALL).to_tag(TAG));
        story.leaves(backend, &[0], message(Kind::Response(first), CALL).to_tag(TAG));
        let before = story.dialog(CALL);
        assert_eq!(story.phase(CALL), Some(phase));
        for code in [180, 200, 486, 503] {
            story.leaves(backend, &[0], message(Kind::Response(code), CALL).to_tag(TAG + 1));
            assert_eq!(story.dialog(CALL), before, "{code} after {first}");
        }
    }
}

#[test]
fn a_late_ack_of_a_challenge_does_not_answer_the_invite_with_credentials() {
    for sees_answers in [true, false] {
        let story = Story { sees_answers, ..Story::new() };
        let backend = story.opens(CALL);
        let challenge = message(Kind::Response(401), CALL).to_tag(TAG);
        if sees_answers {
            story.leaves(backend, &[0], challenge);
        }
        story.arrives(request(Method::Invite, CALL).branch(BRANCH + 1));
        let before = story.dialog(CALL).expect("pinned");
        assert_eq!(before.state.phase, Phase::Unanswered as u8);
        story.arrives(request(Method::Ack, CALL).to_tag(TAG));
        if sees_answers {
            assert_eq!(before.evidence.hash, BRANCH + 1);
            assert_eq!(story.dialog(CALL), Some(before));
        } else {
            // Nothing else tells an answer there.
            assert_eq!(story.phase(CALL), Some(Phase::Answered));
        }
    }
}

#[test]
fn headers_are_read_of_final_answers_only_while_no_final_one_is_known() {
    use lb_common::decide::track::{Sender, needs_headers};
    for phase in Phase::ALL {
        let open = matches!(phase, Phase::Unanswered | Phase::Ringing | Phase::Cancelled);
        for sender in [Sender::Backend, Sender::Peer] {
            for code in [200, 404, 503] {
                assert_eq!(
                    needs_headers(Kind::Response(code), phase as u8, sender),
                    open,
                    "{code} {phase:?}"
                );
            }
            for code in [100, 101, 180, 199] {
                assert!(!needs_headers(Kind::Response(code), phase as u8, sender), "{code} {phase:?}");
            }
        }
        assert!(!needs_headers(Kind::Response(200), phase as u8, Sender::Stranger));
    }
    assert!(!needs_headers(Kind::Response(200), 0, Sender::Backend), "of no dialog");
}
