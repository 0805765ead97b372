//! `cargo xtask tidy`: house rules that fail the build. Each is a function from the files to complaints.

mod orphans;
mod text;

use crate::workspace::root;
use anyhow::{Context, Result};
use lb_tests::command::run as output_of;
use std::{fmt, fs, process::Command};

/// Top level of the repository besides dot-files.
const TOP_LEVEL: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "LICENSE-GPL-2.0",
    "lb-common",
    "lb-ebpf",
    "lb-userspace",
    "scripts",
    "tests",
    "xtask",
];

/// A file of the repository.
pub(crate) struct Source {
    /// Its path below the root.
    pub(crate) path: String,
    /// Its text; empty if it is not UTF-8.
    pub(crate) text: String,
}

impl Source {
    /// Whether it is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines with their numbers, counted from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// A complaint about a line.
    pub(crate) fn complaint(&self, line: usize, what: impl Into<String>) -> Complaint {
        Complaint { path: self.path.clone(), line, what: what.into() }
    }
}

/// What is wrong, where, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Checks every file that git knows or would add. True if there is nothing to complain about.
pub(crate) fn run() -> Result<bool> {
    let files = files()?;
    let mut complaints = top_level(&files);
    for file in &files {
        complaints.extend(text::check(file));
    }
    complaints.extend(orphans::check(&files));
    for complaint in &complaints {
        println!("{complaint}");
    }
    eprintln!("tidy: {} files, {} complaints", files.len(), complaints.len());
    Ok(complaints.is_empty())
}

fn files() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]);
    let list = output_of(&mut git).context("git has to list the files")?;
    // A file that is deleted but not committed yet is still listed.
    let there = list.split_terminator('\0').filter(|path| root().join(path).is_file());
    there
        .map(|path| {
            let bytes = fs::read(root().join(path)).with_context(|| format!("cannot read {path}"))?;
            Ok(Source { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() })
        })
        .collect()
}

fn top_level(files: &[Source]) -> Vec<Complaint> {
    let stranger = |file: &&Source| {
        let top = file.path.split('/').next().unwrap_or_default();
        !top.starts_with('.') && !TOP_LEVEL.contains(&top)
    };
    files
        .iter()
        .filter(stranger)
        .map(|f| f.complaint(1, "does not belong on the top level: move it into a crate"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_on_the_top_level_are_found() {
        let file = |path: &str| Source { path: path.into(), text: String::new() };
        let complaints =
            top_level(&[file("Cargo.toml"), file(".ci/run"), file("tests/src/lib.rs"), file("notes.txt")]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].to_string().starts_with("notes.txt:1: "));
    }
}
