//! One boot: QEMU without hardware virtualisation, which works everywhere.

use super::{GUESTS, initrd, outcome::Outcome, package::Files};
use crate::{programs::Program, workspace::corpus};
use anyhow::{Context, Result};
use lb_tests::{
    cleanup::{Cleanup, Folder},
    daemon,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const MEMORY_MIB: u32 = 3072;
/// Two, so that races between CPUs are possible.
const CPUS: u32 = 2;

/// Boots the kernel and runs the tests in it as root.
pub(crate) fn run(files: &Files, tests: &[Program], patience: Duration) -> Result<Outcome> {
    let began = Instant::now();
    let job = Folder::new("kernel-")?;
    let path = |name: &str| job.path().join(name);
    let lines: Vec<String> = tests.iter().map(|t| t.executable.display().to_string()).collect();
    fs::write(path("tests"), lines.join("\n") + "\n")?;
    fs::write(path("run.sh"), include_str!("run.sh"))?;
    fs::write(path("modules"), files.tree.join("lib/modules").join(&files.version).display().to_string())?;
    fs::write(path("environment"), environment(tests)?)?;
    fs::write(path("initrd"), initrd::build(files)?)?;

    let mut child =
        qemu(files, job.path()).spawn().context("cannot run QEMU; scripts/setup --with-lab installs it")?;
    let pid = Pid::from_child(&child);
    // Ctrl-C must not leave the guest running. The process id is ours as long as nobody waited for it.
    let stop = Cleanup::new(move || {
        let _ = kill_process(pid, Signal::KILL);
    });
    let ended = wait(&mut child, patience);
    drop(stop);
    let _ = child.wait();
    let mut text = fs::read_to_string(path("output")).unwrap_or_default();
    let status = fs::read_to_string(path("status")).unwrap_or_default();
    if status.trim().is_empty() {
        let console = fs::read_to_string(path("console")).unwrap_or_default();
        let reason = if ended { "powered off" } else { "took too long and was stopped" };
        text += &format!("\nthe guest {reason} before the tests were over; its console:\n{console}");
    }
    Ok(Outcome::new(files.version.clone(), text, status.trim() == "0", began.elapsed()))
}

/// True if it ended by itself.
fn wait(child: &mut Child, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(Duration::from_millis(50));
    }
    false
}

/// What the tests may look at, as shell.
fn environment(tests: &[Program]) -> Result<String> {
    let mut text = format!("export SIPSTEER_CORPUS='{}' RUST_BACKTRACE=0\n", corpus().display());
    if let Some(ci) = env::var_os("CI") {
        text += &format!("export CI='{}'\n", ci.display());
    }
    // There is no cargo in the guest.
    if tests.iter().any(|test| test.name.starts_with(GUESTS)) {
        text += &format!("export {}='{}'\n", daemon::BINARY, daemon::binary()?.display());
    }
    Ok(text)
}

fn qemu(files: &Files, job: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    let (cpus, memory) = (CPUS.to_string(), MEMORY_MIB.to_string());
    // One thread for both CPUs: emulated side by side, one of them may run into code that the kernel is just patching.
    command
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-machine", "q35", "-smp", &cpus, "-m", &memory])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", job.join("console").display()))
        .arg("-kernel")
        .arg(&files.image)
        .arg("-initrd")
        .arg(job.join("initrd"))
        .args(["-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off"]);
    share(&mut command, "host", Path::new("/"), ",readonly=on,multidevs=remap");
    share(&mut command, "job", job, "");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Gives the guest a folder of the host.
fn share(command: &mut Command, tag: &str, folder: &Path, more: &str) {
    command
        .arg("-fsdev")
        .arg(format!("local,id={tag},path={},security_model=none{more}", folder.display()))
        .arg("-device")
        .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
}
