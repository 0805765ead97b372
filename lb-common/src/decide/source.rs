//! The number a source address and port stand for: which backend gets what has no Call-ID, and whether a BYE comes
//! from the dialog's other side.

use crate::hash::HashKey;

/// Mixes an address (16 bytes, as the map holds them) and a port under the node's key. Four multiplications instead of
/// SipHash: it is computed for every packet, its value never leaves the node, and 32 bits of it would have to be hit
/// blindly.
#[inline(always)]
pub const fn source_hash(key: &HashKey, address: &[u32; 4], port: u16) -> u64 {
    let high = address[0] as u64 | (address[1] as u64) << 32;
    let low = address[2] as u64 | (address[3] as u64) << 32;
    let mixed = (high ^ key.k0)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
        .wrapping_add((low ^ key.k1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add((port as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 29)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbouring_sources_differ_in_the_upper_half() {
        let key = HashKey { k0: 1, k1: 2 };
        let mut seen = HashSet::new();
        for host in 0..256u32 {
            for port in 5000..5256 {
                seen.insert(source_hash(&key, &[0, 0, 0xffff_0000, host << 24 | 0x000a], port) >> 32);
            }
        }
        // 65,536 values among 2^32: about half a collision is expected.
        assert!(seen.len() > 65_500, "{}", seen.len());
    }
}
