//! The user a message is about: the user part of the URI in its From or To header or its request line.

use super::{
    Window,
    lines::onward,
    notes::{Notes, Place},
    parameter::state,
    swar::{self, Pattern},
    token::{Delimiters, hash_token},
    window::{advance, behind, hidden, is_space, padded_word_at, skip_lws, some_bytes},
};
use crate::{
    hash::HashKey,
    limits::{MAX_DISPLAY_STEPS, MAX_METHOD, MAX_PARAMETER_LWS, MAX_USER, MAX_USER_STEPS},
    map::zone::hash_by,
};

/// Where a URI stands, and so what ends it.
#[derive(Clone, Copy)]
struct Uri {
    /// Offset of its scheme.
    at: u32,
    /// Whether it stands in a header without angle brackets: then what follows a semicolon, a comma or a question mark belongs
    /// to the header (RFC 3261 section 20).
    bare: bool,
}

/// The key of the user of the message whose start line begins at `start` and whose Call-ID [`super::call_id`] has looked for,
/// with the same notes: SipHash-1-3 of the bytes of the user part, as they stand there, without password and parameters.
///
/// `which` is [`hash_by::FROM_USER`], [`hash_by::TO_USER`] or [`hash_by::REQUEST_USER`]; there is no user by anything else.
/// Of `sip:` and `sips:` URIs (RFC 3261 section 19.1.1) the user is what stands before the first `@`, up to the first colon or
/// semicolon; of `tel:` URIs (RFC 3966 section 3) it is the number. Other URIs have none, nor have those without `@`.
///
/// The `@` must come within [`MAX_USER_STEPS`] steps, and the first [`MAX_USER`] bytes are hashed.
#[inline(always)]
pub fn user_key<W: Window, N: Notes>(w: W, notes: N, start: usize, which: u8, key: &HashKey) -> Option<u64> {
    if user_place(which).is_some_and(|place| notes.lacks(place)) {
        onward(w, notes);
    }
    noted_user_key(w, notes, start, which, key)
}

/// The header that a user stands in, if it is one.
#[inline(always)]
pub fn user_place(which: u8) -> Option<Place> {
    match which {
        hash_by::FROM_USER => Some(Place::FROM),
        hash_by::TO_USER => Some(Place::TO),
        _ => None,
    }
}

/// [`user_key`] without a search for a header that is not noted.
#[inline(always)]
pub fn noted_user_key<W: Window, N: Notes>(
    w: W,
    notes: N,
    start: usize,
    which: u8,
    key: &HashKey,
) -> Option<u64> {
    let uri = match user_place(which) {
        Some(place) => header_uri(w, notes.noted(place))?,
        None if which == hash_by::REQUEST_USER => request_uri(w, start as u32)?,
        None => return None,
    };
    let user = user(w, uri)?;
    if w.byte(user as usize).is_none_or(UserEnd::delimits) {
        return None;
    }
    Some(hash_token::<W, UserEnd, { MAX_USER / 8 }>(w, user, key).0)
}

/// The URI of a request line: it stands behind the method and one space (RFC 3261 section 7.1).
#[inline(always)]
fn request_uri<W: Window>(w: W, start: u32) -> Option<Uri> {
    let mut at = start;
    let mut words = 0;
    while words < MAX_METHOD / 8 {
        words += 1;
        let word = padded_word_at(w, at);
        let ends = swar::at_most(word, b' ');
        if ends != 0 {
            let method = swar::first(ends);
            return if swar::byte_of(word, method) == b' ' {
                Some(Uri { at: at + method + 1, bare: false })
            } else {
                None
            };
        }
        at = advance(at, 8);
    }
    None
}

/// The URI of a From or To header (RFC 3261 section 25.1: `name-addr` or `addr-spec`) with this offset behind its name, 0 for
/// none.
#[inline(always)]
fn header_uri<W: Window>(w: W, header: u32) -> Option<Uri> {
    if header == 0 {
        return None;
    }
    let text = behind::<W, b':'>(w, header)?;
    let value = skip_lws::<W, MAX_PARAMETER_LWS>(w, text)?;
    Some(match behind_angle(w, value) {
        Some(at) => Uri { at, bare: false },
        None => Uri { at: value, bare: true },
    })
}

/// Offset behind the angle bracket of a header's value, if one comes before the header's first parameter and outside quotes. The
/// search gives up after [`MAX_DISPLAY_STEPS`] steps.
#[inline(always)]
fn behind_angle<W: Window>(w: W, value: u32) -> Option<u32> {
    let mut state = state::TEXT;
    let mut offset = value;
    let mut step = 0;
    while step < MAX_DISPLAY_STEPS {
        step += 1;
        offset = advance(offset, 0);
        let (word, len) = some_bytes(w, offset)?;
        let marks = state::marks(word, state);
        if marks == 0 {
            offset += len;
            continue;
        }
        let skipped = swar::first(marks);
        offset += skipped + 1;
        match swar::byte_of(word, skipped) {
            b'<' => return Some(offset),
            b';' | b',' => return None,
            b'\n' => {
                if !is_space(w, offset) {
                    return None;
                }
            }
            mark => {
                // A quoted pair (RFC 3261 section 25.1); no line ends in one.
                if mark == b'\\' && !matches!(w.byte(offset as usize), None | Some(b'\r' | b'\n')) {
                    offset += 1;
                }
                state = state::next(state, mark);
            }
        }
    }
    None
}

/// Offset of the user part of a URI.
#[inline(always)]
fn user<W: Window>(w: W, uri: Uri) -> Option<u32> {
    const SIP: Pattern = Pattern::start(b"sip:");
    const SIPS: Pattern = Pattern::start(b"sips:");
    const TEL: Pattern = Pattern::start(b"tel:");
    let scheme = padded_word_at(w, uri.at);
    if TEL.matches(scheme) {
        return Some(uri.at + TEL.len);
    }
    let user = if SIP.matches(scheme) {
        uri.at + SIP.len
    } else if SIPS.matches(scheme) {
        uri.at + SIPS.len
    } else {
        return None;
    };
    if has_user(w, user, uri.bare) { Some(user) } else { None }
}

/// Whether an `@` comes before the URI ends.
#[inline(always)]
fn has_user<W: Window>(w: W, from: u32, bare: bool) -> bool {
    let ends = hidden(u32::from_le_bytes(if bare { *b";,?>" } else { *b">>>>" }), from).to_le_bytes();
    let mut offset = from;
    let mut step = 0;
    while step < MAX_USER_STEPS {
        step += 1;
        offset = advance(offset, 0);
        let Some((word, len)) = some_bytes(w, offset) else { return false };
        let marks = swar::equal(word, b'@')
            | swar::at_most(word, b' ')
            | swar::equal(word, ends[0])
            | swar::equal(word, ends[1])
            | swar::equal(word, ends[2])
            | swar::equal(word, ends[3]);
        if marks != 0 {
            return swar::byte_of(word, swar::first(marks)) == b'@';
        }
        offset += len;
    }
    false
}

/// What ends a user or a number.
struct UserEnd;

impl Delimiters for UserEnd {
    #[inline(always)]
    fn quick(word: u64) -> u64 {
        Self::exact(word)
    }

    #[inline(always)]
    fn exact(word: u64) -> u64 {
        swar::at_most(word, b' ')
            | swar::equal(word, b'@')
            | swar::equal(word, b':')
            | swar::equal(word, b';')
            | swar::equal(word, b'>')
    }

    #[inline(always)]
    fn delimits(byte: u8) -> bool {
        byte <= b' ' || matches!(byte, b'@' | b':' | b';' | b'>')
    }
}
