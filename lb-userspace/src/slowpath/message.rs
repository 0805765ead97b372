//! A request, read as far as an answer to it needs (RFC 3261 section 8.2.6). Nothing is copied.

use super::{
    header::{Name, headers, is_lws, is_one_line, parameter, split_body, split_outside},
    via::{self, Via},
};
use lb_common::{
    hash::HashKey,
    sip::{self, Bytes, CallId, Kind, Method, Noted, dialog_headers},
};
use memchr::memchr;
use nom::{
    IResult, Parser,
    bytes::complete::{tag_no_case, take_till1, take_while1},
    character::complete::char,
    combinator::{all_consuming, opt},
    sequence::{preceded, terminated},
};

/// A request that can be answered. Values are as in the message, folds included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its method.
    pub method: Method,
    /// Its request URI.
    pub uri: &'a [u8],
    /// The first value of the first Via.
    pub top_via: Via<'a>,
    /// The From header.
    pub from: &'a [u8],
    /// The To header.
    pub to: &'a [u8],
    /// Whether the To header has a tag: then the request belongs to a dialog (RFC 3261 section 12.2).
    pub to_tag: bool,
    /// The Call-ID header.
    pub call_id: &'a [u8],
    /// The CSeq header.
    pub cseq: &'a [u8],
    /// Keyed hash of the Call-ID, the same as the program's.
    pub call_key: u64,
    /// Length of the datagram in bytes.
    pub size: usize,
    section: &'a [u8],
}

/// Why a datagram cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    /// CR, LF and NUL, or STUN.
    #[error("a keep-alive")]
    KeepAlive,
    /// Not SIP.
    #[error("not SIP")]
    NotSip,
    /// RFC 3261 section 7.2: nobody answers an answer.
    #[error("a response")]
    Response,
    /// RFC 3261 section 7.1.
    #[error("its start line is not that of a SIP/2.0 request")]
    StartLine,
    /// The empty line is missing.
    #[error("its headers do not end")]
    Endless,
    /// RFC 3261 section 18.3.
    #[error("its body is not as long as Content-Length says")]
    ContentLength,
    /// A header is missing, empty, there twice, or not as RFC 3261 section 25.1 wants it.
    #[error("its From header is missing, doubled or broken")]
    From,
    /// Likewise.
    #[error("its To header is missing, doubled or broken")]
    To,
    /// Likewise; or the program does not find it where it is.
    #[error("its Call-ID header is missing, doubled, broken or too far behind")]
    CallId,
    /// Likewise; or it names another method than the start line (RFC 3261 section 8.1.1.5).
    #[error("its CSeq header is missing, doubled, broken or of another method")]
    CSeq,
    /// Likewise; all but the topmost are not looked into.
    #[error("its Via header is missing or broken")]
    Via,
}

impl<'a> Request<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Why it cannot be answered. Nothing is answered with 400 (RFC 3261 section 21.4.1): what is this far from SIP is noise.
    pub fn read(datagram: &'a [u8], key: &HashKey) -> Result<Request<'a>, Unfit> {
        let window = Bytes(datagram);
        let (kind, from) = sip::start_line(window, 0);
        let method = match kind {
            Kind::Request(method) => method,
            Kind::Response(_) => return Err(Unfit::Response),
            Kind::KeepAlive | Kind::Stun => return Err(Unfit::KeepAlive),
            Kind::NotSip => return Err(Unfit::NotSip),
        };
        let message = &datagram[from..];
        let line_end = memchr(b'\n', message).ok_or(Unfit::Endless)?;
        let (name, uri) = start_line(&message[..line_end]).ok_or(Unfit::StartLine)?;
        let behind = &message[line_end + 1..];
        if behind.first().is_some_and(|b| *b == b' ' || *b == b'\t') {
            return Err(Unfit::StartLine);
        }
        let (section, body) = split_body(behind).ok_or(Unfit::Endless)?;

        let found = Found::in_section(section);
        let from_header = found.from.only().ok_or(Unfit::From)?;
        let to = found.to.only().ok_or(Unfit::To)?;
        let call_id = found.call_id.only().ok_or(Unfit::CallId)?;
        let cseq = found.cseq.only().filter(|cseq| cseq_is_of(cseq, name)).ok_or(Unfit::CSeq)?;
        if !body_is_whole(&found.content_length, body.len()) {
            return Err(Unfit::ContentLength);
        }
        let top_via = found.top_via.filter(|_| !found.broken_via).and_then(Via::read).ok_or(Unfit::Via)?;
        // The program's own reading decides what the call key and what a To tag is.
        let noted = Noted::default();
        let CallId::Found { at } = sip::call_id(window, from, &noted) else { return Err(Unfit::CallId) };
        if !std::ptr::eq(datagram[at..].as_ptr(), call_id.as_ptr()) {
            return Err(Unfit::CallId);
        }
        let to_tag = has_tag(to).ok_or(Unfit::To)? || dialog_headers(window, &noted, key).to_tag != 0;
        Ok(Request {
            method,
            uri,
            top_via,
            from: from_header,
            to,
            to_tag,
            call_id,
            cseq,
            call_key: sip::call_key(window, at, key).hash,
            size: datagram.len(),
            section,
        })
    }

    /// The values of all Via headers, header by header, in order.
    pub fn via_headers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        headers(self.section).filter(|h| h.is(Name::Via)).map(|h| h.value)
    }

    /// All values of all Via headers, in order.
    pub fn vias(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.via_headers().flat_map(via::values)
    }
}

/// Method and request URI of a request line without its LF (RFC 3261 section 7.1): one SP between its parts, none elsewhere.
fn start_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    type Parsed<'a, T> = IResult<&'a [u8], T>;
    fn word(text: &[u8]) -> Parsed<'_, &[u8]> {
        terminated(take_till1(|b: u8| b.is_ascii_whitespace()), char(' ')).parse(text)
    }
    let version = terminated(tag_no_case("SIP/2.0"), opt(char('\r')));
    let (_, (method, uri, _)) = all_consuming((word, word, version)).parse(line).ok()?;
    Some((method, uri))
}

/// The headers that matter, found in one pass.
#[derive(Default)]
struct Found<'a> {
    from: Single<'a>,
    to: Single<'a>,
    call_id: Single<'a>,
    cseq: Single<'a>,
    content_length: Single<'a>,
    top_via: Option<&'a [u8]>,
    /// A Via, maybe not the topmost, is not on one line.
    broken_via: bool,
}

impl<'a> Found<'a> {
    fn in_section(section: &'a [u8]) -> Found<'a> {
        let mut found = Found::default();
        for header in headers(section) {
            if header.is(Name::Via) {
                found.top_via = found.top_via.or(Some(header.value));
                found.broken_via |= !is_one_line(header.value);
                continue;
            }
            let singles = [
                (Name::From, &mut found.from),
                (Name::To, &mut found.to),
                (Name::CallId, &mut found.call_id),
                (Name::CSeq, &mut found.cseq),
                (Name::ContentLength, &mut found.content_length),
            ];
            if let Some((_, single)) = singles.into_iter().find(|(name, _)| header.is(*name)) {
                single.add(header.value);
            }
        }
        found
    }
}

/// A header that may be there once.
#[derive(Default)]
struct Single<'a> {
    value: Option<&'a [u8]>,
    doubled: bool,
}

impl<'a> Single<'a> {
    fn add(&mut self, value: &'a [u8]) {
        self.doubled |= self.value.is_some();
        self.value = Some(value);
    }

    /// Its value; `None` if it is not there once, empty, or not on one line.
    fn only(&self) -> Option<&'a [u8]> {
        self.value.filter(|value| !self.doubled && !value.is_empty() && is_one_line(value))
    }
}

/// Whether the body is there in full. Bytes behind it are of no account (RFC 3261 section 18.3).
fn body_is_whole(content_length: &Single<'_>, body: usize) -> bool {
    if content_length.value.is_none() {
        return true;
    }
    let digits = content_length.only().filter(|d| d.iter().all(u8::is_ascii_digit));
    let length = digits.and_then(|d| std::str::from_utf8(d).ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length <= body)
}

/// Whether a CSeq is a number below 2^31 and this method (RFC 3261 section 8.1.1.5).
fn cseq_is_of(cseq: &[u8], method: &[u8]) -> bool {
    let number = take_while1(|b: u8| b.is_ascii_digit());
    let mut all = (number, preceded(take_while1(is_lws), nom::combinator::rest));
    let parsed: IResult<_, _> = all.parse(cseq);
    parsed.is_ok_and(|(_, (digits, name)): (_, (&[u8], &[u8]))| {
        let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u32>().ok());
        name == method && number.is_some_and(|n| n < 1 << 31)
    })
}

/// Whether a To header has a tag; `None` if quotes or angle brackets are open in it, so that a tag could not be added.
fn has_tag(to: &[u8]) -> Option<bool> {
    let parameters = split_outside(to, b';')?.skip(1);
    Some(parameters.into_iter().any(|p| parameter(p).0.eq_ignore_ascii_case(b"tag")))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
