//! Eight bytes at once: a `u64` read little-endian from the datagram, its first byte in the lowest place.
//!
//! A *mark word* has the top bit of a byte set where something holds for that byte. The quick tests below are exact
//! for the first byte that is marked and may mark bytes after it wrongly, because a borrow runs upwards; so marks are
//! combined with `|` and only their [`first`] is asked for. BPF has no count-trailing-zeros: `first` multiplies.

/// The lowest bit of every byte.
const LOW: u64 = 0x0101_0101_0101_0101;
/// The highest bit of every byte.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight times the same byte.
#[inline(always)]
pub(super) const fn splat(byte: u8) -> u64 {
    LOW * byte as u64
}

/// Marks the bytes that are `byte`; exact for the first.
#[inline(always)]
pub(super) const fn equal(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ splat(byte)) & HIGH
}

/// Sets the top bit of the bytes that are 0, exact for the first; other bits are of no use.
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word
}

/// Marks the bytes that are at most `byte`, which must be below 0x7f; exact for the first.
#[inline(always)]
pub(super) const fn at_most(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(splat(byte + 1)) & !word & HIGH
}

/// Marks the bytes that are not `byte`; exact for every byte.
#[inline(always)]
const fn not_equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ splat(byte);
    (((difference & !HIGH) + !HIGH) | difference) & HIGH
}

/// Marks the bytes that are neither SP nor HT; exact for every byte.
#[inline(always)]
pub(super) const fn not_space(word: u64) -> u64 {
    not_equal(word, b' ') & not_equal(word, b'\t')
}

/// How many bytes come before the first marked one; 8 if none is marked.
#[inline(always)]
pub(super) const fn first(marks: u64) -> u32 {
    let bits = marks >> 7;
    let below = (bits & bits.wrapping_neg()).wrapping_sub(1) & LOW;
    (below.wrapping_mul(LOW) >> 56) as u32
}

/// A mask of the bytes before the first marked one. One must be marked.
#[inline(always)]
pub(super) const fn before_first(marks: u64) -> u64 {
    ((marks & marks.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// How many of 32 bytes come before the first that is `byte`; 32 if none is.
#[inline(always)]
pub(super) const fn first_of_block(block: [u64; 4], byte: u8) -> u32 {
    let [a, b, c, d] = [
        zero_bytes(block[0] ^ splat(byte)),
        zero_bytes(block[1] ^ splat(byte)),
        zero_bytes(block[2] ^ splat(byte)),
        zero_bytes(block[3] ^ splat(byte)),
    ];
    if (a | b | c | d) & HIGH == 0 {
        32
    } else if a & HIGH != 0 {
        first(a & HIGH)
    } else if b & HIGH != 0 {
        8 + first(b & HIGH)
    } else if c & HIGH != 0 {
        16 + first(c & HIGH)
    } else {
        24 + first(d & HIGH)
    }
}

/// 1 if a number is 0, else 0. Arithmetic, because every branch is a path that the kernel's verifier walks.
#[inline(always)]
pub(crate) const fn is_zero(number: u64) -> u32 {
    (!(number | number.wrapping_neg()) >> 63) as u32
}

/// The byte at `index`, which is below 8.
#[inline(always)]
pub(super) const fn byte_of(word: u64, index: u32) -> u8 {
    (word >> (8 * (index & 7))) as u8
}

/// A text of up to 8 bytes to compare a word with, made at compile time. Lower-case letters stand for both cases.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    want: u64,
    case: u64,
    mask: u64,
    /// Length of the text.
    pub(super) len: u32,
}

impl Pattern {
    /// Matches words that begin with `text`.
    pub(super) const fn start(text: &[u8]) -> Pattern {
        let mut pattern = Pattern { want: 0, case: 0, mask: 0, len: text.len() as u32 };
        let mut i = 0;
        while i < text.len() {
            pattern.want |= (text[i] as u64) << (8 * i);
            pattern.mask |= 0xff << (8 * i);
            // Only letters have a case: 0x20 set in "-" would let a CR pass for it.
            if text[i].is_ascii_lowercase() {
                pattern.case |= 0x20 << (8 * i);
            }
            i += 1;
        }
        pattern
    }

    /// Whether `word` is as the pattern says.
    #[inline(always)]
    pub(super) const fn matches(self, word: u64) -> bool {
        (word | self.case) & self.mask == self.want
    }

    /// 0 if it is, another number if it is not.
    #[inline(always)]
    pub(super) const fn difference(self, word: u64) -> u64 {
        (word | self.case) & self.mask ^ self.want
    }

    /// Whether the first byte is.
    #[inline(always)]
    pub(super) const fn matches_first(self, word: u64) -> bool {
        ((word | self.case) ^ self.want) as u8 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*text)
    }

    #[test]
    fn first_finds_every_place_and_none() {
        assert_eq!(first(0), 8);
        for place in 0..8 {
            assert_eq!(first(0x80 << (8 * place)), place);
            assert_eq!(first(HIGH << (8 * place)), place, "marks after the first do not matter");
            assert_eq!(before_first(HIGH << (8 * place)), (1 << (8 * place)) - 1);
        }
    }

    /// Every pair of neighbouring bytes, because a borrow is what could go wrong.
    #[test]
    fn quick_tests_are_exact_for_the_first_byte() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let bytes = [0xff, a, b, 0xff, 0xff, 0xff, 0xff, 0xff];
                let w = word(&bytes);
                let place = |f: &dyn Fn(u8) -> bool| bytes.iter().position(|x| f(*x)).map_or(8, |i| i as u32);
                assert_eq!(first(equal(w, b'\n')), place(&|x| x == b'\n'));
                assert_eq!(first(at_most(w, b' ')), place(&|x| x <= b' '));
                assert_eq!(first(not_space(w)), 0);
                let spaces = [b' ', a, b, b'\t', b' ', b' ', b' ', b' '];
                let expected = spaces.iter().position(|x| *x != b' ' && *x != b'\t').map_or(8, |i| i as u32);
                assert_eq!(first(not_space(word(&spaces))), expected);
            }
        }
    }

    #[test]
    fn names_match_in_any_case_but_only_letters_have_one() {
        let long = Pattern::start(b"call-id");
        assert!(long.matches(word(b"CaLl-Id:")));
        assert!(!long.matches(word(b"Call\rID:")));
        assert!(!long.matches(word(b"Call-I\x04:")));
        let short = Pattern::start(b"i");
        assert!(short.matches(word(b"i:abcdef")) && short.matches(word(b"I:abcdef")));
        assert!(!short.matches(word(b"\x09:abcdef")));
    }

    #[test]
    fn bytes_count_from_the_lowest() {
        assert_eq!(byte_of(word(b"abcdefgh"), 0), b'a');
        assert_eq!(byte_of(word(b"abcdefgh"), 7), b'h');
    }
}
