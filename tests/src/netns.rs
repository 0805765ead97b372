//! Network namespaces with names of their own, removed when dropped.

use crate::{
    cleanup::{self, Cleanup},
    command::{output, run, run_words},
};
use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

const FOLDER: &str = "/run/netns";
/// Where BPF objects are pinned.
pub const BPF: &str = "/sys/fs/bpf";

/// A network namespace. Its devices go with it.
pub struct Namespace {
    name: String,
    _cleanup: Cleanup,
}

impl Namespace {
    /// Makes a namespace called `sipsteer-<process id>-<number>-<role>` with its loopback up.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN, or when `ip` is missing.
    pub fn new(role: &str) -> Result<Namespace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_left_behind();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = cleanup::own_name(&format!("{number}-{role}"));
        let removed = name.clone();
        let cleanup = Cleanup::new(move || remove(&removed));
        run_words("ip", &format!("netns add {name}"))?;
        run_words("ip", &format!("-n {name} link set lo up"))?;
        Ok(Namespace { name, _cleanup: cleanup })
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs `ip` with these arguments in the namespace.
    ///
    /// # Errors
    /// With the words of `ip`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        run_words("ip", &format!("-n {} {arguments}", self.name))
    }

    /// A command that will run in the namespace. Unlike with `ip netns exec` the mounts stay the host's, so
    /// `/sys/fs/bpf` is there.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs a program in the namespace with arguments that are separated by spaces, and returns its stdout.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run_words(&self, program: &str, arguments: &str) -> Result<String> {
        run(self.command(program).args(arguments.split_whitespace()))
    }

    /// Runs `inside` on a thread in the namespace: sockets it opens and devices it names are the namespace's.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `inside` does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(self.path()).with_context(|| format!("namespace {}", self.name))?;
        let entered = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map(|()| inside())
            });
            worker.join()
        });
        match entered {
            Ok(result) => result.with_context(|| format!("cannot enter namespace {}", self.name)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Sets sysctls, named by their path below `/proc/sys/net`.
    ///
    /// # Errors
    /// When one does not exist or may not be written.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                let path = format!("/proc/sys/net/{key}");
                fs::write(&path, value).with_context(|| format!("{path} = {value} in {}", self.name))?;
            }
            Ok(())
        })?
    }

    /// Turns offloads off, so that a frame carries the checksums and the size that a wire would show.
    ///
    /// # Errors
    /// When the device does not exist.
    pub fn no_offloads(&self, device: &str) -> Result<()> {
        self.run_words("ethtool", &format!("-K {device} tx off gro off gso off tso off")).map(drop)
    }

    /// Joins this namespace's `device` to the other's `far_device` by a veth pair, both up.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn connect(&self, device: &str, far: &Namespace, far_device: &str) -> Result<()> {
        self.connect_by(device, far, far_device, 1)
    }

    /// The same with so many queues at both ends.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn connect_by(&self, device: &str, far: &Namespace, far_device: &str, queues: u32) -> Result<()> {
        let (near_ns, far_ns) = (&self.name, &far.name);
        let of = format!("numrxqueues {queues} numtxqueues {queues}");
        run_words(
            "ip",
            &format!(
                "link add {device} netns {near_ns} {of} type veth peer name {far_device} netns {far_ns} {of}"
            ),
        )?;
        self.ip(&format!("link set {device} up"))?;
        far.ip(&format!("link set {far_device} up"))?;
        self.no_offloads(device)?;
        far.no_offloads(far_device)
    }

    /// The UDP ports that somebody listens on.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn udp_ports(&self) -> Result<Vec<u16>> {
        // Not /proc/net: that is the first thread's, which is not in the namespace.
        let table = self.enter(|| fs::read_to_string("/proc/thread-self/net/udp"))??;
        let port =
            |line: &str| u16::from_str_radix(line.split_whitespace().nth(1)?.split_once(':')?.1, 16).ok();
        Ok(table.lines().skip(1).filter_map(port).collect())
    }

    /// The MAC address of a device.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn mac(&self, device: &str) -> Result<String> {
        let links: serde_json::Value = serde_json::from_str(&self.ip(&format!("-j link show {device}"))?)?;
        links[0]["address"].as_str().map(str::to_owned).ok_or_else(|| anyhow!("{device} has no MAC address"))
    }
}

fn remove(name: &str) {
    // There is nothing to do about a failure, and the next lab removes what is left.
    let _ = output(Command::new("ip").args(["netns", "del", name]));
}

/// Removes what belonged to labs that were killed: namespaces, and pins.
fn remove_left_behind() {
    for path in cleanup::left_behind(Path::new(FOLDER)) {
        remove(&path.file_name().unwrap_or_default().to_string_lossy());
    }
    for pins in cleanup::left_behind(Path::new(BPF)) {
        let _ = fs::remove_dir_all(pins);
    }
}
