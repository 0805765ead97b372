//! `cargo xtask fuzz`: replays the corpus of the fuzz target and looks for more, guided by coverage.
//!
//! The target in `tests/fuzz` is built by the stable compiler: its instrumentation consists of LLVM passes that need no
//! nightly flag. It wants a C++ compiler, for libFuzzer.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result};
use clap::Args;
use std::{fs, path::PathBuf, process::Command};

/// How long to look.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds to fuzz after the replay; 0 replays only
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Longest datagram, in bytes
    #[arg(long, default_value_t = 4096)]
    longest: u32,
    /// Keep what was learnt: add inputs that reach new code to tests/fuzz/corpus
    #[arg(long)]
    keep: bool,
}

/// What libFuzzer needs of the compiled code. Only the target's: a `--target`, even this machine's own, keeps the flags from
/// build scripts.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Replays, then fuzzes. True if scanner and reference parser agreed on everything.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let program = build()?;
    let committed = root().join("tests/fuzz/corpus");
    let messages = root().join("tests/corpus/derived");
    if !fuzzer(&program).arg("-runs=0").args([&committed, &messages]).status()?.success() {
        explain();
        return Ok(false);
    }
    if arguments.seconds == 0 {
        return Ok(true);
    }
    // New inputs go to the first folder that libFuzzer is given.
    let found = root().join("target/fuzz/corpus");
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let first = if arguments.keep { &committed } else { &found };
    let status = fuzzer(&program)
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-max_len={}", arguments.longest))
        .args([first, &committed, &messages])
        .status()?;
    if !status.success() {
        explain();
    }
    Ok(status.success())
}

fn build() -> Result<PathBuf> {
    let host = host()?;
    let target_dir = root().join("target/fuzz");
    let mut build = cargo();
    build
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--manifest-path",
            "tests/fuzz/Cargo.toml",
            "--target",
            &host,
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\x1f"));
    let status = build.status().context("cargo does not start")?;
    anyhow::ensure!(
        status.success(),
        "the fuzz target was not built; it needs a C++ compiler, which scripts/setup installs"
    );
    Ok(target_dir.join(host).join("release/scanner"))
}

/// The compiler's name for this machine.
fn host() -> Result<String> {
    let output =
        Command::new("rustc").arg("-vV").current_dir(root()).output().context("rustc does not start")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc -vV names no host")
}

fn fuzzer(program: &PathBuf) -> Command {
    let mut command = Command::new(program);
    command
        .arg(format!("-artifact_prefix={}/", root().join("target/fuzz").display()))
        .arg("-print_final_stats=1")
        .arg("-verbosity=0");
    command
}

fn explain() {
    eprintln!(
        "error: scanner and reference parser differ, or one of them panicked, on the datagram shown above.\n\
         Its file is named behind \"Test unit written to\". Find out who is wrong, correct that one, and make the \
         datagram a named case in tests/tests/torture_cases.rs."
    );
}
