//! Tokens and values: which bytes they are made of, and their hash, taken in place.

use super::{Window, swar, window::advance};
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
/// words.
#[inline(always)]
pub(super) fn hash_token<W: Window, D: Delimiters, const WORDS: usize>(
    w: W,
    at: u32,
    key: &HashKey,
) -> (u64, u32) {
    let mut hash = SipHash13::new(key);
    let mut next = at;
    let mut words = 0;
    let (rest, bytes) = loop {
        if words == WORDS {
            break (0, 0);
        }
        let Some(word) = w.word(next as usize) else { break last_bytes::<W, D>(w, next) };
        if D::quick(word) != 0 {
            let marks = D::exact(word);
            if marks != 0 {
                break (word & swar::before_first(marks), swar::first(marks));
            }
        }
        hash.word(word);
        next = advance(next, 8);
        words += 1;
    };
    // Not by the number of words, which the verifier knows: it would follow every length on its own.
    let len = next.wrapping_sub(at).wrapping_add(bytes);
    (hash.finish(rest, len as usize), len)
}

/// What is left of a value in the last 7 bytes of a datagram, as a word, and its length.
#[inline(always)]
fn last_bytes<W: Window, D: Delimiters>(w: W, at: u32) -> (u64, u32) {
    let mut rest = 0;
    let mut bytes = 0;
    while bytes < 7 {
        let Some(byte) = w.byte((at + bytes) as usize) else { break };
        if D::delimits(byte) {
            break;
        }
        rest |= (byte as u64) << (8 * bytes);
        bytes += 1;
    }
    (rest, bytes)
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
