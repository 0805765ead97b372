//! `cargo xtask kernel`: the kernel tests under the running kernel and under Debian's, which QEMU boots.
//!
//! [`package`] fetches a kernel, [`initrd`] makes it start from the host's files, [`guest`] boots it, [`outcome`] reads
//! what the tests said. Nothing is installed, and the guest cannot write the host's files.

mod guest;
mod initrd;
mod outcome;
mod package;

use crate::{
    programs::{self, Program},
    workspace::{corpus, root},
};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lb_tests::{capability, command::output};
use outcome::Outcome;
use package::Release;
use std::{
    env, fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The tests of what two processors do at the same time.
const RACES: &str = "kernel_race";

/// What tests begin with that need a kernel with more than a small one has.
const GUESTS: &str = "guest_";

/// Which kernels.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Debian kernels to boot: 5.10, 6.1 or 6.12
    #[arg(default_values = ["6.1", "6.12"])]
    versions: Vec<Release>,
    /// Only the tests of files whose names begin so, `kernel_load` for instance; more than once for several
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Leave the running kernel out
    #[arg(long)]
    no_host: bool,
    /// Show all that the tests print, not only of those that fail
    #[arg(long)]
    verbose: bool,
    /// Seconds that one kernel may take
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

/// Runs the tests under every kernel. True if all passed under all of them.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let tests = tests(&arguments.only)?;
    let mut rows = Vec::new();
    if !arguments.no_host {
        capability::bpf_and_namespaces()
            .map_err(|reason| anyhow::anyhow!("the kernel tests cannot run: {reason}"))?;
        eprintln!("kernel: running the tests here");
        rows.push(on_host(&tests)?);
    }
    // A guest's processors take turns.
    let (together, tests): (Vec<_>, Vec<_>) = tests.into_iter().partition(|test| test.name == RACES);
    if !together.is_empty() {
        eprintln!(
            "kernel: {RACES} needs processors that run at the same time, and is left out where they are emulated"
        );
    }
    for release in arguments.versions.iter().filter(|_| !tests.is_empty()) {
        let files = package::fetch(release, &cache()?)?;
        eprintln!("kernel: booting {}", files.version);
        rows.push(guest::run(&files, &tests, Duration::from_secs(arguments.timeout))?);
    }
    let mut good = true;
    for row in &rows {
        if arguments.verbose || !row.passed() {
            eprintln!("--- {}\n{}", row.kernel, row.text.trim_end());
        }
        good &= row.passed();
    }
    // The table is for people and the exit status for scripts, so a closed pipe is no failure.
    let _ = stdout().write_all(outcome::table(&rows).as_bytes());
    Ok(good)
}

/// Where kernels are kept, outside the repository.
fn cache() -> Result<PathBuf> {
    let from = |variable: &str| env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache")));
    let folder = base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("sipsteer-kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Builds the tests that load programs, `tests/tests/kernel_*.rs`, `torture*.rs` and `guest_*.rs`.
fn tests(only: &[String]) -> Result<Vec<Program>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("tests/tests"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_one = |n: &&str| ["kernel_", "torture", GUESTS].iter().any(|prefix| n.starts_with(prefix));
        let is_wanted = |n: &&str| only.is_empty() || only.iter().any(|prefix| n.starts_with(prefix));
        names.extend(name.strip_suffix(".rs").filter(is_one).filter(is_wanted).map(str::to_owned));
    }
    ensure!(
        !names.is_empty(),
        "no file of tests/tests that loads programs begins with {}",
        only.join(" or ")
    );
    let selected = names.iter().flat_map(|name| ["--test", name]);
    let mut tests = programs::build(&["-p", "lb-tests"].into_iter().chain(selected).collect::<Vec<_>>())?;
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!tests.is_empty(), "there are no kernel tests");
    Ok(tests)
}

fn on_host(tests: &[Program]) -> Result<Outcome> {
    let began = Instant::now();
    let mut text = String::new();
    let mut good = true;
    for test in tests.iter().filter(|test| !test.name.starts_with(GUESTS)) {
        let mut command = test.command();
        command.arg("--test-threads=1").env("SIPSTEER_CORPUS", corpus());
        let done = output(&mut command)?;
        text += &String::from_utf8_lossy(&done.stdout);
        text += &String::from_utf8_lossy(&done.stderr);
        good &= done.status.success();
    }
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    Ok(Outcome::new(kernel, text, good, began.elapsed()))
}

/// Runs a command that reads bytes and writes bytes, a decompressor.
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {program}; scripts/setup --with-lab installs it"))?;
    let mut pipe = child.stdin.take().context("no pipe")?;
    let done = std::thread::scope(|scope| {
        // A broken pipe shows in the exit status.
        scope.spawn(move || pipe.write_all(input));
        child.wait_with_output()
    })?;
    if !done.status.success() {
        bail!("{program} ended with {}", done.status);
    }
    Ok(done.stdout)
}

/// Reads a file, unpacked if its name says it is packed.
fn read_unpacked(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match file.extension().and_then(|e| e.to_str()) {
        Some("xz") => filter("xz", &["-dc"], &bytes),
        Some("zst") => filter("zstd", &["-dcq"], &bytes),
        _ => Ok(bytes),
    }
}
