//! SipHash-1-3, keyed: call keys, branches and sources. Keyed so that nobody outside can choose colliding Call-IDs.
//!
//! The state machine is the published one (Aumasson and Bernstein, "SipHash: a fast short-input PRF") for any number
//! of rounds, so that the paper's own vectors, which are for 2-4 rounds, test it. Products of the hash are values on
//! the wire between balancers of a cluster: they must be the same everywhere, on any machine and any version.

/// Key of the hash, 16 bytes: the same on every balancer of a cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

impl HashKey {
    /// The key of 16 bytes, as they stand in the key file.
    pub const fn from_bytes(bytes: [u8; 16]) -> HashKey {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        HashKey {
            k0: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            k1: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

/// SipHash with `C` rounds a word and `D` rounds at the end.
#[derive(Clone, Copy)]
pub struct SipHash<const C: usize, const D: usize> {
    v: [u64; 4],
}

/// The variant in use: fewer rounds than the paper's 2-4, chosen by Rust's and Linux's own hash tables for speed.
pub type SipHash13 = SipHash<1, 3>;

impl<const C: usize, const D: usize> SipHash<C, D> {
    /// A hash that has read nothing.
    #[inline(always)]
    pub const fn new(key: &HashKey) -> Self {
        SipHash {
            v: [
                key.k0 ^ u64::from_be_bytes(*b"somepseu"),
                key.k1 ^ u64::from_be_bytes(*b"dorandom"),
                key.k0 ^ u64::from_be_bytes(*b"lygenera"),
                key.k1 ^ u64::from_be_bytes(*b"tedbytes"),
            ],
        }
    }

    #[inline(always)]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    /// Reads the next 8 bytes, the first in the lowest place.
    #[inline(always)]
    pub const fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        let mut i = 0;
        while i < C {
            self.round();
            i += 1;
        }
        self.v[0] ^= word;
    }

    /// Reads the last 0 to 7 bytes, given in the low places of `rest` with zeros above, and ends a message of `len`
    /// bytes.
    #[inline(always)]
    pub const fn finish(mut self, rest: u64, len: usize) -> u64 {
        self.word(rest | (len as u64) << 56);
        self.v[2] ^= 0xff;
        let mut i = 0;
        while i < D {
            self.round();
            i += 1;
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }

    /// The hash of a slice. The XDP program never has one: it reads its packet word by word.
    pub fn of(key: &HashKey, bytes: &[u8]) -> u64 {
        let mut hash = Self::new(key);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        hash.finish(u64::from_le_bytes(last), bytes.len())
    }
}

/// SipHash-1-3 of `8 * N` bytes that stand in words, the first byte in the lowest place.
#[inline(always)]
pub fn hash_words<const N: usize>(key: &HashKey, words: [u64; N]) -> u64 {
    let mut hash = SipHash13::new(key);
    let mut i = 0;
    while i < N {
        hash.word(words[i]);
        i += 1;
    }
    hash.finish(0, 8 * N)
}

/// Half as long, and never 0: 0 means "absent" wherever 32 bits of a hash are stored.
#[inline(always)]
pub const fn fold(hash: u64) -> u32 {
    let folded = (hash ^ (hash >> 32)) as u32;
    if folded == 0 { 1 } else { folded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher as _;

    /// Key and messages of the paper's appendix A: bytes that count up from 0.
    const KEY: HashKey = HashKey::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    fn counting<const N: usize>() -> [u8; N] {
        core::array::from_fn(|i| i as u8)
    }

    #[test]
    fn the_papers_example() {
        assert_eq!(SipHash::<2, 4>::of(&KEY, &counting::<15>()), 0xa129_ca61_49be_45e5);
    }

    /// The first vectors of the authors' reference implementation (vectors.h, 64-bit output), as bytes.
    #[test]
    fn the_reference_vectors_of_siphash_2_4() {
        const VECTORS: [[u8; 8]; 16] = [
            [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72],
            [0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74],
            [0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d],
            [0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85],
            [0xb7, 0x87, 0x71, 0x27, 0xe0, 0x94, 0x27, 0xcf],
            [0x8d, 0xa6, 0x99, 0xcd, 0x64, 0x55, 0x76, 0x18],
            [0xce, 0xe3, 0xfe, 0x58, 0x6e, 0x46, 0xc9, 0xcb],
            [0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab],
            [0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93],
            [0xb0, 0xe4, 0xa9, 0x0b, 0xdf, 0x82, 0x00, 0x9e],
            [0xf3, 0xb9, 0xdd, 0x94, 0xc5, 0xbb, 0x5d, 0x7a],
            [0xa7, 0xad, 0x6b, 0x22, 0x46, 0x2f, 0xb3, 0xf4],
            [0xfb, 0xe5, 0x0e, 0x86, 0xbc, 0x8f, 0x1e, 0x75],
            [0x90, 0x3d, 0x84, 0xc0, 0x27, 0x56, 0xea, 0x14],
            [0xee, 0xf2, 0x7a, 0x8e, 0x90, 0xca, 0x23, 0xf7],
            [0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1],
        ];
        let message = counting::<16>();
        for (len, vector) in VECTORS.iter().enumerate() {
            let hash = SipHash::<2, 4>::of(&KEY, &message[..len]);
            assert_eq!(hash.to_le_bytes(), *vector, "{len} bytes");
        }
    }

    /// No vectors of 1-3 rounds were published: an independent implementation stands in.
    #[test]
    fn one_three_equals_an_independent_implementation() {
        let message = counting::<256>();
        for len in 0..=message.len() {
            let mut other = siphasher::sip::SipHasher13::new_with_keys(KEY.k0, KEY.k1);
            other.write(&message[..len]);
            assert_eq!(SipHash13::of(&KEY, &message[..len]), other.finish(), "{len} bytes");
        }
    }

    #[test]
    fn words_are_their_bytes() {
        let message = counting::<24>();
        let words = core::array::from_fn(|i| {
            u64::from_le_bytes(message[8 * i..8 * i + 8].try_into().expect("8 bytes"))
        });
        assert_eq!(hash_words::<3>(&KEY, words), SipHash13::of(&KEY, &message));
        assert_eq!(hash_words::<0>(&KEY, []), SipHash13::of(&KEY, &[]));
    }

    #[test]
    fn the_key_matters() {
        let other = HashKey { k1: KEY.k1 ^ 1, ..KEY };
        assert_ne!(SipHash13::of(&KEY, b"a"), SipHash13::of(&other, b"a"));
    }

    #[test]
    fn a_folded_hash_is_never_zero() {
        assert_eq!(fold(0), 1);
        assert_eq!(fold(0x5a5a_5a5a_5a5a_5a5a), 1);
        assert_eq!(fold(0x0000_0001_0000_0000), 1);
        assert_eq!(fold(0x0000_0002_0000_0000), 2);
    }
}
