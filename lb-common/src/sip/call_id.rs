//! The Call-ID: where its value starts, and the call key made of it.

use super::{
    Window, lines,
    notes::{Notes, Place},
    swar,
    token::{Delimiters, hash_token},
    window::{advance, skip_lws},
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
/// It gives up after [`MAX_SCAN_STEPS`](crate::limits::MAX_SCAN_STEPS) steps, and a value behind more than [`MAX_LWS`]
/// bytes of white space is an empty one. What it passes stands in `notes`, which must be empty before.
#[inline(always)]
pub fn call_id<W: Window, N: Notes>(w: W, from: usize, notes: N) -> CallId {
    let Some(behind_colon) = lines::to_call_id(w, notes, from as u32) else { return CallId::Absent };
    notes.note(Place::REST, behind_colon);
    match value(w, behind_colon) {
        Some(at) => CallId::Found { at: at as usize },
        None => CallId::Empty,
    }
}

/// Offset of the value.
#[inline(always)]
fn value<W: Window>(w: W, behind_colon: u32) -> Option<u32> {
    // As nearly everybody writes it: one space.
    if let Some(word) = w.word(behind_colon as usize)
        && swar::byte_of(word, 0) == b' '
        && swar::byte_of(word, 1) > b' '
    {
        return Some(advance(behind_colon, 1));
    }
    skip_lws::<W, MAX_LWS>(w, behind_colon)
}

/// The call key of the Call-ID whose value starts at `at`: the hash of the bytes up to the next SP, HT, CR, LF or the
/// end of the datagram, compared byte by byte (RFC 3261 section 8.1.1.4).
///
/// Of a value longer than [`MAX_CALL_ID`] the first `MAX_CALL_ID` bytes are hashed: such dialogs share a key if
/// they share those, and are steered to the same backend.
#[inline(always)]
pub fn call_key<W: Window>(w: W, at: usize, key: &HashKey) -> CallKey {
    let (hash, len) = hash_token::<W, Space, { MAX_CALL_ID / 8 }>(w, at as u32, key);
    CallKey { hash, len: len as usize }
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
