//! Calls of our own making: callers that keep their schedule, follow redirects and judge every answer, and servers that do
//! what the caller asks of them and remember every call.
//!
//! * [`wish`]: what a caller wants of the server; the server reads it in the To header, which a redirect leaves as it is.
//! * [`caller`]: many calls at a time in the open loop: the next call does not wait for the last. [`outcome`]: what became
//!   of them. [`crowd`]: callers at many addresses. [`server`]: the other side, of some [`manner`]. [`seen`]: what it remembers.
//! * [`pace`]: how many calls came in a second, and how many a limit would have let through.
//! * [`phone`]: one socket for messages that are written by hand.
//! * [`flood`]: many INVITEs that belong to nobody.
//! * [`message`]: reading and writing SIP. [`endpoint`]: a socket that may lose datagrams on purpose.
//!
//! The timers are those of RFC 3261 section 17 with a T1 that a test may shorten. Deliberately absent: TCP, and anything
//! that knows how a balancer decides.

pub mod caller;
pub mod crowd;
mod dialogue;
pub mod endpoint;
pub mod flood;
pub mod manner;
pub mod message;
pub mod outcome;
pub mod pace;
pub mod phone;
pub mod seen;
pub mod server;
mod timers;
pub mod wish;

use std::{sync::OnceLock, time::Instant};

/// When this process began to count time: what Timestamp headers (RFC 3261 section 20.38) are relative to.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
