//! How services stand, from the live maps.

use super::room::{Condition, Outlook, Target, Tier, has_settled_room};
use crate::{dataplane::loads::Loads, failure::Failure};
use lb_common::{
    limits::{MAX_TIERS, MAX_WALK},
    map::{
        backend::{Backend, health, will},
        load::{Load, has_room},
        service::unmapped,
        zone::{choice, zone_will},
    },
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Age up to which an outlook is used again, in nanoseconds.
const OUTLOOK_NS: u64 = 10_000_000;
/// The same if it says that calls are forwarded: a request is dropped because of it.
const FORWARDS_NS: u64 = 1_000_000;
/// Port of a SIP address without one (RFC 3261 section 19.1.2).
const DEFAULT_PORT: u16 = 5060;

/// What the slow path has to know and to say, whoever is asked.
pub trait World: Send {
    /// How a service stands at `now`, in monotonic nanoseconds. `None`: not known.
    fn outlook(&mut self, service: u16, now: u64) -> Option<Arc<Outlook>>;
    /// Tells the program until when it is answered, in monotonic nanoseconds.
    ///
    /// # Errors
    /// When the program could not be told.
    fn answers_until(&mut self, until: u64) -> Result<(), Failure>;
    /// Takes note of other addresses.
    fn set_directory(&mut self, directory: Directory);
}

/// Addresses that the maps do not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Listeners and the ids of their services.
    pub listeners: BTreeMap<SocketAddr, u16>,
    /// Addresses of zones, by zone number: what a 302 names.
    pub zones: BTreeMap<u16, String>,
}

impl Directory {
    /// What a 302 of a service may name for a zone instead of its backends: not an address that the service itself listens
    /// at, where the redirected call would meet the same lack of room again (RFC 3261 section 8.1.3.4).
    fn zone_target(&self, service: u16, zone: u16) -> Option<Target> {
        let host = self.zones.get(&zone)?;
        (!self.is_own(service, host)).then(|| Target::Host(host.clone()))
    }

    fn is_own(&self, service: u16, host: &str) -> bool {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let address =
            host.parse::<SocketAddr>().or_else(|_| literal.map(|ip| SocketAddr::new(ip, DEFAULT_PORT)));
        address.is_ok_and(|address| self.listens_at(service, address))
    }

    fn listens_at(&self, service: u16, address: SocketAddr) -> bool {
        self.listeners.get(&address) == Some(&service)
    }
}

/// The live maps.
#[derive(Debug)]
pub struct LiveMaps {
    loads: Loads,
    directory: Directory,
    known: BTreeMap<u16, (u64, Arc<Outlook>)>,
    told: bool,
}

impl LiveMaps {
    /// A world of these maps.
    pub fn new(loads: Loads) -> LiveMaps {
        LiveMaps { loads, directory: Directory::default(), known: BTreeMap::new(), told: false }
    }

    fn read(&self, service: u16, now: u64) -> Result<Outlook, Failure> {
        let policy = self.loads.policy(service)?;
        let tiers = policy.tiers.min(MAX_TIERS as u8);
        let mut outlook = Outlook { tiers: Vec::new(), in_order: policy.choice == choice::PRIMARY_SECONDARY };
        for (number, zone) in (0..tiers).zip(policy.zones) {
            let redirect = policy.redirects >> number & 1 == 1;
            outlook.tiers.push(self.tier(service, zone, redirect, outlook.in_order, now)?);
        }
        Ok(outlook)
    }

    fn tier(
        &self,
        service: u16,
        zone: u16,
        redirect: bool,
        in_order: bool,
        now: u64,
    ) -> Result<Tier, Failure> {
        let mut backends = Vec::new();
        let state = self.loads.zone(zone)?;
        if state.will == zone_will::ENABLED && state.remote != 0 {
            return Ok(elsewhere(redirect).with_zone_target(self.directory.zone_target(service, zone)));
        }
        if state.will == zone_will::ENABLED {
            for id in self.loads.members(zone)? {
                backends.push(self.loads.backend(id)?);
            }
        }
        if !backends.iter().any(|(backend, _)| backend.takes_dialogs()) {
            let condition = nobody_takes(state.will, &self.loads.all_of_zone(zone)?);
            return Ok(Tier { redirect, condition, settled: false, targets: Vec::new() });
        }
        let is_own = |address| self.directory.listens_at(service, address);
        Ok(standing(&backends, redirect, in_order, now, is_own)
            .with_zone_target(self.directory.zone_target(service, zone)))
    }
}

impl Tier {
    fn with_zone_target(mut self, target: Option<Target>) -> Tier {
        if let Some(target) = target {
            self.targets = vec![target];
        }
        self
    }
}

/// How a zone stands whose backends are not ours to know: it has room for calls that are redirected there.
fn elsewhere(redirect: bool) -> Tier {
    Tier { redirect, condition: Condition::Room, settled: false, targets: Vec::new() }
}

/// How a zone stands some of whose backends take calls. A backend at one of the service's own addresses is named to nobody.
fn standing(
    backends: &[(Backend, Load)],
    redirect: bool,
    in_order: bool,
    now: u64,
    is_own: impl Fn(SocketAddr) -> bool,
) -> Tier {
    let address = |b: &Backend| SocketAddr::new(unmapped(b.address), b.port);
    let with_room = backends.iter().filter(|(b, load)| b.takes_dialogs() && has_room(load, &b.limits, now));
    let settled: Vec<bool> = backends
        .iter()
        .map(|(b, load)| b.takes_dialogs() && has_settled_room(load, &b.limits, now))
        .collect();
    let targets: Vec<Target> =
        with_room.clone().map(|(b, _)| address(b)).filter(|a| !is_own(*a)).map(Target::Backend).collect();
    Tier {
        redirect,
        condition: if with_room.count() > 0 { Condition::Room } else { Condition::Full },
        settled: is_found(&settled, in_order),
        targets,
    }
}

/// Whether the program finds one of a zone's backends with room, wherever it begins to ask: it asks [`MAX_WALK`] of them, one
/// after the other and from the last on to the first, and always the first ones where they are filled in order. Who is told
/// to come again because there is room would else never be let in where there are more.
fn is_found(with_room: &[bool], in_order: bool) -> bool {
    let most = MAX_WALK as usize;
    if in_order || with_room.len() <= most {
        return with_room.iter().take(most).any(|room| *room);
    }
    let round = [with_room, with_room].concat();
    round.split(|room| *room).all(|row| row.len() < most)
}

/// Why no backend of a zone takes calls.
fn nobody_takes(zone: u8, backends: &[Backend]) -> Condition {
    let wanted = |b: &Backend| b.will == will::ENABLED;
    if zone == zone_will::ENABLED && backends.iter().any(|b| wanted(b) && b.health == health::UP) {
        // Its limits are 0.
        return Condition::Full;
    }
    let down = zone == zone_will::ENABLED && backends.iter().any(wanted);
    if down || backends.is_empty() { Condition::Down } else { Condition::Draining }
}

/// Whether an outlook of that time may be used again.
fn is_fresh(outlook: &Outlook, at: u64, now: u64) -> bool {
    now.saturating_sub(at) < if outlook.forwards() { FORWARDS_NS } else { OUTLOOK_NS }
}

impl World for LiveMaps {
    fn outlook(&mut self, service: u16, now: u64) -> Option<Arc<Outlook>> {
        if let Some((at, outlook)) = self.known.get(&service)
            && is_fresh(outlook, *at, now)
        {
            return Some(outlook.clone());
        }
        match self.read(service, now) {
            Ok(outlook) if outlook.tiers.is_empty() => None,
            Ok(outlook) => {
                let outlook = Arc::new(outlook);
                self.known.insert(service, (now, outlook.clone()));
                self.told = false;
                Some(outlook)
            }
            Err(failure) => {
                // Once, not for every packet.
                if !std::mem::replace(&mut self.told, true) {
                    tracing::error!("the slow path does not know how services stand: {failure}");
                }
                None
            }
        }
    }

    fn answers_until(&mut self, until: u64) -> Result<(), Failure> {
        self.loads.set_answers_until(until)
    }

    fn set_directory(&mut self, directory: Directory) {
        self.directory = directory;
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::map::{backend::Limits, service::mapped};

    const NOW: u64 = 1_000_000_000;

    fn directory() -> Directory {
        let listeners = [("203.0.113.10:5060", 0), ("203.0.113.10:5070", 0), ("203.0.113.11:5060", 1)];
        let zones = [
            (0, "203.0.113.10"),
            (1, "203.0.113.10:5070"),
            (2, "203.0.113.11:5060"),
            (3, "sip.example.com"),
            (5, "[::ffff:203.0.113.9]:5060"),
        ];
        Directory {
            listeners: listeners.into_iter().map(|(a, s)| (a.parse().unwrap(), s)).collect(),
            zones: zones.into_iter().map(|(n, a)| (n, a.to_owned())).collect(),
        }
    }

    #[test]
    fn a_service_never_names_its_own_address() {
        let directory = directory();
        let named = |service, zone| directory.zone_target(service, zone);
        let host = |name: &str| Some(Target::Host(name.to_owned()));
        assert_eq!([named(0, 0), named(0, 1)], [None, None]);
        assert_eq!(named(1, 0), host("203.0.113.10"));
        assert_eq!(named(0, 2), host("203.0.113.11:5060"), "another service's");
        assert_eq!(named(1, 2), None);
        assert_eq!(named(0, 3), host("sip.example.com"));
        assert_eq!(named(0, 4), None, "it has none");
        assert_eq!(named(0, 5), host("[::ffff:203.0.113.9]:5060"));
    }

    fn backend(number: u8, channels: u64) -> (Backend, Load) {
        let limits = Limits {
            max_channels: 10,
            max_cps: 100,
            interval_ns: 10_000_000,
            burst: 10,
            capacity_channels: 10,
            capacity_cps: 100,
            ..Limits::default()
        };
        let address = mapped(IpAddr::from([10, 0, 0, number]));
        let backend = Backend { address, port: 5060, will: will::ENABLED, limits, ..Backend::default() };
        (backend, Load { channels, ..Load::default() })
    }

    #[test]
    fn a_zone_names_its_backends_with_room() {
        let target = |number| Target::Backend(SocketAddr::from(([10, 0, 0, number], 5060)));
        let tier = standing(&[backend(1, 10), backend(2, 3), backend(3, 9)], true, false, NOW, |_| false);
        assert_eq!((tier.condition, tier.settled), (Condition::Room, true));
        assert_eq!(tier.targets, [target(2), target(3)]);
        let nearly = standing(&[backend(1, 10), backend(3, 9)], true, false, NOW, |_| false);
        assert_eq!((nearly.condition, nearly.settled), (Condition::Room, false));
        let own = standing(&[backend(1, 0)], true, false, NOW, |a| a.ip() == IpAddr::from([10, 0, 0, 1]));
        assert_eq!((own.condition, own.targets), (Condition::Room, vec![]));
        let full = standing(&[backend(1, 10), backend(2, 10)], true, false, NOW, |_| false);
        assert_eq!((full.condition, full.targets), (Condition::Full, vec![]));
    }

    #[test]
    fn room_is_settled_where_the_program_finds_it() {
        let most = MAX_WALK as usize;
        let zone = |members: usize, free: &[usize]| -> Vec<bool> {
            (0..members).map(|member| free.contains(&member)).collect()
        };
        for (members, free, in_order, found) in [
            (most, &[][..], false, false),
            (most, &[0], false, true),
            (most, &[most - 1], false, true),
            (most, &[most - 1], true, true),
            // It is not among those that a call asks that begins behind it.
            (most + 1, &[0], false, false),
            (most + 1, &[most], false, false),
            (most + 1, &[0, 1], false, true),
            (most + 1, &[0, most], false, true),
            (most + 1, &[most - 1], true, true),
            (most + 1, &[most], true, false),
            (2 * most, &[0, most], false, true),
            (2 * most, &[most - 1, 2 * most - 1], false, true),
            (2 * most, &[0, most - 1], false, false),
            (2 * most + 1, &[0, most], false, false),
        ] {
            assert_eq!(is_found(&zone(members, free), in_order), found, "{members}: {free:?}, {in_order}");
        }
    }

    #[test]
    fn who_takes_no_calls_has_no_room() {
        let (full, mut draining) = (backend(1, 10), backend(2, 0));
        draining.0.will = will::DRAINING;
        let tier = standing(&[full, draining], false, false, NOW, |_| false);
        assert_eq!((tier.condition, tier.settled, tier.targets), (Condition::Full, false, vec![]));
    }

    #[test]
    fn a_zone_that_takes_nothing_says_why() {
        let with = |will, health| Backend { will, health, ..backend(1, 0).0 };
        let enabled = zone_will::ENABLED;
        let down = with(will::ENABLED, health::DOWN);
        let draining = with(will::DRAINING, health::UP);
        let zero = with(will::ENABLED, health::UP);
        assert_eq!(nobody_takes(enabled, &[down, draining]), Condition::Down);
        assert_eq!(
            nobody_takes(enabled, &[draining, with(will::DISABLED, health::DOWN)]),
            Condition::Draining
        );
        assert_eq!(nobody_takes(enabled, &[zero, down]), Condition::Full);
        assert_eq!(nobody_takes(enabled, &[]), Condition::Down);
        assert_eq!(nobody_takes(zone_will::DISABLED, &[zero]), Condition::Draining);
    }

    #[test]
    fn an_outlook_ages_sooner_if_requests_are_dropped_because_of_it() {
        let tier = |settled| Tier { redirect: false, condition: Condition::Room, settled, targets: vec![] };
        let outlook = |settled| Outlook { tiers: vec![tier(settled)], in_order: false };
        assert!(is_fresh(&outlook(false), NOW, NOW + OUTLOOK_NS - 1));
        assert!(!is_fresh(&outlook(false), NOW, NOW + OUTLOOK_NS));
        assert!(is_fresh(&outlook(true), NOW, NOW + FORWARDS_NS - 1));
        assert!(!is_fresh(&outlook(true), NOW, NOW + FORWARDS_NS));
    }
}
