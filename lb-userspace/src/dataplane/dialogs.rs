//! DIALOGS, read from userspace. The daemon never writes it.

use super::{
    maps::{Maps, cannot},
    sys::{self, Cursor},
};
use crate::failure::Failure;
use aya::maps::{IterableMap, MapData};
use lb_common::{
    decide::table::{self, Homes},
    map::{
        dialog::{BUCKET_SLOTS, Bucket, Dialog, DialogKey, Tally},
        expiry::Sweep,
    },
};
use std::os::fd::AsFd;

/// Buckets of one batch read: the kernel answers within a millisecond or so and stays preemptible.
const BATCH: usize = 4096;

impl Maps {
    /// Where the search for old dialogs stands.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sweep(&self) -> Result<Sweep, Failure> {
        self.sweep.get(&0, 0).map_err(|e| cannot("read SWEEP", &e))
    }

    /// One dialog.
    ///
    /// # Errors
    /// The kernel's.
    pub fn dialog(&self, key: &DialogKey) -> Result<Option<Dialog>, Failure> {
        let Homes { first, second } = table::homes(key, self.settings()?.bucket_mask);
        for index in [first, second] {
            let bucket = self.bucket(index)?;
            if let Some(dialog) = bucket.slots.iter().find(|d| d.state.is_live() && d.key() == *key) {
                return Ok(Some(*dialog));
            }
        }
        Ok(None)
    }

    /// A bucket of DIALOGS.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bucket(&self, index: u32) -> Result<Bucket, Failure> {
        self.dialogs.get(&index, 0).map_err(|e| cannot("read DIALOGS", &e))
    }

    /// Number of buckets of DIALOGS.
    pub fn buckets(&self) -> u32 {
        self.dialogs.len()
    }

    /// Dialogs that DIALOGS holds before some find their buckets full.
    pub fn dialogs_capacity(&self) -> u32 {
        self.dialogs.len() * BUCKET_SLOTS / 2
    }

    /// How many dialogs there are.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tally(&self) -> Result<Tally, Failure> {
        self.tally.get(&0, 0).map_err(|e| cannot("read DIALOG_TALLY", &e))
    }

    /// Hands all dialogs to `visit`, some thousand slots at a time, in no order. Dialogs that come or go meanwhile may be
    /// missed.
    ///
    /// # Errors
    /// The kernel's, or that of `visit`.
    pub fn for_each_dialog(&self, mut visit: impl FnMut(&Dialog)) -> Result<(), Failure> {
        let data: &MapData = self.dialogs.map();
        let fd = data.fd().as_fd();
        let mut cursor = Cursor::default();
        let mut keys = vec![0_u32; BATCH];
        let mut buckets = vec![Bucket::default(); BATCH];
        loop {
            let (count, more) = sys::lookup_batch(fd, &mut cursor, &mut keys, &mut buckets)
                .map_err(|e| Failure::bad("map_io", format!("cannot read DIALOGS: {e}")))?;
            let dialogs = buckets[..count].iter().flat_map(|bucket| &bucket.slots);
            dialogs.filter(|d| d.state.is_live()).for_each(&mut visit);
            if !more {
                return Ok(());
            }
        }
    }
}
