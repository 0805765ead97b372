//! Where complaints are gathered while a file is read.

use super::{
    complaint::{Code, Complaint, Complaints, Severity},
    render::{line_of, line_starts},
};
use std::ops::Range;
use toml_span::Span;

/// The complaints about one file so far.
pub(super) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
    complaints: Vec<Complaint>,
}

/// What a complaint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// What is wrong.
    pub message: String,
    /// Why that is a mistake.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// [`Words`] from anything that is text.
pub(super) fn words(
    message: impl Into<String>,
    reason: impl Into<String>,
    remedy: impl Into<String>,
) -> Words {
    Words { message: message.into(), reason: reason.into(), remedy: remedy.into() }
}

impl<'a> Report<'a> {
    /// No complaints yet about `text`, which is the file called `file`.
    pub(super) fn new(file: &'a str, text: &'a str) -> Report<'a> {
        Report { file, text, starts: line_starts(text), complaints: Vec::new() }
    }

    /// Complains; the configuration is refused.
    pub(super) fn error(&mut self, code: Code, span: Span, words: Words) {
        self.add(Severity::Error, code, span, words);
    }

    /// Complains and shows another place that belongs to it, with a label.
    pub(super) fn error_beside(&mut self, code: Code, span: Span, words: Words, other: (Span, &'static str)) {
        let other = (self.clipped(other.0), other.1);
        self.add(Severity::Error, code, span, words).other = Some(other);
    }

    /// Warns; the configuration is taken.
    pub(super) fn warn(&mut self, code: Code, span: Span, words: Words) {
        self.add(Severity::Warning, code, span, words);
    }

    /// Whether the configuration is refused.
    pub(super) fn refuses(&self) -> bool {
        self.complaints.iter().any(|c| c.severity == Severity::Error)
    }

    /// All complaints, in the order of the file. With `skipped`, parts of the file were not understood, and complaints
    /// about what is absent are left out.
    pub(super) fn finish(mut self, skipped: bool) -> Complaints {
        self.complaints.retain(|c| !(skipped && c.code.is_about_absence()));
        self.complaints.sort_by_key(|c| (c.span.start, c.span.end));
        Complaints { complaints: self.complaints, text: self.text.to_owned() }
    }

    fn add(&mut self, severity: Severity, code: Code, span: Span, words: Words) -> &mut Complaint {
        let span = self.clipped(span);
        let line = line_of(&self.starts, span.start);
        let column = self.text[self.starts[line]..span.start].chars().count() + 1;
        let Words { message, reason, remedy } = words;
        let (file, line) = (self.file.to_owned(), line + 1);
        let other = None;
        self.complaints.push(Complaint {
            severity,
            code,
            file,
            line,
            column,
            message,
            reason,
            remedy,
            span,
            other,
        });
        self.complaints.last_mut().expect("one was just added")
    }

    /// A span inside the text, at character boundaries, that does not leave the line it starts in.
    fn clipped(&self, span: Span) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let rest = &self.text[start..];
        let line_end = start + rest.find(['\n', '\r']).unwrap_or(rest.len());
        start..self.text.ceil_char_boundary(span.end).clamp(start, line_end)
    }
}

/// A value as complaints show it: in quotes, control characters escaped, cut when long.
pub(super) fn quoted(value: &str) -> String {
    const LONGEST: usize = 60;
    let cut = value.char_indices().nth(LONGEST);
    let shown = cut.map_or(value, |(at, _)| &value[..at]);
    format!("\"{}{}\"", shown.escape_debug(), if cut.is_some() { "..." } else { "" })
}

/// The word of `known` that is nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    let near = |candidate: &&str| {
        let distance = distance(&word, candidate);
        (distance <= 1 + length.min(candidate.len()) / 4).then_some(distance)
    };
    // The length first: a key may be as long as the file.
    known
        .iter()
        .filter(|k| length <= 2 * k.len())
        .filter_map(|k| near(k).map(|d| (d, *k)))
        .min()
        .map(|(_, k)| k)
}

/// Levenshtein distance: characters to insert, delete or replace; neighbours that changed places count once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}
