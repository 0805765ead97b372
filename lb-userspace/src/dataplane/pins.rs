//! Where the data plane lives: the pin directory and the names in it.

use super::sys;
use crate::{
    failure::{Failure, Kind},
    fault::{self, Point},
};
use lb_common::map;
use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// Default of [`PinDir`].
pub const DEFAULT: &str = "/sys/fs/bpf/sipsteer";
/// What the names of pinned links start with; an interface's name follows.
const LINK: &str = "link-";

/// The directory of pinned maps and links, on a bpf file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinDir(PathBuf);

impl PinDir {
    /// The data plane below `path`.
    pub fn new(path: impl Into<PathBuf>) -> PinDir {
        PinDir(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a map of [`map::TABLE`] is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the link to an interface is pinned. bpffs allows no dots in names: they are written as `%2e`.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.0.join(format!("{LINK}{}", interface.replace('%', "%25").replace('.', "%2e")))
    }

    /// Where the program that reads the kernel's clocks is pinned, for the CLI.
    pub fn clock(&self) -> PathBuf {
        self.0.join("clock")
    }

    /// Where maps of another layout are made, before they take the place of those here.
    pub fn staging(&self) -> PinDir {
        PinDir(self.0.join("next"))
    }

    /// Where, beside maps that are being made, the program is pinned that interfaces are given with them.
    pub fn steer(&self) -> PathBuf {
        self.0.join("steer")
    }

    /// Interfaces with a pinned link, sorted. None when nothing is pinned.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, Failure> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(&self.0, &e)),
        };
        let mut interfaces = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| unreadable(&self.0, &e))?.file_name();
            if let Some(interface) = name.to_str().and_then(|n| n.strip_prefix(LINK)) {
                interfaces.push(interface.replace("%2e", ".").replace("%25", "%"));
            }
        }
        interfaces.sort();
        Ok(interfaces)
    }

    /// Names of the maps that are pinned, in the order of [`map::TABLE`].
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pinned_maps(&self) -> Result<Vec<&'static str>, Failure> {
        let mut names = Vec::new();
        for spec in map::TABLE {
            match self.map(spec.name).try_exists() {
                Ok(true) => names.push(spec.name),
                Ok(false) => {}
                Err(e) => return Err(unreadable(&self.0, &e)),
            }
        }
        Ok(names)
    }
}

/// Takes the program of a pinned link off its interface and removes the pin. Nothing is attached any more when this returns;
/// by the removal alone, the kernel would take it off some time after.
pub(super) fn remove_link(path: &Path) -> io::Result<()> {
    if let Ok(link) = sys::object_get(path) {
        // What cannot be detached goes with its pin.
        let _ = sys::link_detach(link.as_fd());
        fault::pass(Point::LinkReleased);
    }
    fs::remove_file(path)
}

/// A failure to look at a pinned object or the directory.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot look at {}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied || error.raw_os_error() == Some(libc::EPERM) {
        Failure::new(Kind::Permission, "permission", message).remedy("run this as root")
    } else {
        Failure::bad("pins_unreadable", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_hold_no_dot_and_come_back() {
        let dir = std::env::temp_dir().join(format!("sipsteer-pins-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let pins = PinDir::new(&dir);
        for interface in ["eth0.100", "a%b"] {
            fs::write(pins.link(interface), "").unwrap();
            assert!(!pins.link(interface).file_name().unwrap().to_str().unwrap().contains('.'));
        }
        assert_eq!(pins.linked_interfaces().unwrap(), ["a%b", "eth0.100"]);
        assert_eq!(pins.pinned_maps().unwrap(), Vec::<&str>::new());
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(pins.linked_interfaces().unwrap(), Vec::<String>::new());
    }
}
