//! The window that everything but the kernel uses, and reading near the end of any.

use super::{Window, swar};
use crate::limits::SCAN_BLOCK;

/// A datagram in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Window for Bytes<'_> {
    #[inline(always)]
    fn block(&self, at: usize) -> Option<[u64; 4]> {
        let words = self.0.get(at..)?.first_chunk::<SCAN_BLOCK>()?.as_chunks::<8>().0;
        Some(core::array::from_fn(|i| u64::from_le_bytes(words[i])))
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<u64> {
        self.0.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }
}

/// 0, but neither the compiler nor the verifier can tell: an odd number's fourth power is 1 modulo 16.
///
/// The verifier remembers that an offset is another plus a constant, and takes two such offsets for different states.
/// Code behind a loop would then be verified for each step that the loop can end at. Where a step is a constant and this,
/// the verifier forgets.
#[inline(always)]
pub(super) const fn unknown_zero(seed: u64) -> u32 {
    let odd = seed as u32 | 1;
    let square = odd.wrapping_mul(odd);
    square.wrapping_mul(square) & 8
}

/// 8 bytes at `at`, with LF in place of those that are not there: the end of a datagram ends its line.
#[inline(always)]
pub(super) fn padded_word_at<W: Window>(w: W, at: u32) -> u64 {
    if let Some(word) = w.word(at as usize) {
        return word;
    }
    let mut word = swar::splat(b'\n');
    let mut i = 0;
    while i < 7 {
        let Some(byte) = w.byte((at + i) as usize) else { break };
        word ^= ((byte ^ b'\n') as u64) << (8 * i);
        i += 1;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_end_where_the_slice_ends() {
        let bytes: [u8; 40] = core::array::from_fn(|i| i as u8);
        let w = Bytes(&bytes);
        assert!(w.block(8).is_some() && w.block(9).is_none());
        assert!(w.word(32).is_some() && w.word(33).is_none());
        assert_eq!((w.byte(39), w.byte(40)), (Some(39), None));
        assert_eq!(w.word(usize::MAX), None);
        assert_eq!(w.block(1).map(|b| b[3]), w.word(25));
    }

    #[test]
    fn the_unknown_zero_is_zero() {
        for seed in (0..1 << 16).chain([u64::MAX, 1 << 31, 1 << 32]) {
            assert_eq!(unknown_zero(seed), 0);
        }
    }

    #[test]
    fn a_padded_word_ends_in_line_feeds() {
        let w = Bytes(b"abcdefghij");
        assert_eq!(padded_word_at(w, 2).to_le_bytes(), *b"cdefghij");
        assert_eq!(padded_word_at(w, 3).to_le_bytes(), *b"defghij\n");
        assert_eq!(padded_word_at(w, 9).to_le_bytes(), *b"j\n\n\n\n\n\n\n");
        assert_eq!(padded_word_at(w, 10).to_le_bytes(), *b"\n\n\n\n\n\n\n\n");
    }
}
