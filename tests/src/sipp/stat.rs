//! SIPp's statistics file: a line with the names of the columns, then a line a second, the last one at the end.

use anyhow::{Context, Result};
use std::{collections::HashMap, fs, path::Path};

/// What a SIPp has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Calls made or received.
    pub calls: u64,
    /// Those that went as the scenario says.
    pub ok: u64,
    /// Those that did not.
    pub failed: u64,
    /// Messages sent again because nothing came back in time.
    pub retransmissions: u64,
}

/// Reads a statistics file.
///
/// # Errors
/// When it is not there, or has no complete line or not the columns that are known.
pub fn read(file: &Path) -> Result<Statistics> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} is no statistics file of SIPp", file.display()))
}

fn parse(text: &str) -> Result<Statistics> {
    let mut lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    let names = lines.next().context("it is empty")?.split(';');
    let values = lines.next_back().context("it has only its head")?.split(';');
    let row: HashMap<&str, &str> = names.zip(values).collect();
    let column = |name: &str| -> Result<u64> {
        let value = row.get(name).with_context(|| format!("no column {name}"))?;
        value.parse().with_context(|| format!("{name} is {value}"))
    };
    Ok(Statistics {
        calls: column("TotalCallCreated")?,
        ok: column("SuccessfulCall(C)")?,
        failed: column("FailedCall(C)")?,
        retransmissions: column("Retransmissions(C)")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "StartTime;TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n";

    #[test]
    fn the_last_complete_line_counts() -> Result<()> {
        let text = format!("{HEAD}a;1;0;0;0;\nb;10;7;2;1;\nc;20;1");
        assert_eq!(parse(&text)?, Statistics { calls: 10, ok: 7, failed: 2, retransmissions: 1 });
        Ok(())
    }

    #[test]
    fn a_file_without_counts_is_an_error() {
        for text in ["", HEAD, "StartTime;\nb;\n", &format!("{HEAD}a;x;0;0;0;\n")] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
