//! Forgetting dialogs, without the daemon: as time passes, packets look at bucket after bucket. A dialog that is put into
//! a full bucket looks there at once, see [`super::table`].

use super::Tables;
use crate::{
    limits::MAX_SWEEP,
    map::{
        dialog::{Phase, State},
        settings::Settings,
    },
};

/// Lifetime of a dialog of a phase, since it was last seen, in ticks.
#[inline(always)]
pub fn lifetime(settings: &Settings, phase: u8) -> u32 {
    if phase == Phase::Unanswered as u8 || phase == Phase::Ringing as u8 {
        settings.unanswered_ticks
    } else if phase == Phase::Answered as u8 {
        settings.answered_ticks
    } else if phase == Phase::Subscribed as u8 {
        settings.subscribed_ticks
    } else {
        settings.ended_ticks
    }
}

/// Whether a slot holds a dialog whose lifetime is over.
#[inline(always)]
pub fn is_over(settings: &Settings, state: State, now: u32) -> bool {
    state.is_live() && state.age(now) >= lifetime(settings, state.phase)
}

/// Looks at as many buckets as are due at `jiffies`, [`MAX_SWEEP`] at most. Of the CPUs that notice a new jiffy one does it.
#[inline(always)]
pub fn tend<T: Tables>(tables: &T, jiffies: u64) {
    let Some(at) = tables.swept_at() else { return };
    if at >= jiffies || !tables.set_swept_at(at, jiffies) {
        return;
    }
    let passed = if jiffies - at < MAX_SWEEP as u64 { (jiffies - at) as u32 } else { MAX_SWEEP };
    let due = passed.saturating_mul(tables.settings().sweep_buckets);
    sweep(tables, if due < MAX_SWEEP { due } else { MAX_SWEEP });
}

/// Looks at the next `count` buckets, [`MAX_SWEEP`] at most.
#[inline(always)]
pub fn sweep<T: Tables>(tables: &T, count: u32) {
    let hand = tables.advance_hand(count);
    let now = tables.now();
    let mut i = 0;
    while i < MAX_SWEEP && i < count {
        tables.sweep_bucket((hand as u32).wrapping_add(i) & tables.settings().bucket_mask, now);
        i += 1;
    }
}
