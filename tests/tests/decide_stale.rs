//! What was found in a slot outlives its dialog: whoever holds it must not touch the slot's next owner.

use lb_common::{
    decide::{
        DialogHeaders, Inbound, Slot, Tables,
        pin::{self, Step},
        remember::{self, Opening, Remembered},
        table,
        track::{self, Seen, Sender},
    },
    map::{
        dialog::{Dialog, DialogKey, Phase, State},
        settings::Settings,
    },
    sip::Method,
};
use lb_tests::{
    memory::MemoryTables,
    story::{BRANCH, CALLER, Message, Story, request, settings},
};
use std::{
    collections::HashSet,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

/// Two calls of the same first bucket.
const OLD: u64 = 0x1111_0000_0000_0001;
const NEW: u64 = 0x2222_0000_0000_0001;

/// The life of OLD is over, and NEW has got its slot. Returns what a CPU found for OLD before that.
fn reused(story: &Story) -> pin::Found<<&MemoryTables as Tables>::Slot> {
    story.opens(OLD);
    let found = table::find(&&story.tables, &DialogKey::new(OLD, 0)).expect("pinned");
    story.passes(settings().unanswered_ticks);
    assert_eq!(story.phase(OLD), None);
    story.opens(NEW);
    assert_eq!(found.slot.read().call_key, NEW, "the slot has a new owner");
    found
}

struct End;
impl Step for End {
    fn next(&self, state: State) -> State {
        State { phase: Phase::Ended as u8, ..state }
    }
}

#[test]
fn a_change_of_what_was_found_long_ago_is_refused() {
    let story = Story::new();
    let found = reused(&story);
    let before = story.dialog(NEW);
    let change = pin::change(&&story.tables, &found, &End);
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
            track::update(&&story.tables, &found, &m, &seen(&found, m.headers), Some(7), 3_000_000);
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
fn a_slot_is_never_taken_for_another_dialog() {
    let story = Story::new();
    let found = reused(&story);
    let find = |call_key, service| table::find(&&story.tables, &DialogKey::new(call_key, service));
    assert!(find(OLD, 0).is_none());
    // The same call key at another service is another dialog.
    assert!(find(NEW, 1).is_none());
    assert_eq!(find(NEW, 0).map(|f| f.dialog), Some(found.slot.read()));
}

#[test]
fn a_slot_that_is_being_written_is_nobodys() {
    let story = Story::new();
    story.opens(OLD);
    let found = table::find(&&story.tables, &DialogKey::new(OLD, 0)).expect("pinned");
    let live = found.dialog.state;
    let claimed = State { phase: Phase::Claimed as u8, ..live };
    assert!(found.slot.swap_state(live, claimed));
    assert_eq!(story.phase(OLD), None, "not found");
    assert!(!pin::change(&&story.tables, &found, &End).done, "not changed");
    story.sleeps(10 * settings().answered_ticks);
    story.tables.tend();
    assert_eq!(found.slot.state(), claimed, "not removed");
    story.opens(NEW);
    assert_eq!(found.slot.read().call_key, OLD, "not given to another dialog");
    assert!(found.slot.swap_state(claimed, live));
    assert_eq!(story.phase(OLD), Some(Phase::Unanswered));
}

#[test]
fn a_new_life_of_the_same_call_is_not_changed_by_what_was_found_in_the_old_one() {
    let story = Story::new();
    story.opens(OLD);
    let found = table::find(&&story.tables, &DialogKey::new(OLD, 0)).expect("pinned");
    story.passes(settings().unanswered_ticks);
    story.opens(OLD);
    assert_eq!(found.slot.read().call_key, OLD, "the same slot");
    let before = story.dialog(OLD);
    assert!(!pin::change(&&story.tables, &found, &End).done);
    pin::set_evidence(&found, 0xbad);
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
    let found = table::find(&&story.tables, &key).expect("pinned");
    story.arrives(request(Method::Bye, OLD).to_tag(9));
    overtaken(&story, &found, &reinvite);

    // A late ACK found the call ended; an INVITE with credentials overtook it. It must not answer the call.
    let story = Story::new();
    story.opens(OLD);
    story.arrives(late_ack);
    let found = table::find(&&story.tables, &key).expect("pinned");
    story.arrives(request(Method::Invite, OLD).branch(BRANCH + 3));
    overtaken(&story, &found, &late_ack);
}

/// What a packet of the caller says, with these headers.
fn seen(found: &pin::Found<<&MemoryTables as Tables>::Slot>, headers: DialogHeaders) -> Seen {
    let evidence = found.dialog.evidence.hash;
    Seen { headers, evidence, sender: Sender::Peer, sees_answers: false, turns_away: false }
}

/// Plays the rest of an update whose state was read long ago: its listener is noted, phase and evidence stay.
fn overtaken(story: &Story, found: &pin::Found<<&MemoryTables as Tables>::Slot>, m: &Message) {
    let before = story.dialog(OLD).expect("there");
    assert_ne!(before.state.phase, found.dialog.state.phase);
    track::update(&&story.tables, found, m, &seen(found, DialogHeaders::default()), Some(7), 0);
    let after = story.dialog(OLD).expect("there");
    assert_eq!(after.state, State { listener: 7, ..before.state });
    assert_eq!(after.evidence, before.evidence);
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

/// Two threads of packets and one that looks for old dialogs, on a table of two buckets: calls of even keys are never
/// answered, all others are, so a write to a foreign dialog shows as an answered call of an even key, or as an evidence that
/// is not the key's own. Both threads open the same calls at the same time, which must not leave one of them there twice.
#[test]
fn threads_on_the_same_keys_never_change_a_foreign_dialog_nor_leave_one_twice() {
    const ROUNDS: u64 = 150_000;
    let lifetimes = Settings { unanswered_ticks: 1, answered_ticks: 1, ended_ticks: 0, ..settings() };
    let tables = MemoryTables::new(lifetimes, 1).with_backends(1);
    let (foreign, running) = (AtomicU64::new(0), AtomicU64::new(2));
    let packets = || {
        for round in 0..ROUNDS {
            packet(&tables, round * 7 % KEYS, round % 3 != 0);
        }
        running.fetch_sub(1, SeqCst);
    };
    std::thread::scope(|scope| {
        scope.spawn(packets);
        scope.spawn(packets);
        let mut round = 0;
        while running.load(SeqCst) > 0 {
            tables.pass(1);
            tables.tend();
            if let Some(found) = table::find(&&tables, &DialogKey::new(round % KEYS, 0)) {
                foreign.fetch_add(u64::from(is_foreign(&found.dialog)), SeqCst);
            }
            round += 1;
        }
    });
    assert_eq!(foreign.load(SeqCst), 0);
    let dialogs = tables.dialogs();
    assert!(dialogs.iter().all(|(_, dialog)| !is_foreign(dialog)), "{dialogs:?}");
    let keys: HashSet<_> = dialogs.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), dialogs.len(), "{dialogs:?}");
    assert_eq!(tables.tally(), Some(tables.counted()));
    tables.pass(1);
    tables.tend();
    assert_eq!(tables.dialogs(), []);
    assert_eq!(tables.tally(), Some(tables.counted()));
}

/// Twice as many as the table has slots.
const KEYS: u64 = 16;

fn is_foreign(dialog: &Dialog) -> bool {
    let (hash, phase) = (dialog.evidence.hash, dialog.state.phase);
    let odd = dialog.call_key & 1 == 1;
    let alien = hash != BRANCH && hash != tag_of(dialog.call_key);
    alien || !odd && (phase == Phase::Answered as u8 || hash != BRANCH)
}

fn tag_of(call_key: u64) -> u32 {
    0x7a60_0000 | call_key as u32
}

fn packet(tables: &MemoryTables, call_key: u64, invite: bool) {
    let m = if invite {
        request(Method::Invite, call_key)
    } else if call_key & 1 == 1 {
        request(Method::Ack, call_key).branch(BRANCH + 1).to_tag(tag_of(call_key))
    } else {
        request(Method::Info, call_key).to_tag(1)
    };
    let packet = Inbound {
        service: 0,
        listener: 0,
        tiers: 1,
        sees_answers: false,
        call_key: Some(call_key),
        source: CALLER,
    };
    tables.steer(&packet, &m);
}

/// The same dialogs put in by all threads at once, while nothing is forgotten: each is there once afterwards, and at least
/// one thread was told where it is pinned.
#[test]
fn a_dialog_that_threads_put_in_at_once_is_there_once() {
    const DIALOGS: u64 = 20_000;
    const THREADS: usize = 3;
    let tables = MemoryTables::new(Settings { unconfirmed_limit: u32::MAX, ..settings() }, 1 << 16);
    let start = Barrier::new(THREADS);
    let told: Vec<Vec<u16>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|backend| {
                let (tables, start) = (&tables, &start);
                scope.spawn(move || {
                    let mut told = Vec::new();
                    for call in 0..DIALOGS {
                        // Often enough for them to stay side by side.
                        if call % 16 == 0 {
                            start.wait();
                        }
                        told.push(match remember::pin(&tables, &opening(call, backend as u16)) {
                            Remembered::New => backend as u16,
                            Remembered::Already(other) => other,
                            lost => panic!("{lost:?} with room for all"),
                        });
                    }
                    told
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread panicked")).collect()
    });
    assert_eq!(tables.dialogs().len() as u64, DIALOGS);
    assert_eq!(tables.tally(), Some(tables.counted()));
    for call in 0..DIALOGS {
        let pin = table::find(&&tables, &key_of(call)).expect("there").dialog.state.backend;
        assert!(told.iter().any(|by_thread| by_thread[call as usize] == pin), "call {call}");
    }
}

fn key_of(call: u64) -> DialogKey {
    DialogKey::new(call.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0)
}

fn opening(call: u64, backend: u16) -> Opening {
    Opening {
        call_key: key_of(call).call_key,
        service: 0,
        backend,
        phase: Phase::Unanswered as u8,
        listener: 0,
        peer: 7,
        evidence: BRANCH,
        now: 0,
        admitted: false,
    }
}
