//! Header lines (RFC 3261 sections 7.3 and 25.1), by the same rules as the scanner of `lb-common`: LF ends a line with or
//! without a CR, a line that starts with white space continues the one before, the empty line ends the header section.

use memchr::memchr;

/// A header line with the lines that continue it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name, without white space.
    pub name: &'a [u8],
    /// Its value without white space around it; folds are still in it, see [`unfolded`].
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether it has one of these names, in any case (RFC 3261 section 7.3.1).
    pub fn is(&self, name: Name) -> bool {
        self.name.eq_ignore_ascii_case(name.long().as_bytes())
            || name.short().is_some_and(|short| self.name.eq_ignore_ascii_case(short.as_bytes()))
    }
}

/// A header that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// RFC 3261 section 20.42.
    Via,
    /// RFC 3261 section 20.20.
    From,
    /// RFC 3261 section 20.39.
    To,
    /// RFC 3261 section 20.8.
    CallId,
    /// RFC 3261 section 20.16.
    CSeq,
    /// RFC 3261 section 20.14.
    ContentLength,
    /// RFC 3261 section 20.10.
    Contact,
    /// RFC 3261 section 20.33.
    RetryAfter,
    /// RFC 3261 section 20.5.
    Allow,
    /// RFC 3261 section 20.1.
    Accept,
}

impl Name {
    /// The name as it is usually written.
    pub const fn long(self) -> &'static str {
        match self {
            Name::Via => "Via",
            Name::From => "From",
            Name::To => "To",
            Name::CallId => "Call-ID",
            Name::CSeq => "CSeq",
            Name::ContentLength => "Content-Length",
            Name::Contact => "Contact",
            Name::RetryAfter => "Retry-After",
            Name::Allow => "Allow",
            Name::Accept => "Accept",
        }
    }

    /// The compact form, if it has one (RFC 3261 section 7.3.3).
    pub const fn short(self) -> Option<&'static str> {
        match self {
            Name::Via => Some("v"),
            Name::From => Some("f"),
            Name::To => Some("t"),
            Name::CallId => Some("i"),
            Name::ContentLength => Some("l"),
            Name::Contact => Some("m"),
            Name::CSeq | Name::RetryAfter | Name::Allow | Name::Accept => None,
        }
    }
}

/// Splits what stands behind the start line into the header section, without the empty line that ends it, and the body.
/// `None` if no empty line ends it: the message was cut.
pub fn split_body(behind_start_line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let rest = behind_start_line.get(at..)?;
        for end in [&b"\n"[..], b"\r\n"] {
            if let Some(body) = rest.strip_prefix(end) {
                return Some((&behind_start_line[..at], body));
            }
        }
        at += memchr(b'\n', rest)? + 1;
    }
}

/// The headers of a header section. Lines that are none, because they lack a name or a colon, are left out.
pub fn headers(section: &[u8]) -> impl Iterator<Item = Header<'_>> + Clone {
    Lines { rest: section }.filter_map(header)
}

#[derive(Clone)]
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut end = 0;
        while let Some(found) = memchr(b'\n', &self.rest[end..]) {
            end += found + 1;
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        // The section ends with a line end, or is empty.
        let (line, rest) = self.rest.split_at(if end == 0 { self.rest.len() } else { end });
        self.rest = rest;
        Some(line)
    }
}

fn header(line: &[u8]) -> Option<Header<'_>> {
    let colon = memchr(b':', line)?;
    // HCOLON allows SP and HT before the colon, and no fold.
    let name = line[..colon].trim_ascii_end();
    let white = &line[name.len()..colon];
    let plain = !name.is_empty() && name.iter().copied().all(is_token) && white.iter().all(|b| is_space(*b));
    plain.then(|| Header { name, value: line[colon + 1..].trim_ascii() })
}

/// SP or HT.
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// LWS with a fold in it has line ends as well (RFC 3261 section 25.1).
pub const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A character of a token (RFC 3261 section 25.1).
pub const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

/// Whether a value may stand in another message: every line end in it belongs to a fold. A CR alone, which some take for a
/// line end, does not.
pub fn is_one_line(value: &[u8]) -> bool {
    value.iter().enumerate().all(|(i, byte)| match byte {
        b'\r' => value.get(i + 1) == Some(&b'\n'),
        b'\n' => value.get(i + 1).copied().is_some_and(is_space),
        _ => true,
    })
}

/// The pieces of a value on one line: what stands between its folds, each of which means one SP (RFC 3261 section 7.3.1).
pub fn unfolded(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr(b'\n', text) else {
            rest = None;
            return Some(text);
        };
        rest = Some(text[end..].trim_ascii_start());
        Some(text[..end].trim_ascii_end())
    })
}

/// Splits a value at every `mark` that stands neither in quotes nor in angle brackets; `None` if one of those is not closed.
pub fn split_outside(value: &[u8], mark: u8) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    outside(value).ok()?;
    Some(Pieces { rest: Some(value), mark })
}

#[derive(Clone)]
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    mark: u8,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        let mut scan = Scan::default();
        match text.iter().position(|byte| scan.step(*byte) && *byte == self.mark) {
            Some(at) => {
                self.rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => {
                self.rest = None;
                Some(text)
            }
        }
    }
}

/// Walks to the end of a value; an error if quotes or angle brackets are open there.
fn outside(value: &[u8]) -> Result<(), ()> {
    let mut scan = Scan::default();
    for byte in value {
        scan.step(*byte);
    }
    if scan.quoted || scan.angle { Err(()) } else { Ok(()) }
}

/// Where a walk through a value stands.
#[derive(Clone, Copy, Default)]
struct Scan {
    quoted: bool,
    escaped: bool,
    angle: bool,
}

impl Scan {
    /// Takes a byte; true if it stands outside of quotes and angle brackets.
    fn step(&mut self, byte: u8) -> bool {
        if self.quoted {
            (self.quoted, self.escaped) = match byte {
                _ if self.escaped => (true, false),
                b'\\' => (true, true),
                b'"' => (false, false),
                _ => (true, false),
            };
            return false;
        }
        match byte {
            b'>' => self.angle = false,
            _ if self.angle => {}
            b'<' => self.angle = true,
            b'"' => self.quoted = true,
            _ => return true,
        }
        false
    }
}

/// A parameter: its name, and what stands behind the equals sign if there is one.
pub fn parameter(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'=', piece) {
        Some(at) => (piece[..at].trim_ascii(), Some(piece[at + 1..].trim_ascii())),
        None => (piece.trim_ascii(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_and_values(section: &[u8]) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        headers(section).map(|h| (text(h.name), text(h.value))).collect()
    }

    fn joined(value: &[u8]) -> String {
        let pieces: Vec<_> = unfolded(value).map(|p| String::from_utf8_lossy(p)).collect();
        pieces.join(" ")
    }

    #[test]
    fn a_section_ends_with_the_first_empty_line() {
        for end in ["\r\n", "\n"] {
            let text = format!("To: a{end}From: b{end}{end}v=0{end}{end}");
            let (section, body) = split_body(text.as_bytes()).unwrap();
            assert_eq!(names_and_values(section), [("To", "a"), ("From", "b")]);
            assert_eq!(body, format!("v=0{end}{end}").as_bytes());
        }
        assert_eq!(split_body(b"\r\nx"), Some((&b""[..], &b"x"[..])));
        assert_eq!(split_body(b"To: a\r\n"), None, "no empty line");
        assert_eq!(split_body(b"To: a\r\n \r\n"), None, "white space is no empty line");
        assert_eq!(split_body(b""), None);
    }

    #[test]
    fn white_space_before_the_colon_is_allowed_and_a_fold_is_not() {
        assert_eq!(names_and_values(b"To \t:x\n"), [("To", "x")]);
        assert_eq!(names_and_values(b"To\r\n : x\r\n"), []);
        assert_eq!(names_and_values(b": x\nno colon\nT o: x\n"), []);
    }

    #[test]
    fn folded_lines_are_one() {
        let section = b"To: a\r\n b\n\t c\r\nFrom:\r\n d\r\n";
        let all: Vec<_> = headers(section).collect();
        assert_eq!(joined(all[0].value), "a b c");
        assert_eq!(joined(all[1].value), "d");
        assert_eq!(all.len(), 2);
        assert_eq!(joined(b"a \r\n\t \r\n b"), "a b");
    }

    #[test]
    fn names_have_compact_forms_in_any_case() {
        let header = |name| Header { name, value: b"" };
        assert!(header(b"vIA").is(Name::Via) && header(b"V").is(Name::Via));
        assert!(!header(b"Vi").is(Name::Via) && !header(b"c").is(Name::CSeq));
    }

    #[test]
    fn a_cr_alone_is_no_part_of_a_line() {
        assert!(is_one_line(b"a\r\n b\n\tc"));
        for bad in [&b"a\rb"[..], b"a\r", b"a\r\r\n b", b"a\nb", b"a\n"] {
            assert!(!is_one_line(bad), "{bad:?}");
        }
    }

    #[test]
    fn marks_in_quotes_and_angle_brackets_do_not_split() {
        let pieces = |text: &'static str| {
            split_outside(text.as_bytes(), b';')
                .map(|p| p.map(|b| std::str::from_utf8(b).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(
            pieces("\"a;b\\\";\" <sip:x;y>;tag=1;z"),
            Some(vec!["\"a;b\\\";\" <sip:x;y>", "tag=1", "z"])
        );
        assert_eq!(pieces("a;"), Some(vec!["a", ""]));
        assert_eq!(pieces("<\">;a"), Some(vec!["<\">", "a"]), "a quote in a URI opens nothing");
        for open in ["\"a", "<sip:x", "\"a\\\""] {
            assert_eq!(pieces(open), None, "{open}");
        }
    }

    #[test]
    fn a_parameter_has_a_name_and_maybe_a_value() {
        assert_eq!(parameter(b" rport "), (&b"rport"[..], None));
        assert_eq!(parameter(b"tag = x=y"), (&b"tag"[..], Some(&b"x=y"[..])));
    }
}
