//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624 equation 3: `HC' = ~(~HC + ~m + m')`).
//! Values are as they lie in the packet; the arithmetic does not mind the byte order.

/// Adds the carries back in.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum after 16 bits changed from `old` to `new`.
#[inline(always)]
pub const fn replace_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u32 + !old as u32 + new as u32)
}

/// The checksum after 32 bits changed from `old` to `new`.
#[inline(always)]
pub const fn replace_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let old = !old;
    !fold(!checksum as u32 + (old & 0xffff) + (old >> 16) + (new & 0xffff) + (new >> 16))
}

/// The checksum of bytes; 0 over a header that holds its own.
pub fn of(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let last = pair.get(1).copied().unwrap_or(0);
        sum += u16::from_ne_bytes([pair[0], last]) as u32;
    }
    !fold(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        assert_eq!(replace_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn incremental_is_full() {
        let mut bytes = [0x12, 0x34, 0xff, 0xff, 0x00, 0x01, 0x80, 0x00];
        let mut sum = of(&bytes);
        for step in 0..70_000u32 {
            let new = step.wrapping_mul(0x9e37_79b9);
            let old = u32::from_ne_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
            sum = replace_u32(sum, old, new);
            bytes[2..6].copy_from_slice(&new.to_ne_bytes());
            // Ones' complement has two zeros; both mean the same.
            let full = of(&bytes);
            assert!(
                sum == full || (sum == 0xffff && full == 0) || (sum == 0 && full == 0xffff),
                "{sum:x} {full:x}"
            );
        }
    }
}
