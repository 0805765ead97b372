//! The way from a file to a [`Config`].

use super::{
    Config, check,
    complaint::{Code, Complaints},
    read,
    report::{Report, quoted, words},
    syntax,
};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};
use toml_span::Span;

/// Largest file that is read, in bytes; 1,024 backends take a tenth of it.
pub const MAX_FILE: u64 = 4 << 20;

/// A configuration that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody should know about it; none of them refuses it.
    pub warnings: Complaints,
    /// What it was read from.
    pub text: String,
}

/// Reads a file.
///
/// # Errors
/// Every mistake of the file at once, warnings included; or one complaint if it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Complaints> {
    let name = path.to_string_lossy();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(unreadable(&name, &error));
    }
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("{} is larger than {} MB", quoted(&name), MAX_FILE >> 20);
        let remedy =
            "check that this is the configuration; sipsteer takes one file of 1,024 backends at most";
        return Err(one(
            &name,
            "",
            Span::default(),
            Code::Unreadable,
            [&message, "it is not read any further", remedy],
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let what = [
                "the file is not UTF-8",
                "here is a byte that is no text",
                "save it as UTF-8, or remove the byte",
            ];
            Err(one(&name, &text, Span::new(at, at + 1), Code::Syntax, what))
        }
    }
}

/// Reads a text; `file_name` is what complaints call it.
///
/// # Errors
/// Every mistake at once, warnings included. After a syntax error, complaints about what is absent are left out.
pub fn parse(text: &str, file_name: &str) -> Result<Loaded, Complaints> {
    let mut report = Report::new(file_name, text);
    let mended = syntax::mend(text, &mut report);
    let skipped = report.refuses();
    // What was mended does parse.
    let Some(Ok(root)) = mended.as_deref().map(toml_span::parse) else {
        return Err(report.finish(skipped));
    };
    let draft = read::file(&root, &mut report);
    check::draft(&draft, &mut report);
    let refused = report.refuses();
    let complaints = report.finish(skipped);
    match draft.finish() {
        Some(config) if !refused => Ok(Loaded { config, warnings: complaints, text: text.to_owned() }),
        _ => Err(complaints),
    }
}

fn unreadable(name: &str, error: &io::Error) -> Complaints {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "write one with `sipsteer init`, or name another file with `--config`",
        io::ErrorKind::PermissionDenied => "run as root, or let your group read it",
        io::ErrorKind::IsADirectory => "name the file in it, sipsteer.toml for instance",
        _ => "check the file and the disk it lies on",
    };
    let message = format!("cannot read {}", quoted(name));
    one(name, "", Span::default(), Code::Unreadable, [&message, &error.to_string(), remedy])
}

/// A single complaint: what, why, and what to do.
fn one(name: &str, text: &str, span: Span, code: Code, [what, why, remedy]: [&str; 3]) -> Complaints {
    let mut report = Report::new(name, text);
    report.error(code, span, words(what, why, remedy));
    report.finish(false)
}
