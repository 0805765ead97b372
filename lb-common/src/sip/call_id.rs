//! The Call-ID: where its value starts, and the call key made of it.

use super::{
    Window,
    lines::{self, Name, Wanted},
    swar,
    token::{Delimiters, hash_token},
    window::unknown_zero,
};
use crate::{
    hash::HashKey,
    limits::{MAX_CALL_ID, MAX_LWS},
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
/// It gives up after [`MAX_SCAN_STEPS`](crate::limits::MAX_SCAN_STEPS) steps, and a value behind more than [`MAX_LWS`] bytes of
/// white space is an empty one.
#[inline(always)]
pub fn call_id<W: Window>(w: W, from: usize) -> CallId {
    let mut search = Search { value: from as u32 };
    lines::search(w, from as u32, &mut search);
    if search.value == from as u32 { CallId::Absent } else { value(w, search.value) }
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

/// Offset behind the colon of the first Call-ID header; no value can start where the start line does, so that means none.
struct Search {
    value: u32,
}

impl Wanted for Search {
    const FIRST: Name = Name::new(b"call-id", b'i');
    const SECOND: Option<Name> = None;

    #[inline(always)]
    fn found(&mut self, _second: bool, value: u32) -> bool {
        self.value = value;
        false
    }
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

/// Skips white space and folds (LWS, RFC 3261 section 25.1) from `from` on, behind the colon.
#[inline(always)]
fn value<W: Window>(w: W, from: u32) -> CallId {
    let mut at = from;
    let one = 1 + unknown_zero(from as u64);
    let mut before = b' ';
    let mut skipped = 0;
    while skipped < MAX_LWS {
        skipped += 1;
        let Some(byte) = w.byte(at as usize) else { break };
        before = match (before, byte) {
            (b' ' | b'\n', b' ' | b'\t') => b' ',
            (b' ', b'\r') => b'\r',
            (b' ' | b'\r', b'\n') => b'\n',
            (_, b'\r' | b'\n') | (b'\r' | b'\n', _) => break,
            _ => return CallId::Found { at: at as usize },
        };
        at += one;
    }
    CallId::Empty
}
