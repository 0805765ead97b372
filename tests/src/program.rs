//! BPF programs as the kernel shows them.

use crate::netns::Namespace;
use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramInfo, Xdp, XdpMode, loaded_programs},
    sys::{Stats, enable_stats},
};
use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// Leaves every packet to the host, at the far end of a veth pair. A veth takes frames from XDP_TX and redirects only
/// when its peer polls (NAPI), which an XDP program there makes it do.
pub struct PassProgram(#[expect(dead_code, reason = "its link lasts as long as it does")] Ebpf);

impl PassProgram {
    /// Attaches it to a device of a namespace, as long as it is not dropped.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn attach(namespace: &Namespace, device: &str) -> Result<PassProgram> {
        let mut object = object_with_small_maps()?;
        let program: &mut Xdp =
            object.program_mut("pass").context("the object has no program `pass`")?.try_into()?;
        program.load()?;
        namespace
            .enter(|| program.attach(device, XdpMode::default()))?
            .with_context(|| format!("cannot attach `pass` to {device}"))?;
        Ok(PassProgram(object))
    }
}

/// The programs of `sipsteer`, not loaded yet, with maps of one entry: for what does not use the maps.
///
/// # Errors
/// When the kernel refuses a map.
pub fn object_with_small_maps() -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for map in lb_common::map::TABLE {
        loader.map_max_entries(map.name, 1);
    }
    Ok(loader.load(sipsteer::dataplane::OBJECT)?)
}

/// How XDP is attached to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// `native`, `generic` or `offloaded`.
    pub mode: &'static str,
    /// Program id.
    pub id: u32,
}

/// The XDP program of a device, if it has one.
///
/// # Errors
/// When there is no such device.
pub fn attached(namespace: &Namespace, device: &str) -> Result<Option<Attached>> {
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&format!("-j -d link show {device}"))?)?;
    let xdp = &links[0]["xdp"];
    let Some(id) = xdp["prog"]["id"].as_u64() else { return Ok(None) };
    let mode = match xdp["mode"].as_u64() {
        Some(1) => "native",
        Some(2) => "generic",
        Some(3) => "offloaded",
        other => return Err(anyhow!("{device} has an XDP program in a mode that is not known: {other:?}")),
    };
    Ok(Some(Attached { mode, id: u32::try_from(id)? }))
}

/// Makes the kernel count the run time of BPF programs until dropped.
pub struct RunTimeStatistics(
    #[expect(dead_code, reason = "the kernel counts as long as it is open")] OwnedFd,
);

impl RunTimeStatistics {
    /// Starts counting.
    ///
    /// # Errors
    /// Without CAP_SYS_ADMIN.
    pub fn start() -> Result<RunTimeStatistics> {
        Ok(RunTimeStatistics(
            enable_stats(Stats::RunTime).context("cannot count the run time of BPF programs")?,
        ))
    }
}

/// What the kernel says of a loaded program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Time spent in it while [`RunTimeStatistics`] were on, in nanoseconds.
    pub run_time_ns: u64,
    /// How often it ran meanwhile.
    pub runs: u64,
    /// Instructions the verifier walked through.
    pub verified_instructions: u64,
}

/// The facts of the program with this id.
///
/// # Errors
/// When there is none, or without CAP_SYS_ADMIN.
pub fn facts(id: u32) -> Result<Facts> {
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|p| p.id() == id)
        .ok_or_else(|| anyhow!("no BPF program has the id {id}"))?;
    facts_of(&program)
}

/// The facts of a program.
///
/// # Errors
/// When the kernel does not give a file descriptor for it.
pub fn facts_of(program: &ProgramInfo) -> Result<Facts> {
    let fd = program.fd()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    };
    Ok(Facts {
        run_time_ns: field("run_time_ns"),
        runs: field("run_cnt"),
        verified_instructions: field("verified_insns"),
    })
}

/// Bytes of kernel memory of all maps that this process holds open, as the kernel accounts them.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn own_map_memory() -> Result<u64> {
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The one that lists the folder is gone by now.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
