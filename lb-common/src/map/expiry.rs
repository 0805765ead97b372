//! SWEEP: where the search for old dialogs stands.

use core::mem::size_of;

/// The one value of SWEEP. Packets move it on as time passes, on any CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Buckets looked at since the table was made; modulo their number, the next one.
    pub hand: u64,
    /// `jiffies` up to which that is enough.
    pub at: u64,
    /// Dialogs whose lifetime was over, by phase, when they were found: see [`super::dialog::Phase`]. Slot 0 is unused.
    pub expired: [u64; 16],
}

const _: () = assert!(size_of::<Sweep>() == 18 * 8);

/// The packet that gives the program `expire` its argument: how many buckets to look at.
pub mod request {
    /// Offset of the number of buckets, a little-endian 64-bit number.
    pub const COUNT_AT: usize = 16;
    /// Most buckets of one request: some microseconds.
    pub const MAX_BUCKETS: u64 = 256;
    /// Length of the packet in bytes.
    pub const LEN: usize = 32;
}
