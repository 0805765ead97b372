//! The Call-ID: where its value starts, and the call key made of it.

use super::{
    Window,
    lines::{Wanted, search},
    swar::{self, Pattern},
    token::{Delimiters, hash_token},
    window::skip_lws,
};
use crate::{
    hash::HashKey,
    limits::{MAX_CALL_ID, MAX_LWS, MAX_SCAN_STEPS, SCAN_BLOCK},
};

/// What a message says about its Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallId {
    /// Its value starts here.
    Found {
        /// Offset of the first byte of the value.
        at: usize,
    },
    /// The first Call-ID header has no value.
    Empty,
    /// There is no Call-ID header.
    Absent,
}

/// A hashed Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallKey {
    /// Keyed hash of the value: SipHash-1-3.
    pub hash: u64,
    /// Length of the value in bytes, at most [`MAX_CALL_ID`], which is also as far as the hash goes.
    pub len: usize,
}

/// Finds the Call-ID of the message whose start line begins at `from` (RFC 3261 sections 7.3.1, 7.3.3 and 20.8): the
/// first header line of the header section whose name is `Call-ID` or `i` in any case. LF ends a line with or without a
/// CR; a line that starts with white space continues the one before; the empty line ends the header section; the end of
/// the datagram ends the last line.
///
/// It gives up after [`MAX_SCAN_STEPS`] steps, and a value behind more than [`MAX_LWS`] bytes of
/// white space is an empty one.
#[inline(always)]
pub fn call_id<W: Window>(w: W, from: usize) -> CallId {
    match search::<W, Header>(w, from as u32) {
        Some(behind_colon) => match skip_lws::<W, MAX_LWS>(w, behind_colon) {
            Some(at) => CallId::Found { at: at as usize },
            None => CallId::Empty,
        },
        None => CallId::Absent,
    }
}

/// The call key of the Call-ID whose value starts at `at`: the hash of the bytes up to the next SP, HT, CR, LF or the
/// end of the datagram, compared byte by byte (RFC 3261 section 8.1.1.4).
///
/// Of a value longer than [`MAX_CALL_ID`] the first `MAX_CALL_ID` bytes are hashed: such dialogs share a key if
/// they share those, and are steered to the same backend.
#[inline(always)]
pub fn call_key<W: Window>(w: W, at: usize, key: &HashKey) -> CallKey {
    let (hash, len) = hash_token::<W, Space, { MAX_CALL_ID / 8 }>(w, at, key);
    CallKey { hash, len }
}

struct Header;

impl Wanted for Header {
    const LONG: Pattern = Pattern::start(b"call-id");
    const SHORT: Pattern = Pattern::start(b"i");
    const STEPS: usize = MAX_SCAN_STEPS;
    // Enough for any 31 bytes: every step but the first goes on by a byte at least.
    const TAIL_STEPS: usize = SCAN_BLOCK;
    const COLON: bool = true;
}

/// What ends a Call-ID.
struct Space;

impl Delimiters for Space {
    #[inline(always)]
    fn quick(word: u64) -> u64 {
        swar::at_most(word, b' ')
    }

    #[inline(always)]
    fn exact(word: u64) -> u64 {
        swar::equal(word, b' ')
            | swar::equal(word, b'\t')
            | swar::equal(word, b'\r')
            | swar::equal(word, b'\n')
    }

    #[inline(always)]
    fn delimits(byte: u8) -> bool {
        matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
    }
}
