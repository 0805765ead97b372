//! Walks the header lines of a message in search of some names.
//!
//! How it is built follows from what the verifier of the kernel can follow cheaply:
//!
//! * The place in the message starts as a number the verifier does not know. Were it known, every path through the loop
//!   would lead to a place of its own and be verified on its own.
//! * One loop carries one number, the position. What else it must remember, that it stands behind a name and looks for
//!   the colon, is a high bit of the position: to the verifier that is no further state.
//! * The loop steps over 32 bytes at once. Near the end a second takes over, which steps over 8, and then
//!   a third for the last 7 bytes.

use super::{
    Window,
    swar::{self, Pattern},
};
use crate::limits::{MAX_SCAN_STEPS, SCAN_BLOCK};

/// Where a search stands between two of its steps.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum State {
    /// In a line that does not matter.
    Idle,
    /// At the start of a line that nobody has looked at.
    AtLine,
    /// Behind a CR that is the first byte of a line.
    AtLineAfterCr,
    /// Behind the name of the first wanted header and maybe white space.
    First,
    /// Behind the name of the second wanted header and maybe white space.
    Second,
    /// The search is over.
    Over,
}

/// A header's long and its short name.
#[derive(Clone, Copy)]
pub(super) struct Name {
    long: Pattern,
    short: Pattern,
    letter: u8,
}

impl Name {
    /// Names in lower case; the long one has at most 7 bytes.
    pub(super) const fn new(long: &[u8], short: u8) -> Name {
        Name { long: Pattern::start(long), short: Pattern::start(&[short]), letter: short }
    }

    /// Length of the name that a line begins with, if it is this one.
    #[inline(always)]
    const fn starts(self, line: u64) -> Option<u32> {
        if self.long.matches(line) {
            Some(self.long.len)
        } else if self.short.matches(line) {
            Some(self.short.len)
        } else {
            None
        }
    }
}

/// The headers a search wants.
pub(super) trait Wanted {
    /// One of them.
    const FIRST: Name;
    /// The other, if there are two.
    const SECOND: Option<Name>;

    /// A header was found; its value follows the colon before `value`. False ends the search.
    fn found(&mut self, second: bool, value: u32) -> bool;
}

/// Tells `wanted` of every wanted header, in order. `from` is the offset of the start line.
#[inline(always)]
pub(super) fn search<W: Window, T: Wanted>(w: W, from: u32, wanted: &mut T) {
    let (state, offset) = walk::<W, T, true>(w, State::Idle, from, wanted);
    if state == State::Over {
        return;
    }
    let (state, offset) = walk::<W, T, false>(w, state, offset, wanted);
    if state == State::Over {
        return;
    }
    walk_bytes(w, state, offset, wanted);
}

/// Walks on as long as whole blocks can be read, or whole words if not `BLOCKS`; state and offset where that ends.
#[inline(always)]
fn walk<W: Window, T: Wanted, const BLOCKS: bool>(
    w: W,
    from_state: State,
    from: u32,
    wanted: &mut T,
) -> (State, u32) {
    let mut state = from_state;
    let mut offset = from;
    let mut step = 0;
    // Words are walked less than a block before the end, and every step but the first goes on by a byte at least.
    while step < if BLOCKS { MAX_SCAN_STEPS } else { SCAN_BLOCK } {
        step += 1;
        if state == State::First || state == State::Second {
            let Some(word) = w.word(offset as usize) else { return (state, offset) };
            let skipped = swar::first(swar::not_space(word));
            offset += skipped;
            // Behind 8 bytes of white space this asks for the first of them.
            match swar::byte_of(word, skipped) {
                b' ' | b'\t' => {}
                b':' if !wanted.found(state == State::Second, offset + 1) => return (State::Over, offset),
                _ => state = State::Idle,
            }
            continue;
        }
        if state != State::AtLine {
            let (skipped, most) = if BLOCKS {
                let Some(block) = w.block(offset as usize) else { return (state, offset) };
                (swar::first_of_block(block, b'\n'), SCAN_BLOCK as u32)
            } else {
                let Some(word) = w.word(offset as usize) else { return (state, offset) };
                (swar::first(swar::equal(word, b'\n')), 8)
            };
            offset += skipped;
            if skipped == most {
                continue;
            }
            offset += 1;
        }
        let Some(line) = w.word(offset as usize) else { return (State::AtLine, offset) };
        (state, offset) = begin_line(line, offset, wanted);
        if state == State::Over {
            break;
        }
    }
    (State::Over, offset)
}

/// Looks at a line that starts at `offset` with the bytes `line`; how to go on.
#[inline(always)]
fn begin_line<T: Wanted>(line: u64, offset: u32, wanted: &mut T) -> (State, u32) {
    // The empty line ends the header section (RFC 3261 section 7); a CR alone does not make one.
    if swar::byte_of(line, 0) == b'\n' || line & 0xffff == u16::from_le_bytes(*b"\r\n") as u64 {
        return (State::Over, offset);
    }
    let (len, state) = if let Some(len) = T::FIRST.starts(line) {
        (len, State::First)
    } else if let Some(len) = T::SECOND.and_then(|name| name.starts(line)) {
        (len, State::Second)
    } else {
        return (State::Idle, offset);
    };
    match swar::byte_of(line, len) {
        b':' if !wanted.found(state == State::Second, offset + len + 1) => (State::Over, offset),
        // HCOLON allows white space (RFC 3261 section 25.1).
        b' ' | b'\t' => (state, offset + len),
        _ => (State::Idle, offset),
    }
}

/// Walks the last 7 bytes. A long name and a colon need 8, and a value one more: only short names can be here.
#[inline(always)]
fn walk_bytes<W: Window, T: Wanted>(w: W, from_state: State, from: u32, wanted: &mut T) {
    let mut state = from_state;
    let mut offset = from;
    let mut step = 0;
    while step < 7 {
        step += 1;
        let Some(byte) = w.byte(offset as usize) else { return };
        offset += 1;
        state = match (state, byte) {
            (State::AtLine | State::AtLineAfterCr, b'\n') => return,
            (_, b'\n') => State::AtLine,
            (State::AtLine, b'\r') => State::AtLineAfterCr,
            (State::AtLine, letter) if letter | 0x20 == T::FIRST.letter => State::First,
            (State::AtLine, letter) if T::SECOND.is_some_and(|name| letter | 0x20 == name.letter) => {
                State::Second
            }
            (State::First | State::Second, b' ' | b'\t') => state,
            (State::First | State::Second, b':') if !wanted.found(state == State::Second, offset) => return,
            _ => State::Idle,
        };
    }
}
