//! A pointer to a dialog outlives the dialog: whoever holds one must not touch the next owner of its memory.

use lb_common::{
    decide::{
        DialogHeaders, Slot, Tables,
        pin::{self, Step},
        track::{self, Sender},
    },
    map::{
        dialog::{DialogKey, Phase, State},
        settings::Settings,
    },
    sip::Method,
};
use lb_tests::{
    memory::MemoryTables,
    story::{BRANCH, CALLER, Message, Story, request, settings},
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

const OLD: u64 = 0x1111_0000_0000_0001;
const NEW: u64 = 0x1111_0000_0000_0002;

/// The life of OLD is over, buried, and NEW has got its memory. Returns what a CPU found for OLD before that.
fn reused(story: &Story) -> pin::Found<<&MemoryTables as Tables>::Slot> {
    story.opens(OLD);
    let found = pin::find(&&story.tables, &DialogKey::new(OLD, 0)).expect("pinned");
    // The CPU that holds it stands still, against all rules, until the entry is gone.
    story.passes(settings().unanswered_ticks + settings().burial_ticks);
    assert_eq!(story.phase(OLD), None);
    story.opens(NEW);
    assert_eq!(found.slot.read().call_key, NEW, "the memory has a new owner");
    found
}

struct Kill;
impl Step for Kill {
    fn next(&self, state: State) -> State {
        State { phase: Phase::Dead as u8, ..state }
    }
}

#[test]
fn a_change_through_a_stale_pointer_is_refused() {
    let story = Story::new();
    let found = reused(&story);
    let before = story.dialog(NEW);
    let change = pin::change(&&story.tables, &found, &Kill);
    assert!(!change.done);
    assert_eq!(story.dialog(NEW), before);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn packets_of_a_gone_dialog_change_nothing_of_its_heir() {
    let story = Story::new();
    let found = reused(&story);
    let before = story.dialog(NEW);
    for method in [Method::Ack, Method::Bye, Method::Cancel, Method::Invite] {
        for m in [request(method, OLD), request(method, OLD).branch(BRANCH + 1).to_tag(9)] {
            let ended =
                track::update(&&story.tables, &found, &m, m.headers, Sender::Peer, Some(7), 3_000_000);
            assert!(!ended);
            assert_eq!(story.dialog(NEW), before, "{m:?}");
        }
    }
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn the_generation_protects_an_heir_that_looks_exactly_alike() {
    let story = Story::new();
    let found = reused(&story);
    let heir = story.dialog(NEW).expect("pinned");
    let old = found.dialog;
    assert_ne!(heir.state.generation, old.state.generation);
    // Everything else alike: only the generation tells them apart.
    let looks_alike = State { generation: old.state.generation, ..heir.state };
    assert!(!found.slot.swap_state(looks_alike, State { phase: Phase::Ended as u8, ..looks_alike }));
    pin::set_evidence(&found, 0xbad);
    assert_eq!(story.dialog(NEW), Some(heir));
}

#[test]
fn a_pointer_that_is_read_after_the_memory_changed_hands_is_not_believed() {
    let story = Story::new();
    let found = reused(&story);
    let (_, same) = found.slot.read_state(&DialogKey::new(OLD, 0));
    assert!(!same);
    // The same call key at another service is another dialog.
    let (_, same) = found.slot.read_state(&DialogKey::new(NEW, 1));
    assert!(!same);
    let (_, same) = found.slot.read_state(&DialogKey::new(NEW, 0));
    assert!(same);
}

#[test]
fn a_new_life_of_the_same_call_is_not_changed_by_the_old_ones_pointer() {
    let story = Story::new();
    story.opens(OLD);
    let found = pin::find(&&story.tables, &DialogKey::new(OLD, 0)).expect("pinned");
    story.passes(settings().unanswered_ticks + settings().burial_ticks);
    story.opens(OLD);
    let before = story.dialog(OLD);
    assert!(!pin::change(&&story.tables, &found, &Kill).done);
    assert_eq!(story.dialog(OLD), before);
}

/// One CPU finds a call in a phase that needs no headers; then another one changes the phase.
#[test]
fn a_packet_whose_headers_were_not_read_changes_no_phase_that_needs_them() {
    let key = DialogKey::new(OLD, 0);
    let reinvite = request(Method::Invite, OLD).branch(BRANCH + 2).to_tag(9);
    let late_ack = request(Method::Ack, OLD).branch(BRANCH).to_tag(9);
    // A re-INVITE found the call answered; a BYE overtook it. It must not open the call again.
    let story = Story::new();
    story.answered(OLD, 9);
    let found = pin::find(&&story.tables, &key).expect("pinned");
    story.arrives(request(Method::Bye, OLD).to_tag(9));
    overtaken(&story, &found, &reinvite);

    // A late ACK found the call ended; an INVITE with credentials overtook it. It must not answer the call.
    let story = Story::new();
    story.opens(OLD);
    story.arrives(late_ack);
    let found = pin::find(&&story.tables, &key).expect("pinned");
    story.arrives(request(Method::Invite, OLD).branch(BRANCH + 3));
    overtaken(&story, &found, &late_ack);
}

/// Plays the rest of an update whose state was read long ago: its listener is noted, phase and evidence stay.
fn overtaken(story: &Story, found: &pin::Found<<&MemoryTables as Tables>::Slot>, m: &Message) {
    let before = story.dialog(OLD).expect("there");
    assert_ne!(before.state.phase, found.dialog.state.phase);
    track::update(&&story.tables, found, m, DialogHeaders::default(), Sender::Peer, Some(7), 0);
    let after = story.dialog(OLD).expect("there");
    assert_eq!(after.state, State { listener: 7, ..before.state });
    assert_eq!(after.evidence, before.evidence);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

/// The same on two threads without any burial time: calls of even keys are never answered, all others are, so a write to
/// a foreign dialog shows as an answered call of an even key, or as an evidence that is not the key's own.
#[test]
fn two_threads_on_the_same_keys_never_change_a_foreign_dialog() {
    const ROUNDS: u64 = 300_000;
    const KEYS: u64 = 16;
    let lifetimes =
        Settings { unanswered_ticks: 1, answered_ticks: 1, ended_ticks: 0, burial_ticks: 0, ..settings() };
    let tables: MemoryTables<1024> = MemoryTables::new(lifetimes, 8).with_backends(1);
    let (foreign, running) = (AtomicU64::new(0), AtomicBool::new(true));
    let check = |key: &DialogKey, state: State, evidence: u32| {
        let odd = key.call_key & 1 == 1;
        let alien = evidence != BRANCH && evidence != key.call_key as u32;
        if alien || (!odd && (state.phase == Phase::Answered as u8 || evidence != BRANCH)) {
            foreign.fetch_add(1, SeqCst);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let story = Packets { tables: &tables };
            for round in 0..ROUNDS {
                story.packet(round * 7 % KEYS, round % 3 != 0);
            }
            running.store(false, SeqCst);
        });
        let mut round = 0;
        while running.load(SeqCst) {
            let key = DialogKey::new(round % KEYS, 0);
            tables.pass(1);
            tables.tend();
            tables.expire(&key);
            let found = pin::find(&&tables, &key);
            // Only what still has its generation afterwards was read in one piece.
            if let Some(found) = found
                && found.dialog.evidence.generation == found.dialog.state.generation
            {
                check(&key, found.dialog.state, found.dialog.evidence.hash);
            }
            round += 1;
        }
    });
    assert_eq!(foreign.load(SeqCst), 0);
    tables.pass(10);
    for _ in 0..KEYS * 4 {
        tables.tend();
        tables.pass(1);
    }
    for (key, dialog) in tables.dialogs() {
        check(&key, dialog.state, dialog.evidence.hash);
    }
    assert_eq!(foreign.load(SeqCst), 0);
    assert_eq!(tables.tally(), Some(tables.counted()));
}

struct Packets<'a> {
    tables: &'a MemoryTables<1024>,
}

impl Packets<'_> {
    fn packet(&self, call_key: u64, invite: bool) {
        use lb_common::decide::Inbound;
        let m = if invite {
            request(Method::Invite, call_key)
        } else if call_key & 1 == 1 {
            request(Method::Ack, call_key).branch(BRANCH + 1).to_tag(call_key as u32)
        } else {
            request(Method::Info, call_key).to_tag(1)
        };
        let packet = Inbound { service: 0, listener: 0, tiers: 1, call_key: Some(call_key), source: CALLER };
        let steering = self.tables.steer(&packet, &m);
        if steering.tend {
            self.tables.tend();
        }
    }
}
