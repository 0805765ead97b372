//! One daemon at a time.

use super::Places;
use crate::failure::{Failure, Kind};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
};

/// Held while the daemon runs; the kernel lets go of it when the process ends, however that happens.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock and writes our process id into it.
///
/// # Errors
/// Naming the process that holds it, or why it cannot be made.
pub fn take(places: &Places) -> Result<Lock, Failure> {
    fs::create_dir_all(&places.run_dir).map_err(|e| cannot(&places.run_dir, &e))?;
    let path = places.lock();
    let mut file = open(&path).map_err(|e| cannot(&path, &e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(taken(&path, read_pid(&mut file))),
        Err(e) => return Err(cannot(&path, &e.into())),
    }
    write_pid(&mut file).map_err(|e| cannot(&path, &e))?;
    Ok(Lock { _file: file })
}

/// The process id of the daemon that runs, if one does.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn holder(places: &Places) -> Result<Option<u32>, Failure> {
    let path = places.lock();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(cannot(&path, &e)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_pid(&mut file).unwrap_or(0))),
        Err(e) => Err(cannot(&path, &e.into())),
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn taken(path: &Path, pid: Option<u32>) -> Failure {
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
    let stop = pid.map_or_else(String::new, |pid| format!(" or `kill {pid}`"));
    Failure::bad("already_running", format!("sipsteer is already running: {who} holds {}", path.display()))
        .remedy(format!(
            "`sipsteer reload` gives it another configuration; `systemctl stop sipsteer`{stop} stops it, \
             and the data plane goes on"
        ))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot use {}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(Kind::Permission, "permission", message).remedy("run this as root");
    }
    Failure::bad("run_dir", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::pins::PinDir;

    #[test]
    fn the_second_daemon_is_told_who_is_first() {
        let run_dir = std::env::temp_dir().join(format!("sipsteer-lock-{}", std::process::id()));
        let nowhere = || "/nowhere".into();
        let places = Places { pins: PinDir::new("/nowhere"), run_dir: run_dir.clone(), state_dir: nowhere() };
        assert_eq!(holder(&places), Ok(None));
        let lock = take(&places).unwrap();
        let failure = take(&places).unwrap_err();
        assert_eq!(failure.code, "already_running");
        assert!(failure.message.contains(&format!("process {}", std::process::id())), "{failure}");
        assert_eq!(holder(&places), Ok(Some(std::process::id())));
        drop(lock);
        assert_eq!(holder(&places), Ok(None));
        take(&places).unwrap();
        fs::remove_dir_all(&run_dir).unwrap();
    }
}
