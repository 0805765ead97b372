//! The To tag of answers that the balancer gives itself (RFC 3261 section 8.2.7): the same for a repeated request, not to be
//! guessed without the node's key, and known again in the ACK without remembering anything.

use crate::hash::{HashKey, SipHash13, fold, hash_words};

/// Length of the tag in bytes: hexadecimal digits.
pub const LEN: usize = 16;

/// Sets these tags' hash apart from every other use of the key.
const PURPOSE: u64 = u64::from_be_bytes(*b"own  tag");

/// The tag as text, in two words as they lie in memory, little endian.
#[inline(always)]
pub const fn words(key: &HashKey, call_key: u64) -> [u64; 2] {
    let mut hash = SipHash13::new(key);
    hash.word(PURPOSE);
    hash.word(call_key);
    let number = hash.finish(0, 16);
    [hexadecimal((number >> 32) as u32), hexadecimal(number as u32)]
}

/// The tag as text.
pub fn text(key: &HashKey, call_key: u64) -> [u8; LEN] {
    let [first, second] = words(key, call_key).map(u64::to_le_bytes);
    core::array::from_fn(|i| if i < 8 { first[i] } else { second[i - 8] })
}

/// What [`crate::sip::DialogHeaders::to_tag`] is when the To header carries this tag.
#[inline(always)]
pub fn hash(key: &HashKey, call_key: u64) -> u32 {
    fold(hash_words(key, words(key, call_key)))
}

/// Eight lower-case hexadecimal digits, the most significant first, as they lie in memory.
#[inline(always)]
const fn hexadecimal(number: u32) -> u64 {
    // One nibble in each byte, the most significant in the lowest.
    let n = number.swap_bytes() as u64;
    let n = (n | n << 16) & 0x0000_ffff_0000_ffff;
    let n = (n | n << 8) & 0x00ff_00ff_00ff_00ff;
    let n = (n >> 4 & 0x000f_000f_000f_000f) | (n & 0x000f_000f_000f_000f) << 8;
    // 10 and above are letters: 6 more makes them overflow their nibble.
    let letters = (n + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    n + 0x3030_3030_3030_3030 + letters * (b'a' - b'0' - 10) as u64
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::sip::{Bytes, Noted, call_id, dialog_headers};
    use std::format;

    const KEY: HashKey = HashKey { k0: 3, k1: 5 };

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, u32::MAX, 0xf0f0_0a9a] {
            assert_eq!(hexadecimal(number).to_le_bytes(), *format!("{number:08x}").as_bytes());
        }
    }

    #[test]
    fn a_tag_is_found_again_in_the_to_header() {
        for call_key in [0, 7, u64::MAX] {
            let tag = text(&KEY, call_key);
            let tag = core::str::from_utf8(&tag).unwrap();
            let ack = format!(
                "ACK sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z\r\nTo: <sip:b@h>;tag={tag}\r\n\r\n"
            );
            let (window, notes) = (Bytes(ack.as_bytes()), &Noted::default());
            call_id(window, 0, notes);
            assert_eq!(dialog_headers(window, notes, &KEY).to_tag, hash(&KEY, call_key));
        }
        assert_ne!(text(&KEY, 1), text(&KEY, 2));
        assert_ne!(text(&KEY, 1), text(&HashKey { k0: 4, ..KEY }, 1));
    }
}
