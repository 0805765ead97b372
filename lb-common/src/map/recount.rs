//! The packet that has the program `recount` set right what a backend or a zone counts as its calls in progress.

use super::expiry::request;
use core::mem::size_of;

/// What is to be added, as a little-endian packet of [`request::LEN`] bytes; the first 16 are not looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recount {
    /// Calls in progress to add; those that are too many are taken off by a number below zero.
    pub by: i64,
    /// The backend's id; [`NONE`]: no backend.
    pub backend: u32,
    /// The zone's number; [`NONE`]: no zone.
    pub zone: u32,
}

/// No backend, or no zone.
pub const NONE: u32 = u32::MAX;

/// Offset of a [`Recount`] in the packet.
pub const RECOUNT_AT: usize = 16;

const _: () = assert!(size_of::<Recount>() == 16 && RECOUNT_AT + size_of::<Recount>() == request::LEN);

impl Recount {
    /// The packet.
    pub fn to_bytes(self) -> [u8; request::LEN] {
        let mut bytes = [0; request::LEN];
        let (_, rest) = bytes.split_at_mut(RECOUNT_AT);
        let (by, ids) = rest.split_at_mut(size_of::<i64>());
        by.copy_from_slice(&self.by.to_le_bytes());
        let (backend, zone) = ids.split_at_mut(size_of::<u32>());
        backend.copy_from_slice(&self.backend.to_le_bytes());
        zone.copy_from_slice(&self.zone.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_lies_where_the_program_reads_it() {
        let bytes = Recount { by: -2, backend: 0x0102, zone: NONE }.to_bytes();
        assert_eq!(bytes[..16], [0; 16]);
        assert_eq!(bytes[16..24], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bytes[24..], [2, 1, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
