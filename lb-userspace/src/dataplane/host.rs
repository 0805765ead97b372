//! Is this host fit to run us? Looked at before anything is touched, and by `sipsteer check --host`.

use super::{netlink::Netlink, pins::PinDir};
use crate::{
    config::{Config, Forwarding},
    failure::{Failure, Kind, chain},
};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
    thread::{CapabilitySet, capabilities},
};
use std::{fs, io, net::IpAddr, path::Path};

/// Where bpffs is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";
/// BPF_FS_MAGIC of `linux/magic.h`.
const BPFFS_MAGIC: u64 = 0xcafe_4a11;
/// The kernel's own types, without which no object with maps of named fields loads.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Which capabilities are missing, all at once.
///
/// # Errors
/// [`Kind::Permission`] naming those that are missing.
pub fn check_capabilities() -> Result<(), Failure> {
    let needed = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
    ];
    let effective = capabilities(None)
        .map_err(|e| Failure::bad("capabilities", format!("cannot look at our capabilities: {e}")))?
        .effective;
    let missing: Vec<&str> =
        needed.iter().filter(|(c, _)| !effective.contains(*c)).map(|(_, name)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let user = rustix::process::geteuid();
    Err(Failure::new(
        Kind::Permission,
        "permission",
        format!("this needs {}, which user {} does not have", missing.join(", "), user.as_raw()),
    )
    .remedy("run it as root (`sudo sipsteer ...`), or by systemd with AmbientCapabilities"))
}

/// Whether the kernel has BTF.
///
/// # Errors
/// When it has none.
pub fn check_btf() -> Result<(), Failure> {
    if Path::new(BTF).exists() {
        return Ok(());
    }
    Err(Failure::bad("btf_missing", format!("this kernel has no BTF: {BTF} does not exist")).remedy(
        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as those of Debian 12, Ubuntu 22.04, RHEL 9 and newer are; \
         in a container, mount /sys",
    ))
}

/// Whether `path` lies on a bpf file system.
fn is_bpffs(path: &Path) -> bool {
    // The directory itself may still have to be made.
    let nearest = path.ancestors().find(|p| p.exists());
    nearest.and_then(|p| statfs(p).ok()).is_some_and(|s| s.f_type as u64 == BPFFS_MAGIC)
}

/// Whether the pin directory can hold pins; changes nothing.
///
/// # Errors
/// When it does not lie on a bpf file system.
pub fn check_bpffs(pins: &PinDir) -> Result<(), Failure> {
    if is_bpffs(pins.path()) {
        return Ok(());
    }
    Err(Failure::bad("bpffs_missing", format!("{} is not on a bpf file system", pins.path().display()))
        .remedy(format!("`mount -t bpf bpf {BPFFS}` mounts one")))
}

/// Mounts a bpf file system at its usual place unless the pin directory is on one already.
///
/// # Errors
/// When it may not, or when the pin directory lies elsewhere.
pub fn ensure_bpffs(pins: &PinDir) -> Result<(), Failure> {
    if is_bpffs(pins.path()) {
        return Ok(());
    }
    if pins.path().starts_with(BPFFS) {
        match mount("bpf", BPFFS, "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None) {
            Ok(()) => tracing::info!("mounted a bpf file system at {BPFFS}"),
            Err(e) => tracing::warn!("cannot mount a bpf file system at {BPFFS}: {e}"),
        }
    }
    check_bpffs(pins)
}

/// Whether every service address is one of this host: a packet to another address would not be ours to answer, and in
/// `l2` the callers' router would not find us.
///
/// # Errors
/// All addresses that are missing, with the command that adds each.
pub async fn check_addresses(netlink: &Netlink, config: &Config) -> Result<(), Failure> {
    let mut missing: Vec<IpAddr> = Vec::new();
    for address in config.services.iter().flat_map(|s| &s.listen).map(|a| a.ip()) {
        let local = netlink.is_local(address).await.map_err(|e| {
            Failure::bad("netlink", format!("cannot ask the kernel about {address}: {}", chain(&e)))
        })?;
        if !local && !missing.contains(&address) {
            missing.push(address);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let interface = config.node.interfaces.first().map_or("lo", String::as_str);
    let names: Vec<String> = missing.iter().map(IpAddr::to_string).collect();
    let commands: Vec<String> = missing
        .iter()
        .map(|a| format!("`ip addr add {a}/{} dev {interface}`", if a.is_ipv4() { 32 } else { 128 }))
        .collect();
    let what = if missing.len() == 1 { "the service address" } else { "the service addresses" };
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Err(Failure::bad("address_missing", format!("{what} {} {verb} not on this host", names.join(", ")))
        .remedy(format!("add it: {}", commands.join(", "))))
}

/// Whether the host forwards packets between interfaces, which `nat` needs until next hops are known.
///
/// # Errors
/// All settings that are off, with the command that turns them on.
pub fn check_forwarding(config: &Config) -> Result<(), Failure> {
    let mut off = Vec::new();
    for service in config.services.iter().filter(|s| s.forwarding == Forwarding::Nat) {
        for address in &service.listen {
            let settings = if address.is_ipv4() {
                config.node.interfaces.iter().map(|i| format!("net/ipv4/conf/{i}/forwarding")).collect()
            } else {
                vec!["net/ipv6/conf/all/forwarding".to_owned()]
            };
            for setting in settings {
                if !is_on(&setting).unwrap_or(true) && !off.contains(&setting) {
                    off.push(setting);
                }
            }
        }
    }
    if off.is_empty() {
        return Ok(());
    }
    let v4 = off.iter().any(|s| s.starts_with("net/ipv4"));
    let v6 = off.iter().any(|s| s.starts_with("net/ipv6"));
    let mut commands = Vec::new();
    if v4 {
        commands.push("`sysctl -w net.ipv4.ip_forward=1`");
    }
    if v6 {
        commands.push("`sysctl -w net.ipv6.conf.all.forwarding=1`");
    }
    Err(Failure::bad(
        "forwarding_off",
        format!("forwarding \"nat\" needs IP forwarding, but it is off: {}", off.join(", ")),
    )
    .remedy(format!("{}, and the same line in /etc/sysctl.d to make it lasting", commands.join(" and "))))
}

/// A sysctl that is 0 or not; None where it does not exist. `/proc/sys/net` is that of our network namespace.
fn is_on(setting: &str) -> Option<bool> {
    match fs::read_to_string(Path::new("/proc/sys").join(setting)) {
        Ok(text) => Some(text.trim() != "0"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(_) => None,
    }
}
