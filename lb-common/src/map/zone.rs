//! ZONES, ZONE_MEMBERS and POLICIES: groups of backends, and how a service chooses among them.

use crate::limits::{MAX_BACKENDS, MAX_TIERS, NAME_LEN};
use core::mem::size_of;

/// The operator's will about a zone.
pub mod zone_will {
    /// No such zone.
    pub const ABSENT: u8 = 0;
    /// Takes new calls.
    pub const ENABLED: u8 = 1;
    /// Takes no new calls; those in progress stay.
    pub const DISABLED: u8 = 2;
}

/// Value of ZONES, by the zone's number. The daemon writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// See [`zone_will`].
    pub will: u8,
    /// 1: its backends are not in this configuration, so that only an address is known to redirect to.
    pub remote: u8,
    /// Explicit padding.
    pub _pad: [u8; 2],
    /// Backends that take new calls: enabled, up, limits above 0.
    pub takers: u32,
    /// Sum of their channels; what utilisation 1 means.
    pub capacity_channels: u32,
    /// Sum of their calls per second.
    pub capacity_cps: u32,
    /// Name, padded with zeros.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Zone>() == 16 + NAME_LEN);

/// Value of ZONE_MEMBERS, by the zone's number: the backends that take new calls, in the order of the configuration. It is
/// replaced piece by piece while packets read it; an id that is out of place for a moment is a backend all the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// How many ids are used.
    pub count: u32,
    /// Backend ids.
    pub ids: [u16; MAX_BACKENDS as usize],
}

const _: () = assert!(size_of::<Members>() == 4 + 2 * MAX_BACKENDS as usize);

impl Default for Members {
    fn default() -> Members {
        Members { count: 0, ids: [0; MAX_BACKENDS as usize] }
    }
}

/// How a tier's backend is chosen for a new call.
pub mod choice {
    /// The ring's first choice, unless it is full or far above the others.
    pub const CONSISTENT: u8 = 0;
    /// The less utilised of the ring's first two choices.
    pub const LEAST_LOADED: u8 = 1;
    /// In the order of the configuration, each filled to its limit before the next.
    pub const PRIMARY_SECONDARY: u8 = 2;
}

/// What the ring is asked with.
pub mod hash_by {
    /// The Call-ID.
    pub const CALL_ID: u8 = 0;
    /// The user part of the From URI.
    pub const FROM_USER: u8 = 1;
    /// The user part of the To URI.
    pub const TO_USER: u8 = 2;
    /// The user part of the request URI.
    pub const REQUEST_USER: u8 = 3;
    /// The source's address.
    pub const SOURCE: u8 = 4;
}

/// Value of POLICIES, by service id. The daemon writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// See [`choice`].
    pub choice: u8,
    /// See [`hash_by`].
    pub hash_by: u8,
    /// Number of tiers.
    pub tiers: u8,
    /// Bit t: calls get to tier t by redirect (302), not by forwarding.
    pub redirects: u8,
    /// 1: OPTIONS outside a dialog are answered by the daemon; 0: they go to a backend.
    pub answers_options: u8,
    /// 1: after a backend's own 503 or 3xx the call may go elsewhere (`nat` only, which sees it).
    pub retries_refused: u8,
    /// `consistent`: a backend above this multiple of its tier's mean utilisation is passed over, in units of 1/1024; 0: none is.
    pub bound: u16,
    /// The preferred ceiling of utilisation, in units of 1/1024.
    pub target: u16,
    /// 1: a backend counts as full for as long as the Retry-After of its own 503 says, within
    /// [`MAX_RETRY_AFTER_SECONDS`](crate::limits::MAX_RETRY_AFTER_SECONDS).
    pub believes_retry_after: u8,
    /// Explicit padding.
    pub _pad: u8,
    /// How long a backend counts as full after its own 503 otherwise, in milliseconds; 0: it does not.
    pub full_after_refusal_ms: u32,
    /// Numbers of the zones, tier by tier.
    pub zones: [u16; MAX_TIERS as usize],
}

const _: () = assert!(size_of::<Policy>() == 16 + 2 * MAX_TIERS as usize);
