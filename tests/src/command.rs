//! Running other programs to their end.

use anyhow::{Context, Result, bail};
use std::{
    env,
    process::{Command, Output, Stdio},
};

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

/// Cargo, as if it was started from a shell. What cargo tells a program that it runs of that program's package is taken away:
/// there are build scripts that read it, so that cargo would build half of the dependencies again.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_a_package) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Whether cargo sets this variable for a package that it runs; its other variables are settings.
fn is_of_a_package(variable: &str) -> bool {
    variable == "OUT_DIR" || variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_which_package_runs_it() {
        let told: Vec<_> = env::vars().map(|(name, _)| name).filter(|name| is_of_a_package(name)).collect();
        assert!(told.iter().any(|name| name == "CARGO_MANIFEST_DIR"), "cargo runs this test");
        let cargo = cargo();
        for name in told {
            assert!(cargo.get_envs().any(|(of, value)| of == name.as_str() && value.is_none()), "{name}");
        }
        assert!(!is_of_a_package("CARGO_HOME") && !is_of_a_package("CARGO_INCREMENTAL"));
    }
}
