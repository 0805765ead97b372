//! The time of day: for people's eyes, and for what a restart of the host must find. It jumps, so nothing that the daemon does
//! while it runs depends on it; that goes by the monotonic clock. `clippy.toml` lets nobody else read it.

use crate::fault;
use jiff::{SignedDuration, Timestamp};

/// What a clock on the wall shows.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub fn now() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(fault::clock_jump())
}
