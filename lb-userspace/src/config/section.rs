//! One table of the file: which keys it may have, and values of the right type.

use super::{
    complaint::Code,
    report::{Report, nearest, quoted, words},
};
use std::path::PathBuf;
use toml_span::{
    Span, Spanned, Value,
    value::{Table, ValueInner},
};

/// A table of the file.
pub(super) struct Section<'v, 'd> {
    /// The table as it is written, `[node]` for instance; complaints say so.
    pub(super) name: &'static str,
    /// From its header to its last value.
    pub(super) span: Span,
    table: &'v Table<'d>,
}

impl<'v, 'd> Section<'v, 'd> {
    /// A value as a table that may have `keys` and no others.
    pub(super) fn new(
        name: &'static str,
        value: &'v Value<'d>,
        keys: &[&'static str],
        report: &mut Report<'_>,
    ) -> Option<Section<'v, 'd>> {
        let Some(table) = value.as_table() else {
            wrong_type(
                value,
                "a table",
                &format!("write `{name}` on a line of its own and its keys below"),
                report,
            );
            return None;
        };
        for key in table.keys().filter(|key| !keys.contains(&key.name.as_ref())) {
            let message = format!("{name} has no key {}", quoted(&key.name));
            let remedy = match nearest(&key.name, keys) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; the keys are {}", keys.join(", ")),
            };
            report.error(Code::UnknownKey, key.span, words(message, "unknown key", remedy));
        }
        Some(Section { name, span: value.span, table })
    }

    /// The value of an optional key.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value<'d>> {
        self.table.get(key)
    }

    /// Where a key stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.table.get_key_value(key).map(|(key, _)| key.span)
    }

    /// The value of a key that must be there; `example` is what could stand there.
    pub(super) fn required(
        &self,
        key: &str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Option<&'v Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} has no `{key}`", self.name);
            let remedy = format!("add for instance `{key} = {example}`");
            report.error(
                Code::MissingKey,
                self.span,
                words(message, format!("`{key}` must be there"), remedy),
            );
        }
        value
    }
}

/// The tables under a key of the file that may be there several times.
pub(super) fn tables<'v, 'd>(
    value: Option<&'v Value<'d>>,
    header: &'static str,
    report: &mut Report<'_>,
) -> Vec<&'v Value<'d>> {
    match value.map(|value| (value, value.as_ref())) {
        None => Vec::new(),
        Some((_, ValueInner::Array(tables))) => tables.iter().collect(),
        Some((value, ValueInner::Table(_))) => {
            let message = format!("`{header}` is written with single brackets");
            let remedy = format!("write `{header}`");
            report.error(Code::WrongType, value.span, words(message, "there may be several", remedy));
            vec![value]
        }
        Some((value, _)) => {
            wrong_type(
                value,
                "a table",
                &format!("write `{header}` on a line of its own and its keys below"),
                report,
            );
            Vec::new()
        }
    }
}

/// The table under a key of the file that may be there once.
pub(super) fn table<'v, 'd>(
    value: Option<&'v Value<'d>>,
    header: &'static str,
    report: &mut Report<'_>,
) -> Option<&'v Value<'d>> {
    let value = value?;
    let Some(tables) = value.as_array() else { return Some(value) };
    let message = format!("`{header}` is written with double brackets or as a list");
    report.error(
        Code::WrongType,
        tables.first().map_or(value.span, |v| v.span),
        words(message, "there is only one", format!("write `{header}`")),
    );
    tables.first()
}

/// A text.
pub(super) fn text<'v>(
    value: &'v Value<'_>,
    example: &str,
    report: &mut Report<'_>,
) -> Option<Spanned<&'v str>> {
    if value.as_str().is_none() {
        wrong_type(value, "text in quotes", &format!("write for instance {example}"), report);
    }
    value.as_str().map(|text| Spanned::with_span(text, value.span))
}

/// A list of texts; what is no text in it is complained about and left out.
pub(super) fn texts<'v>(
    value: &'v Value<'_>,
    example: &str,
    report: &mut Report<'_>,
) -> Option<Vec<Spanned<&'v str>>> {
    let Some(items) = value.as_array() else {
        wrong_type(value, "a list of texts", &format!("write for instance {example}"), report);
        return None;
    };
    Some(items.iter().filter_map(|item| text(item, example, report)).collect())
}

/// An absolute path of a file: the daemon's working directory is nobody's business.
pub(super) fn path(value: &Value<'_>, example: &str, report: &mut Report<'_>) -> Option<Spanned<PathBuf>> {
    let path = text(value, example, report)?;
    if path.value.starts_with('/') && !path.value.ends_with('/') && !path.value.contains('\0') {
        return Some(Spanned::with_span(path.value.into(), path.span));
    }
    let reason = "a relative path would depend on where the daemon was started, and a directory is no file";
    let words = words("not an absolute path of a file", reason, format!("write for instance {example}"));
    report.error(Code::BadPath, path.span, words);
    None
}

/// true or false.
pub(super) fn boolean(value: &Value<'_>, report: &mut Report<'_>) -> Option<bool> {
    if value.as_bool().is_none() {
        wrong_type(value, "true or false", "write true or false, without quotes", report);
    }
    value.as_bool()
}

/// A whole number within bounds, both included.
pub(super) fn integer(
    value: &Value<'_>,
    least: u32,
    most: u32,
    reason: &str,
    report: &mut Report<'_>,
) -> Option<u32> {
    let remedy = format!("write a whole number from {least} to {most}");
    let Some(number) = value.as_integer() else {
        wrong_type(value, "a whole number", &remedy, report);
        return None;
    };
    let fitting = u32::try_from(number).ok().filter(|n| (least..=most).contains(n));
    if fitting.is_none() {
        let message = format!("{number} is not between {least} and {most}");
        report.error(Code::OutOfRange, value.span, words(message, reason, remedy));
    }
    fitting
}

/// Complains about a value of the wrong type.
pub(super) fn wrong_type(value: &Value<'_>, wanted: &str, remedy: &str, report: &mut Report<'_>) {
    let found = match value.as_ref() {
        ValueInner::String(_) => "text",
        ValueInner::Integer(_) => "a whole number",
        ValueInner::Float(_) => "a number with a fraction",
        ValueInner::Boolean(_) => "true or false",
        ValueInner::Array(_) => "a list",
        ValueInner::Table(_) => "a table",
    };
    let message = format!("{wanted} should stand here");
    report.error(Code::WrongType, value.span, words(message, format!("this is {found}"), remedy));
}
