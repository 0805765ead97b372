//! The bytes of an answer (RFC 3261 section 8.2.6), built from the request and nothing else: a repeated request gets the
//! same (section 8.2.7). An answer is never larger than its request; what is optional goes first, then names get short.

use super::{
    contact::Callee,
    header::{Name, unfolded},
    message::Request,
    room::Choice,
};
use lb_common::decide::own_tag;
use std::{net::SocketAddr, ops::RangeInclusive};

/// Methods that a service is for (RFC 3261 section 11.2).
const ALLOW: &[u8] = b"INVITE, ACK, CANCEL, BYE, OPTIONS";
/// What a body may be.
const ACCEPT: &[u8] = b"application/sdp";

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// RFC 3261 section 21.2.1.
    Ok,
    /// RFC 3261 section 21.3.3.
    MovedTemporarily(&'a [Choice<'a>]),
    /// RFC 3261 section 21.5.4.
    ServiceUnavailable {
        /// Bounds of Retry-After, in seconds.
        retry_after: Option<RangeInclusive<u32>>,
    },
}

impl Status<'_> {
    const fn line(&self) -> (&'static str, &'static str) {
        match self {
            Status::Ok => ("SIP/2.0 200 ", "OK"),
            Status::MovedTemporarily(_) => ("SIP/2.0 302 ", "Moved Temporarily"),
            Status::ServiceUnavailable { .. } => ("SIP/2.0 503 ", "Service Unavailable"),
        }
    }
}

/// How much an answer says beyond what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// Optional headers too.
    Full,
    /// None of those.
    Plain,
    /// And compact names.
    Compact,
    /// And no reason phrase.
    Bare,
}

/// Builds the answer to a request that came from `source`, with our To tag. `None` if it would be larger than the request,
/// however it is put.
pub fn build(
    request: &Request<'_>,
    status: &Status<'_>,
    source: SocketAddr,
    tag: &[u8; own_tag::LEN],
) -> Option<Vec<u8>> {
    let contacts: Vec<String> = match status {
        Status::MovedTemporarily(choices) => {
            let callee = Callee::of(request.uri);
            choices.iter().map(|choice| callee.at(choice)).collect()
        }
        _ => Vec::new(),
    };
    let draft = Draft { request, status, source, tag, contacts: &contacts };
    let forms = [Form::Full, Form::Plain, Form::Compact, Form::Bare];
    forms.into_iter().find_map(|form| draft.build(form, contacts.len())).or_else(|| {
        // Fewer, but one at least: a redirect that leads nowhere is none.
        (1..contacts.len()).rev().find_map(|count| draft.build(Form::Bare, count))
    })
}

struct Draft<'a> {
    request: &'a Request<'a>,
    status: &'a Status<'a>,
    source: SocketAddr,
    tag: &'a [u8; own_tag::LEN],
    contacts: &'a [String],
}

impl Draft<'_> {
    fn build(&self, form: Form, contacts: usize) -> Option<Vec<u8>> {
        let mut out = Writer { bytes: Vec::new(), limit: self.request.size, compact: form >= Form::Compact };
        let (version_and_code, phrase) = self.status.line();
        out.put(version_and_code.as_bytes())?;
        out.put(if form == Form::Bare { b"" } else { phrase.as_bytes() })?;
        self.put_vias(&mut out)?;
        out.put_header(Name::From, self.request.from)?;
        out.put_header(Name::To, self.request.to)?;
        out.put(b";tag=")?;
        out.put(self.tag)?;
        out.put_header(Name::CallId, self.request.call_id)?;
        out.put_header(Name::CSeq, self.request.cseq)?;
        if contacts > 0 {
            let separator = if out.compact { "," } else { ", " };
            out.put_header(Name::Contact, self.contacts[..contacts].join(separator).as_bytes())?;
        }
        if form == Form::Full {
            self.put_optional(&mut out)?;
        }
        out.put_header(Name::ContentLength, b"0")?;
        out.put(b"\r\n\r\n")?;
        Some(out.bytes)
    }

    /// All Via headers in order, the topmost value with what a server adds.
    fn put_vias(&self, out: &mut Writer) -> Option<()> {
        let mut headers = self.request.via_headers();
        headers.next();
        self.put_top_via(out)?;
        headers.try_for_each(|value| out.put_header(Name::Via, value))
    }

    /// RFC 3261 section 18.2.1 and RFC 3581 section 4. What the sender itself says about where it is found does not stand.
    fn put_top_via(&self, out: &mut Writer) -> Option<()> {
        let via = &self.request.top_via;
        out.put_header(Name::Via, via.head)?;
        for parameter in via.parameters().filter(|p| !p.is("received")) {
            out.put(b";")?;
            if parameter.is("rport") && parameter.value.is_none() {
                out.put(format!("rport={}", self.source.port()).as_bytes())?;
            } else {
                out.put_unfolded(parameter.text)?;
            }
        }
        if via.wants_received(self.source.ip()) {
            out.put(format!(";received={}", self.source.ip().to_canonical()).as_bytes())?;
        }
        out.put_unfolded(via.more)
    }

    fn put_optional(&self, out: &mut Writer) -> Option<()> {
        match self.status {
            Status::Ok => {
                out.put_header(Name::Allow, ALLOW)?;
                out.put_header(Name::Accept, ACCEPT)
            }
            Status::ServiceUnavailable { retry_after: Some(bounds) } => {
                let seconds = within(bounds, self.tag);
                out.put_header(Name::RetryAfter, seconds.to_string().as_bytes())
            }
            _ => Some(()),
        }
    }
}

/// A number within bounds that differs from call to call and stays the same for one.
fn within(bounds: &RangeInclusive<u32>, tag: &[u8; own_tag::LEN]) -> u32 {
    let digits = tag.iter().map(|digit| u64::from(char::from(*digit).to_digit(16).unwrap_or_default()));
    let number = digits.fold(0_u64, |number, digit| number << 4 | digit);
    let span = u64::from(bounds.end().saturating_sub(*bounds.start())) + 1;
    bounds.start() + (number % span) as u32
}

/// Writes lines, up to a limit.
struct Writer {
    bytes: Vec<u8>,
    limit: usize,
    compact: bool,
}

impl Writer {
    /// Adds text; `None` if there is no room for it.
    fn put(&mut self, text: &[u8]) -> Option<()> {
        let fits = self.bytes.len() + text.len() <= self.limit;
        fits.then(|| self.bytes.extend_from_slice(text))
    }

    /// Begins a line with a header.
    fn put_header(&mut self, name: Name, value: &[u8]) -> Option<()> {
        self.put(b"\r\n")?;
        if self.compact {
            self.put(name.short().unwrap_or(name.long()).as_bytes())?;
            self.put(b":")?;
        } else {
            self.put(name.long().as_bytes())?;
            self.put(b": ")?;
        }
        self.put_unfolded(value)
    }

    /// Adds a value on one line.
    fn put_unfolded(&mut self, value: &[u8]) -> Option<()> {
        for (i, piece) in unfolded(value).enumerate() {
            if i > 0 {
                self.put(b" ")?;
            }
            self.put(piece)?;
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
