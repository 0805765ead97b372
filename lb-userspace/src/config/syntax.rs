//! Syntax errors, all of them: what cannot be parsed is complained about, blanked out, and the rest is parsed again.

use super::{
    complaint::Code,
    report::{Report, Words, quoted, words},
};
use std::{borrow::Cow, ops::Range};
use toml_span::{Error, ErrorKind, Span};

/// Syntax errors that are looked for; a file with more is hardly a configuration.
const MOST_ERRORS: usize = 32;

/// The text with everything blanked out that is not TOML, byte offsets unchanged; `None` if that was too much.
pub(super) fn mend<'t>(text: &'t str, report: &mut Report<'_>) -> Option<Cow<'t, str>> {
    let mut mended = Cow::Borrowed(text);
    for _ in 0..MOST_ERRORS {
        let error = match toml_span::parse(&mended) {
            Ok(_) => return Some(mended),
            Err(error) => error,
        };
        let broken = Broken::find(&mended, error.span.start, &error.kind);
        complain(&error, &broken, &mended, report);
        if mended[broken.lines.clone()].trim().is_empty() {
            return None;
        }
        mended = Cow::Owned(blanked(&mended, broken.lines));
    }
    None
}

/// The lines that have to go for the rest to be parsed.
struct Broken {
    lines: Range<usize>,
    /// The error was seen only where the next statement starts: the value before it does not end.
    unfinished: bool,
}

impl Broken {
    fn find(text: &str, at: usize, kind: &ErrorKind) -> Broken {
        let at = text.floor_char_boundary(at.min(text.len()));
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let starts_statement = |rest: &str| is_header(rest) || is_key(rest);
        let here = &text[line..];
        if let Some(before) = statement_before(text, line)
            && toml_span::parse(&text[before..line]).is_err()
        {
            // A value of several lines goes as a whole.
            let unfinished = starts_statement(here) || here.trim().is_empty();
            let end = if unfinished { line } else { next_line(text, line, starts_statement) };
            return Broken { lines: before..end, unfinished };
        }
        let end = if is_header(here)
            || matches!(kind, ErrorKind::DuplicateTable { .. } | ErrorKind::RedefineAsArray)
        {
            // The keys below a header that is gone would fall to the table before it.
            next_line(text, line, is_header)
        } else {
            next_line(text, line, starts_statement)
        };
        Broken { lines: line..end, unfinished: false }
    }
}

/// Start of the last `key = value` above a line, unless a header stands between.
fn statement_before(text: &str, line: usize) -> Option<usize> {
    let mut at = line;
    while at > 0 {
        at = text[..at - 1].rfind('\n').map_or(0, |newline| newline + 1);
        if is_key(&text[at..]) {
            return Some(at);
        }
        if is_header(&text[at..]) {
            return None;
        }
    }
    None
}

/// Start of the first line below `line` of which `wanted` holds, or the end.
fn next_line(text: &str, line: usize, wanted: impl Fn(&str) -> bool) -> usize {
    let mut at = line;
    while let Some(newline) = text[at..].find('\n') {
        at += newline + 1;
        if wanted(&text[at..]) {
            return at;
        }
    }
    text.len()
}

/// Whether a text starts with something like `[name]` or `[[name]]`.
fn is_header(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default().trim_start();
    let name = line.trim_start_matches('[');
    line.starts_with('[') && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a text starts with something like `key =`.
fn is_key(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    line.split_once('=').is_some_and(|(key, _)| {
        let key = key.trim();
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.\"' ".contains(c))
    })
}

/// The text with spaces for everything in `range` but line ends.
fn blanked(text: &str, range: Range<usize>) -> String {
    let middle: String = text[range.clone()]
        .chars()
        .flat_map(|c| std::iter::repeat_n(if c == '\n' { c } else { ' ' }, c.len_utf8()))
        .collect();
    [&text[..range.start], &middle, &text[range.end..]].concat()
}

fn complain(error: &Error, broken: &Broken, text: &str, report: &mut Report<'_>) {
    let span = Span::new(error.span.start.min(text.len()), error.span.end.min(text.len()));
    if broken.unfinished {
        let reason = "a bracket, a quote or the value itself is missing";
        let words =
            words("the value does not end", reason, "complete it before the next key or table starts");
        let lines = Span::new(broken.lines.start, broken.lines.end);
        report.error_beside(Code::Syntax, lines, words, (span, "something else was expected here"));
        return;
    }
    let (code, words, first) = describe(error, text);
    match first {
        Some(first) => report.error_beside(code, span, words, (first, "the first one")),
        None => report.error(code, span, words),
    }
}

fn describe(error: &Error, text: &str) -> (Code, Words, Option<Span>) {
    let syntax =
        |message: String, reason: &str, remedy: &str| (Code::Syntax, words(message, reason, remedy), None);
    match &error.kind {
        ErrorKind::DuplicateKey { key, first } => {
            let message = format!("{} stands twice", quoted(key));
            let remedy = "keep one of the two; if a `[[service]]`, `[[zone]]` or `[[backend]]` was meant to start here, \
                          its header is missing";
            (
                Code::DuplicateKey,
                words(message, "only one of the two values could count", remedy),
                Some(*first),
            )
        }
        ErrorKind::DuplicateTable { name, first } => {
            let message = format!("the table [{}] stands twice", name.escape_debug());
            let remedy = match name.as_str() {
                "service" | "zone" | "backend" | "telemetry" => {
                    format!("write `[[{name}]]` with double brackets: there may be several")
                }
                _ => "put all its keys below one of the two".to_owned(),
            };
            (Code::DuplicateKey, words(message, "a table has one place in a file", remedy), Some(*first))
        }
        ErrorKind::RedefineAsArray => syntax(
            "a table in single brackets was there before".to_owned(),
            "`[x]` is one table, `[[x]]` one of several",
            "write double brackets at all of them: `[[service]]`, `[[zone]]`, `[[backend]]`",
        ),
        ErrorKind::UnquotedString => syntax(
            "text without quotes".to_owned(),
            "only numbers, true and false stand without quotes",
            &format!(
                "put it in quotes: {}",
                quoted(text.get(error.span.start..error.span.end).unwrap_or("...").trim())
            ),
        ),
        ErrorKind::UnterminatedString | ErrorKind::InvalidCharInString('\n' | '\r') => syntax(
            "the text has no closing quote".to_owned(),
            "it starts with a quote",
            "add the closing quote",
        ),
        ErrorKind::InvalidEscape(_) | ErrorKind::InvalidHexEscape(_) | ErrorKind::InvalidEscapeValue(_) => {
            let remedy = "write `\\\\` for one backslash, or put the text in single quotes";
            syntax(error.to_string(), "a backslash in double quotes starts an escape", remedy)
        }
        ErrorKind::InvalidNumber => syntax(
            "not a number".to_owned(),
            "it starts like one",
            "write a whole number such as 100; addresses, durations and names go in quotes",
        ),
        ErrorKind::UnexpectedEof => syntax(
            "the file ends in the middle of a value".to_owned(),
            "a value or a closing bracket is missing",
            "complete the last line",
        ),
        ErrorKind::Wanted { expected: "newline", .. } => syntax(
            "something follows the value".to_owned(),
            "one line holds one key and its value",
            "move it to a line of its own, put `#` before it, or put the whole value in quotes",
        ),
        ErrorKind::DottedKeyInvalidType { first } => (
            Code::DuplicateKey,
            words(
                "a dotted key goes through a key that has a value",
                "a value has no keys",
                "remove one of the two",
            ),
            Some(*first),
        ),
        ErrorKind::ExceededDepthLimit => {
            syntax(error.to_string(), "nothing here nests that deep", "remove it")
        }
        _ => syntax(
            error.to_string(),
            "not TOML",
            "write `key = value` or `[table]`, one a line; text goes in double quotes, lists in square brackets",
        ),
    }
}
