//! A real systemd as the first process of its own small world, in a bench's balancer: its root is this host's, and what is
//! written there goes to memory.

use crate::support::{BINARY, Bench, PATIENCE, Said};
use anyhow::{Context, Result, ensure};
use lb_tests::{
    cleanup::Cleanup,
    command::output,
    process::{Process, wait_until},
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// Where the host's cgroups are, of version 1 with systemd's hierarchy, or of version 2 alone.
const CGROUPS: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
/// What systemd need not do for this.
const MASKED: [&str; 11] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
];

/// A running systemd. It ends with everything in it when this is dropped.
pub(crate) struct Systemd<'b> {
    bench: &'b Bench,
    process: Process,
    _cgroups: Cleanup,
}

impl<'b> Systemd<'b> {
    /// Boots with `sipsteer.service` and its files from the package, a configuration, and lines that go over the unit's.
    pub(crate) fn boot(bench: &'b Bench, config: &str, over: &str) -> Result<Systemd<'b>> {
        let folder = bench.folder.path().join("systemd");
        let files = bench.folder.path().join("over");
        fs::create_dir(&folder)?;
        install(&files, config, over)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/boot.sh");
        // A cgroup of its own, which is the root of those that systemd sees.
        let name = format!("sipsteer-{}", bench.balancer.name());
        let cgroups: Vec<PathBuf> = hierarchies().map(|path| path.join(&name)).collect();
        ensure!(!cgroups.is_empty(), "there are no cgroups");
        let mut enter = String::new();
        for path in &cgroups {
            enter.push_str(&format!("mkdir -p '{0}' && echo $$ > '{0}/cgroup.procs' && ", path.display()));
        }
        let cleanup = Cleanup::new(move || cgroups.iter().for_each(|path| remove(path)));
        let command = format!(
            "{enter}exec unshare --mount --pid --ipc --uts --cgroup --fork --kill-child=KILL sh '{}' '{}' '{}'",
            script.display(),
            folder.display(),
            files.display()
        );
        let log = bench.folder.path().join("boot");
        let process = Process::start(&bench.balancer, "sh", ["-c", &command], &log)?;
        let systemd = Systemd { bench, process, _cgroups: cleanup };
        wait_until("sipsteer is active", PATIENCE, || {
            ensure!(systemd.process.status()?.is_none(), "systemd ended; {}", systemd.process.last_words());
            // Before it listens it says nothing.
            let state = systemd.property("ActiveState").unwrap_or_default();
            let restarts = systemd.property("NRestarts").unwrap_or_default();
            ensure!(["", "0"].contains(&restarts.as_str()), "it does not start");
            Ok(state == "active")
        })
        .with_context(|| systemd.journal())?;
        Ok(systemd)
    }

    /// systemd's process id, seen from here.
    fn first(&self) -> Result<String> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(children.split_whitespace().next().context("systemd is not there")?.to_owned())
    }

    /// Runs a command beside systemd to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Said> {
        Ok(output(Command::new("nsenter").args(["--all", "--target", &self.first()?]).args(words))?.into())
    }

    /// Writes another configuration.
    pub(crate) fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(Path::new("/proc").join(self.first()?).join("root/etc/sipsteer/sipsteer.toml"), text)?)
    }

    /// Runs a command that must succeed, and returns its words.
    pub(crate) fn succeed(&self, words: &[&str]) -> Result<String> {
        let said = self.run(words)?;
        ensure!(said.status == 0, "{words:?}: {} {} {}", said.status, said.stdout, said.stderr);
        Ok(said.stdout.trim().to_owned())
    }

    /// What systemd knows of the service.
    pub(crate) fn property(&self, name: &str) -> Result<String> {
        self.succeed(&["systemctl", "show", "--value", "--property", name, "sipsteer.service"])
    }

    /// What the service said.
    pub(crate) fn journal(&self) -> String {
        let said = self.run(&["journalctl", "--no-pager", "--unit", "sipsteer.service", "--lines", "40"]);
        let boot = fs::read_to_string(self.bench.folder.path().join("boot")).unwrap_or_default();
        said.map_or_else(|e| format!("{e:#}"), |said| said.stdout + &said.stderr) + &boot
    }
}

impl Drop for Systemd<'_> {
    fn drop(&mut self) {
        // `unshare` does not listen to less. It takes everything within along.
        let _ = self.process.kill();
    }
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    CGROUPS.iter().map(PathBuf::from).filter(|path| path.join("cgroup.procs").exists())
}

/// Removes a cgroup and those in it, which are empty.
fn remove(path: &Path) {
    // They are empty a moment after the last process has ended.
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = wait_until("the cgroup is empty", PATIENCE, || Ok(fs::remove_dir(path).is_ok()));
}

/// The files that go over the host's: those of the package where the manual puts them.
fn install(root: &Path, config: &str, over: &str) -> Result<()> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("package");
    let file = |path: &str, text: &str| -> Result<PathBuf> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(path)
    };
    for (from, to) in [
        ("sipsteer.service", "usr/lib/systemd/system/sipsteer.service"),
        ("sysusers.conf", "usr/lib/sysusers.d/sipsteer.conf"),
        ("tmpfiles.conf", "usr/lib/tmpfiles.d/sipsteer.conf"),
    ] {
        file(to, &fs::read_to_string(package.join(from))?)?;
    }
    let binary = file("usr/sbin/sipsteer", "")?;
    fs::copy(BINARY, &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    file("etc/sipsteer/sipsteer.toml", config)?;
    file("etc/systemd/system/sipsteer.service.d/over.conf", over)?;
    file(
        "etc/systemd/system/sipsteer-test.target",
        "[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=sipsteer.service\n",
    )?;
    for unit in MASKED {
        symlink("/dev/null", root.join("etc/systemd/system").join(unit))?;
    }
    Ok(())
}
