//! Another CPU that comes in between when a channel is about to move.

use super::MemoryTables;
use lb_common::{decide::Tables, map::dialog::MAX_AGE};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Moves of channels until another CPU comes in between; 0: none does.
#[derive(Default)]
pub(super) struct Interruption(AtomicU32);

impl MemoryTables {
    /// Has another CPU forget every dialog just when the `nth` channel from now on is to move, the first being 1.
    pub fn forget_at_move(&self, nth: u32) {
        self.interruption.0.store(nth, SeqCst);
    }

    /// Whether that is yet to come.
    pub fn is_to_forget(&self) -> bool {
        self.interruption.0.load(SeqCst) != 0
    }

    pub(super) fn interrupt(&self) {
        let count = |left: u32| left.checked_sub(1);
        if self.interruption.0.fetch_update(SeqCst, SeqCst, count) == Ok(1) {
            let late = self.now().wrapping_add(MAX_AGE);
            for bucket in 0..=self.settings.bucket_mask {
                (&self).sweep_bucket(bucket, late);
            }
        }
    }
}
