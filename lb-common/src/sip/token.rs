//! Hashes a value that ends at a delimiter, in place.

use super::{Window, window::unknown_zero};
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
    let eight = 8 + unknown_zero(key.k0);
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
        next += eight;
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
