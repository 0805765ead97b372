//! SETTINGS: what the program needs to know about the node. SCRATCH: what it knows about the packet in hand.

use super::{
    backend::{BackendAddress, NextHop},
    service::Service,
};
use crate::{hash::HashKey, sip::PLACES};
use core::mem::{offset_of, size_of};

/// The one value of SETTINGS. All times are in ticks, see [`Settings::tick_shift`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Key of the hash behind call keys, branches and sources; the same on every balancer of a cluster.
    pub hash_key: HashKey,
    /// Always 0, which the verifier cannot know: scans start from it, so that their states can be merged.
    pub zero: u64,
    /// [`crate::abi::ABI`] of the daemon that wrote this.
    pub abi: u32,
    /// A tick is `jiffies >> tick_shift`: 0.8 to 1.6 s, unless a test wants it shorter.
    pub tick_shift: u32,
    /// Most entries DIALOGS may hold that no answer has confirmed: half its capacity.
    pub unconfirmed_limit: u32,
    /// Lifetime of an INVITE without a final answer, since it was last seen.
    pub unanswered_ticks: u32,
    /// Lifetime of an answered call, since it was last seen.
    pub answered_ticks: u32,
    /// Lifetime of an ended call and of a transaction outside a dialog, since it was last seen.
    pub ended_ticks: u32,
    /// Lifetime of a subscription, since it was last seen.
    pub subscribed_ticks: u32,
    /// Buckets of DIALOGS less one: a mask, as their number is a power of two.
    pub bucket_mask: u32,
    /// Buckets that are looked at for old dialogs in each jiffy.
    pub sweep_buckets: u32,
    /// `jiffies` that a cached next hop stays valid: about a second.
    pub next_hop_jiffies: u32,
    /// Raised by the daemon after it changed SERVICES or BACKEND_ADDRESSES: what CPUs remember of them is out of date.
    pub endpoints_version: u32,
    /// [`crate::abi::READABLE_FROM`] of the daemon that wrote this; 0: of ABI 3, which did not say it.
    pub readable_from: u32,
}

const _: () = assert!(size_of::<Settings>() == 16 + 8 + 12 * 4);

/// Where [`Settings::abi`] stands in the value of SETTINGS, in every layout: a little-endian number of 32 bits.
pub const ABI_AT: usize = 24;
/// Where [`Settings::readable_from`] stands, likewise.
pub const READABLE_FROM_AT: usize = 68;

const _: () = assert!(offset_of!(Settings, abi) == ABI_AT);
const _: () = assert!(offset_of!(Settings, readable_from) == READABLE_FROM_AT);

/// The one value of SLOW_PATH.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowPath {
    /// Until then the daemon answers what it is handed, in monotonic nanoseconds. It writes this every second.
    pub answers_until: u64,
}

/// Direction of a packet.
pub mod direction {
    /// From a caller to a service.
    pub const TO_SERVICE: u32 = 1;
    /// From a backend to its peer.
    pub const FROM_BACKEND: u32 = 2;
}

/// Per-CPU memory of the packet in hand. What was written here and read again is unknown to the verifier, so it walks
/// through the stages behind once, not once for every way that leads to them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scratch {
    /// See [`direction`].
    pub direction: u32,
    /// Low 32 bits of `jiffies` when this CPU last looked whether old dialogs are to be looked for.
    pub swept_at: u32,
    /// The service a caller's packet was sent to.
    pub service: Service,
    /// The backend a packet came from.
    pub from: BackendAddress,
    /// Next hop of a backend's packet.
    pub next_hop: NextHop,
    /// What the message is, see [`crate::sip::Kind::to_number`].
    pub kind: u32,
    /// Keyed hash of the Call-ID, if there is one.
    pub call_key: u64,
    /// Whether there is a Call-ID: 0 or 1.
    pub has_call_key: u32,
    /// Offset of the start line in the message.
    pub start: u32,
    /// Where its headers begin, see [`crate::sip::Place`].
    pub places: [u32; PLACES],
    /// Source address, network order.
    pub source: u32,
    /// Destination address, network order.
    pub destination: u32,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Length of the IP packet in bytes.
    pub ip_length: u16,
    /// Offset of the UDP header in the frame.
    pub udp_at: u16,
    /// Number of the verdict for which a backend is to be chosen, see [`crate::decide::steer::Choosing`].
    pub why: u32,
    /// Hash of the topmost Via's branch.
    pub branch: u32,
    /// The backend that a dialog has to leave.
    pub leaves: u16,
    /// The phase of the dialog that a packet opens.
    pub opens: u8,
    /// The phase of the dialog that the packet belongs to, before it came; 0 if that does not matter.
    pub met: u8,
    /// Explicit padding.
    pub _pad: [u8; 4],
}

const _: () = assert!(size_of::<Scratch>() == 104 + 4 * PLACES);
