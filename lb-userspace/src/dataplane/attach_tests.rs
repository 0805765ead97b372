//! What is attached how.

use super::*;
use crate::dataplane::netlink::Xdp;
use anyhow::{Context, Result, ensure};
use lb_tests::{cleanup::Cleanup, needs_bpf, netns::Namespace};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

fn link(name: &str) -> Link {
    Link { ifindex: 1, name: name.to_owned(), mac: None, mtu: 1500, up: true, controller: None, xdp: None }
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

/// An interface `front` and `lo`, whose driver has no XDP, and the programs.
struct Place {
    near: Namespace,
    _far: Namespace,
    pins: PinDir,
    programs: Programs,
    _cleanup: Cleanup,
}

impl Place {
    fn new() -> Result<Place> {
        let (near, far) = (Namespace::new("near")?, Namespace::new("far")?);
        near.connect("front", &far, "eth0")?;
        let pins = PinDir::new(format!("/sys/fs/bpf/{}", near.name()));
        let path = pins.path().to_path_buf();
        let _cleanup = Cleanup::new(move || drop(fs::remove_dir_all(path)));
        let programs = crate::dataplane::load::load(&pins, crate::dataplane::OBJECT, 1024)?;
        Ok(Place { near, _far: far, pins, programs, _cleanup })
    }

    /// An interface, on which nothing runs or what is pinned, in a mode.
    fn link(&self, interface: &str, generic: bool) -> Result<Link> {
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let ifindex = name_to_index(socket, interface)?;
        let xdp = pinned_link(&self.pins, interface)?.map(|found| Xdp { program: found.program, generic });
        Ok(Link { ifindex, xdp, ..link(interface) })
    }

    fn attach(&self, link: &Link, mode: XdpMode) -> Result<Attachment, Failure> {
        let interfaces = [link.name.clone()];
        let links = std::slice::from_ref(link);
        let done = attach(&self.pins, &self.programs, &interfaces, mode, Found::Stays, links)?;
        assert_eq!((done.len(), &done[0].interface), (1, &link.name));
        Ok(done[0].clone())
    }

    /// The link that is pinned and carries our program.
    fn carries(&self, interface: &str) -> Result<u32> {
        let pinned = pinned_link(&self.pins, interface)?.context("it is pinned")?;
        ensure!(pinned.program == self.programs.steer_id()? && pinned.ifindex > 0, "{pinned:?}");
        Ok(pinned.link)
    }
}

#[test]
fn a_program_of_another_attach_type_is_taken_off_and_the_new_one_attached() -> Result<()> {
    needs_bpf!();
    let place = Place::new()?;
    place.near.enter(|| -> Result<()> {
        let ifindex = place.link("front", false)?.ifindex;
        let old = sys::program_of_no_attach_type()?;
        let fd = sys::link_create(old.as_fd(), ifindex, Mode::Native)?;
        sys::object_pin(fd.as_fd(), &place.pins.link("front"))?;
        let info = sys::link_info(fd.as_fd())?;
        let refused = sys::link_update(fd.as_fd(), place.programs.steer_fd()?.as_fd()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        drop((fd, old));

        let done = place.attach(&place.link("front", false)?, XdpMode::Auto)?;
        assert_eq!((done.how, done.generic), (How::Exchanged, false));
        let now = place.carries("front")?;
        assert_eq!((now, now == info.id), (done.link, false));
        // From now on it is replaced under its link.
        let done = place.attach(&place.link("front", false)?, XdpMode::Auto)?;
        assert_eq!((done.how, done.link), (How::Adopted, now));
        Ok(())
    })?
}

#[test]
fn another_mode_takes_another_link_and_automatic_goes_on_in_the_one_it_finds() -> Result<()> {
    needs_bpf!();
    let place = Place::new()?;
    place.near.enter(|| -> Result<()> {
        let (mut was_generic, mut link) = (false, 0);
        for (mode, generic, how) in [
            (XdpMode::Native, false, How::Attached),
            (XdpMode::Generic, true, How::ModeChanged),
            (XdpMode::Generic, true, How::Adopted),
            (XdpMode::Auto, true, How::Adopted),
            (XdpMode::Native, false, How::ModeChanged),
            (XdpMode::Auto, false, How::Adopted),
        ] {
            let done = place.attach(&place.link("front", was_generic)?, mode)?;
            assert_eq!((done.how, done.generic), (how, generic), "{mode:?}");
            let now = place.carries("front")?;
            assert_eq!((now, now == link), (done.link, how == How::Adopted), "{mode:?}");
            (was_generic, link) = (generic, now);
        }
        assert_eq!(place.pins.linked_interfaces()?, ["front"], "nothing is left in between");
        Ok(())
    })?
}

#[test]
fn a_mode_that_the_driver_does_not_have_leaves_the_program_where_it_is() -> Result<()> {
    needs_bpf!();
    let place = Place::new()?;
    place.near.enter(|| -> Result<()> {
        let link = |generic| place.link("lo", generic);
        assert_eq!(place.attach(&link(false)?, XdpMode::Generic)?.how, How::Attached);
        let failure = place.attach(&link(true)?, XdpMode::Native).unwrap_err();
        assert_eq!(failure.code, "attach");
        assert!(failure.message.contains("to lo in native mode"), "{failure}");
        assert!(failure.remedy.is_some_and(|remedy| remedy.contains("generic")));
        let now = place.carries("lo")?;
        let done = place.attach(&link(true)?, XdpMode::Auto)?;
        assert_eq!((done.how, done.link), (How::Adopted, now));

        // All or none: one that would have had it goes back.
        assert_eq!(place.attach(&place.link("front", false)?, XdpMode::Generic)?.how, How::Attached);
        let links = [place.link("front", true)?, link(true)?];
        let interfaces = ["front", "lo"].map(str::to_owned);
        let (front, lo) = (place.carries("front")?, place.carries("lo")?);
        let all = |mode, found| attach(&place.pins, &place.programs, &interfaces, mode, found, &links);
        all(XdpMode::Native, Found::Stays).unwrap_err();
        assert!(place.carries("front")? != front && place.carries("lo")? != lo);
        // Of the mode that it is in the kernel says EBUSY.
        let native = sys::link_create(place.programs.steer_fd()?.as_fd(), links[0].ifindex, Mode::Native);
        assert_eq!(native.unwrap_err().raw_os_error(), Some(libc::EEXIST));
        // Who may be native is, as far as the driver can.
        let done = all(XdpMode::Auto, Found::MayBeNative)?;
        assert_eq!(
            [&done[0], &done[1]].map(|a| (a.generic, a.fallback.is_some())),
            [(false, false), (true, true)]
        );
        assert_eq!([done[0].link, done[1].link], [place.carries("front")?, place.carries("lo")?]);
        Ok(())
    })?
}

#[test]
fn an_exchange_that_is_cut_off_anywhere_is_gone_on_with() -> Result<()> {
    needs_bpf!();
    let place = Place::new()?;
    place.near.enter(|| -> Result<()> {
        let take_off = || -> Result<Link> {
            sys::link_detach(sys::object_get(&place.pins.link("front"))?.as_fd())?;
            Ok(Link { xdp: None, ..place.link("front", false)? })
        };
        place.attach(&place.link("front", false)?, XdpMode::Native)?;

        // Behind the first system call: nothing is attached.
        let done = place.attach(&take_off()?, XdpMode::Native)?;
        assert_eq!((done.how, done.link), (How::AttachedAnew, place.carries("front")?));

        // Before the pin is that of the new link.
        let link = take_off()?;
        let fd = sys::link_create(place.programs.steer_fd()?.as_fd(), link.ifindex, Mode::Generic)?;
        sys::object_pin(fd.as_fd(), &place.pins.link(&on_its_way("front")))?;
        let info = sys::link_info(fd.as_fd())?;
        drop(fd);
        let link = Link { xdp: Some(Xdp { program: info.program, generic: true }), ..link };
        let done = place.attach(&link, XdpMode::Generic)?;
        assert_eq!((done.how, done.link), (How::Adopted, info.id));
        assert_eq!(place.carries("front")?, info.id);
        assert_eq!(place.pins.linked_interfaces()?, ["front"]);
        Ok(())
    })?
}
