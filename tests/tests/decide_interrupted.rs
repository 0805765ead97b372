//! Another CPU forgets every dialog just when a channel is to move: whatever the change was, no channel is left that no call
//! has, and none is given back twice.

use lb_common::{
    decide::{
        Tables,
        carry::{Carried, Outcome, Version, carry},
    },
    map::{
        backend::{health, will},
        dialog::{DialogKey, Phase, State},
        zone::{Policy, choice},
    },
    sip::{Kind, Method},
};
use lb_tests::{
    capacity::{TAG, adds_up_beside, answers, channels, invites, key, policy, with_limits},
    story::{BRANCH, CALLER, Story, message, request},
};

/// Two backends, of which the first gets the call.
fn story() -> Story {
    let story = with_limits(&[channels(5), channels(5)]);
    story.tables.set_policy(0, Policy { retries_refused: 1, ..policy(choice::CONSISTENT) });
    story.tables.set_ring(0, 0, &[0]);
    story
}

/// The other table's word about the call.
fn comes(story: &Story, was: Version, is: Version) -> Outcome {
    let peer = (CALLER >> 32) as u32;
    carry(&&story.tables, &Carried { key: DialogKey::new(key(0), 0), peer, was, is })
}

fn version(phase: Phase, backend: u16) -> Version {
    let state = State { backend, phase: phase as u8, listener: 0, seen: 0, generation: 99 };
    Version { state, evidence: BRANCH }
}

/// A change of which channels are a part: its name, what comes before, the change.
type Case = (&'static str, fn(&Story), fn(&Story));

const CASES: [Case; 9] = [
    ("a backend's own call", |_| {}, |story| _ = story.leaves(0, &[0], request(Method::Invite, key(0)))),
    ("a refusal", |story| _ = invites(story, 0), |story| answers(story, 0, 0, 486)),
    (
        "a BYE",
        |story| {
            invites(story, 0);
            answers(story, 0, 0, 200);
        },
        |story| _ = story.arrives(request(Method::Bye, key(0)).to_tag(TAG)),
    ),
    (
        "an INVITE after a challenge",
        |story| {
            invites(story, 0);
            answers(story, 0, 0, 407);
        },
        |story| _ = story.arrives(request(Method::Invite, key(0)).branch(BRANCH + 1)),
    ),
    (
        "an INVITE after its backend turned it away",
        |story| {
            invites(story, 0);
            story.leaves(0, &[0], message(Kind::Response(503), key(0)).to_tag(TAG));
            assert_eq!(story.phase(key(0)), Some(Phase::TurnedAway));
            story.tables.set_ring(0, 0, &[1]);
        },
        |story| _ = story.arrives(request(Method::Invite, key(0)).branch(BRANCH + 1)),
    ),
    (
        "a request whose backend is gone",
        |story| {
            invites(story, 0);
            answers(story, 0, 0, 200);
            story.tables.set_backend(0, will::ENABLED, health::DOWN);
            story.tables.set_ring(0, 0, &[1]);
        },
        |story| _ = story.arrives(request(Method::Info, key(0)).to_tag(TAG)),
    ),
    (
        "a call from another table",
        |_| {},
        |story| _ = comes(story, Version::default(), version(Phase::Answered, 1)),
    ),
    (
        "a call that moved in another table",
        |story| {
            comes(story, Version::default(), version(Phase::Unanswered, 0));
        },
        |story| _ = comes(story, version(Phase::Unanswered, 0), version(Phase::Answered, 1)),
    ),
    (
        "a call that opened again in another table",
        |story| {
            comes(story, Version::default(), version(Phase::Ended, 0));
        },
        |story| _ = comes(story, version(Phase::Ended, 0), version(Phase::Unanswered, 1)),
    ),
];

/// A backend without another channel shows one that is given back before it is taken: its number stays at 0, and is 1 when
/// that one comes. A backend that has another one shows what is given back twice.
#[test]
fn a_dialog_that_is_forgotten_while_it_changes_neither_leaves_a_channel_behind_nor_takes_one_along() {
    for (name, before, change) in CASES {
        for held in [0, 1] {
            let mut moves = 0;
            loop {
                println!("{name}, {held} held, another CPU at move {}", moves + 1);
                let story = story();
                for id in 0..2 {
                    (0..held).for_each(|_| assert!((&story.tables).admit(id, 0)));
                }
                before(&story);
                adds_up_beside(&story, 2, 0, held);
                story.tables.forget_at_move(moves + 1);
                change(&story);
                adds_up_beside(&story, 2, 0, held);
                assert_eq!(story.tables.tally(), Some(story.tables.counted()));
                if story.tables.is_to_forget() {
                    break;
                }
                moves += 1;
            }
            assert!(moves > 0, "{name} moves no channel");
        }
    }
}
