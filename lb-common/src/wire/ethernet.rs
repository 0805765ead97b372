//! Ethernet II (IEEE 802.3 clause 3): destination, source, type.

use super::Octets;

/// Length of the header in bytes.
pub const LEN: usize = 14;
/// Type of IPv4, host order.
pub const IPV4: u16 = 0x0800;

/// The type field, host order.
#[inline(always)]
pub fn ethertype<H: Octets>(header: &H) -> u16 {
    u16::from_be(header.u16_at::<12>())
}

/// Replaces both addresses. Split where the words of [`crate::map::backend::NextHop`] are aligned.
#[inline(always)]
pub fn set_addresses<H: Octets>(header: &mut H, destination: &[u8; 6], source: &[u8; 6]) {
    let d = destination;
    let s = source;
    header.set_u16::<0>(u16::from_ne_bytes([d[0], d[1]]));
    header.set_u32::<2>(u32::from_ne_bytes([d[2], d[3], d[4], d[5]]));
    header.set_u32::<6>(u32::from_ne_bytes([s[0], s[1], s[2], s[3]]));
    header.set_u16::<10>(u16::from_ne_bytes([s[4], s[5]]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_type_of_a_frame() {
        let mut frame = [0u8; LEN];
        frame[12] = 8;
        assert_eq!(ethertype(&frame), IPV4);
        set_addresses(&mut frame, &[1, 2, 3, 4, 5, 6], &[7, 8, 9, 10, 11, 12]);
        assert_eq!(frame, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
    }
}
