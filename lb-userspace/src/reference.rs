//! A second, slow reading of SIP messages, to compare the scanner of `lb-common` with.
//!
//! Written with nom from RFC 3261 sections 7 and 25.1 and the rules of the manual, and shares no code with the scanner, only
//! the limits: what the scanner does not look at for the sake of time, this does not look at either. The daemon's explanations
//! and the tests use it; no packet depends on it.

use lb_common::{
    limits::{
        MAX_CALL_ID, MAX_DIALOG_STEPS, MAX_DIALOG_TAIL_STEPS, MAX_DISPLAY_STEPS, MAX_LEADING, MAX_LWS,
        MAX_METHOD, MAX_PARAMETER, MAX_PARAMETER_LWS, MAX_PARAMETER_STEPS, MAX_RETRY_AFTER_DIGITS,
        MAX_RETRY_AFTER_SPACES, MAX_RETRY_AFTER_STEPS, MAX_SCAN_STEPS, MAX_USER, MAX_USER_STEPS, SCAN_BLOCK,
    },
    sip::{Kind, Method},
};
use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_till, take_while, take_while_m_n, take_while1},
    character::complete::{char, one_of},
    combinator::{eof, map, map_opt, not, peek, recognize, value, verify},
    multi::many0_count,
    sequence::{preceded, terminated},
};

/// A message as this parser understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What the datagram is.
    pub kind: Kind,
    /// Offset of the start line.
    pub from: usize,
    /// The Call-ID.
    pub call_id: CallId<'a>,
    /// The To header's tag.
    pub to_tag: Option<&'a [u8]>,
    /// The topmost Via's branch.
    pub branch: Option<&'a [u8]>,
    /// The users of the URIs in From, To and the request line.
    pub users: [Option<&'a [u8]>; 3],
    /// The seconds of the Retry-After.
    pub retry_after: Option<u32>,
}

/// A Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallId<'a> {
    /// Its offset and its bytes, as many as are hashed.
    Value(usize, &'a [u8]),
    /// A header without a value.
    Empty,
    /// No header.
    Absent,
}

/// Reads a datagram.
pub fn read(datagram: &[u8]) -> Message<'_> {
    let (kind, from) = start_line(datagram);
    let (call_id, headers) = headers(datagram, from);
    Message {
        kind,
        from,
        call_id,
        to_tag: headers.to.and_then(|text| parameter(text, b"tag", false)),
        branch: headers.via.and_then(|text| parameter(text, b"branch", true)),
        users: [
            headers.from.and_then(header_user),
            headers.to.and_then(header_user),
            request_user(&datagram[from..]),
        ],
        retry_after: retry_after(datagram, from),
    }
}

/// The first header of each kind: what follows its name, to the end of the datagram.
#[derive(Default)]
struct Headers<'a> {
    from: Option<Bytes<'a>>,
    to: Option<Bytes<'a>>,
    via: Option<Bytes<'a>>,
}

impl<'a> Headers<'a> {
    /// Takes a line for what it is, if no such line came before. In the last 7 bytes there is room for nothing but a name.
    fn take(&mut self, line: Bytes<'a>) {
        if line.len() < 8 {
            return;
        }
        let headers =
            [(&mut self.from, NAMES_OF_FROM), (&mut self.to, NAMES_OF_TO), (&mut self.via, NAMES_OF_VIA)];
        for (header, names) in headers {
            if let (None, Ok((text, _))) = (&header, header_name(line, names)) {
                *header = Some(text);
            }
        }
    }
}

/// A header's long and short name.
type Names = (&'static [u8], &'static [u8]);
const NAMES_OF_CALL_ID: Names = (b"call-id", b"i");
const NAMES_OF_FROM: Names = (b"from", b"f");
const NAMES_OF_TO: Names = (b"to", b"t");
const NAMES_OF_VIA: Names = (b"via", b"v");

type Bytes<'a> = &'a [u8];

fn start_line(datagram: Bytes<'_>) -> (Kind, usize) {
    if datagram.len() >= 8 && datagram[0] < 0x40 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42] {
        return (Kind::Stun, 0);
    }
    let line_ends = take_while_m_n(0, MAX_LEADING, |b| b == b'\r' || b == b'\n');
    let (line, skipped) = accept(line_ends, datagram).expect("any number of bytes will do");
    let kind = alt((
        map(keep_alive, |_| Kind::KeepAlive),
        map(status_line, Kind::Response),
        map(method, Kind::Request),
    ))
    .parse(line)
    .map_or(Kind::NotSip, |(_, kind)| kind);
    (kind, skipped.len())
}

/// Nothing, or a NUL and more of what keep-alives are made of.
fn keep_alive(line: Bytes<'_>) -> IResult<Bytes<'_>, ()> {
    // The second run of bytes is looked at only if the first stopped at a NUL.
    let nul_and_more =
        terminated(take_while_m_n(1, MAX_LEADING - 1, |b: u8| matches!(b, 0 | b'\r' | b'\n')), eof);
    value((), alt((eof, preceded(peek(char('\0')), nul_and_more)))).parse(line)
}

/// `SIP/2.0 200`: version and status code (RFC 3261 section 7.2), not followed by another digit.
fn status_line(line: Bytes<'_>) -> IResult<Bytes<'_>, u16> {
    let digits = take_while(|b: u8| b.is_ascii_digit());
    let code =
        map_opt(verify(digits, |d: Bytes<'_>| d.len() == 3), |d| std::str::from_utf8(d).ok()?.parse().ok());
    preceded(tag_no_case("SIP/2.0 "), code).parse(line)
}

/// A token and SP (RFC 3261 section 7.1); of a very long token its beginning.
fn method(line: Bytes<'_>) -> IResult<Bytes<'_>, Method> {
    let short = terminated(take_while_m_n(1, MAX_METHOD - 1, is_token), char(' '));
    let long = take_while_m_n(MAX_METHOD, MAX_METHOD, is_token);
    map(alt((short, long)), |token: Bytes<'_>| match token {
        b"INVITE" => Method::Invite,
        b"ACK" => Method::Ack,
        b"BYE" => Method::Bye,
        b"CANCEL" => Method::Cancel,
        b"REGISTER" => Method::Register,
        b"OPTIONS" => Method::Options,
        b"PRACK" => Method::Prack,
        b"UPDATE" => Method::Update,
        b"SUBSCRIBE" => Method::Subscribe,
        b"NOTIFY" => Method::Notify,
        b"PUBLISH" => Method::Publish,
        b"INFO" => Method::Info,
        b"REFER" => Method::Refer,
        b"MESSAGE" => Method::Message,
        _ => Method::Other,
    })
    .parse(line)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// The Call-ID, and the headers before it or not too far behind it.
fn headers(datagram: Bytes<'_>, from: usize) -> (CallId<'_>, Headers<'_>) {
    let mut headers = Headers::default();
    let mut reader = Reader::new(datagram, from, MAX_SCAN_STEPS, SCAN_BLOCK, true);
    while let Some(line) = reader.next_line() {
        headers.take(&datagram[line..]);
        let Ok((_, name)) = header_name(&datagram[line..], NAMES_OF_CALL_ID) else { continue };
        let Some(colon) = reader.colon(line + name.len()) else { continue };
        let mut onward = Reader::new(datagram, colon, MAX_DIALOG_STEPS, MAX_DIALOG_TAIL_STEPS, false);
        while let Some(line) = onward.next_line() {
            headers.take(&datagram[line..]);
        }
        let call_id = match lws(&datagram[colon..], MAX_LWS) {
            Some(skipped) => {
                let at = colon + skipped;
                let text = until(&datagram[at..], b" \t\r\n");
                CallId::Value(at, &text[..text.len().min(MAX_CALL_ID)])
            }
            None => CallId::Empty,
        };
        return (call_id, headers);
    }
    (CallId::Absent, headers)
}

/// One of a header's two names at the start of a line, followed by white space or the colon.
fn header_name<'a>(line: Bytes<'a>, names: (&[u8], &[u8])) -> IResult<Bytes<'a>, Bytes<'a>> {
    terminated(alt((tag_no_case(names.0), tag_no_case(names.1))), peek(one_of(" \t:"))).parse(line)
}

/// Length of the white space and folds at the start, if they are at most `most` bytes and something that is no line end
/// follows them (LWS, RFC 3261 section 25.1).
fn lws(text: Bytes<'_>, most: usize) -> Option<usize> {
    let fold = recognize((alt((tag("\r\n"), tag("\n"))), one_of(" \t")));
    let white = alt((fold, take_while1(is_space)));
    let (rest, skipped) = accept(recognize(many0_count(white)), text)?;
    let something = rest.first().is_some_and(|b| *b != b'\r' && *b != b'\n');
    (something && skipped.len() <= most).then_some(skipped.len())
}

fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn until<'a>(text: Bytes<'a>, ends: &[u8]) -> Bytes<'a> {
    accept(take_till(|b| ends.contains(&b)), text).map_or(text, |(_, token)| token)
}

/// What is left of a text behind what a parser accepts, and what it makes of that.
fn accept<'a, P>(mut parser: P, text: Bytes<'a>) -> Option<(Bytes<'a>, P::Output)>
where
    P: Parser<Bytes<'a>, Error = nom::error::Error<Bytes<'a>>>,
{
    parser.parse(text).ok()
}

/// Value of a parameter of the header with this text, see RFC 3261 section 7.3.1.
fn parameter<'a>(text: Bytes<'a>, name: &[u8], list: bool) -> Option<Bytes<'a>> {
    let text = behind(text, ':')?;
    let behind_name = find_name(text, name, list)?;
    let assigned = behind(behind_name, '=')?;
    let value = until(&assigned[lws(assigned, MAX_PARAMETER_LWS)?..], b" \t\r\n;,");
    (!value.is_empty()).then(|| &value[..value.len().min(MAX_PARAMETER)])
}

/// What follows the mark that is next, white space aside.
fn behind(text: Bytes<'_>, mark: char) -> Option<Bytes<'_>> {
    let skipped = lws(text, MAX_PARAMETER_LWS)?;
    accept(char(mark), &text[skipped..]).map(|(rest, _)| rest)
}

/// What follows the parameter's name in a header's text that goes to the end of the datagram.
fn find_name<'a>(text: Bytes<'a>, name: &[u8], list: bool) -> Option<Bytes<'a>> {
    let mut text = text;
    let mut steps = MAX_PARAMETER_STEPS;
    let mut marks: &[u8] = TEXT;
    loop {
        let run = until(text, marks).len();
        steps = steps.checked_sub(price_of_run(run, text.len()))?;
        let (mark, rest) = text[run..].split_first()?;
        text = rest;
        match mark {
            b'\n' if !continues(text) => return None,
            b'\n' => {}
            b',' if list => return None,
            b',' => {}
            b'<' => marks = ANGLE,
            b'>' => marks = TEXT,
            b'"' => marks = if marks == TEXT { QUOTED } else { TEXT },
            b'\\' => text = behind_escaped(text),
            _ => {
                // A semicolon.
                let (rest, white) = accept(take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')), text)?;
                for (i, _) in white.iter().enumerate().filter(|(_, b)| **b == b'\n') {
                    if !continues(&text[i + 1..]) {
                        return None;
                    }
                }
                steps = steps.checked_sub(white.len() + 1)?;
                text = rest;
                let longer = take_while_m_n(1, 1, is_token);
                if let Some((rest, _)) = accept(terminated(tag_no_case(name), not(longer)), text) {
                    return Some(rest);
                }
            }
        }
    }
}

const TEXT: &[u8] = b"\n\"<;,";
const QUOTED: &[u8] = b"\n\"\\";
const ANGLE: &[u8] = b"\n>";

/// The user of a From or To header with this text.
fn header_user(text: Bytes<'_>) -> Option<Bytes<'_>> {
    let text = behind(text, ':')?;
    let value = &text[lws(text, MAX_PARAMETER_LWS)?..];
    match behind_display_name(value) {
        Some(uri) => user(uri, b">"),
        None => user(value, b">;,?"),
    }
}

/// What follows the angle bracket behind a display name, if there is one (`name-addr`, RFC 3261 section 25.1).
fn behind_display_name(value: Bytes<'_>) -> Option<Bytes<'_>> {
    let mut text = value;
    let mut steps = MAX_DISPLAY_STEPS;
    let mut quoted = false;
    loop {
        let run = until(text, if quoted { QUOTED } else { TEXT }).len();
        steps = steps.checked_sub(price_of_run(run, text.len()))?;
        let (mark, rest) = text[run..].split_first()?;
        text = match mark {
            b'<' => return Some(rest),
            b'"' => rest,
            b'\n' if continues(rest) => rest,
            b'\\' => behind_escaped(rest),
            _ => return None,
        };
        quoted ^= *mark == b'"';
    }
}

/// What follows a backslash and the byte it escapes (RFC 3261 section 25.1); no line ends in a pair.
fn behind_escaped(text: Bytes<'_>) -> Bytes<'_> {
    accept(preceded(not(one_of("\r\n")), take_while_m_n(1, 1, |_| true)), text).map_or(text, |(rest, _)| rest)
}

/// The user of a request line.
fn request_user(line: Bytes<'_>) -> Option<Bytes<'_>> {
    let method = take_while_m_n(0, MAX_METHOD - 1, |b| b > b' ');
    let (uri, _) = accept(terminated(method, char(' ')), line)?;
    user(uri, b"")
}

/// The user of a URI (RFC 3261 section 19.1.1, RFC 3966 section 3), which white space and these bytes end. What would be an
/// end of some URIs ends the user of all.
fn user<'a>(uri: Bytes<'a>, ends: &[u8]) -> Option<Bytes<'a>> {
    let scheme = alt((tag_no_case("sip:"), tag_no_case("sips:"), tag_no_case("tel:")));
    let (text, scheme) = accept(scheme, uri)?;
    if !scheme.eq_ignore_ascii_case(b"tel:") {
        let run = text.iter().position(|b| *b <= b' ' || b"@>".contains(b) || ends.contains(b))?;
        let there = text[run] == b'@' && price_of_run(run, text.len()) <= MAX_USER_STEPS;
        there.then_some(())?;
    }
    let user = accept(take_while(|b| b > b' ' && !b"@:;>".contains(&b)), text)?.1;
    (!user.is_empty()).then(|| &user[..user.len().min(MAX_USER)])
}

/// The seconds of a Retry-After (RFC 3261 section 25.1), which the first line that looks like one at first sight must be.
fn retry_after(datagram: Bytes<'_>, from: usize) -> Option<u32> {
    let mut reader = Reader::new(datagram, from, 0, MAX_RETRY_AFTER_STEPS, false);
    reader.stride = Stride::Word;
    let text = loop {
        let line = &datagram[reader.next_line()?..];
        if let Some((rest, _)) = accept(tag_no_case("Retry-Af"), line) {
            break rest;
        }
    };
    let spaces = |text| accept(take_while_m_n(0, MAX_RETRY_AFTER_SPACES, is_space), text);
    let (text, _) = spaces(accept(tag_no_case("ter"), text)?.0)?;
    let (text, _) = spaces(accept(char(':'), text)?.0)?;
    let digits = take_while_m_n(1, MAX_RETRY_AFTER_DIGITS, |b: u8| b.is_ascii_digit());
    let end = peek(alt((eof, recognize(one_of(" \t\r\n(;")))));
    let (_, digits) = accept(terminated(digits, end), text)?;
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Whether a line that starts so continues the one before.
fn continues(line: Bytes<'_>) -> bool {
    line.first().copied().is_some_and(is_space)
}

/// Steps that it takes to the mark behind `run` bytes, with `left` bytes to the end of the datagram.
fn price_of_run(run: usize, left: usize) -> usize {
    let by_words = if left < 8 { 0 } else { (run / 8).min((left - 8) / 8) };
    let (run, left) = (run - 8 * by_words, left - 8 * by_words);
    if run < 8 && left >= 8 {
        by_words + 1
    } else if left >= 8 {
        by_words + 1 + (run - 8) + 1
    } else {
        by_words + run + 1
    }
}

/// Goes from line to line as long as its steps last.
struct Reader<'a> {
    datagram: Bytes<'a>,
    at: usize,
    stride: Stride,
    blocks: usize,
    words: usize,
    /// Whether lines are looked at that start in the last 7 bytes.
    last_bytes: bool,
}

/// What a step goes over: ever less towards the end of the datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stride {
    Block,
    Word,
    Byte,
}

impl<'a> Reader<'a> {
    fn new(datagram: Bytes<'a>, from: usize, blocks: usize, words: usize, last_bytes: bool) -> Reader<'a> {
        Reader { datagram, at: from, stride: Stride::Block, blocks, words, last_bytes }
    }

    /// Takes a step if `len` bytes are left for it; false if there are no steps left.
    fn step(&mut self, len: usize) -> Option<bool> {
        let steps = match self.stride {
            Stride::Block => &mut self.blocks,
            Stride::Word => &mut self.words,
            Stride::Byte => return Some(true),
        };
        *steps = steps.checked_sub(1)?;
        let fits = self.at + len <= self.datagram.len();
        if !fits {
            self.stride = if self.stride == Stride::Block { Stride::Word } else { Stride::Byte };
        }
        Some(fits)
    }

    /// Offset of the next header line, if there is one.
    fn next_line(&mut self) -> Option<usize> {
        loop {
            let len = match self.stride {
                Stride::Block => SCAN_BLOCK,
                Stride::Word => 8,
                Stride::Byte if self.last_bytes => 1,
                Stride::Byte => return None,
            };
            if !self.step(len)? {
                continue;
            }
            let chunk = self.datagram.get(self.at..self.at + len)?;
            match chunk.iter().position(|b| *b == b'\n') {
                Some(i) => self.at += i + 1,
                None => {
                    self.at += len;
                    continue;
                }
            }
            let line = self.datagram.get(self.at..)?;
            let too_late = !self.last_bytes && line.len() < 8;
            let empty = line.starts_with(b"\n") || line.starts_with(b"\r\n");
            return (!line.is_empty() && !empty && !too_late).then_some(self.at);
        }
    }

    /// Offset behind the colon that follows a name and maybe white space.
    fn colon(&mut self, from: usize) -> Option<usize> {
        if self.datagram.get(from) == Some(&b':') {
            return Some(from + 1);
        }
        self.at = from;
        loop {
            let len = if self.stride == Stride::Byte { self.datagram.len() - self.at } else { 8 };
            match self.step(len) {
                None => {
                    self.at = self.datagram.len();
                    return None;
                }
                Some(false) => continue,
                Some(true) => {}
            }
            let chunk = &self.datagram[self.at..self.at + len];
            match chunk.iter().position(|b| !is_space(*b)) {
                Some(i) if chunk[i] == b':' => return Some(self.at + i + 1),
                Some(i) => {
                    self.at += i;
                    return None;
                }
                None if self.stride == Stride::Byte => return None,
                None => self.at += 8,
            }
        }
    }
}
