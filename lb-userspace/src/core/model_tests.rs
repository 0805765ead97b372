//! Ids, rings and backend addresses of particular configurations.

use super::{Circumstances, Model, OutOfIds};
use crate::{
    config::{self, Config, Forwarding, Overflow},
    core::{
        examples::{backend, config, service, simple, wills},
        maglev,
        standing::{Capacity, Health, Standing},
        wishes::{Limit, Will},
    },
};
use lb_common::{
    limits,
    map::{
        backend::{health, name_of, will},
        ring_index,
        service::ServiceKey,
        zone::zone_will,
    },
};

fn from(config: &Config) -> Model {
    Model::from_config(config, &Circumstances::default()).expect("ids for everybody")
}

fn then(old: &Model, config: &Config) -> Model {
    old.next(config, &Circumstances::default()).expect("ids for everybody")
}

/// Ids, names and wills.
fn backends(model: &Model) -> Vec<(u16, &str, u8)> {
    model.backends.iter().map(|(id, b)| (*id, name_of(&b.name), b.will)).collect()
}

fn services_of(model: &Model, n: u8) -> Option<Vec<u16>> {
    let address = model.backend_addresses.get(&ServiceKey::udp(([10, 0, 0, n], 5060).into()))?;
    Some(address.services[..usize::from(address.count)].to_vec())
}

fn in_ring(model: &Model, service: u32, tier: u32) -> Vec<u32> {
    let mut ids = model.rings.get(&ring_index(service, tier)).map(|r| r.slots.to_vec()).unwrap_or_default();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn a_removed_backend_keeps_its_id_and_its_replies_and_takes_no_new_calls() {
    let three = from(&simple(3));
    let mut two = simple(3);
    two.backends.remove(0);
    let removed = then(&three, &two);
    assert_eq!(
        backends(&removed),
        [(0, "sw1", will::REMOVED), (1, "sw2", will::ENABLED), (2, "sw3", will::ENABLED)]
    );
    assert_eq!(services_of(&removed, 1), Some(vec![0]));
    assert_eq!(in_ring(&removed, 0, 0), [1, 2]);
    // It comes back to its id, and a stranger gets another one meanwhile.
    two.backends.push(backend("sw9", 9, "uk"));
    let stranger = then(&removed, &two);
    assert_eq!(backends(&stranger)[3], (3, "sw9", will::ENABLED));
    assert_eq!(backends(&then(&stranger, &simple(3)))[0], (0, "sw1", will::ENABLED));
}

#[test]
fn a_free_id_is_taken_again_but_not_at_once() {
    let (two, mut other) = (simple(2), simple(1));
    other.backends.push(backend("sw9", 9, "uk"));
    let removed = then(&from(&two), &simple(1));
    let nobody = Circumstances { busy: Some([].into()), ..Circumstances::default() };
    let released = removed.next(&other, &nobody).unwrap();
    assert_eq!(backends(&released), [(0, "sw1", will::ENABLED), (2, "sw9", will::ENABLED)]);
    other.backends.push(backend("sw8", 8, "uk"));
    assert_eq!(backends(&then(&released, &other))[1], (1, "sw8", will::ENABLED));
}

#[test]
fn a_removed_backend_with_dialogs_stays() {
    let removed = then(&from(&simple(2)), &simple(1));
    let busy = |pairs: &[(u16, u16)]| Circumstances {
        busy: Some(pairs.iter().copied().collect()),
        ..Default::default()
    };
    assert_eq!(removed.next(&simple(1), &busy(&[(1, 0)])).unwrap(), removed);
    assert_eq!(backends(&removed.next(&simple(1), &busy(&[(0, 0)])).unwrap()).len(), 1);
    // What was in use until now is kept whatever an older look at the dialogs says.
    assert_eq!(
        backends(&from(&simple(2)).next(&simple(1), &busy(&[])).unwrap())[1],
        (1, "sw2", will::REMOVED)
    );
}

#[test]
fn an_id_is_an_address_not_a_name() {
    let two = from(&simple(2));
    let mut renamed = simple(2);
    renamed.backends[0].name = "new".into();
    assert_eq!(backends(&then(&two, &renamed)), [(0, "new", will::ENABLED), (1, "sw2", will::ENABLED)]);
    let mut moved = simple(2);
    moved.backends[0].address = ([10, 0, 0, 7], 5060).into();
    let moved = then(&two, &moved);
    assert_eq!(
        backends(&moved),
        [(0, "sw1", will::REMOVED), (1, "sw2", will::ENABLED), (2, "sw1", will::ENABLED)]
    );
    // The name decides the ring: new calls go where they went, to the machine that has the name now.
    let relabelled: Vec<u32> = two.rings[&0].slots.iter().map(|id| if *id == 0 { 2 } else { *id }).collect();
    assert_eq!(moved.rings[&0].slots[..], relabelled[..]);
}

#[test]
fn services_and_listeners_keep_their_numbers() {
    let uk = || vec![backend("sw1", 1, "uk")];
    let nat = |name: &str, listen: &[u8]| service(name, listen, Forwarding::Nat, &["uk"]);
    let first = from(&config(vec![nat("a", &[10, 11]), nat("b", &[20])], uk()));
    let swapped = then(&first, &config(vec![nat("b", &[20]), nat("a", &[11, 10])], uk()));
    assert_eq!(swapped.services, first.services);
    assert_eq!(swapped.listeners, first.listeners);
    // Another address takes a number that is free; another service an id that is free.
    let more = then(&first, &config(vec![nat("c", &[30]), nat("b", &[20]), nat("a", &[12, 11])], uk()));
    let number = |model: &Model, n: u8| {
        let service = model.services[&ServiceKey::udp(([203, 0, 113, n], 5060).into())];
        (service.service, service.listener)
    };
    assert_eq!(
        [number(&more, 11), number(&more, 12), number(&more, 20), number(&more, 30)],
        [(0, 1), (0, 0), (1, 0), (2, 0)]
    );
    // A renamed service is known by its address; a removed one leaves its id to the next but one.
    let renamed = then(&first, &config(vec![nat("z", &[11]), nat("b", &[20])], uk()));
    assert_eq!(number(&renamed, 11), (0, 1));
    let replaced = then(&first, &config(vec![nat("b", &[20]), nat("z", &[40])], uk()));
    assert_eq!(number(&replaced, 40), (2, 0));
    assert_eq!(number(&then(&replaced, &config(vec![nat("z", &[40]), nat("y", &[50])], uk())), 50), (0, 0));
}

#[test]
fn replies_are_looked_up_in_nat_services_also_in_those_that_were() {
    let both = config(
        vec![
            service("a", &[10], Forwarding::Nat, &["uk"]),
            service("b", &[20], Forwarding::Nat, &["germany", "uk"]),
            service("c", &[30], Forwarding::L2, &["uk"]),
        ],
        vec![backend("sw1", 1, "uk"), backend("sw2", 2, "germany")],
    );
    let before = from(&both);
    assert_eq!(services_of(&before, 1), Some(vec![0, 1]));
    assert_eq!(services_of(&before, 2), Some(vec![1]));
    let mut without = both.clone();
    without.services[1].tiers.pop();
    let after = then(&before, &without);
    assert_eq!(services_of(&after, 1), Some(vec![0, 1]), "calls of b on sw1 live on");
    let over = Circumstances { busy: Some([(0, 0)].into()), ..Circumstances::default() };
    assert_eq!(services_of(&after.next(&without, &over).unwrap(), 1), Some(vec![0]));
    let mut l2 = both;
    l2.services.iter_mut().for_each(|s| s.forwarding = Forwarding::L2);
    assert_eq!(then(&after, &l2).backend_addresses.len(), 0);
}

fn standing(name: &str, health: Health) -> (String, Standing) {
    (name.to_owned(), Standing { health, ..Standing::default() })
}

#[test]
fn a_weight_of_the_moment_is_in_the_ring_and_in_the_map() {
    let capacity =
        Capacity { max_channels: Some(500), max_cps: Some(50), weight: 50, other_channels: 0, other_cps: 0 };
    let standing = Standing { capacity: Some(capacity), ..Standing::default() };
    let circumstances =
        Circumstances { standings: [("sw1".to_owned(), standing)].into(), ..Circumstances::default() };
    let model = Model::from_config(&simple(2), &circumstances).unwrap();
    assert_eq!((model.backends[&0].weight, model.backends[&0].limits.max_cps), (50, 50));
    let slots = &model.rings.values().next().unwrap().slots;
    let share = slots.iter().filter(|s| **s == 0).count() as f64 / slots.len() as f64;
    assert!((share - 1.0 / 3.0).abs() < 0.01, "{share}");
}

#[test]
fn only_backends_that_take_calls_are_in_rings() {
    let mut five = simple(6);
    five.backends[5].max_channels = Some(0);
    let circumstances = Circumstances {
        standings: [standing("sw3", Health::Down), standing("sw5", Health::Draining)].into(),
        ..wills(&[("sw1", Will::Draining), ("sw2", Will::Disabled)])
    };
    let model = Model::from_config(&five, &circumstances).unwrap();
    assert_eq!(in_ring(&model, 0, 0), [3]);
    assert_eq!((&model.members[&0][..], model.zones[&0].takers), (&[3][..], 1));
    let (wills, healths): (Vec<u8>, Vec<u8>) = model.backends.values().map(|b| (b.will, b.health)).unzip();
    assert_eq!(
        wills,
        [will::DRAINING, will::DISABLED, will::ENABLED, will::ENABLED, will::ENABLED, will::ENABLED]
    );
    assert_eq!(healths, [health::UP, health::UP, health::DOWN, health::UP, health::DRAINING, health::UP]);
    five.backends.remove(3);
    assert!(Model::from_config(&five, &circumstances).unwrap().rings.is_empty(), "nobody is left");
}

#[test]
fn a_tier_without_takers_has_no_ring_and_the_next_keeps_its_number() {
    let zones = ["uk", "germany"];
    let two = config(
        vec![
            service("trunks", &[10], Forwarding::L2, &zones),
            service("other", &[11], Forwarding::L2, &zones[1..]),
        ],
        vec![backend("sw1", 1, "uk"), backend("sw2", 2, "germany")],
    );
    let down =
        Circumstances { standings: [standing("sw1", Health::Down)].into(), ..Circumstances::default() };
    let model = Model::from_config(&two, &down).unwrap();
    assert_eq!(
        (in_ring(&model, 0, 0), in_ring(&model, 0, 1), in_ring(&model, 1, 0)),
        (vec![], vec![1], vec![1])
    );
    assert!(
        model
            .services
            .values()
            .all(|s| usize::from(s.tiers) == two.services[usize::from(s.service)].tiers.len())
    );
}

#[test]
fn rings_are_maglev_tables_of_names_and_weights() {
    let mut three = simple(3);
    three.backends[1].weight = 300;
    let entry = |id, weight, name| maglev::Entry { id, weight, name };
    let expected = maglev::build(&[entry(0, 100, "sw1"), entry(1, 300, "sw2"), entry(2, 100, "sw3")]);
    assert_eq!(from(&three).rings[&0].slots[..], expected[..]);
    assert_eq!(from(&three).backends[&1].weight, 300);
}

#[test]
fn zones_are_numbered_in_the_order_of_the_file() {
    let two = config(
        vec![service("trunks", &[10], Forwarding::Nat, &["germany", "uk"])],
        vec![backend("sw1", 1, "uk"), backend("sw2", 2, "germany")],
    );
    let zones: Vec<u16> = from(&two).backends.values().map(|b| b.zone).collect();
    assert_eq!(zones, [1, 0]);
}

#[test]
fn when_removed_backends_hold_too_many_ids_it_is_said() {
    let many = |first: u16| {
        let address = |n: u16| [10, 0, (n >> 8) as u8, n as u8];
        let mut backends: Vec<_> =
            (first..first + 1024).map(|n| backend(&format!("sw{n}"), 0, "uk")).collect();
        (first..).zip(&mut backends).for_each(|(n, b)| b.address = (address(n), 5060).into());
        config(vec![service("trunks", &[10], Forwarding::Nat, &["uk"])], backends)
    };
    let full = from(&many(0));
    assert_eq!(full.backends.len(), limits::MAX_BACKENDS as usize);
    let refused = full.next(&many(1), &Circumstances::default());
    assert_eq!(refused, Err(OutOfIds { what: "backend", removed: 1, max: 1024 }));
    assert!(refused.unwrap_err().to_string().contains("hold 1 of 1024"));
}

/// Numbers, names and wills of zones.
fn zones(model: &Model) -> Vec<(u16, &str, u8)> {
    model.zones.iter().map(|(id, z)| (*id, name_of(&z.name), z.will)).collect()
}

#[test]
fn a_zone_keeps_its_number_as_long_as_a_backend_is_counted_in_it() {
    let zones_of = |names: &[&str]| {
        let backends = (1..).zip(names).map(|(n, zone)| backend(&format!("sw-{zone}"), n, zone)).collect();
        config(vec![service("trunks", &[10], Forwarding::Nat, names)], backends)
    };
    let two = from(&zones_of(&["uk", "germany"]));
    assert_eq!(zones(&two), [(0, "uk", zone_will::ENABLED), (1, "germany", zone_will::ENABLED)]);
    let mut one = zones_of(&["uk", "germany"]);
    one.services[0].tiers.remove(0);
    one.backends.remove(0);
    let removed = then(&two, &one);
    assert_eq!(zones(&removed), [(0, "uk", zone_will::DISABLED), (1, "germany", zone_will::ENABLED)]);
    assert_eq!((removed.members[&0].len(), removed.zones[&0].takers), (0, 0));
    assert_eq!(removed.backends[&0].zone, 0);
    // A new zone gets another number, until the last call in the old one is over.
    one.backends.push(backend("sw9", 9, "france"));
    one.services[0].tiers.push(config::Tier { zone: "france".to_owned(), overflow: Overflow::Forward });
    assert_eq!(zones(&then(&removed, &one))[2], (2, "france", zone_will::ENABLED));
    let nobody = Circumstances { busy: Some([].into()), ..Circumstances::default() };
    let released = removed.next(&one, &nobody).unwrap();
    assert_eq!(zones(&released), [(1, "germany", zone_will::ENABLED), (2, "france", zone_will::ENABLED)]);
    // What comes back by name comes back to its number.
    assert_eq!(then(&removed, &zones_of(&["germany", "uk"])).zones, two.zones);
}

#[test]
fn when_zones_that_are_gone_hold_too_many_numbers_it_is_said() {
    let named = |prefix: &str, n: u8| {
        let backends = (0..n).map(|i| backend(&format!("{prefix}{i}"), i, &format!("{prefix}{i}"))).collect();
        config(vec![service("trunks", &[10], Forwarding::L2, &[&format!("{prefix}0")])], backends)
    };
    let full = from(&named("a", 64));
    let mut other = named("b", 1);
    other.backends[0].address = ([10, 9, 9, 9], 5060).into();
    assert_eq!(
        full.next(&other, &Circumstances::default()),
        Err(OutOfIds { what: "zone", removed: 64, max: 64 })
    );
    assert!(from(&named("a", 63)).next(&other, &Circumstances::default()).is_ok());
}

#[test]
fn what_operators_want_counts_in_limits_rings_and_zones() {
    let mut wanted = wills(&[("sw2", Will::Draining)]);
    wanted.wishes.change("sw1", |w| (w.max_cps, w.weight) = (Some(Limit::Calls(7)), Some(300)));
    wanted.wishes.change("sw3", |w| w.max_channels = Some(Limit::Calls(0)));
    wanted.wishes.disabled_zones.insert("uk".to_owned());
    let model = Model::from_config(&simple(4), &wanted).unwrap();
    let sw1 = model.backends[&0];
    assert_eq!((sw1.limits.max_cps, sw1.limits.burst, sw1.weight), (7, 1, 300));
    assert_eq!(model.backends[&1].will, will::DRAINING);
    assert_eq!(model.members[&0], [0, 3]);
    assert_eq!(in_ring(&model, 0, 0), [0, 3], "the ring still finds the dialogs of a disabled zone");
    let zone = model.zones[&0];
    assert_eq!((zone.will, zone.takers, zone.capacity_cps), (zone_will::DISABLED, 2, 107));
    assert_eq!(zone.capacity_channels, 3000 + 1000, "nominal, by weight");
}

#[test]
fn members_stand_in_the_order_of_the_file_whatever_their_ids() {
    let first = from(&simple(3));
    let mut turned = simple(3);
    turned.backends.reverse();
    assert_eq!(then(&first, &turned).members[&0], [2, 1, 0]);
}

#[test]
fn a_zone_elsewhere_has_room() {
    let mut config = config(
        vec![service("trunks", &[10], Forwarding::Nat, &["uk", "germany", "mars"])],
        vec![backend("sw1", 1, "uk")],
    );
    config.services[0].tiers[1..].iter_mut().for_each(|t| t.overflow = Overflow::Redirect);
    let address = |address: &str| Some(address.to_owned());
    config.zones.push(config::Zone { name: "germany".to_owned(), address: address("sip.de.example.com") });
    config.zones.push(config::Zone { name: "uk".to_owned(), address: address("sip.uk.example.com") });
    let model = from(&config);
    let takers = |name| model.zones.values().find(|z| name_of(&z.name) == name).map(|z| z.takers);
    assert_eq!((takers("uk"), takers("germany"), takers("mars")), (Some(1), Some(1), Some(0)));
    let policy = model.policies[&0];
    assert_eq!((policy.tiers, policy.redirects), (3, 0b110));
    let named: Vec<&str> = policy.zones[..3].iter().map(|z| name_of(&model.zones[z].name)).collect();
    assert_eq!(named, ["uk", "germany", "mars"]);
    let down =
        Circumstances { standings: [standing("sw1", Health::Down)].into(), ..Circumstances::default() };
    let model = Model::from_config(&config, &down).unwrap();
    assert_eq!(
        model.zones.values().find(|z| name_of(&z.name) == "uk").unwrap().takers,
        0,
        "down is not elsewhere"
    );
}
