//! Complaints as rustc shows them: the line, the place in it, the reason beside it, the remedy below.

use super::complaint::{Complaint, Complaints, Severity};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use std::ops::Range;

/// All complaints, one blank line between them, one newline at the end.
pub(super) fn render(complaints: &Complaints, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let starts = line_starts(&complaints.text);
    let blocks: Vec<String> = complaints
        .complaints
        .iter()
        .map(|complaint| renderer.render(&[group(complaint, &complaints.text, &starts)]) + "\n")
        .collect();
    blocks.join("\n")
}

fn group<'a>(complaint: &'a Complaint, text: &'a str, starts: &[usize]) -> Group<'a> {
    let level = match complaint.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&complaint.message).id(complaint.code.name());
    let remedy = Level::HELP.message(&complaint.remedy);
    if text.is_empty() {
        return title
            .element(Origin::path(&complaint.file))
            .element(Level::NOTE.message(&complaint.reason))
            .element(remedy);
    }
    let others = complaint.other.iter().map(|(span, _)| span);
    let first = others.clone().fold(complaint.span.start, |at, span| at.min(span.start));
    let last = others.fold(complaint.span.end, |at, span| at.max(span.end));
    // Only the lines in question are handed over: a file may be large and complaints many.
    let first_line = line_of(starts, first);
    let from = starts[first_line];
    let to = starts.get(line_of(starts, last) + 1).copied().unwrap_or(text.len());
    let within = |span: &Range<usize>| span.start - from..span.end - from;
    let mut snippet = Snippet::source(&text[from..to])
        .line_start(first_line + 1)
        .path(&complaint.file)
        .annotation(AnnotationKind::Primary.span(within(&complaint.span)).label(&complaint.reason));
    if let Some((span, label)) = &complaint.other {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(span)).label(*label));
    }
    title.element(snippet).element(remedy)
}

/// Offsets at which lines start; the first is 0.
pub(super) fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Index of the line that an offset lies in.
pub(super) fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).saturating_sub(1)
}
