//! A backend refuses calls itself and says for how long: what the decision makes of its Retry-After.

use lb_common::{
    limits::MAX_RETRY_AFTER_SECONDS,
    map::zone::{Policy, choice},
    sip::Kind,
};
use lb_tests::{
    capacity::{SECOND, TAG, invites, key, policy, with_limits},
    memory::NO_LIMITS,
    story::{Message, message},
};

#[test]
fn a_backend_that_is_asked_says_itself_how_long_it_is_full() {
    const CAP: u64 = MAX_RETRY_AFTER_SECONDS as u64;
    for (said, believed, seconds) in [
        (Some(2), 1, 2),
        (Some(0), 1, 0),
        (Some(MAX_RETRY_AFTER_SECONDS - 1), 1, CAP - 1),
        (Some(MAX_RETRY_AFTER_SECONDS), 1, CAP),
        (Some(MAX_RETRY_AFTER_SECONDS + 1), 1, CAP),
        (Some(u32::MAX), 1, CAP),
        (None, 1, 7),
        (Some(2), 0, 7),
    ] {
        let story = with_limits(&[NO_LIMITS; 3]);
        let policy = Policy {
            retries_refused: 1,
            believes_retry_after: believed,
            full_after_refusal_ms: 7000,
            ..policy(choice::CONSISTENT)
        };
        story.tables.set_policy(0, policy);
        story.tables.set_nanoseconds(SECOND);
        let (_, backend) = invites(&story, 0);
        let refusal = message(Kind::Response(503), key(0)).to_tag(TAG);
        story.leaves(backend, &[0], Message { retry_after: said, ..refusal });
        let until = story.tables.load_of(backend).full_until;
        assert_eq!(until, if seconds == 0 { 0 } else { (1 + seconds) * SECOND }, "{said:?} {believed}");
        assert_eq!(story.tables.load_of(backend).refusals, 1);
    }
}

#[test]
fn what_a_backend_said_holds_when_it_names_an_earlier_end_later() {
    let story = with_limits(&[NO_LIMITS]);
    let policy = Policy { retries_refused: 1, believes_retry_after: 1, ..policy(choice::CONSISTENT) };
    story.tables.set_policy(0, policy);
    story.tables.set_nanoseconds(SECOND);
    // All three are on their way before the first is refused.
    let backend = invites(&story, 0).1;
    let others = [invites(&story, 1).1, invites(&story, 2).1];
    assert_eq!(others, [backend; 2]);
    for (call, said, until) in [(0, 30, 31), (1, 2, 31), (2, 40, 41)] {
        let refusal = message(Kind::Response(503), key(call)).to_tag(TAG);
        story.leaves(backend, &[0], Message { retry_after: Some(said), ..refusal });
        assert_eq!(story.tables.load_of(backend).full_until, until * SECOND, "{said}");
    }
}
