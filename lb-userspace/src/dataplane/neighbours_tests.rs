//! What is found on the way to a backend, and what is held of it.

use super::*;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 11));
const MAC: Mac = [2, 0, 0, 0, 0, 11];

fn link(name: &str) -> Link {
    Link {
        ifindex: 7,
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 9000,
        up: true,
        controller: None,
        xdp: None,
    }
}

fn find(link: Link, mtu: Option<u32>, mac: Option<Mac>) -> Result<NextHop, Unresolved> {
    let route = Route { ifindex: 7, via: ADDRESS, mtu, local: false };
    let macs = mac.map(|mac| ((7, ADDRESS), mac)).into_iter().collect();
    next_hop(route, &[(7, link)].into(), &macs, &["eth0".to_owned()])
}

fn target() -> Target {
    Target {
        address: ADDRESS,
        route: Ok(Route { ifindex: 7, via: ADDRESS, mtu: None, local: false }),
        current: None,
        reason: Some(Unresolved::NotYet),
        lost_at: None,
        known: None,
    }
}

fn no_answer() -> Unresolved {
    Unresolved::NoAnswer(ADDRESS, "eth0".to_owned())
}

#[test]
fn a_next_hop_has_both_macs_and_the_smaller_mtu() {
    let hop = find(link("eth0"), Some(1400), Some(MAC)).unwrap();
    assert_eq!((hop.ifindex, hop.mtu), (7, 1400));
    assert_eq!((hop.destination_mac, hop.source_mac), (MAC, [2, 0, 0, 0, 0, 1]));
    assert_eq!(find(link("eth0"), None, Some(MAC)).unwrap().mtu, 9000);
    assert_eq!(find(Link { mtu: 65_536, ..link("eth0") }, None, Some(MAC)).unwrap().mtu, 65_535);
}

#[test]
fn every_obstacle_has_its_name() {
    assert_eq!(find(link("eth0"), None, None), Err(no_answer()));
    let name = || "eth0".to_owned();
    assert_eq!(find(Link { up: false, ..link("eth0") }, None, Some(MAC)), Err(Unresolved::Down(name())));
    assert_eq!(find(Link { mac: None, ..link("eth0") }, None, Some(MAC)), Err(Unresolved::NoMac(name())));
    assert_eq!(find(link("eth1"), None, Some(MAC)), Err(Unresolved::ForeignInterface("eth1".to_owned())));
    assert!(matches!(find(Link { ifindex: 8, ..link("eth0") }, None, None), Err(Unresolved::NoAnswer(..))));
}

#[test]
fn a_forgotten_mac_is_held_while_it_is_asked_for() {
    let mut target = target();
    let start = Instant::now();
    let hop = find(link("eth0"), None, Some(MAC)).unwrap();
    assert_eq!(target.conclude(1, Ok(hop), HOLD, start).unwrap().next_hop, Some(hop));
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start), None);
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + HOLD / 2), None);
    assert_eq!(target.conclude(1, Ok(hop), HOLD, start + HOLD / 2), None);
    // The time starts anew with the next loss.
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + HOLD), None);
    let change = target.conclude(1, Err(no_answer()), HOLD, start + HOLD * 2).unwrap();
    assert_eq!((change.next_hop, change.reason), (None, Some(no_answer())));
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + HOLD * 3), None, "told once");
}

#[test]
fn what_lies_behind_a_port_is_held_for_as_long_as_it_is_one() {
    let mut target = target();
    let start = Instant::now();
    let hop = find(link("eth0"), None, Some(MAC)).unwrap();
    target.conclude(1, Ok(hop), HOLD, start);
    assert_eq!(target.conclude(1, Err(no_answer()), Duration::MAX, start), None);
    let day = start + Duration::from_secs(24 * 3600);
    assert_eq!(target.conclude(1, Err(no_answer()), Duration::MAX, day), None);
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, day).unwrap().next_hop, None);
}

#[test]
fn a_way_that_is_gone_is_not_held() {
    let mut target = target();
    let now = Instant::now();
    let hop = find(link("eth0"), None, Some(MAC)).unwrap();
    target.conclude(1, Ok(hop), HOLD, now);
    let gone = Unresolved::NoRoute("its interface 7 is gone".to_owned());
    assert_eq!(target.conclude(1, Err(gone), HOLD, now).unwrap().next_hop, None);
}

#[test]
fn after_its_interface_was_down_a_neighbour_is_held_while_it_is_asked() {
    let hop = find(link("eth0"), None, Some(MAC)).unwrap();
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let down = || Err(Unresolved::Down("eth0".to_owned()));
    // Down, and up an hour later, by this way.
    let returns = |route: Route| {
        let mut target = target();
        target.conclude(1, Ok(hop), HOLD, start);
        assert_eq!(target.conclude(1, down(), HOLD, start).unwrap().next_hop, None);
        target.route = Ok(route);
        (target.conclude(1, Err(no_answer()), HOLD, start + hour).and_then(|c| c.next_hop), target)
    };
    let same = Route { ifindex: 7, via: ADDRESS, mtu: None, local: false };
    let (held, mut target) = returns(same);
    assert_eq!(held, Some(hop));
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + hour + HOLD / 2), None);
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + hour + HOLD).unwrap().next_hop, None);
    // It never answered: it is not held a second time.
    assert_eq!(target.conclude(1, down(), HOLD, start + hour * 2).unwrap().next_hop, None);
    assert_eq!(target.conclude(1, Err(no_answer()), HOLD, start + hour * 2).unwrap().next_hop, None);
    // By another way, or another interface that has the name, it is somebody else.
    let other = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 254));
    assert_eq!(returns(Route { via: other, ..same }).0, None);
    assert_eq!(returns(Route { ifindex: 8, ..same }).0, None);
}

#[test]
fn another_mac_is_a_change_at_once() {
    let mut target = target();
    let now = Instant::now();
    target.conclude(1, find(link("eth0"), None, Some(MAC)), HOLD, now);
    let other = find(link("eth0"), None, Some([2, 0, 0, 0, 0, 99])).unwrap();
    assert_eq!(target.conclude(1, Ok(other), HOLD, now).unwrap().next_hop, Some(other));
}
