//! Attaches the program to interfaces by pinned links, and takes over the links of an earlier daemon.
//!
//! All interfaces or none: everything is looked at first, new links are made before pinned ones are given the new
//! program, and what was done is undone when a later step fails.

use super::{
    load::Programs,
    netlink::Link,
    pins::{PinDir, unreadable},
    sys::{self, LinkInfo, Mode},
};
use crate::{
    config::XdpMode,
    failure::{Failure, Kind},
};
use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

/// How an interface got its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A new link.
    Attached,
    /// The link was there; the program under it was replaced, atomically.
    Adopted,
    /// The pinned link belonged to an interface of this name that is gone; there is a new link now.
    AttachedAnew,
}

/// An interface that carries the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub interface: String,
    /// Its number.
    pub ifindex: u32,
    /// Whether the program runs in the network stack instead of the driver.
    pub generic: bool,
    /// Why it does not run in the driver although it might: the kernel's reason.
    pub fallback: Option<String>,
    /// How it got the program.
    pub how: How,
    /// Number of the link.
    pub link: u32,
}

/// A pinned link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedLink {
    /// Number of the link.
    pub link: u32,
    /// Number of the program.
    pub program: u32,
    /// Its interface; 0 when that has vanished.
    pub ifindex: u32,
}

/// The pinned link of an interface.
///
/// # Errors
/// When it cannot be looked at, or is no XDP link.
pub fn pinned_link(pins: &PinDir, interface: &str) -> Result<Option<PinnedLink>, Failure> {
    Ok(open_link(pins, interface)?.map(|(_, i)| PinnedLink {
        link: i.id,
        program: i.program,
        ifindex: i.ifindex,
    }))
}

fn open_link(pins: &PinDir, interface: &str) -> Result<Option<(OwnedFd, LinkInfo)>, Failure> {
    let path = pins.link(interface);
    let fd = match sys::object_get(&path) {
        Ok(fd) => fd,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(&path, &e)),
    };
    let info = sys::link_info(fd.as_fd()).map_err(|e| unreadable(&path, &e))?;
    Ok(Some((fd, info)))
}

/// What is to be done about one interface.
enum Step {
    /// Replace the program under this link.
    Adopt { link: Link, fd: OwnedFd, info: LinkInfo },
    /// Make a new link; `stale` says that one of a vanished interface is pinned.
    Create { link: Link, stale: bool },
}

/// Looks whether `interfaces` can all be had; touches nothing. `links` are those of the host.
fn plan(pins: &PinDir, interfaces: &[String], links: &[Link]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for interface in interfaces {
        let link = find(links, interface)?;
        let step = match open_link(pins, interface)? {
            Some((fd, info)) if info.ifindex == link.ifindex => Step::Adopt { link: link.clone(), fd, info },
            pinned => {
                if let Some(xdp) = link.xdp {
                    return Err(occupied(interface, xdp.program));
                }
                Step::Create { link: link.clone(), stale: pinned.is_some() }
            }
        };
        steps.push(step);
    }
    Ok(steps)
}

/// Looks whether the program could be attached to all of `interfaces`; touches nothing.
///
/// # Errors
/// The first interface that is missing or carries another program, with a remedy.
pub fn check(pins: &PinDir, interfaces: &[String], links: &[Link]) -> Result<(), Failure> {
    plan(pins, interfaces, links).map(drop)
}

/// Gives all of `interfaces` the loaded program.
///
/// # Errors
/// The first interface that could not be had, after undoing what was done to the others.
pub fn attach(
    pins: &PinDir,
    programs: &Programs,
    interfaces: &[String],
    mode: XdpMode,
    links: &[Link],
) -> Result<Vec<Attachment>, Failure> {
    let steps = plan(pins, interfaces, links)?;
    let mut undo = Undo::default();
    let mut done = Vec::new();
    // New links first: until they are pinned, closing them undoes them.
    for step in &steps {
        if let Step::Create { link, stale } = step {
            let (fd, generic, fallback) = create(programs, link, mode)?;
            if *stale {
                let path = pins.link(&link.name);
                fs::remove_file(&path).map_err(|e| unreadable(&path, &e))?;
            }
            let path = pins.link(&link.name);
            sys::object_pin(fd.as_fd(), &path).map_err(|e| unreadable(&path, &e))?;
            undo.pinned.push(path.clone());
            let info = sys::link_info(fd.as_fd()).map_err(|e| unreadable(&path, &e))?;
            done.push(Attachment {
                interface: link.name.clone(),
                ifindex: link.ifindex,
                generic,
                fallback,
                how: if *stale { How::AttachedAnew } else { How::Attached },
                link: info.id,
            });
        }
    }
    for step in steps {
        if let Step::Adopt { link, fd, info } = step {
            let program = programs.steer_fd()?;
            // Only root may ask for the program that ran before; without it there is no way back, and none is needed
            // unless a later interface fails: both programs share the maps.
            let before = sys::program_by_id(info.program).ok();
            sys::link_update(fd.as_fd(), program.as_fd()).map_err(|e| cannot_replace(&link.name, &e))?;
            undo.replaced.extend(before.map(|program| (fd, program)));
            let generic = link.xdp.is_some_and(|x| x.generic);
            done.push(Attachment {
                interface: link.name,
                ifindex: link.ifindex,
                generic,
                fallback: None,
                how: How::Adopted,
                link: info.id,
            });
        }
    }
    undo.forget();
    done.sort_by_key(|a| interfaces.iter().position(|i| *i == a.interface));
    Ok(done)
}

/// What to put back when a later step fails.
#[derive(Default)]
struct Undo {
    pinned: Vec<PathBuf>,
    replaced: Vec<(OwnedFd, OwnedFd)>,
}

impl Undo {
    fn forget(mut self) {
        self.pinned.clear();
        self.replaced.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for path in &self.pinned {
            if let Err(e) = fs::remove_file(path) {
                tracing::error!("cannot remove {} again: {e}", path.display());
            }
        }
        for (link, program) in &self.replaced {
            if let Err(e) = sys::link_update(link.as_fd(), program.as_fd()) {
                tracing::error!("cannot put the earlier program back under its link: {e}");
            }
        }
    }
}

/// The interface of a name.
fn find<'a>(links: &'a [Link], interface: &str) -> Result<&'a Link, Failure> {
    links.iter().find(|l| l.name == interface).ok_or_else(|| {
        let names: Vec<&str> = links.iter().map(|l| l.name.as_str()).collect();
        Failure::bad("interface_missing", format!("there is no interface {interface:?} on this host"))
            .remedy(format!("node.interfaces may name: {}", names.join(", ")))
    })
}

/// An interface carries a program that is not ours.
fn occupied(interface: &str, program: u32) -> Failure {
    let name = program_name(program).unwrap_or_else(|| "name unknown".to_owned());
    Failure::bad(
        "interface_occupied",
        format!(
            "{interface} already carries another XDP program, number {program} ({name}); it was left alone"
        ),
    )
    .remedy(format!(
        "stop what attached it (`bpftool net show dev {interface}` and `bpftool link show` tell more; \
         `ip link set dev {interface} xdp off` removes one that ip attached), or name another interface"
    ))
}

/// The name of a program, where we may know it.
fn program_name(id: u32) -> Option<String> {
    aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|p| p.id() == id)
        .and_then(|p| p.name_as_str().map(str::to_owned))
}

type Created = (OwnedFd, bool, Option<String>);

/// Makes a link in the wanted mode, or with [`XdpMode::Auto`] in the mode that works.
fn create(programs: &Programs, link: &Link, mode: XdpMode) -> Result<Created, Failure> {
    let make = |mode| -> Result<io::Result<OwnedFd>, Failure> {
        Ok(sys::link_create(programs.steer_fd()?.as_fd(), link.ifindex, mode))
    };
    if mode == XdpMode::Generic {
        return match make(Mode::Generic)? {
            Ok(fd) => Ok((fd, true, None)),
            Err(e) => Err(cannot_attach(link, "generic", &e)),
        };
    }
    match make(Mode::Native)? {
        Ok(fd) => Ok((fd, false, None)),
        Err(e) if mode == XdpMode::Native || !is_drivers_refusal(&e) => {
            Err(cannot_attach(link, "native", &e))
        }
        Err(native) => match make(Mode::Generic)? {
            Ok(fd) => Ok((fd, true, Some(native.to_string()))),
            Err(e) => Err(cannot_attach(link, "generic", &e)),
        },
    }
}

/// Whether another mode may work: not when the interface is taken or the caller is not allowed.
fn is_drivers_refusal(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::EACCES | libc::ENODEV)
    )
}

fn cannot_attach(link: &Link, mode: &str, error: &io::Error) -> Failure {
    let interface = &link.name;
    let message = format!("the kernel does not attach XDP to {interface} in {mode} mode: {error}");
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Failure::new(Kind::Permission, "permission", message)
            .remedy("it needs CAP_NET_ADMIN and CAP_BPF in the namespace of the interface"),
        Some(libc::EBUSY | libc::EEXIST) => Failure::bad("interface_occupied", message)
            .remedy(format!("another XDP program holds it: see `bpftool net show dev {interface}`")),
        Some(libc::EOPNOTSUPP) => Failure::bad("attach", message).remedy(
            "its driver has no XDP: set node.xdp_mode = \"generic\" (slower), or name the interface below \
             (of a bond or VLAN the parent)",
        ),
        _ => Failure::bad("attach", message).remedy(format!(
            "drivers refuse XDP at a large MTU (this one has {} bytes), with LRO on (`ethtool -K {interface} lro off`) \
             or with too few queues (`ethtool -l {interface}`); `dmesg` may say more; node.xdp_mode = \"generic\" \
             works with every driver, slower",
            link.mtu
        )),
    }
}

fn cannot_replace(interface: &str, error: &io::Error) -> Failure {
    Failure::bad(
        "replace",
        format!("the kernel does not replace the program on {interface}: {error}; the earlier one goes on"),
    )
    .remedy("`sipsteer detach` and then `sipsteer run`, which forgets where the calls in progress are pinned")
}

/// Takes the program off an interface. True when there was one.
///
/// # Errors
/// When the pin cannot be removed.
pub fn detach(pins: &PinDir, interface: &str) -> Result<bool, Failure> {
    let path = pins.link(interface);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(unreadable(&path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Link {
        Link { ifindex: 1, name: name.to_owned(), mac: None, mtu: 1500, up: true, xdp: None }
    }

    #[test]
    fn a_missing_interface_is_told_with_those_that_exist() {
        let failure = find(&[link("lo"), link("eth0")], "eth9").unwrap_err();
        assert_eq!(failure.code, "interface_missing");
        assert!(failure.message.contains("eth9"));
        assert_eq!(failure.remedy.as_deref(), Some("node.interfaces may name: lo, eth0"));
    }

    #[test]
    fn only_a_drivers_refusal_leads_to_generic_mode() {
        for errno in [libc::EBUSY, libc::EPERM, libc::ENODEV] {
            assert!(!is_drivers_refusal(&io::Error::from_raw_os_error(errno)));
        }
        for errno in [libc::EOPNOTSUPP, libc::EINVAL, libc::ERANGE] {
            assert!(is_drivers_refusal(&io::Error::from_raw_os_error(errno)));
        }
    }
}
