//! Attaches the program to interfaces by pinned links, and takes over the links of an earlier daemon.
//!
//! All interfaces or none: everything is looked at first, new links are made before pinned ones are given the new
//! program, and what was done is undone when a later step fails.
//!
//! * `links`: one in the wanted mode, and one in the place of another.

mod links;

use super::{
    load::Programs,
    netlink::Link,
    pins::{PinDir, remove_link, unreadable},
    sys::{self, LinkInfo, Mode},
};
use crate::{
    config::XdpMode,
    failure::Failure,
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
    /// The configuration wants another mode than the link was in; there is a new link now, likewise.
    ModeChanged,
}

/// What [`XdpMode::Auto`] makes of a link that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It stays in the mode it is in: nobody asked for another one.
    Stays,
    /// If it is generic, native is tried again.
    MayBeNative,
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

/// The name of a pin on its way to that of its interface: no interface's name is as long. A start that was cut off there is gone
/// on with by [`find_renamed`].
fn on_its_way(interface: &str) -> String {
    format!("{interface} gets this link")
}

/// Has pins carry the names that their interfaces have now. Two may have changed names, so each gets a name first that no
/// interface has.
fn rename_pins(pins: &PinDir, steps: &[Step]) -> Result<(), Failure> {
    let renamed = || {
        steps.iter().filter_map(|step| match step {
            Step::Adopt { link, renamed_from: Some(from), .. } => Some((from, &link.name)),
            _ => None,
        })
    };
    let between = |to: &str| pins.link(&on_its_way(to));
    let rename = |from: PathBuf, to: PathBuf| fs::rename(&from, to).map_err(|e| unreadable(&from, &e));
    for (from, to) in renamed() {
        rename(pins.link(from), between(to))?;
    }
    for (from, to) in renamed() {
        rename(between(to), pins.link(to))?;
        fault::pass(Point::LinkRenamed);
        if *from != on_its_way(to) {
            tracing::warn!("{to}: was called {from} when the program was attached to it");
        }
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
    found: Found,
    links: &[Link],
) -> Result<Vec<Attachment>, Failure> {
    let steps = plan(pins, interfaces, links)?;
    rename_pins(pins, &steps)?;
    let program = programs.steer_fd()?.as_fd();
    let mut undo = Undo { pins, program, pinned: Vec::new(), replaced: Vec::new(), changed: Vec::new() };
    let mut done = Vec::new();
    // New links first: until they are pinned, closing them undoes them.
    for step in &steps {
        if let Step::Create { link, stale } = step {
            let made = links::create(programs, link, mode)?;
            done.push(pin(&mut undo, link, made, *stale)?);
        }
    }
    for step in steps {
        if let Step::Adopt { link, fd, info, .. } = step {
            done.push(adopt(&mut undo, link, (fd, info), mode, found)?);
        }
    }
    undo.forget();
    done.sort_by_key(|a| interfaces.iter().position(|i| *i == a.interface));
    Ok(done)
}

/// Pins a new link.
fn pin(undo: &mut Undo<'_>, link: &Link, made: links::Made, stale: bool) -> Result<Attachment, Failure> {
    let (fd, generic, fallback) = made;
    fault::pass(Point::LinkMade);
    let path = undo.pins.link(&link.name);
    if stale {
        fs::remove_file(&path).map_err(|e| unreadable(&path, &e))?;
        fault::pass(Point::StaleLinkUnpinned);
    }
    sys::object_pin(fd.as_fd(), &path).map_err(|e| unreadable(&path, &e))?;
    fault::pass(Point::LinkPinned);
    undo.pinned.push(path.clone());
    let info = sys::link_info(fd.as_fd()).map_err(|e| unreadable(&path, &e))?;
    Ok(Attachment {
        interface: link.name.clone(),
        ifindex: link.ifindex,
        generic,
        fallback,
        how: if stale { How::AttachedAnew } else { How::Attached },
        link: info.id,
    })
}

/// Has a pinned link carry the program, or another link in its place where the kernel or the wanted mode needs one.
fn adopt(
    undo: &mut Undo<'_>,
    link: Link,
    pinned: Pinned,
    mode: XdpMode,
    found: Found,
) -> Result<Attachment, Failure> {
    let (fd, info) = pinned;
    let program = undo.program;
    // Only root may ask for the program that ran before; without it there is no way back, and none is needed
    // unless a later interface fails: both programs share the maps.
    let before = sys::program_by_id(info.program).ok();
    let was_generic = link.xdp.is_some_and(|x| x.generic);
    let generic = match mode {
        XdpMode::Auto => was_generic && found == Found::Stays,
        XdpMode::Native => false,
        XdpMode::Generic => true,
    };
    let update = || sys::link_update(fd.as_fd(), program);
    let how = match (was_generic == generic).then(update) {
        None => How::ModeChanged,
        Some(Ok(())) => How::Adopted,
        Some(Err(e)) if e.raw_os_error() == Some(libc::EINVAL) => How::Exchanged,
        Some(Err(e)) => return Err(links::cannot_replace(&link.name, &e)),
    };
    let done = |how, id| Attachment {
        interface: link.name.clone(),
        ifindex: link.ifindex,
        generic,
        fallback: None,
        how,
        link: id,
    };
    if how == How::Adopted {
        fault::pass(Point::LinkAdopted);
        undo.replaced.extend(before.map(|program| (fd, program)));
        return Ok(done(how, info.id));
    }
    let modes = [was_generic, generic].map(|generic| if generic { Mode::Generic } else { Mode::Native });
    let before = before.as_ref().map(AsFd::as_fd);
    let exchanged = links::exchange(undo.pins, &link, fd.as_fd(), before, program, modes);
    fault::pass(Point::LinkAdopted);
    let number = || -> Result<u32, Failure> {
        let pinned = pinned_link(undo.pins, &link.name)?;
        Ok(pinned.map_or(0, |pinned| pinned.link))
    };
    match exchanged {
        // One that was made anew for its attach type does not take the earlier program back.
        Ok(_) if how == How::Exchanged => Ok(done(how, number()?)),
        Ok(new) => {
            let done = done(how, number()?);
            undo.changed.push((link, new, modes));
            Ok(done)
        }
        // It was worth a try.
        Err(failure) if mode == XdpMode::Auto && how == How::ModeChanged => {
            Ok(Attachment { generic: true, fallback: Some(failure.message), ..done(how, number()?) })
        }
        Err(failure) => Err(failure),
    }
}

/// What to put back when a later step fails.
struct Undo<'a> {
    pins: &'a PinDir,
    program: BorrowedFd<'a>,
    pinned: Vec<PathBuf>,
    /// Links and the programs that were under them.
    replaced: Vec<(OwnedFd, OwnedFd)>,
    /// Links in another mode, and the modes before and after.
    changed: Vec<(Link, OwnedFd, [Mode; 2])>,
}

impl Undo<'_> {
    fn forget(mut self) {
        self.pinned.clear();
        self.replaced.clear();
        self.changed.clear();
    }
}

impl Drop for Undo<'_> {
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
        for (link, fd, [was, now]) in &self.changed {
            if let Err(e) = links::exchange(self.pins, link, fd.as_fd(), None, self.program, [*now, *was]) {
                tracing::error!("{}: cannot go back to the mode it was in: {e}", link.name);
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
#[path = "attach_tests.rs"]
mod tests;
