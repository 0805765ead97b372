//! VERDICTS, BACKEND_COUNTERS and SERVICE_COUNTERS: per-CPU counters, summed by the reader.

use core::mem::size_of;

/// Value of VERDICTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

const _: () = assert!(size_of::<Counter>() == 16);

/// Value of BACKEND_COUNTERS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounter {
    /// Packets sent to the backend.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Packets that came from the backend and were sent on (`nat` only).
    pub reply_packets: u64,
    /// Bytes of those frames.
    pub reply_bytes: u64,
    /// Calls opened on the backend: INVITEs that were pinned or would have been.
    pub calls: u64,
    /// Those of them that could not be pinned: whether they are answered is not known.
    pub unpinned: u64,
    /// Signs that the backend answered a pinned call that had no answer: its own responses (`nat`), or the ACK of a final one,
    /// where answers pass elsewhere. A call may have several.
    pub answered: u64,
    /// Other requests outside a dialog.
    pub transactions: u64,
}

const _: () = assert!(size_of::<BackendCounter>() == 64);

/// Number of slots for methods in a [`ServiceCounter`].
pub const METHODS: usize = 16;

/// Value of SERVICE_COUNTERS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounter {
    /// Packets from callers.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Requests by [`crate::sip::Method`]; slot 0 counts responses.
    pub methods: [u64; METHODS],
    /// New calls that went to another backend of the first tier than the first choice.
    pub spilled: u64,
    /// New calls that went to a further tier.
    pub overflowed: u64,
    /// INVITEs that got a 302, or would have.
    pub redirected: u64,
    /// INVITEs that were refused because every backend in reach was full.
    pub refused_full: u64,
    /// INVITEs that were refused because no backend in reach takes calls.
    pub refused_down: u64,
}

const _: () = assert!(size_of::<ServiceCounter>() == 16 + 16 * 8 + 5 * 8);
