//! The inner maps of RINGS.

use crate::limits::RING_SLOTS;
use core::mem::{align_of, size_of};

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

/// A [`Ring`] as the program declares it, padding included. Linux 6.1 takes a ring, which is made without type information, for
/// something else than a struct in the program's declaration, and refuses it; an array it takes for the same.
pub type RingSlots = [u16; RING_SLOTS as usize + 1];

const _: () =
    assert!(size_of::<RingSlots>() == size_of::<Ring>() && align_of::<RingSlots>() == align_of::<Ring>());

impl Ring {
    /// A ring that names backend 0 everywhere.
    pub const EMPTY: Ring = Ring { slots: [0; RING_SLOTS as usize], _pad: 0 };
}
