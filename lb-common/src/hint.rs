//! Which way a packet goes nearly always: the compiler lays what it does then in one piece, so that the processor fetches few lines
//! of code that it does not run. A packet finds the caches full of what the host did since the last one.

use core::hint::cold_path;

/// `condition`, which is nearly always true.
#[inline(always)]
pub const fn likely(condition: bool) -> bool {
    if !condition {
        cold_path();
    }
    condition
}

/// `condition`, which is hardly ever true.
#[inline(always)]
pub const fn unlikely(condition: bool) -> bool {
    if condition {
        cold_path();
    }
    condition
}

/// `value`, which is nearly always there.
#[inline(always)]
pub fn present<T>(value: Option<T>) -> Option<T> {
    if value.is_none() {
        cold_path();
    }
    value
}
