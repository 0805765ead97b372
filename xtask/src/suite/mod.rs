//! `cargo xtask test`: every test there is, one step after the other, with a summary at the end.
//!
//! [`lanes`] runs the programs of tests beside each other, [`tally`] reads what they print.

mod lanes;
mod tally;

use crate::{
    programs,
    workspace::{cargo, corpus, root},
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use lb_tests::capability;
use std::{
    env,
    io::{BufRead, BufReader, Read, Write, stderr},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};
use tally::Tally;

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
struct Account {
    tally: Tally,
    /// Commands that run once more what failed.
    again: Vec<String>,
}

/// Runs the steps. True if all passed.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let steps = if arguments.steps.is_empty() { Step::value_variants() } else { &arguments.steps };
    if let Err(reason) = capability::bpf_and_namespaces() {
        eprintln!("\n!!! Tests that load BPF programs cannot run here: {reason}\n");
    }
    let started = Instant::now();
    let account = Mutex::new(Account::default());
    let mut failed = Vec::new();
    for step in steps {
        let name = step.name();
        eprintln!("\n=== {name}");
        let began = Instant::now();
        let ok = step.run(&account)?;
        eprintln!(
            "=== {name}: {} in {:.1} s",
            if ok { "ok" } else { "FAILED" },
            began.elapsed().as_secs_f64()
        );
        if !ok {
            failed.push(name);
        }
    }
    let Account { tally, again } = account.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Tally { passed, failed: tests_failed, skipped } = tally;
    let (good, bad) = (steps.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        eprintln!("\nFAILED: {}; run one again with scripts/test STEP", failed.join(", "));
    }
    if !again.is_empty() {
        eprintln!("\nTests that failed; each runs again with\n  {}", again.join("\n  "));
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

    /// True if all that belongs to it succeeded.
    fn run(self, account: &Mutex<Account>) -> Result<bool> {
        let mut good = true;
        if self == Step::Tests {
            let programs = programs::build(&["--workspace"])?;
            good &= lanes::run(programs, account)?;
        }
        for mut command in self.commands()? {
            good &= watch(&mut command, account)?;
        }
        Ok(good)
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
            // What runs in guests alone is none of all targets.
            Step::Lint => vec![
                cargo("clippy --quiet --workspace --all-targets -- --deny warnings"),
                cargo("clippy --quiet --workspace --test guest_bond -- --deny warnings"),
            ],
            // Those in the documentation have no programs of their own.
            Step::Tests => vec![cargo("test --workspace --doc --no-fail-fast")],
            Step::Budget => vec![tool("budget --check")?],
            Step::Demo => vec![
                tool("demo --calls 1000 --rate 500 --forwarding nat")?,
                tool("demo --calls 1000 --rate 500 --forwarding l2")?,
                tool("demo --stage overflow-redirect")?,
                tool("demo --stage six-zones")?,
            ],
            Step::Fuzz => vec![tool("fuzz --seconds 60")?],
            // Whole, it takes longer than the rest together: emulated kernels are slow. The tests step has run it here.
            Step::Kernel => vec![
                tool("kernel --no-host --only kernel_load")?,
                tool("kernel --no-host --only guest_ 6.12")?,
            ],
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
fn watch(command: &mut Command, account: &Mutex<Account>) -> Result<bool> {
    let mut child = command
        .env("SIPSTEER_CORPUS", corpus())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let Some(out) = out {
            scope.spawn(|| pass_on(out, account));
        }
        if let Some(err) = err {
            scope.spawn(|| pass_on(err, account));
        }
    });
    Ok(child.wait()?.success())
}

fn pass_on(from: impl Read, account: &Mutex<Account>) {
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        account.lock().unwrap_or_else(PoisonError::into_inner).tally.add(&line);
        // A terminal that is gone must not end the run.
        let _ = writeln!(stderr(), "{line}");
    }
}
