//! Finds a parameter of a header's value: `name-addr;tag=1` or `sent-protocol sent-by;branch=1`.

use super::{
    Window,
    lines::{Wanted, search},
    swar::{self, Pattern},
    token::{Delimiters, hash_token, is_token},
    window::{advance, skip_lws},
};
use crate::{
    hash::{self, HashKey},
    limits::{MAX_PARAMETER, MAX_PARAMETER_LWS, MAX_PARAMETER_STEPS},
};

/// A parameter of a header.
pub(super) trait Parameter: Wanted {
    /// The parameter's name.
    const NAME: Pattern;
    /// Whether the header is a list, of which only the part before the first comma matters.
    const LIST: bool;
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum State {
    /// Outside quotes and angle brackets.
    Text,
    /// In a quoted string.
    Quoted,
    /// In angle brackets.
    Angle,
    /// Behind a semicolon and maybe white space.
    Name,
}

/// Hash of the value of the header's parameter, 0 if there is none. `from` is the offset of the start line.
#[inline(always)]
pub(super) fn parameter<W: Window, P: Parameter>(w: W, from: u32, key: &HashKey) -> u32 {
    let Some(value) = value::<W, P>(w, from) else { return 0 };
    // Not by the length of the value: the verifier would follow every length on its own from there on.
    if w.byte(value as usize).is_none_or(Separator::delimits) {
        return 0;
    }
    hash::fold(hash_token::<W, Separator, { MAX_PARAMETER / 8 }>(w, value as usize, key).0)
}

/// Offset of the parameter's value.
#[inline(always)]
fn value<W: Window, P: Parameter>(w: W, from: u32) -> Option<u32> {
    let behind_header_name = search::<W, P>(w, from)?;
    let text = behind::<W, b':'>(w, behind_header_name)?;
    let behind_name = find_name::<W, P>(w, text)?;
    let value = behind::<W, b'='>(w, behind_name)?;
    skip_lws::<W, MAX_PARAMETER_LWS>(w, value)
}

/// Offset behind the `BYTE` that is next, white space aside.
#[inline(always)]
fn behind<W: Window, const BYTE: u8>(w: W, from: u32) -> Option<u32> {
    let at = skip_lws::<W, MAX_PARAMETER_LWS>(w, from)?;
    if w.byte(at as usize)? == BYTE { Some(at + 1) } else { None }
}

/// Offset behind the parameter's name. The header's text begins at `from`.
#[inline(always)]
fn find_name<W: Window, P: Parameter>(w: W, from: u32) -> Option<u32> {
    let mut state = State::Text;
    let mut offset = from;
    let mut step = 0;
    while step < MAX_PARAMETER_STEPS {
        step += 1;
        // Where 8 bytes are not left, one is taken, with bytes behind it that nobody looks for.
        let (word, len) = match w.word(offset as usize) {
            Some(word) => (word, 8),
            None => (w.byte(offset as usize)? as u64 | !0xff, 1),
        };
        if state == State::Name {
            match word as u8 {
                b'\n' if !is_space(w, offset + 1) => return None,
                b' ' | b'\t' | b'\r' | b'\n' => offset = advance(offset, 1),
                _ if is_name::<W, P>(w, offset, word, len) => return Some(offset + P::NAME.len),
                _ => state = State::Text,
            }
            continue;
        }
        let marks = swar::equal(word, b'\n') | marks::<P>(state, word);
        if marks == 0 {
            offset = advance(offset, len);
            continue;
        }
        let skipped = swar::first(marks);
        offset = advance(offset, skipped + 1);
        state = match swar::byte_of(word, skipped) {
            b'"' if state == State::Text => State::Quoted,
            b'<' => State::Angle,
            b';' => State::Name,
            b',' => return None,
            // A quoted pair (RFC 3261 section 25.1); no line ends in one.
            b'\\' => {
                if !matches!(w.byte(offset as usize), None | Some(b'\r' | b'\n')) {
                    offset = advance(offset, 1);
                }
                state
            }
            b'\n' if !is_space(w, offset) => return None,
            b'\n' => state,
            _ => State::Text,
        };
    }
    None
}

/// Whether the parameter's name and no longer one stands at `offset`, where `len` bytes of `word` do.
#[inline(always)]
fn is_name<W: Window, P: Parameter>(w: W, offset: u32, word: u64, len: u32) -> bool {
    if len == 8 {
        return P::NAME.matches(word) && !is_token(swar::byte_of(word, P::NAME.len));
    }
    let mut name = 0;
    let mut i = 0;
    while i < P::NAME.len {
        let Some(byte) = w.byte((offset + i) as usize) else { return false };
        name |= (byte as u64) << (8 * i);
        i += 1;
    }
    P::NAME.matches(name) && !w.byte((offset + i) as usize).is_some_and(is_token)
}

/// Whether the line that starts at `offset` continues the one before.
#[inline(always)]
fn is_space<W: Window>(w: W, offset: u32) -> bool {
    matches!(w.byte(offset as usize), Some(b' ' | b'\t'))
}

/// Marks what ends a state.
#[inline(always)]
fn marks<P: Parameter>(state: State, word: u64) -> u64 {
    match state {
        State::Quoted => swar::equal(word, b'"') | swar::equal(word, b'\\'),
        State::Angle => swar::equal(word, b'>'),
        _ => {
            let comma = if P::LIST { swar::equal(word, b',') } else { 0 };
            swar::equal(word, b'"') | swar::equal(word, b'<') | swar::equal(word, b';') | comma
        }
    }
}

/// What ends a parameter's value.
struct Separator;

impl Delimiters for Separator {
    #[inline(always)]
    fn quick(word: u64) -> u64 {
        swar::at_most(word, b' ') | swar::equal(word, b';') | swar::equal(word, b',')
    }

    #[inline(always)]
    fn exact(word: u64) -> u64 {
        swar::equal(word, b' ')
            | swar::equal(word, b'\t')
            | swar::equal(word, b'\r')
            | swar::equal(word, b'\n')
            | swar::equal(word, b';')
            | swar::equal(word, b',')
    }

    #[inline(always)]
    fn delimits(byte: u8) -> bool {
        matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b',')
    }
}
