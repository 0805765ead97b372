//! Tokens and values: which bytes they are made of, and their hash, taken in place.

use super::{Window, window::advance};
use crate::hash::{HashKey, SipHash13};

/// The bytes that end a value.
pub(super) trait Delimiters {
    /// Marks every delimiter, and maybe other bytes: cheap. What it marks is asked again with [`Delimiters::exact`].
    fn quick(word: u64) -> u64;
    /// Marks delimiters; exact for the first.
    fn exact(word: u64) -> u64;
    /// Whether it is one.
    fn delimits(byte: u8) -> bool;
}

/// SipHash-1-3 and length of the value at `at`, which ends at a delimiter, at the end of the datagram or after `WORDS`
/// words. LF must be a delimiter.
#[inline(always)]
pub(super) fn hash_token<W: Window, D: Delimiters, const WORDS: usize>(
    w: W,
    at: usize,
    key: &HashKey,
) -> (u64, usize) {
    let mut hash = SipHash13::new(key);
    let mut next = at as u32;
    let mut words = 0;
    loop {
        if words == WORDS {
            return (hash.finish(0, 8 * WORDS), 8 * WORDS);
        }
        let Some(word) = w.word(next as usize) else { break };
        if D::quick(word) != 0 && D::exact(word) != 0 {
            break;
        }
        hash.word(word);
        next = advance(next, 8);
        words += 1;
    }
    let mut rest = 0;
    let mut bytes = 0;
    while bytes < 8 {
        let Some(byte) = w.byte((next + bytes) as usize) else { break };
        if D::delimits(byte) {
            break;
        }
        rest |= (byte as u64) << (8 * bytes);
        bytes += 1;
    }
    let len = 8 * words + bytes as usize;
    (hash.finish(rest, len), len)
}

/// Whether a byte may stand in a token (RFC 3261 section 25.1). A set of 128 bits, because branches cost the verifier more.
#[inline(always)]
pub(super) const fn is_token(byte: u8) -> bool {
    const SET: [u64; 2] = {
        let mut set = [0; 2];
        let mut byte = 0;
        while byte < 128u8 {
            let c = byte as char;
            if c.is_ascii_alphanumeric()
                || matches!(c, '-' | '.' | '!' | '%' | '*' | '_' | '+' | '`' | '\'' | '~')
            {
                set[byte as usize / 64] |= 1 << (byte % 64);
            }
            byte += 1;
        }
        set
    };
    let half = if byte < 64 { SET[0] } else { SET[1] };
    byte < 128 && half >> (byte & 63) & 1 != 0
}
