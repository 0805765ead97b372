//! Where a new call goes: policies, tiers, what backends turn away, and what the balancer answers itself.

use lb_common::{
    decide::{Tables, own_tag, select::ring_slot},
    limits::MAX_WALK,
    map::{
        backend::{Limits, health, will},
        dialog::Phase,
        zone::{Policy, choice, hash_by, zone_will},
    },
    sip::Method,
    verdict::Verdict,
};
use lb_tests::{
    capacity::{
        SECOND, TAG, adds_up, answers, carried, channels, invites, key, pace, policy, tiers, with_limits,
    },
    memory::NO_LIMITS,
    story::{BRANCH, Story, request},
};

const CALL: u64 = 0x1234_5678_9abc_def0;

/// The ring's first choice for a call among `backends` in turn.
fn first_choice(n: u64, backends: u32) -> u16 {
    (ring_slot(key(n)) % backends) as u16
}

#[test]
fn consistent_keeps_to_the_ring_until_a_backend_reaches_the_ceiling() {
    for (target, ceiling) in [(1024, 10), (512, 5)] {
        let story = with_limits(&[channels(10), channels(10)]);
        story.tables.set_policy(0, Policy { target, ..policy(choice::CONSISTENT) });
        let of_first: Vec<u64> = (0..200).filter(|n| first_choice(*n, 2) == 0).collect();
        for (i, n) in (0..).zip(&of_first[..ceiling]) {
            assert_eq!(invites(&story, *n), (Verdict::SteeredNew, 0), "{i} of {ceiling}");
        }
        let (verdict, _) = invites(&story, of_first[ceiling]);
        assert_eq!(
            (verdict, carried(&story, 0), carried(&story, 1)),
            (Verdict::SteeredNew, ceiling as u64, 1)
        );
    }
}

#[test]
fn consistent_passes_over_what_is_far_above_the_mean() {
    // 1.25 times the mean and three channels of a hundred.
    let story = with_limits(&[channels(100); 4]);
    story.tables.set_policy(0, Policy { bound: 1280, ..policy(choice::CONSISTENT) });
    let of_first: Vec<u64> = (0..4000).filter(|n| first_choice(*n, 4) == 0).collect();
    for n in &of_first[..200] {
        assert_eq!(invites(&story, *n).0, Verdict::SteeredNew);
        let mean = story.tables.load_of_zone(0).channels as f64 / 4.0;
        for id in 0..4 {
            assert!(carried(&story, id) as f64 <= mean * 1.25 + 5.0, "backend {id} of mean {mean}");
        }
    }
    // Without a bound they all go where the ring says.
    let story = with_limits(&[channels(100); 4]);
    for n in &of_first[..100] {
        assert_eq!(invites(&story, *n), (Verdict::SteeredNew, 0));
    }
    assert_eq!(carried(&story, 0), 100);
}

#[test]
fn least_loaded_takes_the_less_utilised_of_two() {
    let story = with_limits(&[channels(100), channels(50)]);
    story.tables.set_policy(0, policy(choice::LEAST_LOADED));
    for n in 0..90 {
        assert_eq!(invites(&story, n).0, Verdict::SteeredNew);
    }
    // Utilised alike, not loaded alike. Both looks may meet the same backend.
    let (large, small) = (carried(&story, 0), carried(&story, 1));
    assert_eq!(large + small, 90);
    assert!((50..=68).contains(&large), "{large} and {small}");
}

#[test]
fn the_secondarys_first_call_comes_exactly_when_the_primary_is_at_its_limit() {
    for max in [0, 1, 5, 40] {
        let story = with_limits(&[channels(max), channels(3), channels(1)]);
        story.tables.set_policy(0, policy(choice::PRIMARY_SECONDARY));
        for n in 0..u64::from(max) + 4 {
            let expected = match n.checked_sub(u64::from(max)) {
                None => 0,
                Some(0..3) => 1,
                Some(_) => 2,
            };
            assert_eq!(invites(&story, n), (Verdict::SteeredNew, expected), "call {n}, primary of {max}");
        }
        assert_eq!(invites(&story, 900).0, Verdict::RefusedFull);
        // Whoever has room first in the order gets the next one.
        if max > 0 {
            answers(&story, 0, 0, 486);
            assert_eq!(invites(&story, 901), (Verdict::SteeredNew, 0));
        }
    }
}

#[test]
fn the_secondary_takes_what_is_over_the_primarys_pace() {
    let story = with_limits(&[pace(10, 2), NO_LIMITS]);
    story.tables.set_policy(0, policy(choice::PRIMARY_SECONDARY));
    story.tables.set_nanoseconds(SECOND);
    let went: Vec<u16> = (0..5).map(|n| invites(&story, n).1).collect();
    assert_eq!(went, [0, 0, 0, 1, 1]);
    assert_eq!(story.tables.load_of(0).over_cps, 2);
    story.tables.set_nanoseconds(SECOND + SECOND / 10);
    assert_eq!(invites(&story, 5).1, 0);
}

#[test]
fn weights_are_shares_of_the_ring() {
    let story = with_limits(&[NO_LIMITS; 2]);
    story.tables.set_ring(0, 0, &[0, 1, 1, 1]);
    for n in 0..900 {
        invites(&story, n);
        story.tables.set_nanoseconds(n * SECOND / 50);
    }
    let heavy = carried(&story, 1);
    // Three of four, and three sigma of that.
    assert!((636..=714).contains(&heavy), "{heavy}");
}

#[test]
fn calls_overflow_tier_by_tier_and_are_refused_behind_the_last() {
    let story = with_limits(&[channels(2)]);
    story.tables.add_zone(1, &[(10, channels(1))]);
    story.tables.add_zone(2, &[(20, channels(1))]);
    story.tables.set_policy(0, tiers(&[0, 1, 2]));
    for (tier, backend) in [(1, 10), (2, 20)] {
        story.tables.set_ring(0, tier, &[backend]);
    }
    let went: Vec<_> = (0..5).map(|n| invites(&story, n)).collect();
    let overflow = Verdict::SteeredOverflow;
    assert_eq!(went[..2], [(Verdict::SteeredNew, 0); 2]);
    assert_eq!(went[2..4], [(overflow, 10), (overflow, 20)]);
    assert_eq!(went[4].0, Verdict::RefusedFull);
    for (zone, carried) in [(0, 2), (1, 1), (2, 1)] {
        assert_eq!(story.tables.load_of_zone(zone).channels, carried);
    }
    // A disabled zone is passed over, as if it were not there.
    let view = (&story.tables).zone(1);
    story.tables.set_zone(1, lb_common::decide::ZoneView { will: zone_will::DISABLED, ..view });
    for (n, backend) in [(2, 10), (3, 20)] {
        answers(&story, backend, n, 486);
    }
    assert_eq!(invites(&story, 6), (overflow, 20));
    assert_eq!(invites(&story, 7).0, Verdict::RefusedFull);
    // Its calls stay.
    let bye = story.arrives(request(Method::Bye, key(2)).to_tag(TAG));
    assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredPinned, 10));
}

#[test]
fn a_tier_of_redirects_is_asked_whether_it_has_room_and_gives_none_away() {
    let story = with_limits(&[channels(1)]);
    story.tables.add_zone(1, &[(10, channels(1))]);
    story.tables.set_policy(0, Policy { redirects: 0b10, ..tiers(&[0, 1]) });
    story.tables.set_ring(0, 1, &[10]);
    assert_eq!(invites(&story, 0), (Verdict::SteeredNew, 0));
    for n in 1..4 {
        assert_eq!(invites(&story, n).0, Verdict::Redirected);
        assert_eq!((carried(&story, 10), story.phase(key(n))), (0, None), "only an address was told");
    }
    // The call comes there by the address of its own.
    story.leaves(10, &[1], request(Method::Invite, key(9)));
    assert_eq!(invites(&story, 5).0, Verdict::RefusedFull);
    // Elsewhere: nobody here knows what it carries.
    let remote = lb_common::decide::ZoneView { will: zone_will::ENABLED, remote: 1, ..Default::default() };
    story.tables.set_zone(1, remote);
    assert_eq!(invites(&story, 6).0, Verdict::Redirected);
    story.tables.set_zone(1, lb_common::decide::ZoneView { will: zone_will::DISABLED, ..remote });
    assert_eq!(invites(&story, 7).0, Verdict::RefusedFull);
}

#[test]
fn all_down_is_refused_as_down_and_one_that_is_full_as_full() {
    let story = with_limits(&[channels(1)]);
    story.tables.add_zone(1, &[(10, channels(0))]);
    story.tables.set_ring(0, 1, &[10]);
    for redirects in [0, 0b10] {
        story.tables.set_policy(0, Policy { redirects, ..tiers(&[0, 1]) });
        story.tables.set_backend(0, will::ENABLED, health::DOWN);
        story.tables.publish_members(0);
        story.tables.set_backend(10, will::ENABLED, health::UP);
        story.tables.publish_members(1);
        assert_eq!(invites(&story, 0).0, Verdict::RefusedFull, "one is up and at its limit");
        story.tables.set_backend(10, will::ENABLED, health::DOWN);
        story.tables.publish_members(1);
        assert_eq!(invites(&story, 1).0, Verdict::RefusedDown);
        story.tables.set_backend(0, will::ENABLED, health::UP);
        story.tables.publish_members(0);
        assert_eq!(invites(&story, 2 + redirects as u64).0, Verdict::SteeredNew);
        answers(&story, 0, 2 + redirects as u64, 486);
    }
}

#[test]
fn no_call_is_refused_while_a_backend_has_room() {
    let count = MAX_WALK as u16;
    for choice in [choice::CONSISTENT, choice::LEAST_LOADED, choice::PRIMARY_SECONDARY] {
        // Whichever of them it is, and wherever on the ring the call begins, its end included.
        for free in [0, 1, 20, count - 2, count - 1] {
            for at in [0, 1, 7, 0x7fff_ffff, 0xffff_fff0, 0xffff_ffff_u64] {
                for members in [count, 3 * count / 4 + 3] {
                    let free = free.min(members - 1);
                    let limits: Vec<Limits> =
                        (0..members).map(|id| channels(u32::from(id == free))).collect();
                    let story = with_limits(&limits);
                    story.tables.set_policy(0, policy(choice));
                    let invite = |low: u64| story.arrives(request(Method::Invite, at << 32 | low));
                    let steering = invite(1);
                    let expected = (Verdict::SteeredNew, free);
                    assert_eq!((steering.verdict, steering.backend), expected, "{choice} from {at:#x}");
                    assert_eq!(invite(2).verdict, Verdict::RefusedFull);
                }
            }
        }
    }
}

/// The manual says so: the time of one packet is bounded.
#[test]
fn in_a_greater_zone_so_many_backends_are_asked_from_the_calls_place_on() {
    let count = MAX_WALK as u16 + 1;
    let asked = |choice: u8, free: u16, at: u64| {
        let limits: Vec<Limits> = (0..count).map(|id| channels(u32::from(id == free))).collect();
        let story = with_limits(&limits);
        story.tables.set_policy(0, policy(choice));
        // No slot of the ring is the free one's.
        story.tables.set_ring(0, 0, &[(free + 1) % count]);
        story.arrives(request(Method::Invite, at << 32 | 1)).verdict == Verdict::SteeredNew
    };
    for choice in [choice::CONSISTENT, choice::LEAST_LOADED] {
        for (free, at, found) in [(0, 0, true), (count - 1, 0, false), (count - 1, 1, true), (0, 1, false)] {
            assert_eq!(asked(choice, free, at), found, "{choice}: {free} from {at}");
        }
    }
    for at in [0, 1, 7] {
        assert!(asked(choice::PRIMARY_SECONDARY, count - 2, at));
        assert!(!asked(choice::PRIMARY_SECONDARY, count - 1, at), "from {at}");
    }
}

#[test]
fn the_ring_is_asked_with_what_the_service_hashes_by() {
    for by in [hash_by::FROM_USER, hash_by::TO_USER, hash_by::REQUEST_USER, hash_by::SOURCE] {
        let story = with_limits(&[NO_LIMITS; 8]);
        story.tables.set_policy(0, Policy { hash_by: by, ..policy(choice::CONSISTENT) });
        for user in 0..20 {
            for n in 0..4 {
                let mut m = request(Method::Invite, key(100 * user + n));
                m.ring_keys = Some((by, key(7000 + user)));
                let steering = story.arrives(m);
                let expected = (Verdict::SteeredNew, first_choice(7000 + user, 8));
                assert_eq!((steering.verdict, steering.backend), expected, "by {by}");
                // The rest of the call follows its pin.
                assert_eq!(story.arrives(m).verdict, Verdict::SteeredPinned);
            }
        }
        // A message that carries none: by its Call-ID.
        assert_eq!(invites(&story, 5000).1, first_choice(5000, 8));
        let mut m = request(Method::Invite, key(5001));
        m.ring_keys = Some((by % 4 + 1, key(7000)));
        assert_eq!(story.arrives(m).backend, first_choice(5001, 8));
    }
}

/// A story in which a backend has turned call 0 away with an answer; its backend.
fn turned_away(code: u16, full_after_refusal_ms: u32) -> (Story, u16) {
    let story = with_limits(&[NO_LIMITS; 3]);
    let policy = Policy { retries_refused: 1, full_after_refusal_ms, ..policy(choice::CONSISTENT) };
    story.tables.set_policy(0, policy);
    story.tables.set_nanoseconds(SECOND);
    let (_, backend) = invites(&story, 0);
    answers(&story, backend, 0, code);
    (story, backend)
}

#[test]
fn a_call_that_was_turned_away_goes_elsewhere_with_its_next_invite() {
    for code in [300, 302, 399, 503] {
        let (story, backend) = turned_away(code, 0);
        assert_eq!(story.phase(key(0)), Some(Phase::TurnedAway), "{code}");
        assert_eq!((carried(&story, backend), story.tables.load_of(backend).refusals), (0, 1));
        // The answer again, the ACK and the INVITE again belong to what is over.
        answers(&story, backend, 0, code);
        for m in [request(Method::Ack, key(0)).to_tag(TAG), request(Method::Invite, key(0))] {
            let steering = story.arrives(m);
            assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
            assert_eq!(story.phase(key(0)), Some(Phase::TurnedAway));
        }
        assert_eq!(story.tables.load_of(backend).refusals, 1);
        let retry = request(Method::Invite, key(0)).branch(BRANCH + 1);
        let steering = story.arrives(retry);
        assert_eq!(steering.verdict, Verdict::SteeredNew);
        assert_ne!(steering.backend, backend);
        let other = steering.backend;
        assert_eq!((carried(&story, backend), carried(&story, other)), (0, 1));
        let dialog = story.dialog(key(0)).expect("pinned");
        assert_eq!((dialog.state.phase, dialog.evidence.hash), (Phase::Unanswered as u8, BRANCH + 1));
        // From then on it is that one's.
        let again = story.arrives(retry);
        assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, other));
        assert_eq!((carried(&story, other), story.tables.load_of(other).calls), (1, 1));
        adds_up(&story, 3, 0);
    }
    // What is no such answer, or not wanted.
    for code in [299, 400, 500, 502, 504, 600] {
        let (story, backend) = turned_away(code, 0);
        let steering = story.arrives(request(Method::Invite, key(0)).branch(BRANCH + 1));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend), "{code}");
        assert_eq!(story.tables.load_of(backend).refusals, 0);
    }
    let story = with_limits(&[NO_LIMITS; 3]);
    let (_, backend) = invites(&story, 0);
    answers(&story, backend, 0, 503);
    assert_eq!(story.phase(key(0)), Some(Phase::Ended));
    assert_eq!(story.arrives(request(Method::Invite, key(0)).branch(BRANCH + 1)).backend, backend);
}

#[test]
fn a_call_that_was_turned_away_is_admitted_like_any_other() {
    let (story, backend) = turned_away(503, 0);
    for id in 0..3 {
        story.tables.set_limits(id, channels(u32::from(id == backend)));
    }
    let retry = request(Method::Invite, key(0)).branch(BRANCH + 1);
    assert_eq!(
        story.arrives(retry).verdict,
        Verdict::RefusedFull,
        "only the one that turned it away has room"
    );
    assert_eq!(story.phase(key(0)), Some(Phase::TurnedAway));
    let other = (backend + 1) % 3;
    story.tables.set_limits(other, channels(1));
    let steering = story.arrives(retry);
    assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredNew, other));
    adds_up(&story, 3, 0);
}

#[test]
fn a_call_that_was_turned_away_is_admitted_also_when_its_backend_has_gone_down() {
    let (story, backend) = turned_away(503, 0);
    story.tables.set_backend(backend, will::ENABLED, health::DOWN);
    story.tables.publish_members(0);
    let retry = request(Method::Invite, key(0)).branch(BRANCH + 1);
    let steering = story.arrives(retry);
    assert_eq!(steering.verdict, Verdict::SteeredNew);
    assert_ne!(steering.backend, backend);
    assert_eq!(carried(&story, steering.backend), 1);
    let again = story.arrives(retry);
    assert_eq!((again.verdict, again.backend), (Verdict::SteeredPinned, steering.backend));
    adds_up(&story, 3, 0);
}

#[test]
fn a_backend_counts_as_full_for_a_while_after_its_refusal_if_that_is_wanted() {
    for wanted in [0, 500] {
        let (story, backend) = turned_away(503, wanted);
        // A call that the ring sends there.
        let mut of_it = (1..).filter(|n| first_choice(*n, 3) == backend);
        let mut goes_there = || invites(&story, of_it.next().expect("endless")).1 == backend;
        let until = SECOND + u64::from(wanted) * 1_000_000;
        if wanted != 0 {
            assert!(!goes_there());
            story.tables.set_nanoseconds(until - 1);
            assert!(!goes_there());
            // Everybody else may be full: it stays out.
            for id in (0..3).filter(|id| *id != backend) {
                story.tables.set_limits(id, channels(0));
            }
            assert_eq!(invites(&story, 4000).0, Verdict::RefusedFull);
            for id in 0..3 {
                story.tables.set_limits(id, NO_LIMITS);
            }
        }
        story.tables.set_nanoseconds(until);
        assert!(goes_there(), "{wanted}");
    }
}

#[test]
fn options_are_answered_only_by_a_daemon_that_answers_and_outside_a_dialog() {
    for (wanted, answers, to_tag) in
        [(1, true, 0), (1, true, TAG), (1, false, 0), (0, true, 0), (0, false, 0)]
    {
        let story = with_limits(&[channels(0)]);
        story.tables.set_policy(0, Policy { answers_options: wanted, ..policy(choice::CONSISTENT) });
        story.tables.set_daemon_answers(answers);
        let verdict = story.arrives(request(Method::Options, CALL).to_tag(to_tag)).verdict;
        let expected = match (wanted, answers, to_tag) {
            (1, true, 0) => Verdict::AnsweredOptions,
            (_, _, 0) => Verdict::SteeredNew,
            _ => Verdict::SteeredRing,
        };
        assert_eq!(verdict, expected, "{wanted} {answers} {to_tag}");
        // Other requests are none of its business, and no call is refused a backend for want of a channel.
        assert_eq!(story.arrives(request(Method::Register, CALL + 1)).verdict, Verdict::SteeredNew);
    }
}

#[test]
fn the_ack_of_our_own_answer_is_absorbed_and_no_other() {
    let story = with_limits(&[channels(0)]);
    assert_eq!(story.arrives(request(Method::Invite, CALL)).verdict, Verdict::RefusedFull);
    let own = own_tag::hash(&(&story.tables).settings().hash_key, CALL);
    let ack = request(Method::Ack, CALL);
    assert_eq!(story.arrives(ack.to_tag(own)).verdict, Verdict::AbsorbedAck);
    for other in [0, TAG, own ^ 1] {
        assert_eq!(story.arrives(ack.to_tag(other)).verdict, Verdict::SteeredRing, "{other:#x}");
    }
    // The same tag in another call, or another request, is not ours.
    assert_eq!(story.arrives(request(Method::Ack, CALL + 1).to_tag(own)).verdict, Verdict::SteeredRing);
    assert_eq!(story.arrives(request(Method::Bye, CALL).to_tag(own)).verdict, Verdict::SteeredRing);
    assert_eq!(story.tables.dialogs(), []);
}

#[test]
fn a_call_without_a_pin_goes_where_the_rest_of_its_dialog_will() {
    for choice in [choice::CONSISTENT, choice::LEAST_LOADED, choice::PRIMARY_SECONDARY] {
        let story = with_limits(&[NO_LIMITS; 8]);
        // Whatever it is admitted by, the dialog's other requests know the Call-ID only.
        story.tables.set_policy(0, Policy { hash_by: hash_by::FROM_USER, ..policy(choice) });
        for n in 0..40 {
            let mut m = request(Method::Invite, key(n));
            m.ring_keys = Some((hash_by::FROM_USER, key(9000 + n)));
            story.tables.disturb(0, 2);
            let steering = story.arrives(m);
            let expected = (Verdict::SteeredUnpinned, first_choice(n, 8));
            assert_eq!((steering.verdict, steering.backend), expected, "{n}");
            for method in [Method::Ack, Method::Bye, Method::Cancel, Method::Info] {
                let rest = story.arrives(request(method, key(n)).to_tag(TAG));
                assert_eq!((rest.verdict, rest.backend), (Verdict::SteeredRing, steering.backend));
            }
        }
        assert_eq!(story.tables.load_of_zone(0).channels, 0);
    }
}

#[test]
fn a_call_without_a_call_id_is_not_counted() {
    let story = with_limits(&[channels(1)]);
    for _ in 0..3 {
        let steering = story.arrives(request(Method::Invite, CALL).without_call_id());
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredSource, 0));
    }
    assert_eq!(carried(&story, 0), 0);
}
