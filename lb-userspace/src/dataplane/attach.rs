//! Attaches the program to interfaces by pinned links, and takes over the links of an earlier daemon.
//!
//! All interfaces or none: everything is looked at first, new links are made before pinned ones are given the new
//! program, and what was done is undone when a later step fails.

use super::{
    load::Programs,
    netlink::Link,
    pins::{PinDir, remove_link, unreadable},
    sys::{self, LinkInfo, Mode},
};
use crate::{
    config::XdpMode,
    failure::{Failure, Kind},
    fault::{self, Point},
};
use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
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
    /// The kernel does not put a program of another attach type under a link; there is a new link now, and the interface was
    /// without a program for a moment.
    Exchanged,
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

fn open_link(pins: &PinDir, interface: &str) -> Result<Option<Pinned>, Failure> {
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
    /// Replace the program under this link; `renamed_from` is the name that its interface had when it was pinned.
    Adopt { link: Link, fd: OwnedFd, info: LinkInfo, renamed_from: Option<String> },
    /// Make a new link; `stale` says that one of a vanished interface is pinned.
    Create { link: Link, stale: bool },
}

/// Looks whether `interfaces` can all be had; touches nothing. `links` are those of the host.
fn plan(pins: &PinDir, interfaces: &[String], links: &[Link]) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for interface in interfaces {
        let link = find(links, interface)?;
        let adopt = |(fd, info), renamed_from| Step::Adopt { link: link.clone(), fd, info, renamed_from };
        let pinned = open_link(pins, interface)?;
        let stale = pinned.is_some();
        let step = match pinned.filter(|(_, info)| is_on(info, link)) {
            Some(found) => adopt(found, None),
            None => match find_renamed(pins, link)? {
                Some((name, found)) => adopt(found, Some(name)),
                None => match link.xdp {
                    Some(xdp) => return Err(occupied(interface, xdp.program)),
                    None => Step::Create { link: link.clone(), stale },
                },
            },
        };
        steps.push(step);
    }
    Ok(steps)
}

/// Whether a link is that of an interface. In another network namespace there may be one of the same number.
fn is_on(info: &LinkInfo, link: &Link) -> bool {
    info.ifindex == link.ifindex && link.xdp.is_some_and(|xdp| xdp.program == info.program)
}

type Pinned = (OwnedFd, LinkInfo);

/// The link of an interface that had another name when it was pinned, with that name.
fn find_renamed(pins: &PinDir, link: &Link) -> Result<Option<(String, Pinned)>, Failure> {
    for name in pins.linked_interfaces()? {
        if let Some(found) = open_link(pins, &name)?.filter(|(_, info)| is_on(info, link)) {
            return Ok(Some((name, found)));
        }
    }
    Ok(None)
}

/// Has pins carry the names that their interfaces have now. Two may have changed names, so each gets a name first that no
/// interface has; a start finds it by that one too.
fn rename_pins(pins: &PinDir, steps: &[Step]) -> Result<(), Failure> {
    let renamed = || {
        steps.iter().filter_map(|step| match step {
            Step::Adopt { link, renamed_from: Some(from), .. } => Some((from, &link.name)),
            _ => None,
        })
    };
    // No interface's name is as long.
    let between = |to: &str| pins.link(&format!("{to} has been renamed"));
    let rename = |from: PathBuf, to: PathBuf| fs::rename(&from, to).map_err(|e| unreadable(&from, &e));
    for (from, to) in renamed() {
        rename(pins.link(from), between(to))?;
    }
    for (from, to) in renamed() {
        rename(between(to), pins.link(to))?;
        fault::pass(Point::LinkRenamed);
        tracing::warn!("{to}: was called {from} when the program was attached to it");
    }
    Ok(())
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
    rename_pins(pins, &steps)?;
    let mut undo = Undo::default();
    let mut done = Vec::new();
    // New links first: until they are pinned, closing them undoes them.
    for step in &steps {
        if let Step::Create { link, stale } = step {
            let (fd, generic, fallback) = create(programs, link, mode)?;
            fault::pass(Point::LinkMade);
            if *stale {
                let path = pins.link(&link.name);
                fs::remove_file(&path).map_err(|e| unreadable(&path, &e))?;
                fault::pass(Point::StaleLinkUnpinned);
            }
            let path = pins.link(&link.name);
            sys::object_pin(fd.as_fd(), &path).map_err(|e| unreadable(&path, &e))?;
            fault::pass(Point::LinkPinned);
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
        if let Step::Adopt { link, fd, info, .. } = step {
            let program = programs.steer_fd()?;
            // Only root may ask for the program that ran before; without it there is no way back, and none is needed
            // unless a later interface fails: both programs share the maps.
            let before = sys::program_by_id(info.program).ok();
            let generic = link.xdp.is_some_and(|x| x.generic);
            let (fd, how, id) = match sys::link_update(fd.as_fd(), program.as_fd()) {
                Ok(()) => (fd, How::Adopted, info.id),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    let fd = exchange(pins, &link, generic, &fd, before.as_ref(), program.as_fd())?;
                    let id =
                        sys::link_info(fd.as_fd()).map_err(|e| unreadable(&pins.link(&link.name), &e))?.id;
                    (fd, How::Exchanged, id)
                }
                Err(e) => return Err(cannot_replace(&link.name, &e)),
            };
            fault::pass(Point::LinkAdopted);
            // A link that was made anew does not take the earlier program back.
            undo.replaced.extend(before.filter(|_| how == How::Adopted).map(|program| (fd, program)));
            done.push(Attachment {
                interface: link.name,
                ifindex: link.ifindex,
                generic,
                fallback: None,
                how,
                link: id,
            });
        }
    }
    undo.forget();
    done.sort_by_key(|a| interfaces.iter().position(|i| *i == a.interface));
    Ok(done)
}

/// Takes the program under a link off its interface and attaches another one by a new link: two system calls, one behind the
/// other. When the second fails, the first is undone.
fn exchange(
    pins: &PinDir,
    link: &Link,
    generic: bool,
    old: &OwnedFd,
    before: Option<&OwnedFd>,
    program: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure> {
    let mode = if generic { Mode::Generic } else { Mode::Native };
    sys::link_detach(old.as_fd()).map_err(|e| cannot_replace(&link.name, &e))?;
    let (new, failure) = match sys::link_create(program, link.ifindex, mode) {
        Ok(new) => (new, None),
        Err(e) => {
            let again = before.map(|before| sys::link_create(before.as_fd(), link.ifindex, mode));
            match again {
                Some(Ok(new)) => (new, Some(cannot_replace(&link.name, &e))),
                _ => return Err(cannot_attach(link, "any", &e)),
            }
        }
    };
    let path = pins.link(&link.name);
    fs::remove_file(&path).map_err(|e| unreadable(&path, &e))?;
    sys::object_pin(new.as_fd(), &path).map_err(|e| unreadable(&path, &e))?;
    failure.map_or(Ok(new), Err)
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
            if let Err(e) = remove_link(path) {
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

/// Takes the program off an interface, at once. True when there was one.
///
/// # Errors
/// When the pin cannot be removed.
pub fn detach(pins: &PinDir, interface: &str) -> Result<bool, Failure> {
    let path = pins.link(interface);
    match remove_link(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(unreadable(&path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::Xdp;
    use lb_tests::netns::Namespace;

    fn link(name: &str) -> Link {
        Link {
            ifindex: 1,
            name: name.to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            controller: None,
            xdp: None,
        }
    }

    #[test]
    fn a_missing_interface_is_told_with_those_that_exist() {
        let failure = find(&[link("lo"), link("eth0")], "eth9").unwrap_err();
        assert_eq!(failure.code, "interface_missing");
        assert!(failure.message.contains("eth9"));
        assert_eq!(failure.remedy.as_deref(), Some("node.interfaces may name: lo, eth0"));
    }

    #[test]
    fn a_link_is_told_by_number_and_program() {
        let info = LinkInfo { id: 7, program: 40, ifindex: 1 };
        let with = |ifindex, program: Option<u32>| {
            let xdp = program.map(|program| Xdp { program, generic: false });
            is_on(&info, &Link { ifindex, xdp, ..link("eth0") })
        };
        assert!(with(1, Some(40)));
        assert!(!with(2, Some(40)), "another interface with our program");
        assert!(!with(1, None) && !with(1, Some(41)), "the same number in another network namespace");
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

    #[test]
    fn a_program_of_another_attach_type_is_taken_off_and_the_new_one_attached() -> anyhow::Result<()> {
        lb_tests::needs_bpf!();
        let (near, far) = (Namespace::new("near")?, Namespace::new("far")?);
        near.connect("front", &far, "eth0")?;
        let pins = PinDir::new(format!("/sys/fs/bpf/{}", near.name()));
        let _cleanup = lb_tests::cleanup::Cleanup::new({
            let path = pins.path().to_path_buf();
            move || drop(fs::remove_dir_all(path))
        });
        let programs = crate::dataplane::load::load(&pins, crate::dataplane::OBJECT, 1024)?;
        near.enter(|| -> anyhow::Result<()> {
            let ifindex = rustix::net::netdevice::name_to_index(
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?,
                "front",
            )?;
            let old = sys::program_of_no_attach_type()?;
            let fd = sys::link_create(old.as_fd(), ifindex, Mode::Native)?;
            sys::object_pin(fd.as_fd(), &pins.link("front"))?;
            let info = sys::link_info(fd.as_fd())?;
            let refused = sys::link_update(fd.as_fd(), programs.steer_fd()?.as_fd()).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
            drop((fd, old));

            let xdp = Some(Xdp { program: info.program, generic: false });
            let links = [Link { ifindex, xdp, ..link("front") }];
            let done = attach(&pins, &programs, &["front".to_owned()], XdpMode::Auto, &links)?;
            assert_eq!((done.len(), done[0].how, done[0].generic), (1, How::Exchanged, false));
            let now = pinned_link(&pins, "front")?.expect("it is pinned");
            assert_eq!((now.program, now.ifindex), (programs.steer_id()?, ifindex));
            assert_eq!((now.link, now.link == info.id), (done[0].link, false));
            // From now on it is replaced under its link.
            let links =
                [Link { xdp: Some(Xdp { program: now.program, generic: false }), ..links[0].clone() }];
            let done = attach(&pins, &programs, &["front".to_owned()], XdpMode::Auto, &links)?;
            assert_eq!((done[0].how, done[0].link), (How::Adopted, now.link));
            Ok(())
        })?
    }
}
