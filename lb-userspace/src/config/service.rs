//! What a `[[service]]` is made of: addresses, tiers, and how a backend is chosen and what happens when there is no room.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// UDP addresses callers send to; 1 to 8, unique in the file.
    pub listen: Vec<SocketAddr>,
    /// How packets get to the backends.
    pub forwarding: Forwarding,
    /// `policy`, and `bound` where that means something.
    pub policy: Policy,
    /// `hash_by`: what the ring is asked with.
    pub hash_by: HashBy,
    /// `target_utilisation`: the preferred ceiling of utilisation, in units of 1/1024.
    pub target: u16,
    /// `zones` in order of preference; the first has at least one backend.
    pub tiers: Vec<Tier>,
    /// `options`: whether OPTIONS outside a dialog are answered here, not by a backend.
    pub answers_options: bool,
    /// `retry_after` of our own 503, in seconds: a number of this range; `None`: without Retry-After.
    pub retry_after: Option<RangeInclusive<u32>>,
    /// `retry_refused`: whether a call may go elsewhere after a backend's own 503 or 3xx.
    pub retries_refused: bool,
    /// `full_after_refusal`: how long a backend counts as full after its own 503 or 3xx.
    pub full_after_refusal: FullAfterRefusal,
}

impl Service {
    /// Names of its zones, tier by tier.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().map(|t| t.zone.as_str())
    }
}

/// `full_after_refusal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullAfterRefusal {
    /// So long; zero: not at all.
    For(Duration),
    /// As long as its Retry-After says, a second if there is none.
    RetryAfter,
}

/// One of a service's zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Name of the zone.
    pub zone: String,
    /// How calls get there. Of the first tier, where they go anyway, always [`Overflow::Forward`].
    pub overflow: Overflow,
}

/// `overflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The calls themselves go there.
    Forward,
    /// Callers are told to go there (302).
    Redirect,
}

/// `forwarding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Destination rewrite, replies through the balancer.
    Nat,
    /// MAC rewrite, replies straight to the caller.
    L2,
}

/// `policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The ring's first choice that has room.
    Consistent {
        /// `bound`: a backend above this multiple of its tier's mean utilisation is passed over, in units of 1/1024;
        /// `None`: none is.
        bound: Option<u16>,
    },
    /// The less utilised of the ring's first two choices.
    LeastLoaded,
    /// In the order of the file, each filled to its limit before the next.
    PrimarySecondary,
}

/// `hash_by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The Call-ID.
    CallId,
    /// The user part of the From URI.
    FromUser,
    /// The user part of the To URI.
    ToUser,
    /// The user part of the request URI.
    RequestUser,
    /// The source's address.
    Source,
}
