//! SETTINGS: what the program needs to know about the node. SCRATCH: what it knows about the packet in hand.

use crate::hash::HashKey;
use core::mem::size_of;

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
    /// Time between a dialog's death and its deletion.
    pub burial_ticks: u32,
    /// `jiffies` that a cached next hop stays valid: about a second.
    pub next_hop_jiffies: u32,
    /// Explicit padding.
    pub _pad: u32,
}

const _: () = assert!(size_of::<Settings>() == 16 + 8 + 10 * 4);

/// Per-CPU memory of the packet in hand. What stands here is opaque to the verifier, which keeps the states of the
/// stages apart from one another.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Scratch {
    /// Source address, IPv4-mapped.
    pub source: [u32; 4],
    /// Destination address, IPv4-mapped.
    pub destination: [u32; 4],
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Service of the packet.
    pub service: u16,
    /// Listener of the service.
    pub listener: u16,
    /// Counts this CPU's dialogs, part of their generations.
    pub generation: u32,
    /// Explicit padding.
    pub _pad: u32,
}

const _: () = assert!(size_of::<Scratch>() == 48);
