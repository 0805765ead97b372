//! Walks the header lines of a message: in search of the Call-ID, and beyond.
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
    notes::{Notes, Place},
    swar::{self, Pattern},
};
use crate::limits::{MAX_DIALOG_STEPS, MAX_DIALOG_TAIL_STEPS, MAX_SCAN_STEPS, SCAN_BLOCK};

/// A walk through the header lines. Every walk notes the headers of [`Place`] that it passes for the first time.
trait Walk {
    /// Whether it ends at the Call-ID. Otherwise it ends where every header is noted.
    const CALL_ID: bool;
    /// Steps over blocks before it gives up.
    const STEPS: usize;
    /// Steps over words in the last 31 bytes.
    const TAIL_STEPS: usize;
}

/// From the start line to the Call-ID.
struct ToCallId;

impl Walk for ToCallId {
    const CALL_ID: bool = true;
    const STEPS: usize = MAX_SCAN_STEPS;
    // Enough for any 31 bytes: every step but the first goes on by a byte at least.
    const TAIL_STEPS: usize = SCAN_BLOCK;
}

/// On from there.
struct Onward;

impl Walk for Onward {
    const CALL_ID: bool = false;
    const STEPS: usize = MAX_DIALOG_STEPS;
    const TAIL_STEPS: usize = MAX_DIALOG_TAIL_STEPS;
}

/// The Call-ID's long and short name.
const LONG: Pattern = Pattern::start(b"call-id");
const SHORT: Pattern = Pattern::start(b"i");

/// A header that is noted. Its short name is the first letter of the long one.
#[derive(Clone, Copy)]
struct Noteworthy {
    name: Pattern,
    place: Place,
}

impl Noteworthy {
    /// By the low 5 bits of the first letter. The verifier does not know what it reads from a table at an unknown index, so it
    /// walks through what follows once for all headers.
    const TABLE: [Noteworthy; 32] = {
        let mut table = [Noteworthy { name: Pattern::start(b"from"), place: Place::FROM }; 32];
        table[b't' as usize & 31] = Noteworthy { name: Pattern::start(b"to"), place: Place::TO };
        table[b'v' as usize & 31] = Noteworthy { name: Pattern::start(b"via"), place: Place::VIA };
        table
    };
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

/// Offset behind the colon of the Call-ID; `from` is the offset of the start line.
#[inline(always)]
pub(super) fn to_call_id<W: Window, N: Notes>(w: W, notes: N, from: u32) -> Option<u32> {
    let (state, offset) = walk::<W, N, ToCallId, true>(w, notes, State::Idle, from);
    if state == State::Found {
        return Some(offset);
    }
    if state == State::Over {
        return None;
    }
    let (state, offset) = walk::<W, N, ToCallId, false>(w, notes, state, offset);
    if state == State::Found {
        return Some(offset);
    }
    if state == State::Over {
        return None;
    }
    walk_bytes(w, state, offset)
}

/// Notes the headers behind the Call-ID that were not passed on the way to it; once for a message.
#[inline(always)]
pub fn onward<W: Window, N: Notes>(w: W, notes: N) {
    let from = notes.noted(Place::REST);
    if from == 0 {
        return;
    }
    notes.note(Place::REST, 0);
    let (state, offset) = walk::<W, N, Onward, true>(w, notes, State::Idle, from);
    if state != State::Over {
        // A header that begins in the last 7 bytes has no room for anything that is asked for.
        walk::<W, N, Onward, false>(w, notes, state, offset);
    }
}

/// Walks on as long as whole blocks can be read, or whole words if not `BLOCKS`; state and offset where that ends.
#[inline(always)]
fn walk<W: Window, N: Notes, T: Walk, const BLOCKS: bool>(
    w: W,
    notes: N,
    from_state: State,
    from: u32,
) -> (State, u32) {
    let mut state = from_state;
    let mut offset = from;
    let mut step = 0;
    while step < if BLOCKS { T::STEPS } else { T::TAIL_STEPS } {
        step += 1;
        if T::CALL_ID && state == State::Named {
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
        (state, offset) = begin_line::<N, T>(notes, line, offset);
        if state == State::Found || state == State::Over {
            return (state, offset);
        }
    }
    (State::Over, offset)
}

/// Looks at a line that starts at `offset` with the bytes `line`; how to go on.
#[inline(always)]
fn begin_line<N: Notes, T: Walk>(notes: N, line: u64, offset: u32) -> (State, u32) {
    if !may_be_one_of(line as u8, b"\r\ncCiIfFtTvV") {
        return (State::Idle, offset);
    }
    // The empty line ends the header section (RFC 3261 section 7); a CR alone does not make one.
    if swar::byte_of(line, 0) == b'\n' || line & 0xffff == u16::from_le_bytes(*b"\r\n") as u64 {
        return (State::Over, offset);
    }
    if may_be_one_of(line as u8, b"fFtTvV") {
        let fresh = note(notes, line, offset);
        return if !T::CALL_ID && fresh && all_noted(notes) {
            (State::Over, offset)
        } else {
            (State::Idle, offset)
        };
    }
    if T::CALL_ID { begin_call_id(line, offset) } else { (State::Idle, offset) }
}

/// Whether a byte is one of these or another that has the same low 6 bits. No headers begin with those but some with J and M.
#[inline(always)]
const fn may_be_one_of<const N: usize>(byte: u8, these: &[u8; N]) -> bool {
    let mut set = 0_u64;
    let mut i = 0;
    while i < N {
        set |= 1 << (these[i] & 63);
        i += 1;
    }
    set >> (byte & 63) & 1 != 0
}

/// What follows a header's name (HCOLON, RFC 3261 section 25.1), as a set.
const SEPARATORS: u64 = 1 << b':' | 1 << b' ' | 1 << b'\t';

/// Notes the line if it begins with the name of a header that is noted and is the first that does; whether it did.
#[inline(always)]
fn note<N: Notes>(notes: N, line: u64, offset: u32) -> bool {
    let header = &Noteworthy::TABLE[line as usize & 31];
    if !header.name.matches_first(line) {
        return false;
    }
    let len = if header.name.matches(line) { header.name.len } else { 1 };
    let next = swar::byte_of(line, len);
    let is_name = next <= b':' && 1 << next & SEPARATORS != 0;
    if !is_name || !notes.lacks(header.place) {
        return false;
    }
    notes.note(header.place, offset + len);
    true
}

#[inline(always)]
fn all_noted<N: Notes>(notes: N) -> bool {
    !notes.lacks(Place::FROM) && !notes.lacks(Place::TO) && !notes.lacks(Place::VIA)
}

/// Looks whether a line is the Call-ID.
#[inline(always)]
fn begin_call_id(line: u64, offset: u32) -> (State, u32) {
    let len = if LONG.matches(line) {
        LONG.len
    } else if SHORT.matches(line) {
        SHORT.len
    } else {
        return (State::Idle, offset);
    };
    match swar::byte_of(line, len) {
        b':' => (State::Found, offset + len + 1),
        // HCOLON allows white space (RFC 3261 section 25.1).
        b' ' | b'\t' => (State::Named, offset + len),
        _ => (State::Idle, offset),
    }
}

/// Walks the last 7 bytes. A long name and a colon need 8, and a value one more: only short names can be here.
#[inline(always)]
fn walk_bytes<W: Window>(w: W, from_state: State, from: u32) -> Option<u32> {
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
            (State::AtLine, letter) if SHORT.matches(letter as u64) => State::Named,
            (State::Named, b' ' | b'\t') => state,
            (State::Named, b':') => return Some(offset),
            _ => State::Idle,
        };
    }
    None
}
