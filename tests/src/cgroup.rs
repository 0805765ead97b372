//! A cgroup of its own, in which a process runs out of memory.

use crate::cleanup::{Cleanup, own_name};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// How a version of cgroups calls what is needed here.
struct Version {
    root: &'static str,
    /// A file by which it is known to be there.
    sign: &'static str,
    /// The limits on memory, and on memory with swap or on swap, which need not be there.
    limits: [&'static str; 2],
    /// Where kills are counted.
    events: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        root: "/sys/fs/cgroup",
        sign: "cgroup.controllers",
        limits: ["memory.max", "memory.swap.max"],
        events: "memory.events",
    },
    Version {
        root: "/sys/fs/cgroup/memory",
        sign: "memory.limit_in_bytes",
        limits: ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
        events: "memory.oom_control",
    },
];

/// A cgroup without any memory. It is removed when this is dropped, and whoever is in it has to be gone by then.
pub struct Starving {
    path: PathBuf,
    events: &'static str,
    _cleanup: Cleanup,
}

impl Starving {
    /// Makes one, of version 2 or else of version 1.
    ///
    /// # Errors
    /// Why the host has none.
    pub fn new(purpose: &str) -> Result<Starving, String> {
        let mut reasons = Vec::new();
        for version in &VERSIONS {
            match version.make(&own_name(purpose)) {
                Ok(starving) => return Ok(starving),
                Err(e) => reasons.push(format!("{}: {e:#}", version.root)),
            }
        }
        Err(format!("it makes a cgroup with a limit on memory, as root: {}", reasons.join("; ")))
    }

    /// Takes a process in. What memory it has stays with it; it gets no more.
    ///
    /// # Errors
    /// When it is gone.
    pub fn take_in(&self, pid: u32) -> Result<()> {
        write(&self.path.join("cgroup.procs"), &pid.to_string())
    }

    /// How many processes the kernel has killed in it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn kills(&self) -> Result<u64> {
        let events = fs::read_to_string(self.path.join(self.events))?;
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.context("kills are not counted")?.parse().context("a number of kills")
    }
}

impl Version {
    fn make(&self, name: &str) -> Result<Starving> {
        let [memory, swap] = self.limits;
        let root = Path::new(self.root);
        ensure!(root.join(self.sign).exists(), "there is no {}", self.sign);
        let path = root.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let removed = path.clone();
        let cleanup = Cleanup::new(move || remove(&removed));
        let limit = path.join(memory);
        if !limit.exists() {
            // It stays switched on, as systemd has it too.
            write(&root.join("cgroup.subtree_control"), "+memory")?;
        }
        write(&limit, "0")?;
        // There is none where there is no swap.
        let _ = write(&path.join(swap), "0");
        Ok(Starving { path, events: self.events, _cleanup: cleanup })
    }
}

/// Writes to a file that is there.
fn write(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {text} to {}", path.display()))
}

/// Removes a cgroup, which is empty a moment after its last process has ended.
fn remove(path: &Path) {
    for _ in 0..100 {
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
