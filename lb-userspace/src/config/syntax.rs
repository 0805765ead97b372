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
        complain(&error, &mended, report);
        let broken = broken_part(&mended, error.span.start, &error.kind);
        if mended[broken.clone()].trim().is_empty() {
            return None;
        }
        mended = Cow::Owned(blanked(&mended, broken));
    }
    None
}

/// The lines that have to go for the rest to be parsed.
fn broken_part(text: &str, at: usize, kind: &ErrorKind) -> Range<usize> {
    let at = text.floor_char_boundary(at.min(text.len()));
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let table = matches!(kind, ErrorKind::DuplicateTable { .. } | ErrorKind::RedefineAsArray);
    if table || is_header(&text[line..]) {
        // The keys below a header that is gone would fall to the table before it.
        return line..next_line(text, line, is_header);
    }
    let start = match statement_before(text, line) {
        // A value of several lines that the error lies in goes as a whole.
        Some(before) if toml_span::parse(&text[before..line]).is_err() => before,
        _ => line,
    };
    start..next_line(text, line, |rest| is_header(rest) || is_key(rest))
}

/// Start of the last statement above a line that does not start one itself.
fn statement_before(text: &str, line: usize) -> Option<usize> {
    if is_key(&text[line..]) {
        return None;
    }
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

fn complain(error: &Error, text: &str, report: &mut Report<'_>) {
    let (code, words, first) = describe(error, text);
    let span = Span::new(error.span.start.min(text.len()), error.span.end.min(text.len()));
    let complaint = report.error(code, span, words);
    if let Some(first) = first.filter(|first| first.end <= text.len()) {
        complaint.beside(first, "the first one");
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
            let remedy =
                format!("join the two, or write `[[{}]]` if there may be several", name.escape_debug());
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
