//! Random traffic: the decision core against a simple model of it, and long runs after which nothing may be left.

use lb_common::{
    decide::{E2BIG, EDQUOT, Tables, expiry},
    map::{
        backend::{health, will},
        dialog::{Dialog, Phase},
        settings::Settings,
        zone::Policy,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use lb_tests::story::{CALLER, Message, STRANGER, Story, message, request};
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
        2 => (100u16..700).prop_map(Kind::Response),
        1 => Just(Kind::NotSip),
    ];
    let sender = prop_oneof![4 => Just(CALLER), 1 => Just(STRANGER)];
    // Few calls, branches and tags, so that they meet again.
    (kind, 0u64..20, 0u32..3, 0u32..3, sender, 0u8..3).prop_map(
        |(kind, call, branch, to_tag, by, listener)| {
            message(kind, call << 33 | 5).branch(branch).to_tag(to_tag).by(by).at(listener)
        },
    )
}

fn an_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => a_message().prop_map(Event::Arrives),
        6 => (0u16..3, a_message()).prop_map(|(backend, m)| Event::Leaves(backend, m)),
        1 => (0u16..3, prop_oneof![2 => Just(will::ENABLED), 1 => Just(will::DRAINING), 1 => Just(will::DISABLED)])
            .prop_map(|(backend, will)| Event::Backend(backend, will)),
        3 => (1u32..6).prop_map(Event::Passes),
        1 => (1u32..150).prop_map(Event::Sleeps),
        1 => (0u32..3).prop_map(Event::Sweep),
    ]
}

/// A dialog as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modelled {
    backend: u16,
    phase: Phase,
    listener: u8,
    peer: u64,
    evidence: u32,
    seen: u32,
}

/// The model: what is to become of dialogs, in the plainest words. It knows when a dialog must still be there and when it
/// may be gone, not when exactly somebody looks at it.
#[derive(Default)]
struct Model {
    dialogs: HashMap<u64, Modelled>,
    now: u32,
    ways: Ways,
}

/// How the balancer works.
#[derive(Clone, Copy, Debug, Default)]
struct Ways {
    /// Answers pass by it.
    sees_answers: bool,
    /// A call that its backend turned away may go elsewhere.
    turns_away: bool,
}

impl Model {
    fn lifetime(phase: Phase) -> u32 {
        let s = lifetimes();
        match phase {
            Phase::Unanswered | Phase::Ringing => s.unanswered_ticks,
            Phase::Answered => s.answered_ticks,
            Phase::Subscribed => s.subscribed_ticks,
            _ => s.ended_ticks,
        }
    }

    /// A packet of a dialog that is alive.
    fn packet(&mut self, m: &Message, from_backend: bool) {
        let (now, ways) = (self.now, self.ways);
        let dialog = self.dialogs.get_mut(&m.call_key.unwrap_or(0)).expect("the model knows what is alive");
        let by_party = from_backend || m.other_side >> 32 == dialog.peer >> 32;
        if !from_backend {
            dialog.listener = m.listener;
        }
        let before = dialog.phase;
        let sees_answers = from_backend || ways.sees_answers;
        Model::message(dialog, m, by_party, sees_answers, from_backend && ways.turns_away);
        // Packets that change nothing are noted no oftener than 64 times in a lifetime.
        let age = now.wrapping_sub(dialog.seen);
        if dialog.phase != before || age > Model::lifetime(dialog.phase) / 64 {
            dialog.seen = now;
        }
    }

    /// What a message changes.
    fn message(dialog: &mut Modelled, m: &Message, by_party: bool, sees_answers: bool, turns_away: bool) {
        let open = matches!(dialog.phase, Phase::Unanswered | Phase::Ringing | Phase::Cancelled);
        let of_the_invite = dialog.evidence != 0 && dialog.evidence == m.headers.branch;
        let nothing_to_go_by = m.headers.branch == 0 && m.headers.to_tag == 0;
        match m.kind {
            Kind::Response(code) if open && by_party && of_the_invite => match (code, dialog.phase) {
                (101..=199, Phase::Unanswered) => dialog.phase = Phase::Ringing,
                (200..=299, Phase::Unanswered | Phase::Ringing) => {
                    dialog.phase = Phase::Answered;
                    dialog.evidence = m.headers.to_tag;
                }
                (300..=399 | 503, Phase::Unanswered | Phase::Ringing) if turns_away => {
                    dialog.phase = Phase::TurnedAway;
                }
                (300..=699, _) => dialog.phase = Phase::Ended,
                _ => {}
            },
            Kind::Request(Method::Invite | Method::Ack) if nothing_to_go_by => {}
            Kind::Request(Method::Invite) if dialog.phase == Phase::Answered => {}
            Kind::Request(Method::Invite) if m.headers.to_tag != 0 => dialog.phase = Phase::Answered,
            Kind::Request(Method::Invite) if m.headers.branch == dialog.evidence => {}
            Kind::Request(Method::Invite) => {
                dialog.phase = Phase::Unanswered;
                dialog.evidence = m.headers.branch;
            }
            Kind::Request(Method::Ack) if open && of_the_invite => dialog.phase = Phase::Ended,
            Kind::Request(Method::Ack) if open && !sees_answers => {
                dialog.phase = Phase::Answered;
                dialog.evidence = m.headers.to_tag;
            }
            Kind::Request(Method::Cancel) if open && by_party => dialog.phase = Phase::Cancelled,
            Kind::Request(Method::Bye) if open && by_party => dialog.phase = Phase::Ended,
            Kind::Request(Method::Bye) if dialog.phase == Phase::Answered => {
                let knows = dialog.evidence != 0 && dialog.evidence == m.headers.to_tag;
                if by_party || knows {
                    dialog.phase = Phase::Ended;
                }
            }
            _ => {}
        }
    }
}

/// Slots of a table of two buckets, which every dialog may stand in.
const SLOTS: usize = 8;

impl Model {
    /// Whether no slot is free, and none holds a dialog whose lifetime is over.
    fn crowded(&self, story: &Story) -> bool {
        let dialogs = story.tables.dialogs();
        let over = |phase, seen: u32| self.now.wrapping_sub(seen) >= Model::lifetime(phase);
        dialogs.len() == SLOTS && !self.dialogs.values().any(|d| over(d.phase, d.seen))
    }

    /// Somebody has just looked at the whole table: whatever is over is gone.
    fn all_are_young(&self, story: &Story) -> Result<(), TestCaseError> {
        for (key, dialog) in story.tables.dialogs() {
            let over = expiry::is_over((&story.tables).settings(), dialog.state, self.now);
            prop_assert!(!over, "{:?} of {:?} is over and still there", dialog, key);
        }
        Ok(())
    }
}

/// Plays events on the core and on the model, which must agree after every one of them.
fn play(events: &[Event], start: u32, ways: Ways) -> Result<(), TestCaseError> {
    let mut story = Story::with(lifetimes(), 1);
    story.sees_answers = ways.sees_answers;
    let policy = (&story.tables).policy(0);
    story.tables.set_policy(0, Policy { retries_refused: ways.turns_away.into(), ..policy });
    story.tables.set_now(start);
    let mut model = Model { now: start, ways, ..Model::default() };
    let mut wills = [will::ENABLED; 3];
    for event in events {
        match event {
            Event::Arrives(m) => arrives(&story, &mut model, &wills, m)?,
            Event::Leaves(backend, m) => leaves(&story, &mut model, *backend, m)?,
            Event::Backend(id, will) => {
                wills[*id as usize] = *will;
                story.tables.set_backend(*id, *will, health::UP);
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
        let dialog = model.dialogs.get_mut(&call).expect("the model knows what is alive");
        let elsewhere = dialog.phase == Phase::TurnedAway
            && m.kind == Kind::Request(Method::Invite)
            && (m.headers.to_tag, m.headers.branch != 0) == (0, true)
            && m.headers.branch != dialog.evidence;
        if !keeps(wills[dialog.backend as usize]) {
            if !dropped {
                prop_assert_eq!(steering.verdict, Verdict::SteeredMoved);
                prop_assert_eq!(wills[steering.backend as usize], will::ENABLED);
                dialog.backend = steering.backend;
                dialog.seen = now;
            }
        } else if elsewhere {
            let others = (0..3).filter(|id| *id != dialog.backend && wills[*id as usize] == will::ENABLED);
            if others.count() == 0 {
                prop_assert_eq!(steering.verdict, Verdict::RefusedFull);
            } else {
                prop_assert_eq!(steering.verdict, Verdict::SteeredNew);
                prop_assert_ne!(steering.backend, dialog.backend);
                prop_assert_eq!(wills[steering.backend as usize], will::ENABLED);
                dialog.backend = steering.backend;
                (dialog.phase, dialog.evidence, dialog.seen) = (Phase::Unanswered, m.headers.branch, now);
            }
        } else {
            prop_assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, dialog.backend));
            model.packet(m, false);
        }
        return Ok(());
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
        (Verdict::RefusedFull, Some(Phase::Unanswered)) => {
            prop_assert!(!wills.contains(&will::ENABLED), "the zone is asked for each of its backends");
        }
        (Verdict::DroppedNoBackend, _) => {
            prop_assert!(opening != Some(Phase::Unanswered) || m.headers.to_tag != 0, "a call is refused");
        }
        other => prop_assert!(false, "unexpected: {:?} for {:?}", other, m),
    }
    Ok(())
}

fn leaves(story: &Story, model: &mut Model, backend: u16, m: &Message) -> Result<(), TestCaseError> {
    let call = m.call_key.expect("every event has a call");
    let (before, was_alive) = (story.dialog(call), alive(story, call));
    let leaving = story.leaves(backend, &[0], *m);
    prop_assert_eq!(leaving.service, 0);
    if was_alive {
        let dialog = model.dialogs.get(&call).expect("the model knows what is alive");
        prop_assert_eq!((leaving.verdict, leaving.listener), (Verdict::Reply, dialog.listener));
        if dialog.backend == backend {
            model.packet(m, true);
        }
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
    for backend in 0..3 {
        let calls = story.tables.dialogs().iter().filter(|(_, d)| d.state.holds_channel()).count();
        let of_it = |d: &Dialog| d.state.holds_channel() && d.state.backend == backend;
        let channels = story.tables.dialogs().iter().filter(|(_, d)| of_it(d)).count();
        prop_assert_eq!(story.tables.load_of(backend).channels, channels as u64);
        prop_assert_eq!(story.tables.load_of_zone(0).channels, calls as u64);
    }
    let living = story.tables.dialogs().iter().filter(|(_, d)| d.state.is_live()).count();
    prop_assert_eq!(living, model.dialogs.len(), "a dialog that nobody opened");
    Ok(())
}

proptest! {
    // 800 runs of up to 800 events: some 300,000 steps.
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_says(
        events in prop::collection::vec(an_event(), 1..800),
        start in prop_oneof![Just(0), Just(0xff00), Just(u32::MAX - 300), any::<u32>()],
        sees_answers: bool,
        turns_away: bool,
    ) {
        play(&events, start, Ways { sees_answers, turns_away })?;
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
