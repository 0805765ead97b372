//! Writes that fail, and how they are counted.

use super::MemoryTables;
use std::sync::atomic::Ordering::SeqCst;

impl MemoryTables {
    /// Has every insertion fail with an error number, as a write to a map may; 0: they work.
    pub fn fail_writes(&self, errno: i32) {
        self.failing.store(errno, SeqCst);
    }

    /// Failed writes of an error number.
    pub fn write_errors(&self, errno: i32) -> u64 {
        self.write_errors[errno as usize].load(SeqCst)
    }

    /// Failed writes of any error number.
    pub fn all_write_errors(&self) -> u64 {
        self.write_errors.iter().map(|count| count.load(SeqCst)).sum()
    }
}
