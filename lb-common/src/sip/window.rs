//! The window that everything but the kernel uses, and reading near the end of any.

use super::{Window, swar};
use crate::limits::{MAX_PARAMETER_LWS, SCAN_BLOCK};

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

/// `offset + by`, but neither the compiler nor the verifier can tell: to them the sum may be greater by 8. It is not, as an
/// odd number's fourth power is 1 modulo 16.
///
/// The verifier remembers that an offset is another plus a constant, and takes two such offsets for different states.
/// The code behind a loop would be verified once for each step that the loop can end at. With this it forgets.
#[inline(always)]
pub(super) const fn advance(offset: u32, by: u32) -> u32 {
    let odd = offset | 1;
    let square = odd.wrapping_mul(odd);
    offset.wrapping_add(by).wrapping_add(square.wrapping_mul(square) & 8)
}

/// `number`, of which neither the compiler nor the verifier knows anything any more, by the same property of `seed`. The verifier
/// walks once through what follows, not once for each number that it knew.
#[inline(always)]
pub(super) const fn hidden(number: u32, seed: u32) -> u32 {
    number ^ (advance(seed, 0).wrapping_sub(seed) >> 3).wrapping_neg()
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

/// 8 bytes, or where they are not left one with bytes behind it that nobody looks for; and how many.
#[inline(always)]
pub(super) fn some_bytes<W: Window>(w: W, at: u32) -> Option<(u64, u32)> {
    match w.word(at as usize) {
        Some(word) => Some((word, 8)),
        None => Some((w.byte(at as usize)? as u64 | !0xff, 1)),
    }
}

/// Skips white space and folds (LWS, RFC 3261 section 25.1) from `from` on: the offset of the first other byte, unless the
/// line or the datagram ends before, or there are more than `MOST`.
#[inline(always)]
pub(super) fn skip_lws<W: Window, const MOST: usize>(w: W, from: u32) -> Option<u32> {
    let mut at = from;
    let mut step = 0;
    while step <= MOST {
        step += 1;
        let byte = w.byte(at as usize)?;
        at = match byte {
            b' ' | b'\t' => advance(at, 1),
            b'\r' | b'\n' => {
                // CR LF or LF alone; bit 2 is what tells the two bytes apart.
                let line_feed = at + (byte >> 2 & 1) as u32;
                if w.byte(line_feed as usize)? != b'\n' || !is_space(w, line_feed + 1) {
                    return None;
                }
                advance(line_feed, 2)
            }
            _ => return if at.wrapping_sub(from) <= MOST as u32 { Some(at) } else { None },
        };
    }
    None
}

/// Whether SP or HT stands at `at`.
#[inline(always)]
pub(super) fn is_space<W: Window>(w: W, at: u32) -> bool {
    matches!(w.byte(at as usize), Some(b' ' | b'\t'))
}

/// Offset behind the `BYTE` that is next, white space and folds of at most [`MAX_PARAMETER_LWS`] bytes aside.
#[inline(always)]
pub(super) fn behind<W: Window, const BYTE: u8>(w: W, from: u32) -> Option<u32> {
    let at = skip_lws::<W, MAX_PARAMETER_LWS>(w, from)?;
    if w.byte(at as usize)? == BYTE { Some(at + 1) } else { None }
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
    fn an_advance_is_an_addition() {
        for offset in (0..1 << 16).chain([u32::MAX - 9, 1 << 31]) {
            assert_eq!(advance(offset, 1), offset + 1);
            assert_eq!(advance(offset, 8), offset + 8);
        }
    }

    #[test]
    fn what_is_hidden_stays_the_same() {
        for seed in (0..1 << 10).chain([u32::MAX, 1 << 31]) {
            assert_eq!(hidden(seed ^ 0x1234_5678, seed), seed ^ 0x1234_5678);
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
