//! `cargo xtask fuzz`: the scanner against the reference parser, guided by coverage.
//!
//! The target in `tests/fuzz` is built with the coverage passes that stable rustc has, replays its corpus and then looks
//! for new messages on which the two parsers differ. What it finds is left as a file and becomes a named test.

use crate::workspace::{cargo, root};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::{fs, path::Path, process::Command};

/// How long to look.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds of fuzzing after the replay of the corpus; 0 replays only
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

/// What `cargo fuzz` passes to rustc too; without a sanitizer it needs no nightly.
const COVERAGE: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Named, so that build scripts are not instrumented.
const HOST: &str = "x86_64-unknown-linux-gnu";
/// Longest datagram tried, in bytes: more than the scan reaches.
const MAX_DATAGRAM: u32 = 5_000;

/// Replays the corpus and fuzzes. True if the parsers agreed on everything.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let target = build()?;
    let folder = root().join("target/fuzz");
    let (found, wrong) = (folder.join("found"), folder.join("wrong"));
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&wrong)?;
    let corpus = root().join("tests/corpus/derived");
    ensure!(replay(&target, &[&corpus, &found], &wrong)?, differ(&wrong));
    if arguments.seconds == 0 {
        return Ok(true);
    }
    eprintln!("fuzzing for {} s", arguments.seconds);
    let mut fuzz = Command::new(&target);
    fuzz.args([&found, &corpus])
        .arg(format!("-max_total_time={}", arguments.seconds))
        .arg(format!("-max_len={MAX_DATAGRAM}"))
        .arg(format!("-artifact_prefix={}/", wrong.display()))
        .arg("-print_final_stats=1");
    ensure!(fuzz.status().context("cannot run the fuzz target")?.success(), differ(&wrong));
    Ok(true)
}

/// Builds the target and returns its file.
fn build() -> Result<std::path::PathBuf> {
    let folder = root().join("target/fuzz");
    let status = cargo()
        .args(["build", "--quiet", "--release", "--locked", "--target", HOST, "--manifest-path"])
        .arg(root().join("tests/fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "the fuzz target was not built; libFuzzer needs a C++ compiler: run scripts/setup"
    );
    Ok(folder.join(HOST).join("release/scanner"))
}

/// Runs the target once on every file of the folders.
fn replay(target: &Path, folders: &[&Path], wrong: &Path) -> Result<bool> {
    let mut command = Command::new(target);
    command.arg("-runs=0").arg(format!("-artifact_prefix={}/", wrong.display())).args(folders);
    Ok(command.status().context("cannot run the fuzz target")?.success())
}

fn differ(wrong: &Path) -> String {
    format!(
        "scanner and reference parser differ on the newest file in {}: make it a named case in \
         tests/tests/torture_cases.rs and mend whichever is wrong",
        wrong.display()
    )
}
