//! Brings the object into the kernel: maps below the pin directory, programs into the verifier.

use super::{
    adopt::map_failure,
    layout,
    pins::{PinDir, unreadable},
    sys,
};
use crate::{
    failure::{Failure, Kind, chain},
    fault::{self, Point},
};
use aya::{
    Ebpf, EbpfError, EbpfLoader, TestRunOptions, VerifierLogLevel,
    programs::{ProgramError, ProgramFd, TestRun, Xdp},
};
use lb_common::map::{TABLE, dialog::buckets_for, name};
use std::{fs, io, os::fd::AsFd, path::PathBuf};

/// Name of the program that steers.
const STEER: &str = "sipsteer";
/// Name of the program that looks at dialogs and buries those that are due.
const EXPIRE: &str = "expire";
/// Name of the program that takes dialogs of another table in.
const CARRY: &str = "carry";
/// Name of the program that sets right what is counted of calls in progress.
const RECOUNT: &str = "recount";
/// What a helper program returns when all is well.
const XDP_PASS: u32 = 2;
/// Name of the program that reads the kernel's clocks.
const CLOCK: &str = "clock";

/// The object in the kernel. Dropping it leaves pinned maps and links alone.
pub struct Programs {
    ebpf: Ebpf,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Programs")
    }
}

/// Remembers which pins a start made, and removes them unless it is told to keep them.
#[derive(Debug)]
struct NewPins {
    made: Vec<PathBuf>,
    directory: Option<PathBuf>,
}

impl NewPins {
    fn before(pins: &PinDir) -> Result<NewPins, Failure> {
        let pinned = pins.pinned_maps()?;
        let mut made: Vec<PathBuf> =
            TABLE.iter().filter(|s| !pinned.contains(&s.name)).map(|s| pins.map(s.name)).collect();
        if !pins.clock().exists() {
            made.push(pins.clock());
        }
        let directory = (!pins.path().exists()).then(|| pins.path().to_path_buf());
        Ok(NewPins { made, directory })
    }

    fn keep(mut self) {
        self.made.clear();
        self.directory = None;
    }
}

impl Drop for NewPins {
    fn drop(&mut self) {
        // What was not made in time is not there to be removed; nothing can be done about anything else.
        for path in &self.made {
            let _ = fs::remove_file(path);
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Loads `object`: maps that are pinned are used, the others are made with room for `max_dialogs` and pinned. When
/// anything fails, no map of ours is left that was not there before.
///
/// # Errors
/// The kernel's reasons; for a refused program the end of the verifier's log.
pub fn load(pins: &PinDir, object: &[u8], max_dialogs: u32) -> Result<Programs, Failure> {
    let new_pins = NewPins::before(pins)?;
    fs::create_dir_all(pins.path()).map_err(|e| {
        Failure::bad("pins_unwritable", format!("cannot make {}: {e}", pins.path().display()))
            .remedy("is it on a bpf file system? `mount -t bpf bpf /sys/fs/bpf` mounts one")
    })?;
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    loader.map_max_entries(name::DIALOGS, buckets_for(max_dialogs));
    for spec in TABLE {
        loader.map_pin_path(spec.name, pins.map(spec.name));
    }
    let mut ebpf = loader.load(object).map_err(|e| load_failure(&e))?;
    fault::pass(Point::MapsPinned);
    for program in [STEER, EXPIRE, CARRY, RECOUNT, CLOCK] {
        xdp_mut(&mut ebpf, program)?.load().map_err(|e| program_failure(program, &e))?;
    }
    for spec in TABLE {
        if ebpf.map(spec.name).is_none() {
            return Err(broken_object(&format!("it has no map {}", spec.name)));
        }
    }
    pin_clock(pins, &ebpf)?;
    new_pins.keep();
    Ok(Programs { ebpf })
}

/// Pins the program that reads the clocks, in place of an earlier one.
fn pin_clock(pins: &PinDir, ebpf: &Ebpf) -> Result<(), Failure> {
    let path = pins.clock();
    let fd = xdp(ebpf, CLOCK)?.fd().map_err(|e| program_failure(CLOCK, &e))?;
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unreadable(&path, &e)),
        _ => fault::pass(Point::ClockUnpinned),
    }
    sys::object_pin(fd.as_fd(), &path).map_err(|e| unreadable(&path, &e))
}

impl Programs {
    /// The program that steers, for attaching.
    pub(super) fn steer_fd(&self) -> Result<&ProgramFd, Failure> {
        self.xdp(STEER)?.fd().map_err(|e| program_failure(STEER, &e))
    }

    /// Number of the program that steers.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn steer_id(&self) -> Result<u32, Failure> {
        let info = self.xdp(STEER)?.info().map_err(|e| program_failure(STEER, &e))?;
        Ok(info.id())
    }

    /// Runs `expire` on a packet, once.
    pub(super) fn run_expire(&self, packet: &[u8]) -> Result<(), Failure> {
        self.run(EXPIRE, packet, None)
    }

    /// Runs `recount` on a packet, once.
    pub(super) fn run_recount(&self, packet: &[u8]) -> Result<(), Failure> {
        self.run(RECOUNT, packet, None)
    }

    /// Runs `carry` on a packet, once; its answers stand there afterwards.
    pub(super) fn run_carry(&self, packet: &mut [u8]) -> Result<(), Failure> {
        let request = packet.to_vec();
        self.run(CARRY, &request, Some(packet))
    }

    fn run(&self, program: &str, packet: &[u8], answer: Option<&mut [u8]>) -> Result<(), Failure> {
        let options = TestRunOptions { data_in: Some(packet), data_out: answer, ..TestRunOptions::default() };
        let cannot = |why: &str| Failure::bad("test_run", format!("cannot run the program {program}: {why}"));
        let result = self.xdp(program)?.test_run(options).map_err(|e| cannot(&chain(&e)))?;
        if result.return_value == XDP_PASS {
            Ok(())
        } else {
            Err(cannot("it finds no settings or no request"))
        }
    }

    fn xdp(&self, program: &str) -> Result<&Xdp, Failure> {
        xdp(&self.ebpf, program)
    }
}

fn xdp<'a>(ebpf: &'a Ebpf, program: &str) -> Result<&'a Xdp, Failure> {
    ebpf.program(program)
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| broken_object(&format!("it has no XDP program {program}")))
}

fn xdp_mut<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut Xdp, Failure> {
    ebpf.program_mut(program)
        .and_then(|p| p.try_into().ok())
        .ok_or_else(|| broken_object(&format!("it has no XDP program {program}")))
}

fn broken_object(what: &str) -> Failure {
    Failure::bad("object_broken", format!("the XDP object inside this program is broken: {what}"))
        .remedy("build sipsteer again, without SIPSTEER_EBPF_OBJECT unless you know that file")
}

fn load_failure(error: &EbpfError) -> Failure {
    if let EbpfError::MapError(aya::maps::MapError::CreateError { name, io_error }) = error {
        return kernel_failure(&format!("the kernel does not make the map {name}"), io_error, &chain(error));
    }
    if let EbpfError::MapError(aya::maps::MapError::PinError { .. }) = error {
        return Failure::bad("pins_unwritable", chain(error))
            .remedy("is the pin directory on a bpf file system? `mount -t bpf bpf /sys/fs/bpf` mounts one");
    }
    Failure::bad("load", format!("the XDP object does not load: {}", chain(error)))
}

fn program_failure(program: &str, error: &ProgramError) -> Failure {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            let what = format!("the kernel does not load the program {program}");
            kernel_failure(&what, io_error, &format!("{io_error}\n{}", tail.join("\n")))
        }
        error => Failure::bad("load", format!("the program {program} does not load: {}", chain(error))),
    }
}

/// A refusal of the kernel; EPERM gets its usual reasons named.
fn kernel_failure(what: &str, error: &io::Error, details: &str) -> Failure {
    if error.raw_os_error() == Some(libc::EPERM) {
        return Failure::new(Kind::Permission, "permission", format!("{what}: {details}")).remedy(
            "it needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (root has them), and a kernel that is not locked down",
        );
    }
    if error.raw_os_error() == Some(libc::ENOMEM) {
        return Failure::bad("memory", format!("{what}: {details}"))
            .remedy("make dialogs.max smaller, or give the machine or its memory cgroup more memory");
    }
    Failure::bad("load", format!("{what}: {details}"))
        .remedy("sipsteer needs Linux 6.1 or newer; newer than that, please report this text")
}

/// Removes what a pin directory holds of ours but links: maps, the clock, and the directory when it is empty then.
/// Returns how many maps.
///
/// # Errors
/// When a pin cannot be removed.
pub(crate) fn unpin_maps(pins: &PinDir) -> Result<usize, Failure> {
    // As long as LAYOUT is there, which names those of another version.
    let mut pinned: Vec<PathBuf> = layout::maps_of_others(pins).iter().map(|map| pins.map(map)).collect();
    pinned.retain(|path| path.exists());
    pinned.extend(pins.pinned_maps()?.iter().map(|map| pins.map(map)));
    match fs::remove_file(pins.clock()) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unreadable(&pins.clock(), &e)),
        _ => {}
    }
    for path in &pinned {
        fs::remove_file(path).map_err(|e| unreadable(path, &e))?;
        fault::pass(Point::MapUnpinned);
    }
    match fs::remove_dir(pins.path()) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
        // Whose parent is another user's, or closed as under systemd, is left behind empty.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::ResourceBusy
            ) => {}
        Err(e) => return Err(unreadable(pins.path(), &e)),
    }
    Ok(pinned.len())
}

/// A handle of aya's for a pinned map.
pub(super) fn open_map(pins: &PinDir, name: &str) -> Result<aya::maps::Map, Failure> {
    let path = pins.map(name);
    aya::maps::MapData::from_pin(&path)
        .and_then(aya::maps::Map::from_map_data)
        .map_err(|e| map_failure(&path, e))
}
