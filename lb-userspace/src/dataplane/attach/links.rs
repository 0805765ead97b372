//! Links: one in the wanted mode, and one in the place of another.

use super::{Link, on_its_way};
use crate::{
    config::XdpMode,
    dataplane::{
        load::Programs,
        pins::{PinDir, remove_link, unreadable},
        sys::{self, Mode},
    },
    failure::{Failure, Kind},
};
use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A link that was made, whether it is generic, and why although it might not be.
pub(super) type Made = (OwnedFd, bool, Option<String>);

/// Makes a link in the wanted mode, or with [`XdpMode::Auto`] in the mode that works.
pub(super) fn create(programs: &Programs, link: &Link, mode: XdpMode) -> Result<Made, Failure> {
    let make = |mode| -> Result<io::Result<OwnedFd>, Failure> {
        Ok(sys::link_create(programs.steer_fd()?.as_fd(), link.ifindex, mode))
    };
    if mode == XdpMode::Generic {
        return match make(Mode::Generic)? {
            Ok(fd) => Ok((fd, true, None)),
            Err(e) => Err(cannot_attach(link, Mode::Generic, &e)),
        };
    }
    match make(Mode::Native)? {
        Ok(fd) => Ok((fd, false, None)),
        Err(e) if mode == XdpMode::Native || !is_drivers_refusal(&e) => {
            Err(cannot_attach(link, Mode::Native, &e))
        }
        Err(native) => match make(Mode::Generic)? {
            Ok(fd) => Ok((fd, true, Some(native.to_string()))),
            Err(e) => Err(cannot_attach(link, Mode::Generic, &e)),
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

/// Takes the program under a link off its interface and attaches another one by a new link, which the pin is of then: two system
/// calls, one behind the other. `modes`: the one that it ran in, and the one that is wanted. When that cannot be had, the program
/// from `before` goes on in the mode that it ran in, or the other one does, which has the same maps.
pub(super) fn exchange(
    pins: &PinDir,
    link: &Link,
    old: BorrowedFd<'_>,
    before: Option<BorrowedFd<'_>>,
    program: BorrowedFd<'_>,
    modes: [Mode; 2],
) -> Result<OwnedFd, Failure> {
    let [was, wanted] = modes;
    let failed = |e: &io::Error| match was == wanted {
        true => cannot_replace(&link.name, e),
        false => cannot_attach(link, wanted, e),
    };
    sys::link_detach(old).map_err(|e| failed(&e))?;
    let (new, failure) = match sys::link_create(program, link.ifindex, wanted) {
        Ok(new) => (new, None),
        Err(e) => {
            let mut others = before.into_iter().chain((was != wanted).then_some(program));
            let again = others.find_map(|program| sys::link_create(program, link.ifindex, was).ok());
            (again.ok_or_else(|| cannot_attach(link, wanted, &e))?, Some(failed(&e)))
        }
    };
    let (between, path) = (pins.link(&on_its_way(&link.name)), pins.link(&link.name));
    match remove_link(&between) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unreadable(&between, &e)),
        _ => {}
    }
    sys::object_pin(new.as_fd(), &between).map_err(|e| unreadable(&between, &e))?;
    fs::rename(&between, &path).map_err(|e| unreadable(&path, &e))?;
    failure.map_or(Ok(new), Err)
}

fn cannot_attach(link: &Link, mode: Mode, error: &io::Error) -> Failure {
    let interface = &link.name;
    let mode = match mode {
        Mode::Native => "native",
        Mode::Generic => "generic",
    };
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

pub(super) fn cannot_replace(interface: &str, error: &io::Error) -> Failure {
    Failure::bad(
        "replace",
        format!("the kernel does not replace the program on {interface}: {error}; the earlier one goes on"),
    )
    .remedy("`sipsteer detach` and then `sipsteer run`, which forgets where the calls in progress are pinned")
}

#[cfg(test)]
mod tests {
    use super::*;

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
