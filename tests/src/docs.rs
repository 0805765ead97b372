//! The documentation as tests read it: tables between markers, and shell blocks with a word that says how they are run.

use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The front door.
pub const README: &str = "README.md";
/// The manual for operators.
pub const MANUAL: &str = "lb-userspace/MANUAL.md";
/// What changed, for operators.
pub const CHANGELOG: &str = "lb-userspace/CHANGELOG.md";

/// Top level of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file of the repository.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// One fenced block that is marked `sh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellBlock {
    /// The word behind `sh`.
    pub mark: String,
    /// Its commands, one a line.
    pub commands: Vec<String>,
}

/// The shell blocks of a text, in their order.
pub fn shell_blocks(text: &str) -> Vec<ShellBlock> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(words) = line.strip_prefix("```") else { continue };
        let inside: Vec<String> =
            lines.by_ref().take_while(|l| *l != "```").filter(|l| !l.is_empty()).map(str::to_owned).collect();
        let mut words = words.split_whitespace();
        if words.next() == Some("sh") {
            blocks.push(ShellBlock { mark: words.collect::<Vec<_>>().join(" "), commands: inside });
        }
    }
    blocks
}

/// The commands of all blocks of a text with one mark.
pub fn commands(text: &str, mark: &str) -> Vec<String> {
    shell_blocks(text).into_iter().filter(|b| b.mark == mark).flat_map(|b| b.commands).collect()
}

/// The rows of the table behind `<!-- NAME: ... -->` and before `<!-- end of NAME -->`, without its heading; cells
/// without blanks around them.
///
/// # Errors
/// When a marker or the table's heading is missing.
pub fn table(text: &str, name: &str) -> Result<Vec<Vec<String>>> {
    let mut lines = text.lines().skip_while(|l| !l.starts_with(&format!("<!-- {name}:"))).skip(1);
    let end = format!("<!-- end of {name} -->");
    let rows: Vec<&str> = lines.by_ref().take_while(|l| *l != end).collect();
    ensure!(rows.len() >= 2 && rows[1].starts_with("|--"), "there is no table behind <!-- {name}: -->");
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect();
    Ok(rows[2..].iter().map(|row| cells(row)).collect())
}

/// A table as the documentation writes it.
pub fn written(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n{}|\n", headings.join(" | "), "|---".repeat(headings.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\n```sh one\nx 1\n\ny\n```\n```text\nno\n```\n```sh two\nz\n```\n```sh one\nw\n```\n\
                        <!-- t: kept -->\n| a | b |\n|---|---|\n| 1 | `2` |\n<!-- end of t -->\n| 3 | 4 |\n";

    #[test]
    fn blocks_are_found_by_their_marks() {
        assert_eq!(shell_blocks(TEXT).len(), 3);
        assert_eq!(commands(TEXT, "one"), ["x 1", "y", "w"]);
        assert_eq!(commands(TEXT, "two"), ["z"]);
        assert_eq!(commands(TEXT, "no"), Vec::<String>::new());
    }

    #[test]
    fn a_table_is_read_as_it_is_written() -> Result<()> {
        let rows = table(TEXT, "t")?;
        assert_eq!(rows, [["1", "`2`"]]);
        assert!(TEXT.contains(&written(&["a", "b"], &rows)));
        assert!(table(TEXT, "u").is_err());
        Ok(())
    }
}
