//! The inner maps of RINGS.

use crate::limits::RING_SLOTS;
use core::mem::size_of;

/// Value of a map in RINGS, which has this one: which backend a slot names. One value instead of one for each slot, which the
/// kernel would pad to 8 bytes: the less memory, the more of it caches and the processor's page table keep.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Backend ids.
    pub slots: [u16; RING_SLOTS as usize],
    /// Explicit padding.
    pub _pad: u16,
}

const _: () = assert!(size_of::<Ring>() == 131_076);

impl Ring {
    /// A ring that names backend 0 everywhere.
    pub const EMPTY: Ring = Ring { slots: [0; RING_SLOTS as usize], _pad: 0 };
}
