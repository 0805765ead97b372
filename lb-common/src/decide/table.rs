//! The dialog table: where a dialog stands, how it is found, and how one is put in while other CPUs do the same.
//!
//! A dialog may stand in two buckets, which follow from its key. It goes into the first, unless that is nearly full and the
//! second less so. A slot is claimed by compare-and-swap of its state, written, and published by another; nobody waits for
//! anybody. Two CPUs that put the same dialog in at once may both do so: whoever sees both afterwards removes all but the
//! one that a look-up finds, and as each of them looks after it has published its own, at least one sees both.

use super::{
    Bucket, Slot, Tables,
    capacity::NOBODY,
    expiry,
    pin::{Found, LookUp, replace},
};
use crate::{
    limits::CLAIM_ATTEMPTS,
    map::dialog::{self, BUCKET_SLOTS, DialogKey, Evidence, Phase, State},
    sip::swar::is_zero,
};

/// The two buckets of a dialog; never the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Homes {
    /// Looked into first.
    pub first: u32,
    /// Looked into if it is not there.
    pub second: u32,
}

/// Both buckets of a dialog lie among so many, which share a page of memory: the processor looks up its address once. Two
/// choices among 32 buckets balance nearly as well as two among all: in a table that holds as much as it is made for, 6 of
/// 10,000 dialogs find both buckets full, against 3.
const PAGE_BUCKETS: u32 = 32;

const _: () = assert!(PAGE_BUCKETS as usize * size_of::<dialog::Bucket>() == 4096);

/// The buckets of a key in a table with `mask` + 1 of them.
#[inline(always)]
pub const fn homes(key: &DialogKey, mask: u32) -> Homes {
    let mixed = key.call_key ^ (key.service as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let first = mixed as u32;
    // The call key's upper half chooses in the ring. An odd distance: the two differ.
    let distance = (mixed >> 32) as u32 & (PAGE_BUCKETS - 1) | 1;
    Homes { first: first & mask, second: (first ^ distance) & mask }
}

/// 1 if a state steers packets, else 0.
#[inline(always)]
const fn is_live(state: u64) -> u32 {
    let phase = (state >> 16) as u32 & 0xff;
    const LIVE: u32 = (1 << (Phase::TurnedAway as u32 + 1)) - 2;
    (LIVE >> (phase & 31)) & 1 & is_zero((phase >> 5) as u64)
}

/// Slots of a bucket that hold a dialog: how many, and which comes first.
#[derive(Clone, Copy)]
struct Matches {
    count: u32,
    first: u32,
}

#[inline(always)]
fn matches<B: Bucket>(bucket: B, key: &DialogKey) -> Matches {
    let mut found = Matches { count: 0, first: 0 };
    let mut i = BUCKET_SLOTS;
    while i > 0 {
        i -= 1;
        let slot = bucket.slot(i);
        let other = (slot.call_key() ^ key.call_key) | (slot.service() ^ key.service) as u64;
        let hit = is_zero(other) & is_live(slot.state().to_word());
        found.count += hit;
        found.first = found.first * (1 - hit) + i * hit;
    }
    found
}

/// Slots of a bucket that are free: how many, and which comes first.
#[inline(always)]
fn free<B: Bucket>(bucket: B) -> Matches {
    let mut found = Matches { count: 0, first: 0 };
    let mut i = BUCKET_SLOTS;
    while i > 0 {
        i -= 1;
        let hit = is_zero(bucket.slot(i).state().phase as u64);
        found.count += hit;
        found.first = found.first * (1 - hit) + i * hit;
    }
    found
}

/// The dialog of a key.
#[inline(always)]
pub fn look_up<T: Tables>(tables: &T, key: &DialogKey) -> LookUp<T::Slot> {
    let homes = homes(key, tables.settings().bucket_mask);
    let Some(bucket) = tables.bucket(homes.first) else { return LookUp::NONE };
    let hit = matches(bucket, key);
    let slot = if hit.count != 0 {
        bucket.slot(hit.first)
    } else {
        let Some(bucket) = tables.bucket(homes.second) else { return LookUp::NONE };
        let hit = matches(bucket, key);
        if hit.count == 0 {
            return LookUp::NONE;
        }
        bucket.slot(hit.first)
    };
    let dialog = slot.read();
    // Read in one piece, and still what was looked for.
    let same = dialog.call_key == key.call_key && dialog.service == key.service && dialog.state.is_live();
    if same && slot.state().generation == dialog.state.generation {
        return LookUp { slot: Some(slot), dialog };
    }
    LookUp::NONE
}

/// The dialog of a key, if there is one.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &DialogKey) -> Option<Found<T::Slot>> {
    look_up(tables, key).found()
}

/// A dialog to put in.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// What names it.
    pub key: DialogKey,
    /// Its state; the generation is that of the slot it gets.
    pub state: State,
    /// Hash of its other side.
    pub peer: u32,
    /// See [`Evidence::hash`].
    pub evidence: u32,
    /// Its channel is taken already.
    pub admitted: bool,
}

/// What became of a dialog that was to be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in the table.
    New,
    /// It is in the table, and so is another CPU's copy: see [`settle`].
    Doubled,
    /// Both its buckets are full, maybe of dialogs whose lifetime is over: see [`make_room`].
    Full,
    /// Other CPUs took every slot that was free.
    Contended,
}

/// Puts a dialog in that a look-up did not find, and counts it.
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, new: &New) -> Inserted {
    let homes = homes(&new.key, tables.settings().bucket_mask);
    let takes_channel = new.state.holds_channel() && !new.admitted;
    let mut attempt = 0;
    while attempt < CLAIM_ATTEMPTS {
        attempt += 1;
        let (Some(first), Some(second)) = (tables.bucket(homes.first), tables.bucket(homes.second)) else {
            return Inserted::Full;
        };
        let (in_first, in_second) = (free(first), free(second));
        if in_first.count == 0 && in_second.count == 0 {
            return Inserted::Full;
        }
        let slot = if in_first.count > 1 || in_first.count >= in_second.count {
            first.slot(in_first.first)
        } else {
            second.slot(in_second.first)
        };
        // Before anybody can see the dialog: who ends it gives the channel back, and none is given back that nobody took.
        if takes_channel {
            tables.move_channel(NOBODY, new.state.backend);
        }
        if write(slot, new) {
            tables.add_to_tally(1, new.state.is_unconfirmed() as i64);
            // Another CPU may have put the same dialog in.
            if matches(first, &new.key).count + matches(second, &new.key).count == 1 {
                return Inserted::New;
            }
            return Inserted::Doubled;
        }
        if takes_channel {
            tables.move_channel(new.state.backend, NOBODY);
        }
    }
    Inserted::Contended
}

/// Claims a slot that was free, fills and publishes it. False: another CPU was faster.
#[inline(always)]
fn write<S: Slot>(slot: S, new: &New) -> bool {
    let before = slot.state();
    let generation = before.generation.wrapping_add(1);
    let claimed = State { phase: Phase::Claimed as u8, generation, ..new.state };
    if before.phase != 0 || !slot.swap_state(before, claimed) {
        return false;
    }
    slot.write(&new.key, new.peer, Evidence { hash: new.evidence, generation, _pad: 0 });
    slot.swap_state(claimed, State { generation, ..new.state })
}

/// Removes all entries of a key but the one that a look-up finds. The backend of that one, also when it is the caller's own;
/// [`NOBODY`] when there is none any more.
#[inline(always)]
pub fn settle<T: Tables>(tables: &T, key: &DialogKey) -> u16 {
    let homes = homes(key, tables.settings().bucket_mask);
    let mut kept = NOBODY;
    let mut i = 0;
    while i < 2 * BUCKET_SLOTS {
        let home = if i < BUCKET_SLOTS { homes.first } else { homes.second };
        if let Some(bucket) = tables.bucket(home) {
            let slot = bucket.slot(i & (BUCKET_SLOTS - 1));
            let dialog = slot.read();
            let same = dialog.call_key == key.call_key
                && dialog.service == key.service
                && dialog.state.is_live()
                && slot.state().generation == dialog.state.generation;
            if same {
                if kept == NOBODY {
                    kept = dialog.state.backend;
                } else {
                    replace(tables, slot, dialog.state, State { phase: 0, ..dialog.state });
                }
            }
        }
        i += 1;
    }
    kept
}

/// Removes the dialogs from a key's two buckets whose lifetime is over; how many.
#[inline(always)]
pub fn make_room<T: Tables>(tables: &T, key: &DialogKey, now: u32) -> u32 {
    let homes = homes(key, tables.settings().bucket_mask);
    tables.sweep_bucket(homes.first, now) + tables.sweep_bucket(homes.second, now)
}

/// Looks at the dialogs of one bucket and removes those whose lifetime is over; how many.
#[inline(always)]
pub fn sweep_bucket<T: Tables>(tables: &T, index: u32, now: u32) -> u32 {
    let Some(bucket) = tables.bucket(index) else { return 0 };
    let mut freed = 0;
    let mut i = 0;
    while i < BUCKET_SLOTS {
        let slot = bucket.slot(i);
        let state = slot.state();
        if expiry::is_over(tables.settings(), state, now)
            && replace(tables, slot, state, State { phase: 0, ..state })
        {
            tables.count_expired(state.phase);
            freed += 1;
        }
        i += 1;
    }
    freed
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn the_two_homes_differ_and_lie_inside() {
        for mask in [1, 511, 0x7_ffff] {
            for n in 0..1000u64 {
                let key = DialogKey::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n as u16 % 3);
                let homes = homes(&key, mask);
                assert!(homes.first <= mask && homes.second <= mask);
                assert_ne!(homes.first, homes.second);
            }
        }
    }

    #[test]
    fn arithmetic_says_what_branches_would() {
        for number in [0, 1, 2, u64::MAX, 1 << 63] {
            assert_eq!(is_zero(number), u32::from(number == 0), "{number}");
        }
        for phase in 0..=255u8 {
            let state = State { phase, backend: 0xffff, listener: 0xff, seen: 0xffff, generation: 0xffff };
            assert_eq!(is_live(state.to_word()), u32::from(state.is_live()), "{phase}");
        }
    }
}
