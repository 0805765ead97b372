//! The dialog table itself: where dialogs find room, and dialogs that were put in twice.

use lb_common::{
    decide::{
        E2BIG, Tables,
        remember::{self, Opening, Remembered},
        table::homes,
    },
    map::{
        dialog::{BUCKET_SLOTS, DialogKey, Phase},
        settings::Settings,
    },
    sip::Method,
    verdict::Verdict,
};
use lb_tests::story::{Story, request, settings};

const CALL: u64 = 0x1234_5678_9abc_def0;

/// Random call keys, the same in every run.
fn random_keys(count: u32) -> impl Iterator<Item = u64> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    (0..count).map(move |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    })
}

/// How many of so many dialogs find both their buckets full in a table for `capacity`.
fn without_room(dialogs: u32, capacity: u32) -> u64 {
    let story = Story::with(Settings { unconfirmed_limit: u32::MAX, ..settings() }, capacity);
    let mut unpinned = 0;
    for key in random_keys(dialogs) {
        match story.arrives(request(Method::Invite, key)).verdict {
            Verdict::SteeredNew => {}
            Verdict::SteeredUnpinned => unpinned += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(story.tables.write_errors(E2BIG), unpinned);
    assert_eq!(story.tables.counted().entries + unpinned, u64::from(dialogs));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
    unpinned
}

#[test]
fn a_table_has_room_for_what_it_was_made_for() {
    for capacity in [1024, 4096, 65_536, 1 << 20] {
        let full = without_room(capacity, capacity);
        assert!(full <= u64::from(capacity / 1000), "{full} of {capacity} found no room");
        assert_eq!(without_room(capacity / 2, capacity), 0, "half of {capacity}");
    }
}

#[test]
fn every_slot_of_a_tiny_table_is_used() {
    let story = Story::with(settings(), 1);
    let slots = 2 * u64::from(BUCKET_SLOTS);
    for call in 0..slots {
        story.opens(call << 40 | call);
    }
    assert_eq!(story.tables.dialogs().len() as u64, slots);
    assert_eq!(story.tables.all_write_errors(), 0);
}

/// Puts a dialog in without looking for it first, as a CPU does whose look-up came too early.
fn insert(story: &Story, call_key: u64, backend: u16) -> Remembered {
    let opening = Opening {
        call_key,
        service: 0,
        backend,
        phase: Phase::Unanswered as u8,
        listener: 0,
        peer: 1,
        evidence: 2,
        now: 0,
        admitted: false,
    };
    remember::pin(&&story.tables, &opening)
}

/// There is one entry of the call, and a packet finds it.
fn is_there_once(story: &Story, backend: u16) {
    let entries: Vec<_> =
        story.tables.dialogs().into_iter().filter(|(key, _)| key.call_key == CALL).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0].1.state.backend, backend);
    assert_eq!(story.dialog(CALL), Some(entries[0].1));
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

#[test]
fn a_dialog_that_is_put_in_twice_is_there_once() {
    let story = Story::new();
    assert_eq!(insert(&story, CALL, 1), Remembered::New);
    for backend in [2, 1, 7] {
        assert_eq!(insert(&story, CALL, backend), Remembered::Already(1));
        is_there_once(&story, 1);
    }
}

#[test]
fn of_two_entries_that_one_stays_which_a_look_up_finds() {
    let story = Story::new();
    // Another dialog stands before it in the bucket and goes away.
    let other = CALL ^ 1 << 60;
    let mask = (&story.tables).settings().bucket_mask;
    assert_eq!(homes(&DialogKey::new(other, 0), mask).first, homes(&DialogKey::new(CALL, 0), mask).first);
    story.arrives(request(Method::Register, other));
    assert_eq!(insert(&story, CALL, 1), Remembered::New);
    story.sleeps(settings().ended_ticks);
    story.tables.tend();
    assert_eq!(insert(&story, CALL, 2), Remembered::Already(2));
    is_there_once(&story, 2);
}

#[test]
fn two_entries_in_two_buckets_become_one() {
    let story = Story::new();
    let mask = (&story.tables).settings().bucket_mask;
    let home = homes(&DialogKey::new(CALL, 0), mask);
    // Two others leave two slots of the first bucket: the first entry takes one, the second goes to the emptier bucket.
    let others = (1..1000).map(|n| CALL ^ n << 33).filter(|key| {
        let theirs = homes(&DialogKey::new(*key, 0), mask);
        theirs.first == home.first && theirs.second != home.second
    });
    for other in others.take(2) {
        story.opens(other);
    }
    assert_eq!(insert(&story, CALL, 1), Remembered::New);
    assert_eq!(insert(&story, CALL, 2), Remembered::Already(1));
    is_there_once(&story, 1);
    assert_eq!(story.tables.dialogs().len(), 3);
}

#[test]
fn an_entry_that_is_there_twice_goes_even_if_a_packet_changes_it_at_that_moment() {
    let story = Story::new();
    assert_eq!(insert(&story, CALL, 1), Remembered::New);
    for changes in 0..=1 {
        // The slot is claimed and published; what removes the entry comes third.
        story.tables.disturb(2, changes);
        assert_eq!(insert(&story, CALL, 2), Remembered::Already(1));
        is_there_once(&story, 1);
    }
}
