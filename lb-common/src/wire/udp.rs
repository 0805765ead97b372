//! UDP (RFC 768).

use super::{Octets, checksum};

/// Length of the header in bytes.
pub const LEN: usize = 8;

/// Source port, host order.
#[inline(always)]
pub fn source_port<H: Octets>(header: &H) -> u16 {
    u16::from_be(header.u16_at::<0>())
}

/// Destination port, host order.
#[inline(always)]
pub fn destination_port<H: Octets>(header: &H) -> u16 {
    u16::from_be(header.u16_at::<2>())
}

/// Length of header and datagram in bytes.
#[inline(always)]
pub fn length<H: Octets>(header: &H) -> usize {
    u16::from_be(header.u16_at::<4>()) as usize
}

/// Which end of a datagram is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source port.
    Source,
    /// Destination port.
    Destination,
}

/// Replaces a port (host order) and brings the checksum up to date for the port and for the address of the same end,
/// which the pseudo header covers (network order). A checksum of 0 means that there is none and stays 0.
#[inline(always)]
pub fn set_end<H: Octets>(header: &mut H, end: End, port: u16, old_address: u32, new_address: u32) {
    let new_port = port.to_be();
    let old_port = match end {
        End::Source => header.u16_at::<0>(),
        End::Destination => header.u16_at::<2>(),
    };
    let sum = header.u16_at::<6>();
    if sum != 0 {
        let sum = checksum::replace_u32(sum, old_address, new_address);
        let sum = checksum::replace_u16(sum, old_port, new_port);
        // A sum of 0 is sent as all ones: 0 would mean that there is none.
        header.set_u16::<6>(if sum == 0 { 0xffff } else { sum });
    }
    match end {
        End::Source => header.set_u16::<0>(new_port),
        End::Destination => header.set_u16::<2>(new_port),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    /// Checksum over pseudo header, header and data, with the header's own checksum field included.
    fn full(source: u32, destination: u32, datagram: &[u8]) -> u16 {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&source.to_ne_bytes());
        bytes.extend_from_slice(&destination.to_ne_bytes());
        bytes.extend_from_slice(&[0, 17]);
        bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
        bytes.extend_from_slice(datagram);
        checksum::of(&bytes)
    }

    #[test]
    fn rewriting_either_end_keeps_the_checksum_true() {
        let a = u32::from_ne_bytes([10, 77, 1, 2]);
        let b = u32::from_ne_bytes([10, 77, 1, 1]);
        let c = u32::from_ne_bytes([10, 77, 2, 11]);
        for end in [End::Source, End::Destination] {
            for port in 0..=u16::MAX {
                let mut d = [0x13, 0xc4, 0x13, 0xc4, 0, 10, 0, 0, b'h', b'i'];
                let sum = full(a, b, &d);
                d[6..8].copy_from_slice(&sum.to_ne_bytes());
                let (old, source, destination) = match end {
                    End::Source => (a, c, b),
                    End::Destination => (b, a, c),
                };
                set_end(&mut d, end, port, old, c);
                assert_eq!(full(source, destination, &d), 0, "port {port}");
                assert_ne!(d.u16_at::<6>(), 0);
            }
        }
    }

    #[test]
    fn no_checksum_stays_no_checksum() {
        let mut d = [0x13, 0xc4, 0x13, 0xc4, 0, 8, 0, 0];
        set_end(&mut d, End::Source, 5080, 1, 2);
        assert_eq!((source_port(&d), destination_port(&d), length(&d)), (5080, 5060, 8));
        assert_eq!(d.u16_at::<6>(), 0);
    }
}
