//! Finds a parameter of a header's value: `name-addr;tag=1` or `sent-protocol sent-by;branch=1`.

use super::{
    Window,
    notes::{Notes, PLACES, Place},
    swar::{self, Pattern},
    token::{Delimiters, hash_token, is_token},
    window::{advance, behind, is_space, padded_word_at, skip_lws, some_bytes},
};
use crate::{
    hash::{self, HashKey},
    limits::{MAX_PARAMETER, MAX_PARAMETER_LWS, MAX_PARAMETER_STEPS},
};

/// A parameter of a header.
#[derive(Clone, Copy)]
struct Parameter {
    /// Its name.
    name: Pattern,
    /// Whether the header is a list, of which only the part before the first comma matters.
    list: bool,
}

impl Parameter {
    /// By the header's place. The verifier does not know what it reads from a table at an unknown index: where it does not know
    /// the place, it walks through what follows once for all of them.
    const TABLE: [Parameter; PLACES] = {
        let mut table = [Parameter { name: Pattern::start(b"tag"), list: false }; PLACES];
        table[Place::VIA.index()] = Parameter { name: Pattern::start(b"branch"), list: true };
        table
    };
}

/// Where the reading of a header stands. Numbers, looked up in tables, not an enum: a state that the verifier
/// knows makes it verify each step once for each state.
pub(super) mod state {
    use crate::sip::swar;

    /// Outside quotes and angle brackets.
    pub(in crate::sip) const TEXT: u32 = 0;
    /// In a quoted string.
    const QUOTED: u32 = 1;
    /// In angle brackets.
    const ANGLE: u32 = 2;
    /// Behind a semicolon and maybe white space.
    pub(in crate::sip) const NAME: u32 = 3;

    /// The bytes that matter in each state but `NAME`, besides LF.
    const MARKS: [[u8; 4]; 4] = [*b"\"<;,", *b"\"\\\"\"", *b">>>>", *b">>>>"];
    /// The state that a mark leads to; any other leads to `TEXT`.
    const NEXT: [(u32, u8, u32); 4] =
        [(TEXT, b'"', QUOTED), (TEXT, b'<', ANGLE), (TEXT, b';', NAME), (QUOTED, b'\\', QUOTED)];

    /// The mark of that number in a state.
    #[inline(always)]
    const fn mark(state: u32, number: usize) -> u8 {
        let table =
            u32::from_le_bytes([MARKS[0][number], MARKS[1][number], MARKS[2][number], MARKS[3][number]]);
        (table >> (8 * (state & 3))) as u8
    }

    /// Marks LF and the bytes that matter in a state but `NAME`; exact for the first.
    #[inline(always)]
    pub(in crate::sip) const fn marks(word: u64, state: u32) -> u64 {
        swar::equal(word, b'\n')
            | swar::equal(word, mark(state, 0))
            | swar::equal(word, mark(state, 1))
            | swar::equal(word, mark(state, 2))
            | swar::equal(word, mark(state, 3))
    }

    /// The state that a mark leads to: 2 bits for each state and the mark's low 3 bits, which tell a state's marks apart.
    #[inline(always)]
    pub(in crate::sip) const fn next(state: u32, mark: u8) -> u32 {
        const TABLE: u64 = {
            let mut table = 0;
            let mut i = 0;
            while i < NEXT.len() {
                let (from, mark, to) = NEXT[i];
                table |= (to as u64) << (16 * from + 2 * (mark as u32 & 7));
                i += 1;
            }
            table
        };
        (TABLE >> (16 * (state & 3) + 2 * (mark as u32 & 7))) as u32 & 3
    }
}

/// Hash of the value of a noted header's parameter, 0 if there is none: of the To header's tag (and of the From header's), of the
/// Via header's branch.
#[inline(always)]
pub fn parameter<W: Window, N: Notes>(w: W, notes: N, place: Place, key: &HashKey) -> u32 {
    let header = notes.noted(place);
    if header == 0 {
        return 0;
    }
    let Some(value) = value(w, header, &Parameter::TABLE[place.index()]) else { return 0 };
    // Not by the length of the value: the verifier would follow every length on its own from there on.
    if w.byte(value as usize).is_none_or(Separator::delimits) {
        return 0;
    }
    hash::fold(hash_token::<W, Separator, { MAX_PARAMETER / 8 }>(w, value, key).0)
}

/// Offset of the parameter's value.
#[inline(always)]
fn value<W: Window>(w: W, header: u32, parameter: &Parameter) -> Option<u32> {
    let text = behind::<W, b':'>(w, header)?;
    let behind_name = find_name(w, text, parameter)?;
    let value = behind::<W, b'='>(w, behind_name)?;
    skip_lws::<W, MAX_PARAMETER_LWS>(w, value)
}

/// Offset behind the parameter's name. The header's text begins at `from`.
#[inline(always)]
fn find_name<W: Window>(w: W, from: u32, parameter: &Parameter) -> Option<u32> {
    let mut state = state::TEXT;
    let mut offset = from;
    let mut step = 0;
    while step < MAX_PARAMETER_STEPS {
        step += 1;
        offset = advance(offset, 0);
        let (word, len) = some_bytes(w, offset)?;
        if state == state::NAME {
            match word as u8 {
                b'\n' if !is_space(w, offset + 1) => return None,
                b' ' | b'\t' | b'\r' | b'\n' => offset += 1,
                _ if is_name(w, offset, word, len, parameter.name) => {
                    return Some(offset + parameter.name.len);
                }
                _ => state = state::TEXT,
            }
            continue;
        }
        let marks = state::marks(word, state);
        if marks == 0 {
            offset += len;
            continue;
        }
        let skipped = swar::first(marks);
        offset += skipped + 1;
        match swar::byte_of(word, skipped) {
            b'\n' => {
                // No fold: the header ends.
                if !is_space(w, offset) {
                    return None;
                }
            }
            b',' => {
                if parameter.list {
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

/// Whether this name and no longer one stands at `offset`, where `len` bytes of `word` do.
#[inline(always)]
fn is_name<W: Window>(w: W, offset: u32, word: u64, len: u32, name: Pattern) -> bool {
    let word = if len == 8 { word } else { padded_word_at(w, offset) };
    name.matches(word) && !is_token(swar::byte_of(word, name.len))
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
