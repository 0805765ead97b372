//! IPv4 (RFC 791 section 3.1).

use super::{Octets, checksum};

/// Length of the header without options in bytes.
pub const LEN: usize = 20;
/// Longest header in bytes.
pub const MAX_LEN: usize = 60;

/// Version and header length in bytes.
#[inline(always)]
pub fn version_and_length<H: Octets>(header: &H) -> (u8, usize) {
    let first = header.u8_at::<0>();
    (first >> 4, ((first & 0xf) as usize) << 2)
}

/// Length of the packet in bytes.
#[inline(always)]
pub fn total_length<H: Octets>(header: &H) -> usize {
    u16::from_be(header.u16_at::<2>()) as usize
}

/// Whether this is a fragment of a larger packet: more follow, or it does not begin at 0.
#[inline(always)]
pub fn is_fragment<H: Octets>(header: &H) -> bool {
    header.u16_at::<6>() & u16::from_ne_bytes([0x3f, 0xff]) != 0
}

/// Protocol number.
#[inline(always)]
pub fn protocol<H: Octets>(header: &H) -> u8 {
    header.u8_at::<9>()
}

/// Time to live.
#[inline(always)]
pub fn ttl<H: Octets>(header: &H) -> u8 {
    header.u8_at::<8>()
}

/// Source address, network order.
#[inline(always)]
pub fn source<H: Octets>(header: &H) -> u32 {
    header.u32_at::<12>()
}

/// Destination address, network order.
#[inline(always)]
pub fn destination<H: Octets>(header: &H) -> u32 {
    header.u32_at::<16>()
}

/// Takes one from the TTL, which must not be 0, and brings the checksum up to date.
#[inline(always)]
pub fn decrement_ttl<H: Octets>(header: &mut H) {
    let old = header.u16_at::<8>();
    let ttl = header.u8_at::<8>();
    header.set_u8::<8>(ttl.wrapping_sub(1));
    let new = header.u16_at::<8>();
    header.set_u16::<10>(checksum::replace_u16(header.u16_at::<10>(), old, new));
}

/// Replaces the source address and brings the checksum up to date.
#[inline(always)]
pub fn set_source<H: Octets>(header: &mut H, address: u32) {
    header.set_u16::<10>(checksum::replace_u32(header.u16_at::<10>(), source(header), address));
    header.set_u32::<12>(address);
}

/// Replaces the destination address and brings the checksum up to date.
#[inline(always)]
pub fn set_destination<H: Octets>(header: &mut H, address: u32) {
    header.set_u16::<10>(checksum::replace_u32(header.u16_at::<10>(), destination(header), address));
    header.set_u32::<16>(address);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header captured from a SIPp call: 10.77.1.2 to 10.77.1.1, UDP, 420 bytes.
    const CAPTURED: [u8; LEN] = {
        let mut h = [0x45, 0, 1, 0xa4, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 77, 1, 2, 10, 77, 1, 1];
        let mut sum = 0u32;
        let mut i = 0;
        while i < LEN {
            sum += (h[i] as u32) << 8 | h[i + 1] as u32;
            i += 2;
        }
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        h[10] = (sum >> 8) as u8;
        h[11] = sum as u8;
        h
    };

    #[test]
    fn fields_of_a_captured_header() {
        assert_eq!(version_and_length(&CAPTURED), (4, 20));
        assert_eq!(total_length(&CAPTURED), 420);
        assert_eq!((protocol(&CAPTURED), ttl(&CAPTURED)), (17, 64));
        assert_eq!(u32::from_be(source(&CAPTURED)), 0x0a4d_0102);
        assert!(!is_fragment(&CAPTURED), "only the don't-fragment bit is set");
    }

    #[test]
    fn fragments_by_flag_and_by_offset() {
        let mut first = CAPTURED;
        first[6] = 0x20;
        let mut later = CAPTURED;
        (later[6], later[7]) = (0, 1);
        assert!(is_fragment(&first) && is_fragment(&later));
    }

    #[test]
    fn changes_keep_the_checksum_true() {
        let mut h = CAPTURED;
        decrement_ttl(&mut h);
        set_destination(&mut h, u32::from_ne_bytes([192, 0, 2, 255]));
        set_source(&mut h, u32::from_ne_bytes([255, 255, 0, 0]));
        assert_eq!((ttl(&h), h[16], h[12]), (63, 192, 255));
        assert_eq!(checksum::of(&h), 0, "the sum over a header with its checksum is 0");
    }
}
