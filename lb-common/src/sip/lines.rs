//! Walks the header lines of a message in search of a name.
//!
//! How it is built follows from what the verifier of the kernel can follow cheaply:
//!
//! * The place in the message starts as a number the verifier does not know, and every step adds to it. Were it known, or
//!   bounded, every path through the loop would lead to a place of its own and be verified on its own.
//! * Few variables are carried from step to step, and nothing in a step is a loop.
//! * The loop steps over 32 bytes at once. Near the end a second takes over, which steps over 8, and then
//!   a third for the last 7 bytes.

use super::{
    Window,
    swar::{self, Pattern},
};
use crate::limits::SCAN_BLOCK;

/// A search for a header.
pub(super) trait Wanted {
    /// Its long name in lower case, of at most 7 bytes.
    const LONG: Pattern;
    /// Its short name in lower case.
    const SHORT: Pattern;
    /// Steps over blocks before the search gives up.
    const STEPS: usize;
    /// Steps over words in the last 31 bytes.
    const TAIL_STEPS: usize;
    /// Whether the colon is looked for, and the search goes on where there is none; the offset found is behind the colon.
    /// Otherwise white space behind the name is enough, and the offset found is behind the name.
    const COLON: bool;
}

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
    /// Behind the name and maybe white space.
    Named,
    /// The header was found.
    Found,
    /// There is none.
    Over,
}

/// The first wanted header; `from` is the offset of the start line.
#[inline(always)]
pub(super) fn search<W: Window, T: Wanted>(w: W, from: u32) -> Option<u32> {
    let (state, offset) = walk::<W, T, true>(w, State::Idle, from);
    if state == State::Found {
        return Some(offset);
    }
    if state == State::Over {
        return None;
    }
    let (state, offset) = walk::<W, T, false>(w, state, offset);
    if state == State::Found {
        return Some(offset);
    }
    if state == State::Over {
        return None;
    }
    walk_bytes::<W, T>(w, state, offset)
}

/// Walks on as long as whole blocks can be read, or whole words if not `BLOCKS`; state and offset where that ends.
#[inline(always)]
fn walk<W: Window, T: Wanted, const BLOCKS: bool>(w: W, from_state: State, from: u32) -> (State, u32) {
    let mut state = from_state;
    let mut offset = from;
    let mut step = 0;
    while step < if BLOCKS { T::STEPS } else { T::TAIL_STEPS } {
        step += 1;
        if T::COLON && state == State::Named {
            let Some(word) = w.word(offset as usize) else { return (state, offset) };
            let skipped = swar::first(swar::not_space(word));
            offset += skipped;
            // Behind 8 bytes of white space this asks for the first of them.
            match swar::byte_of(word, skipped) {
                b' ' | b'\t' => {}
                b':' => return (State::Found, offset + 1),
                _ => state = State::Idle,
            }
            continue;
        }
        if BLOCKS || state != State::AtLine {
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
        (state, offset) = begin_line::<T>(line, offset);
        if state == State::Found || state == State::Over {
            return (state, offset);
        }
    }
    (State::Over, offset)
}

/// Looks at a line that starts at `offset` with the bytes `line`; how to go on.
#[inline(always)]
fn begin_line<T: Wanted>(line: u64, offset: u32) -> (State, u32) {
    // The empty line ends the header section (RFC 3261 section 7); a CR alone does not make one.
    if swar::byte_of(line, 0) == b'\n' || line & 0xffff == u16::from_le_bytes(*b"\r\n") as u64 {
        return (State::Over, offset);
    }
    let len = if T::LONG.matches(line) {
        T::LONG.len
    } else if T::SHORT.matches(line) {
        T::SHORT.len
    } else {
        return (State::Idle, offset);
    };
    match swar::byte_of(line, len) {
        b':' if T::COLON => (State::Found, offset + len + 1),
        // HCOLON allows white space (RFC 3261 section 25.1).
        b' ' | b'\t' if T::COLON => (State::Named, offset + len),
        b':' | b' ' | b'\t' => (State::Found, offset + len),
        _ => (State::Idle, offset),
    }
}

/// Walks the last 7 bytes. A long name and a colon need 8, and a value one more: only short names can be here.
#[inline(always)]
fn walk_bytes<W: Window, T: Wanted>(w: W, from_state: State, from: u32) -> Option<u32> {
    if !T::COLON {
        // A header that begins here has no room for a parameter.
        return None;
    }
    let mut state = from_state;
    let mut offset = from;
    let mut step = 0;
    while step < 7 {
        step += 1;
        let byte = w.byte(offset as usize)?;
        offset += 1;
        state = match (state, byte) {
            (State::AtLine | State::AtLineAfterCr, b'\n') => return None,
            (_, b'\n') => State::AtLine,
            (State::AtLine, b'\r') => State::AtLineAfterCr,
            (State::AtLine, letter) if T::SHORT.matches(letter as u64) => State::Named,
            (State::Named, b' ' | b'\t') => state,
            (State::Named, b':') => return Some(offset),
            _ => State::Idle,
        };
    }
    None
}
