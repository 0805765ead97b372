//! The dialog table itself: where dialogs find room, and dialogs that were put in twice.

use lb_common::{
    decide::{
        E2BIG, EBUSY, EDQUOT, Tables,
        remember::{self, Opening, Remembered},
        table::homes,
    },
    limits::{CLAIM_ATTEMPTS, MAX_ERRNO},
    map::{
        dialog::{BUCKET_SLOTS, DialogKey, Phase},
        settings::Settings,
    },
    sip::Method,
    verdict::Verdict,
};
use lb_tests::story::{BRANCH, Story, request, settings};

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

/// The ring's first choice for the call.
fn first_of(story: &Story) -> u16 {
    (&story.tables).ring_choice(0, 1, CALL).expect("a backend")
}

/// A caller's request and a backend's own, both of which open a dialog, find no place in the table: they go where they would
/// have gone, what follows goes there too, and each is counted under its error number and nothing else.
fn is_steered_without_a_place(story: &Story, errno: i32, spoil: impl Fn(&Story)) {
    let errors = || (story.tables.write_errors(errno), story.tables.all_write_errors());
    let carried = |story: &Story| (0..3).map(|id| story.tables.load_of(id).channels).collect::<Vec<_>>();
    let before = (story.tables.counted(), carried(story));
    for (count, method) in (1..).zip([Method::Invite, Method::Register, Method::Subscribe]) {
        let first = first_of(story);
        spoil(story);
        let steering = story.arrives(request(method, CALL));
        assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredUnpinned, first), "{method:?}");
        assert_eq!(errors(), (count, count), "{method:?} with error {errno}");
        let bye = story.arrives(request(Method::Bye, CALL).branch(BRANCH + 1).to_tag(9));
        assert_eq!((bye.verdict, bye.backend), (Verdict::SteeredRing, first));
    }
    spoil(story);
    let own = story.leaves(1, &[0], request(Method::Invite, CALL));
    assert_eq!((own.verdict, errors()), (Verdict::ReplyUnpinned, (4, 4)), "error {errno}");
    assert_eq!((story.tables.counted(), carried(story)), before, "no channel is lost");
    assert_eq!(story.tables.tally(), Some(story.tables.counted()));
}

/// R8.
#[test]
fn whatever_error_a_write_has_the_call_is_steered_by_the_ring_and_counted() {
    for errno in 1..MAX_ERRNO as i32 {
        let story = Story::new();
        story.tables.fail_writes(errno);
        is_steered_without_a_place(&story, errno, |_| {});
    }
}

#[test]
fn every_error_that_the_table_itself_has_is_counted() {
    let full = Story::with(settings(), 1);
    for call in 1..=2 * u64::from(BUCKET_SLOTS) {
        full.opens(call << 40 | call);
    }
    is_steered_without_a_place(&full, E2BIG, |_| {});
    is_steered_without_a_place(&Story::new(), EBUSY, |story| story.tables.disturb(0, CLAIM_ATTEMPTS));
    // REGISTER and the like are no unconfirmed calls.
    let many = Story::with(Settings { unconfirmed_limit: 1, ..settings() }, 256);
    many.opens(CALL ^ 1);
    let steering = many.arrives(request(Method::Invite, CALL));
    assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredUnpinned, first_of(&many)));
    assert_eq!((many.tables.write_errors(EDQUOT), many.tables.all_write_errors()), (1, 1));
}

/// What the kernel's maps may refuse (E2BIG, ENOMEM, EBUSY, EDEADLK) cannot happen: the programs write in place and neither
/// add nor remove an entry of a map.
#[test]
fn no_program_adds_an_entry_to_a_map_or_removes_one() {
    const CALL_HELPER: [u8; 4] = [0x85, 0, 0, 0];
    let helper = |number: u32| [CALL_HELPER, number.to_le_bytes()].concat();
    let calls = |number| sipsteer::OBJECT.chunks_exact(8).filter(|i| *i == helper(number)).count();
    const LOOK_UP: u32 = 1;
    const UPDATE: u32 = 2;
    const DELETE: u32 = 3;
    assert!(calls(LOOK_UP) > 0, "this is how calls are found");
    assert_eq!((calls(UPDATE), calls(DELETE)), (0, 0));
}
