//! Random traffic: the decision core against a simple model of it, and long runs after which nothing may be left.

#[path = "decide_random/model.rs"]
mod model;

use lb_common::{
    decide::{E2BIG, EDQUOT, Tables, expiry, steer::Steering},
    map::{
        backend::{Limits, UNLIMITED, health, will},
        dialog::Phase,
        settings::Settings,
        zone::Policy,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::{
    memory::NO_LIMITS,
    story::{CALLER, Message, STRANGER, Story, message, request},
};
use model::{Model, Modelled, Network, SLOTS, a_network};
use proptest::prelude::*;
use std::collections::HashMap;

/// Short lives, so that a run sees many of them.
fn lifetimes() -> Settings {
    Settings {
        unconfirmed_limit: 6,
        unanswered_ticks: 70,
        answered_ticks: 200,
        ended_ticks: 10,
        subscribed_ticks: 130,
        ..Settings::default()
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A caller's request or response arrives.
    Arrives(Message),
    /// A message leaves a backend.
    Leaves(u16, Message),
    /// A backend's will changes.
    Backend(u16, u8),
    /// Ticks pass, with a look at the whole table in each.
    Passes(u32),
    /// Ticks pass in silence.
    Sleeps(u32),
    /// The daemon asks for a look at some buckets.
    Sweep(u32),
}

fn a_message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        8 => Just(Kind::Request(Method::Invite)),
        6 => Just(Kind::Request(Method::Ack)),
        3 => Just(Kind::Request(Method::Bye)),
        2 => Just(Kind::Request(Method::Cancel)),
        2 => (1u8..16).prop_map(|n| Kind::Request(Method::from_number(n))),
        3 => (100u16..700).prop_map(Kind::Response),
        1 => prop_oneof![Just(180), Just(200), Just(401), Just(503)].prop_map(Kind::Response),
        1 => Just(Kind::NotSip),
    ];
    let sender = prop_oneof![4 => Just(CALLER), 1 => Just(STRANGER)];
    // Few calls, branches and tags, so that they meet again.
    (kind, 0u64..12, 0u32..3, 0u32..3, sender, 0u8..3).prop_map(
        |(kind, call, branch, to_tag, by, listener)| {
            message(kind, call << 33 | 5).branch(branch).to_tag(to_tag).by(by).at(listener)
        },
    )
}

/// An answer that means something to a call, if it meets one.
fn an_answer() -> impl Strategy<Value = Message> {
    let code = prop_oneof![1 => Just(180), 1 => Just(200), 1 => Just(302), 1 => Just(401), 3 => Just(503)];
    (code, a_message()).prop_map(|(code, m)| Message { kind: Kind::Response(code), ..m })
}

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => a_message().prop_map(Event::Arrives),
        6 => (0u16..3, a_message()).prop_map(|(backend, m)| Event::Leaves(backend, m)),
        8 => (0u16..3, an_answer()).prop_map(|(backend, m)| Event::Leaves(backend, m)),
        2 => (0u16..3, prop_oneof![2 => Just(will::ENABLED), 1 => Just(will::DRAINING), 1 => Just(will::DISABLED)])
            .prop_map(|(backend, will)| Event::Backend(backend, will)),
        3 => (1u32..6).prop_map(Event::Passes),
        1 => (1u32..150).prop_map(Event::Sleeps),
        1 => (0u32..3).prop_map(Event::Sweep),
    ]
}

/// Plays events on the core and on the model, which must agree after every one of them.
fn play(events: &[Event], start: u32, network: Network) -> Result<(), TestCaseError> {
    let story = Story { sees_answers: network.sees_answers, ..Story::with(lifetimes(), 1) };
    story.tables.set_now(start);
    for (id, max_channels) in (0..).zip(network.most_channels) {
        story.tables.set_limits(id, Limits { max_channels, ..NO_LIMITS });
    }
    let Network { choice, retries_refused, .. } = network;
    let retries_refused = retries_refused.into();
    story
        .tables
        .set_policy(0, Policy { tiers: 1, target: 1024, choice, retries_refused, ..Policy::default() });
    let mut model = Model { dialogs: HashMap::new(), now: start, network };
    let mut wills = [will::ENABLED; 3];
    for event in events {
        match event {
            Event::Arrives(m) => arrives(&story, &mut model, &wills, m)?,
            Event::Leaves(backend, m) => leaves(&story, &mut model, *backend, m)?,
            Event::Backend(id, will) => {
                wills[*id as usize] = *will;
                story.tables.set_backend(*id, *will, health::UP);
                story.tables.publish_members(0);
            }
            Event::Passes(ticks) => {
                story.passes(*ticks);
                model.now = model.now.wrapping_add(*ticks);
                model.all_are_young(&story)?;
            }
            Event::Sleeps(ticks) => {
                story.sleeps(*ticks);
                model.now = model.now.wrapping_add(*ticks);
            }
            Event::Sweep(buckets) => {
                expiry::sweep(&&story.tables, *buckets);
                if *buckets >= 2 {
                    model.all_are_young(&story)?;
                }
            }
        }
        agree(&story, &mut model)?;
    }
    // Whatever happened: after the longest life and one look nothing is left.
    story.sleeps(lifetimes().answered_ticks);
    story.passes(1);
    prop_assert_eq!(story.tables.dialogs(), []);
    prop_assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    for id in 0..3 {
        prop_assert_eq!(story.tables.load_of(id).channels, 0);
    }
    prop_assert_eq!(story.tables.load_of_zone(0).channels, 0);
    Ok(())
}

/// Alive in the core, as the core must see it before the packet.
fn alive(story: &Story, call: u64) -> bool {
    story.dialog(call).is_some_and(|d| d.state.is_live())
}

fn keeps(will: u8) -> bool {
    will == will::ENABLED || will == will::DRAINING
}

fn arrives(story: &Story, model: &mut Model, wills: &[u8; 3], m: &Message) -> Result<(), TestCaseError> {
    let call = m.call_key.expect("every event has a call");
    let (before, was_alive) = (story.dialog(call), alive(story, call));
    let errors = [E2BIG, EDQUOT].map(|errno| story.tables.write_errors(errno));
    let (unconfirmed, crowded) = (story.tables.counted().unconfirmed, model.crowded(story));
    let steering = story.arrives(*m);
    let now = model.now;
    let dropped = steering.verdict == Verdict::DroppedNoBackend;
    prop_assert!(!dropped || !wills.contains(&will::ENABLED) || wills.iter().any(|w| *w != will::ENABLED));
    if was_alive {
        return follows(model, wills, m, steering);
    }
    let opening = match m.kind {
        Kind::Request(Method::Invite) => Some(Phase::Unanswered),
        Kind::Request(Method::Subscribe) => Some(Phase::Subscribed),
        Kind::Request(
            Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update | Method::Info,
        ) => None,
        Kind::Request(_) => Some(Phase::Transaction),
        _ => None,
    };
    match (steering.verdict, opening) {
        (Verdict::SteeredNew, Some(phase)) => {
            prop_assert!(before.is_none() && m.headers.to_tag == 0);
            prop_assert_eq!(wills[steering.backend as usize], will::ENABLED);
            prop_assert!(phase != Phase::Unanswered || model.has_room(steering.backend));
            let opened = Modelled {
                backend: steering.backend,
                phase,
                listener: m.listener,
                peer: m.other_side,
                evidence: m.headers.branch,
                seen: now,
            };
            model.dialogs.insert(call, opened);
        }
        (Verdict::SteeredUnpinned, Some(_)) => {
            let [full, too_many] = [E2BIG, EDQUOT].map(|errno| story.tables.write_errors(errno));
            let limit = u64::from(lifetimes().unconfirmed_limit);
            let limited = opening != Some(Phase::Subscribed) && unconfirmed >= limit;
            prop_assert_eq!(too_many - errors[1], u64::from(limited));
            prop_assert_eq!(full - errors[0], u64::from(!limited));
            prop_assert!(limited || crowded, "unpinned though there is room");
        }
        (Verdict::SteeredRing, _) => prop_assert!(opening.is_none() || m.headers.to_tag != 0),
        (refused @ (Verdict::RefusedFull | Verdict::RefusedDown), Some(Phase::Unanswered)) => {
            prop_assert!(m.headers.to_tag == 0 && model.is_refused(refused, wills, None));
        }
        (Verdict::DroppedNoBackend, opening) => {
            prop_assert!(opening != Some(Phase::Unanswered) || m.headers.to_tag != 0, "a call is refused");
        }
        other => prop_assert!(false, "unexpected: {:?} for {:?}", other, m),
    }
    Ok(())
}

/// A packet of a dialog that is alive.
fn follows(model: &mut Model, wills: &[u8; 3], m: &Message, steering: Steering) -> Result<(), TestCaseError> {
    let call = m.call_key.expect("every event has a call");
    let now = model.now;
    let dropped = steering.verdict == Verdict::DroppedNoBackend;
    let mut dialog = *model.dialogs.get(&call).expect("the model knows what is alive");
    let anew = m.headers.to_tag == 0 && m.headers.branch != 0 && m.headers.branch != dialog.evidence;
    let invite = m.kind == Kind::Request(Method::Invite);
    if dialog.phase == Phase::TurnedAway && invite && anew {
        if steering.verdict == Verdict::SteeredNew {
            prop_assert_ne!(steering.backend, dialog.backend, "it had turned the call away");
            prop_assert_eq!(wills[steering.backend as usize], will::ENABLED);
            prop_assert!(model.has_room(steering.backend));
            dialog = Modelled {
                backend: steering.backend,
                phase: Phase::Unanswered,
                evidence: m.headers.branch,
                seen: now,
                ..dialog
            };
        } else {
            let refused = model.is_refused(steering.verdict, wills, Some(dialog.backend));
            prop_assert!(refused, "{:?} of {:?}", steering, dialog);
        }
    } else if keeps(wills[dialog.backend as usize]) {
        prop_assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, dialog.backend));
        model.packet(&mut dialog, m, false);
    } else {
        // What it says of the call holds wherever it goes, and also where nobody is left.
        model.packet(&mut dialog, m, false);
        if !dropped {
            prop_assert_eq!(steering.verdict, Verdict::SteeredMoved);
            prop_assert_eq!(wills[steering.backend as usize], will::ENABLED);
            dialog.backend = steering.backend;
            dialog.seen = now;
        }
    }
    model.dialogs.insert(call, dialog);
    Ok(())
}

fn leaves(story: &Story, model: &mut Model, backend: u16, m: &Message) -> Result<(), TestCaseError> {
    let call = m.call_key.expect("every event has a call");
    let (before, was_alive) = (story.dialog(call), alive(story, call));
    let leaving = story.leaves(backend, &[0], *m);
    prop_assert_eq!(leaving.service, 0);
    if was_alive {
        let mut dialog = *model.dialogs.get(&call).expect("the model knows what is alive");
        prop_assert_eq!((leaving.verdict, leaving.listener), (Verdict::Reply, dialog.listener));
        if dialog.backend == backend {
            model.packet(&mut dialog, m, true);
        }
        model.dialogs.insert(call, dialog);
    } else if leaving.verdict == Verdict::ReplyNew {
        prop_assert!(before.is_none() && m.headers.to_tag == 0);
        let phase = story.phase(call).expect("just opened");
        let opened = Modelled {
            backend,
            phase,
            listener: 0,
            peer: m.other_side,
            evidence: m.headers.branch,
            seen: model.now,
        };
        model.dialogs.insert(call, opened);
    }
    Ok(())
}

/// The core's table and the model tell the same story.
fn agree(story: &Story, model: &mut Model) -> Result<(), TestCaseError> {
    let tally = story.tables.tally();
    prop_assert_eq!(tally, Some(story.tables.counted()), "the tally is what the table says");
    prop_assert!(story.tables.counted().entries <= SLOTS as u64);
    let now = model.now;
    let mut gone = Vec::new();
    for (call, modelled) in &model.dialogs {
        let age = now.wrapping_sub(modelled.seen);
        match story.dialog(*call).filter(|d| d.state.is_live()) {
            Some(d) => {
                let core = Modelled {
                    backend: d.state.backend,
                    phase: Phase::from_number(d.state.phase).expect("a phase"),
                    listener: d.state.listener,
                    peer: u64::from(d.peer) << 32 | modelled.peer & 0xffff_ffff,
                    evidence: d.evidence.hash,
                    seen: now.wrapping_sub(d.state.age(now)),
                };
                prop_assert_eq!(&core, modelled);
                prop_assert_eq!(d.evidence.generation, d.state.generation);
            }
            None => {
                prop_assert!(age >= Model::lifetime(modelled.phase), "{:?} died at age {}", modelled, age);
                gone.push(*call);
            }
        }
    }
    for call in gone {
        model.dialogs.remove(&call);
    }
    let living = story.tables.dialogs().iter().filter(|(_, d)| d.state.is_live()).count();
    prop_assert_eq!(living, model.dialogs.len(), "a dialog that nobody opened");
    let mut in_zone = 0;
    for id in 0..3 {
        // Not `in_progress`, which hides what is below zero.
        prop_assert_eq!(story.tables.load_of(id).channels, model.channels(id), "of backend {}", id);
        in_zone += model.channels(id);
    }
    prop_assert_eq!(story.tables.load_of_zone(0).channels, in_zone);
    Ok(())
}

proptest! {
    // 800 runs of up to 800 events: some 300,000 steps.
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_says(
        events in prop::collection::vec(an_event(), 1..800),
        start in prop_oneof![Just(0), Just(0xff00), Just(u32::MAX - 300), any::<u32>()],
        network in a_network(),
    ) {
        play(&events, start, network)?;
    }
}

/// The table stays bounded, however long it goes on, while each jiffy looks at a few buckets.
#[test]
fn a_long_run_leaves_nothing_behind() {
    const CAPACITY: u32 = 4096;
    let lives = Settings { unconfirmed_limit: CAPACITY, ..lifetimes() };
    let mut story = Story::with(lives, CAPACITY);
    // 2,048 buckets in 32 ticks.
    story.tables.settings_mut().sweep_buckets = 64;
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut most = 0;
    let mut running: Vec<u64> = Vec::new();
    for call in 0..200_000u64 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let key = x | 1;
        assert_eq!(story.arrives(request(Method::Invite, key)).verdict, Verdict::SteeredNew, "call {call}");
        // A quarter is refused, a quarter answered and ended later, half abandoned.
        match x >> 60 & 3 {
            0 => drop(story.arrives(request(Method::Ack, key).to_tag(1))),
            1 => {
                story.arrives(request(Method::Ack, key).branch(7).to_tag(1));
                running.push(key);
            }
            _ => {}
        }
        if running.len() > 50 {
            let over = running.swap_remove((x >> 20) as usize % 50);
            story.arrives(request(Method::Bye, over).to_tag(1));
        }
        if call % 8 == 0 {
            story.sleeps(1);
            expiry::tend(&&story.tables, u64::from((&story.tables).now()));
        }
        most = most.max(story.tables.tally().expect("never below zero").entries);
    }
    // Eight calls a tick, half of which live for 70 ticks, half for 10 to 25, and up to 32 ticks more.
    assert!(most < 800, "{most} dialogs at once");
    assert_eq!(story.tables.all_write_errors(), 0);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    story.sleeps(lifetimes().answered_ticks);
    story.passes(1);
    assert_eq!(story.tables.dialogs(), []);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}
