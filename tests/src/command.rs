//! Running other programs to their end.

use anyhow::{Context, Result, bail};
use std::process::{Command, Output, Stdio};

/// Runs `command` and returns what it printed on stdout.
///
/// # Errors
/// When it cannot be started or fails; the error holds what it printed on stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            describe(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` and returns what it printed and how it ended.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}; scripts/setup installs what is missing", describe(command)))
}

/// Runs a program with arguments that are separated by spaces.
///
/// # Errors
/// As [`run`].
pub fn run_words(program: &str, arguments: &str) -> Result<String> {
    run(Command::new(program).args(arguments.split_whitespace()))
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
