//! The first bytes of a datagram: what it is.

use super::{
    Kind, Method, Window,
    swar::{self, Pattern},
    token::is_token,
    window::{advance, padded_word_at},
};
use crate::limits::{MAX_LEADING, MAX_METHOD};

/// STUN's magic cookie at byte 4, as it stands in the high half of the first word (RFC 8489 section 5).
const MAGIC_COOKIE: u64 = 0x2112_a442_u32.swap_bytes() as u64;

/// What the datagram is, and the offset of its start line. `zero` is a 0 that the verifier does not know.
///
/// Up to [`MAX_LEADING`] bytes of CR and LF before the start line are skipped (RFC 3261 section 7.5). A request is a method
/// followed by SP, a response is `SIP/2.0`, SP and three digits that no fourth follows; the rest of the line is not looked at.
#[inline(always)]
pub fn start_line<W: Window>(w: W, zero: usize) -> (Kind, usize) {
    if let Some(word) = w.word(zero)
        && word & 0xc0 == 0
        && word >> 32 == MAGIC_COOKIE
    {
        return (Kind::Stun, zero);
    }
    let mut from = zero as u32;
    let mut skipped = 0;
    loop {
        match w.byte(from as usize) {
            None => return (Kind::KeepAlive, from as usize),
            Some(b'\r' | b'\n') if skipped < MAX_LEADING => from = advance(from, 1),
            Some(0) => return (nul_bytes(w, from), from as usize),
            Some(_) => break,
        }
        skipped += 1;
    }
    (classify(w, from), from as usize)
}

/// A datagram with a NUL byte at `from` is a keep-alive if nothing but NUL, CR and LF follow, as far as is looked.
#[inline(always)]
fn nul_bytes<W: Window>(w: W, from: u32) -> Kind {
    let mut at = from;
    let mut looked = 0;
    while looked < MAX_LEADING {
        match w.byte(at as usize) {
            None => return Kind::KeepAlive,
            Some(0 | b'\r' | b'\n') => at = advance(at, 1),
            Some(_) => return Kind::NotSip,
        }
        looked += 1;
    }
    Kind::NotSip
}

#[inline(always)]
fn classify<W: Window>(w: W, from: u32) -> Kind {
    let first = padded_word_at(w, from);
    let second = padded_word_at(w, from + 8);
    const VERSION: Pattern = Pattern::start(b"sip/2.0 ");
    if VERSION.matches(first) {
        return match status(second) {
            Some(code) => Kind::Response(code),
            None => Kind::NotSip,
        };
    }
    let method = known_method(first, second);
    if method != Method::Other || is_method(w, from) { Kind::Request(method) } else { Kind::NotSip }
}

/// The status code at the start of `word` (RFC 3261 section 7.2).
#[inline(always)]
fn status(word: u64) -> Option<u16> {
    let mut code = 0;
    let mut i = 0;
    while i < 3 {
        let digit = swar::byte_of(word, i).wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        code = code * 10 + digit as u16;
        i += 1;
    }
    if swar::byte_of(word, 3).is_ascii_digit() { None } else { Some(code) }
}

/// The method of these 16 bytes if it is one that has a name here. Methods are case-sensitive (RFC 3261 section 7.1).
#[inline(always)]
fn known_method(first: u64, second: u64) -> Method {
    macro_rules! table {
        ($($text:literal => $method:ident),+ $(,)?) => {
            $(if starts(first, second, $text) { return Method::$method; })+
        };
    }
    table! {
        b"INVITE " => Invite,
        b"ACK " => Ack,
        b"BYE " => Bye,
        b"CANCEL " => Cancel,
        b"REGISTER " => Register,
        b"OPTIONS " => Options,
        b"PRACK " => Prack,
        b"UPDATE " => Update,
        b"SUBSCRIBE " => Subscribe,
        b"NOTIFY " => Notify,
        b"PUBLISH " => Publish,
        b"INFO " => Info,
        b"REFER " => Refer,
        b"MESSAGE " => Message,
    }
    Method::Other
}

/// Whether 16 bytes begin with `text`.
#[inline(always)]
const fn starts<const N: usize>(first: u64, second: u64, text: &[u8; N]) -> bool {
    let (mut want, mut mask) = ([0u64; 2], [0u64; 2]);
    let mut i = 0;
    while i < N {
        want[i / 8] |= (text[i] as u64) << (8 * (i % 8));
        mask[i / 8] |= 0xff << (8 * (i % 8));
        i += 1;
    }
    first & mask[0] == want[0] && second & mask[1] == want[1]
}

/// Whether a token and SP stand at `from`; of a long token the first [`MAX_METHOD`] bytes are looked at.
#[inline(always)]
fn is_method<W: Window>(w: W, from: u32) -> bool {
    let mut len = 0;
    while len < MAX_METHOD as u32 {
        match w.byte((from + len) as usize) {
            Some(b' ') => return len > 0,
            Some(byte) if is_token(byte) => len += 1,
            _ => return false,
        }
    }
    true
}
