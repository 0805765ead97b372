//! Retry-After: when a server that refuses wants to be asked again.

use super::{
    Window,
    swar::{self, Pattern},
    window::{advance, is_space},
};
use crate::limits::{MAX_RETRY_AFTER_DIGITS, MAX_RETRY_AFTER_SPACES, MAX_RETRY_AFTER_STEPS};

/// The seconds of the Retry-After of the message whose start line begins at `from` (RFC 3261 sections 20.33 and 25.1):
/// `Retry-After: 120 (in a meeting);duration=3600`. Comment and parameters are not looked at. The first such header counts;
/// it has no short name. What is more than 32 bits can hold is the greatest number they can.
///
/// `None`: there is no such header within [`MAX_RETRY_AFTER_STEPS`] steps, or another begins with the same eight letters before
/// it, or its value is no number of at most [`MAX_RETRY_AFTER_DIGITS`] digits, or one that is behind a fold or more than
/// [`MAX_RETRY_AFTER_SPACES`] spaces.
///
/// It searches from the start line on, not from the Call-ID: the header may stand on either side, and hardly any message is
/// asked for it. For the same reason its steps are small and simple, which costs time but little verification.
#[inline(always)]
pub fn retry_after<W: Window>(w: W, from: usize) -> Option<u32> {
    let colon = skip_spaces(w, find(w, from as u32)?);
    if w.byte(colon as usize)? != b':' {
        return None;
    }
    seconds(w, skip_spaces(w, advance(colon, 1)))
}

/// Offset behind the name of the header.
#[inline(always)]
fn find<W: Window>(w: W, from: u32) -> Option<u32> {
    // The name has 11 bytes.
    const FIRST: Pattern = Pattern::start(b"retry-af");
    const LAST: Pattern = Pattern::start(b"ry-after");
    let mut offset = from;
    let mut word = w.word(offset as usize)?;
    // 1 if no line begins at the offset.
    let mut inside = 1;
    let mut step = 0;
    while step < MAX_RETRY_AFTER_STEPS {
        step += 1;
        let skipped = swar::first(swar::equal(word, b'\n'));
        inside = skipped >> 3;
        offset += skipped + 1 - inside;
        word = w.word(offset as usize)?;
        // The empty line ends the header section (RFC 3261 section 7).
        let empty = swar::is_zero((word ^ b'\n' as u64) & 0xff)
            | swar::is_zero((word ^ u16::from_le_bytes(*b"\r\n") as u64) & 0xffff);
        // One branch that leads out of the loop and none that stays: the verifier walks every step once.
        if (empty | swar::is_zero(FIRST.difference(word))) & (inside ^ 1) != 0 {
            break;
        }
    }
    // The steps may have ended inside a line that goes on like the name.
    if inside == 0 && FIRST.matches(word) && LAST.matches(w.word(offset as usize + 3)?) {
        return Some(advance(offset, 11));
    }
    None
}

/// Offset behind the spaces and tabs at `from`, so many at most.
#[inline(always)]
fn skip_spaces<W: Window>(w: W, from: u32) -> u32 {
    let mut at = from;
    let mut step = 0;
    while step < MAX_RETRY_AFTER_SPACES && is_space(w, at) {
        step += 1;
        at = advance(at, 1);
    }
    at
}

/// The number that stands at `from`.
#[inline(always)]
fn seconds<W: Window>(w: W, from: u32) -> Option<u32> {
    let mut number = 0_u64;
    let mut digits = 0;
    while digits <= MAX_RETRY_AFTER_DIGITS {
        // The end of the datagram ends the line.
        let byte = w.byte(from as usize + digits).unwrap_or(b'\n');
        if !byte.is_ascii_digit() {
            if digits == 0 || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b';') {
                return None;
            }
            return Some(if number > u32::MAX as u64 { u32::MAX } else { number as u32 });
        }
        number = number * 10 + (byte - b'0') as u64;
        digits += 1;
    }
    None
}
