//! `cargo xtask test`: every test there is, one step after the other, with a summary at the end.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lb_tests::capability;
use std::{
    env,
    io::{BufRead, BufReader, Read, Write, stderr},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};

/// Which steps to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these, in this order; all of them if none is named
    #[arg(value_enum)]
    steps: Vec<Step>,
}

/// One step of the suite, in the order they run: what fails quickly comes first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// House rules
    Tidy,
    /// Formatting
    Format,
    /// Lints, none of which may warn
    Lint,
    /// Unit, property, kernel and scenario tests
    Tests,
    /// Limits on what the data plane may cost, as far as they do not depend on the machine
    Budget,
    /// The demo in both forwarding modes, and two of its stages
    Demo,
    /// Replay of the fuzz corpus and a minute of fuzzing
    Fuzz,
    /// The programs load under other kernels; cargo xtask kernel runs all kernel tests there
    Kernel,
}

/// What happened so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Runs the steps. True if all passed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let steps = if arguments.steps.is_empty() { Step::value_variants() } else { &arguments.steps };
    if let Err(reason) = capability::bpf_and_namespaces() {
        eprintln!("\n!!! Tests that load BPF programs cannot run here: {reason}\n");
    }
    let started = Instant::now();
    let tally = Mutex::new(Tally::default());
    let mut failed = Vec::new();
    for step in steps {
        let name = step.name();
        eprintln!("\n=== {name}");
        let began = Instant::now();
        let mut ok = true;
        for mut command in step.commands()? {
            ok &= watch(&mut command, &tally)?;
        }
        eprintln!(
            "=== {name}: {} in {:.1} s",
            if ok { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f64()
        );
        if !ok {
            failed.push(name);
        }
    }
    let Tally { passed, failed: tests_failed, skipped } = tally.into_inner().unwrap_or_default();
    let (good, bad) = (steps.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        eprintln!("\nFAILED: {}; run one again with scripts/test STEP", failed.join(", "));
    }
    eprintln!(
        "\n{good} steps passed, {bad} failed; {passed} tests passed, {tests_failed} failed, {skipped} skipped; {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(failed.is_empty())
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn commands(self) -> Result<Vec<Command>> {
        let cargo = |words: &str| {
            let mut command = cargo();
            command.args(words.split_whitespace());
            command
        };
        Ok(match self {
            Step::Tidy => vec![tool("tidy")?],
            Step::Format => vec![
                cargo("fmt --all -- --check"),
                cargo("fmt --manifest-path lb-ebpf/Cargo.toml -- --check"),
            ],
            Step::Lint => vec![cargo("clippy --quiet --workspace --all-targets -- --deny warnings")],
            Step::Tests => vec![cargo("test --workspace --no-fail-fast")],
            Step::Budget => vec![tool("budget --check")?],
            Step::Demo => vec![
                tool("demo --calls 1000 --rate 500 --forwarding nat")?,
                tool("demo --calls 1000 --rate 500 --forwarding l2")?,
                tool("demo --stage overflow-redirect")?,
                tool("demo --stage six-zones")?,
            ],
            Step::Fuzz => vec![tool("fuzz --seconds 60")?],
            // Whole, it takes longer than the rest together: emulated kernels are slow. The tests step has run it here.
            Step::Kernel => vec![tool("kernel --no-host --only kernel_load")?],
        })
    }
}

/// This program with other arguments.
fn tool(words: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.current_dir(root()).args(words.split_whitespace());
    Ok(command)
}

/// Runs a command, passes on what it prints and counts what it says about tests. True if it succeeded.
fn watch(command: &mut Command, tally: &Mutex<Tally>) -> Result<bool> {
    if env::var_os("SIPSTEER_CORPUS").is_none() {
        command.env("SIPSTEER_CORPUS", root().join("../shared/corpus"));
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let Some(out) = out {
            scope.spawn(|| pass_on(out, tally));
        }
        if let Some(err) = err {
            scope.spawn(|| pass_on(err, tally));
        }
    });
    Ok(child.wait()?.success())
}

fn pass_on(from: impl Read, tally: &Mutex<Tally>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Ok(mut tally) = tally.lock() {
            tally.add(&line);
        }
        // A terminal that is gone must not end the run.
        let _ = writeln!(stderr(), "{line}");
    }
}

impl Tally {
    /// Counts `test result: ok. 3 passed; 0 failed; ...` of the test harness and our own `SKIPPED ...`.
    fn add(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("SKIPPED ") {
            self.skipped += 1;
        }
        let Some(rest) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". ")) else { return };
        for part in rest.1.split(';') {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_skips_are_counted() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s",
        );
        tally.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("SKIPPED a_test: no root");
        tally.add("test some_test ... ok");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 4, 2));
    }
}
