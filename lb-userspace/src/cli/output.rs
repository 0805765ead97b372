//! How commands speak: a document for programs, text for people.

pub(super) use crate::view::grouped;

use super::Context;
use crate::{failure::Failure, wall};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// What a command found.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Fields of the document.
    pub(super) document: Map<String, Value>,
    /// The same for people; a newline is added unless it ends with one.
    pub(super) text: String,
    /// Exit status.
    pub(super) status: u8,
}

impl Output {
    /// A text, and a document of one field.
    pub(super) fn new(field: &str, value: &impl Serialize, text: String) -> Result<Output, Failure> {
        Output { text, ..Output::default() }.with(field, value)
    }

    /// Adds a field to the document.
    pub(super) fn with(mut self, field: &str, value: &impl Serialize) -> Result<Output, Failure> {
        let value = serde_json::to_value(value)
            .map_err(|e| Failure::bad("internal", format!("cannot write {field} as JSON: {e}")))?;
        self.document.insert(field.to_owned(), value);
        Ok(self)
    }
}

/// Prints what a command found.
pub(super) fn print(command: &str, json: bool, output: &Output, context: &Context) -> ExitCode {
    let text = if json { document(command, context.node(), &output.document) } else { output.text.clone() };
    if !text.is_empty() {
        write_line(&mut io::stdout().lock(), &text);
    }
    ExitCode::from(output.status)
}

/// Prints why a command failed.
pub(super) fn fail(command: &str, json: bool, failure: &Failure, context: Option<&Context>) -> ExitCode {
    if json {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(failure.code));
        error.insert("message".to_owned(), json!(failure.message));
        error.insert("remedy".to_owned(), json!(failure.remedy));
        if let Some(details) = &failure.details {
            error.insert("details".to_owned(), details.clone());
        }
        // One that could not be asked need not be asked for its name.
        let node = context.filter(|c| c.elsewhere().is_none()).and_then(Context::node);
        let fields = [("error".to_owned(), Value::Object(error))].into_iter().collect();
        write_line(&mut io::stdout().lock(), &document(command, node, &fields));
    } else {
        write_line(&mut io::stderr().lock(), &format!("sipsteer: {}", printable(&failure.to_string())));
    }
    ExitCode::from(failure.kind.exit_status())
}

fn document(command: &str, node: Option<&str>, fields: &Map<String, Value>) -> String {
    let mut all = Map::new();
    all.insert("schema".to_owned(), json!(format!("sipsteer/{command}/1")));
    all.insert("node".to_owned(), json!(node));
    all.insert("at".to_owned(), json!(now()));
    all.extend(fields.clone());
    serde_json::to_string_pretty(&all).unwrap_or_default()
}

/// The time in RFC 3339, whole seconds.
fn now() -> String {
    let now = wall::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

fn write_line(to: &mut impl Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // Whoever listened has hung up; there is nobody left to tell.
    let _ = write!(to, "{text}{end}");
}

/// Text that may hold what a stranger sent, made harmless for terminals: control characters and those that turn the
/// direction of writing are shown as escapes. Newlines stay.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c == '\n' || !(c.is_control() || turns) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Rows under headings, in columns. Numbers are set flush right.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([headings[i].len()]).max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let numeric: [bool; N] = std::array::from_fn(|i| {
        !rows.is_empty()
            && rows
                .iter()
                .all(|row| row[i].chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '/' | '-')))
    });
    let mut text = String::new();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            let cell = printable(&cell.replace('\n', " "));
            line.push_str(&if numeric[i] { format!("{pad}{cell}") } else { format!("{cell}{pad}") });
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\r\nd"), "a\\u{1b}[2Jb\\u{202e}c\\r\nd");
    }

    #[test]
    fn numbers_stand_flush_right() {
        let rows = [["a".to_owned(), "1,000".to_owned()], ["bcd".to_owned(), "5".to_owned()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME      N\na     1,000\nbcd       5\n");
    }
}
