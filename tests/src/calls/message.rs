//! Reading and writing SIP messages, as far as callers and servers here need it.

use super::epoch;
use std::time::{Duration, Instant};

/// Long and compact names of headers (RFC 3261 section 7.3.3).
const COMPACT: [(&str, &str); 6] =
    [("Via", "v"), ("From", "f"), ("To", "t"), ("Call-ID", "i"), ("Contact", "m"), ("Content-Length", "l")];

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    start: &'a str,
    headers: &'a str,
}

impl<'a> Message<'a> {
    /// Reads a datagram. None if it is no SIP.
    pub fn read(datagram: &'a [u8]) -> Option<Message<'a>> {
        let text = std::str::from_utf8(datagram).ok()?;
        let (start, rest) = text.split_once("\r\n")?;
        let headers = rest.split("\r\n\r\n").next()?;
        (start.starts_with("SIP/2.0 ") || start.ends_with(" SIP/2.0")).then_some(Message { start, headers })
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&'a str> {
        if self.status().is_some() { None } else { self.start.split(' ').next() }
    }

    /// The URI of a request's start line.
    pub fn start_uri(&self) -> Option<&'a str> {
        self.method().and_then(|_| self.start.split(' ').nth(1))
    }

    /// The values of all headers of this name, long or compact, in their order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let short = COMPACT.iter().find(|(long, _)| long.eq_ignore_ascii_case(name)).map(|(_, short)| *short);
        let name = name.to_owned();
        let is_it = move |found: &str| {
            found.eq_ignore_ascii_case(&name) || short.is_some_and(|short| found.eq_ignore_ascii_case(short))
        };
        self.headers.split("\r\n").filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            is_it(found.trim()).then(|| value.trim())
        })
    }

    /// The value of the first header of this name; empty if there is none.
    pub fn value(&self, name: &str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &'a str {
        self.value("Call-ID")
    }

    /// The number in the CSeq header.
    pub fn sequence(&self) -> u32 {
        self.value("CSeq")
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_default()
    }

    /// The method in the CSeq header.
    pub fn sequence_method(&self) -> &'a str {
        self.value("CSeq").split_whitespace().nth(1).unwrap_or_default()
    }

    /// The branch of the topmost Via.
    pub fn branch(&self) -> &'a str {
        parameter(self.value("Via"), "branch").unwrap_or_default()
    }

    /// The tag in a From or To header.
    pub fn tag(&self, name: &str) -> Option<&'a str> {
        parameter(self.value(name), "tag")
    }

    /// When the caller says it sent this for the first time.
    pub fn sent(&self) -> Option<Instant> {
        let (seconds, fraction) = self.value("Timestamp").split_once('.')?;
        Some(epoch() + Duration::new(seconds.parse().ok()?, fraction.parse().ok()?))
    }
}

/// The value of a Timestamp header (RFC 3261 section 20.38), to the nanosecond.
pub fn timestamp(at: Instant) -> String {
    let since = at.saturating_duration_since(epoch());
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

/// A parameter of a header's value, outside of angle brackets.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let outside = value.rsplit_once('>').map_or(value, |(_, outside)| outside);
    outside.split(';').skip(1).find_map(|part| {
        let (found, value) = part.split_once('=')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The URI of a header's value, with or without angle brackets.
pub fn uri(value: &str) -> &str {
    let inner = value.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| value.split(';').next().unwrap_or_default().trim(), |(uri, _)| uri)
}

/// The user part of a URI; empty if it has none.
pub fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// Host and port of a URI.
pub fn host_port(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    host.split([';', '?']).next().unwrap_or_default()
}

/// The URIs of all Contact values of a redirect, those of the greatest q first (RFC 3261 sections 8.1.3.4 and 20.10).
pub fn contacts(message: &Message<'_>) -> Vec<String> {
    let values = message.all("Contact").flat_map(|value| value.split(','));
    let mut rated: Vec<(f64, &str)> = values
        .map(|value| (parameter(value, "q").and_then(|q| q.parse().ok()).unwrap_or(1.0), uri(value.trim())))
        .collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0));
    rated.into_iter().map(|(_, uri)| uri.to_owned()).collect()
}

/// Writes the header lines of a message with compact names.
pub fn compact(message: &str) -> String {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let short = |line: &str| {
        let replaced = COMPACT.iter().find_map(|(long, short)| {
            line.strip_prefix(long)
                .and_then(|rest| rest.strip_prefix(':'))
                .map(|rest| format!("{short}:{rest}"))
        });
        replaced.unwrap_or_else(|| line.to_owned())
    };
    let lines: Vec<String> = head.split("\r\n").map(short).collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// A response to a request: what RFC 3261 section 8.2.6.2 says it repeats, the To tag, and more header lines.
pub fn response(request: &Message<'_>, status: &str, to_tag: &str, more: &str) -> String {
    let vias: String = request.all("Via").map(|via| format!("Via: {via}\r\n")).collect();
    let to = request.value("To");
    let tag = if request.tag("To").is_some() { String::new() } else { format!(";tag={to_tag}") };
    let (from, call_id, sequence) = (request.value("From"), request.call_id(), request.value("CSeq"));
    format!(
        "SIP/2.0 {status}\r\n{vias}From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {sequence}\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "INVITE sip:b@h SIP/2.0\r\nv: SIP/2.0/UDP a:1;rport;branch=z9hG4bKx\r\nVia: second\r\n\
        From: \"A\" <sip:a@h;tag=no>;tag=yes\r\nTo: <sip:ring@h>\r\ni : 1@h\r\nCSeq: 7 INVITE\r\n\r\nTo: body\r\n";

    #[test]
    fn headers_are_found_by_both_names_and_only_above_the_body() {
        let message = Message::read(TEXT.as_bytes()).unwrap();
        assert_eq!((message.method(), message.status()), (Some("INVITE"), None));
        assert_eq!((message.call_id(), message.branch()), ("1@h", "z9hG4bKx"));
        assert_eq!((message.sequence(), message.sequence_method()), (7, "INVITE"));
        assert_eq!((message.tag("From"), message.tag("To")), (Some("yes"), None));
        assert_eq!(message.all("Via").count(), 2);
        assert_eq!(user(uri(message.value("To"))), "ring");
        assert!(Message::read(b"nonsense\r\n\r\n").is_none());
    }

    #[test]
    fn a_response_repeats_what_it_must() {
        let request = compact(TEXT);
        assert!(request.contains("\r\nt: <sip:ring@h>"), "{request}");
        let request = Message::read(request.as_bytes()).unwrap();
        let text = response(
            &request,
            "302 Moved Temporarily",
            "mine",
            "Contact: <sip:x@low>;q=0.1, <sip:high:5>\r\n",
        );
        let answer = Message::read(text.as_bytes()).unwrap();
        assert_eq!((answer.status(), answer.method()), (Some(302), None));
        assert_eq!((answer.all("Via").count(), answer.tag("To")), (2, Some("mine")));
        assert_eq!(contacts(&answer), ["sip:high:5", "sip:x@low"]);
        assert_eq!((host_port("sip:x@low;a=b"), host_port("sip:high:5")), ("low", "high:5"));
    }

    #[test]
    fn a_timestamp_is_read_as_it_was_written() {
        epoch();
        let at = Instant::now();
        let text = format!("BYE sip:b@h SIP/2.0\r\nTimestamp: {}\r\n\r\n", timestamp(at));
        assert_eq!(Message::read(text.as_bytes()).and_then(|message| message.sent()), Some(at));
        assert!(Message::read(b"BYE sip:b@h SIP/2.0\r\nTo: x\r\n\r\n").is_some_and(|m| m.sent().is_none()));
    }
}
