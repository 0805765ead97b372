//! Configurations and tables for the tests of models and plans.

use super::{
    model::{Circumstances, Found, Model, Ring},
    plan::Write,
    standing::{Capacity, Health, Standing},
    wishes::{Limit, Will, Wish, Wishes},
};
use crate::config::{
    AnswerRates, Backend, Config, Control, Dialogs, Forwarding, FullAfterRefusal, HashBy, Node, Overflow,
    Policy, Service, Tier, XdpMode, Zone,
};
use lb_common::map::backend;
use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::{sync::Arc, time::Duration};

/// A configuration of services and backends.
pub(super) fn config(services: Vec<Service>, backends: Vec<Backend>) -> Config {
    let node = Node {
        name: "lb1".into(),
        interfaces: vec!["eth0".into()],
        xdp_mode: XdpMode::Auto,
        hash_key_file: "/etc/sipsteer/hash.key".into(),
        zone: None,
    };
    Config {
        node,
        dialogs: Dialogs::default(),
        answers: AnswerRates::default(),
        metrics: None,
        api: None,
        control: Control::default(),
        telemetry: Vec::new(),
        services,
        zones: Vec::new(),
        backends,
    }
}

/// A service that listens on 203.0.113.N for each number.
pub(super) fn service(name: &str, listen: &[u8], forwarding: Forwarding, zones: &[&str]) -> Service {
    Service {
        name: name.into(),
        listen: listen.iter().map(|n| ([203, 0, 113, *n], 5060).into()).collect(),
        forwarding,
        policy: Policy::Consistent { bound: Some(1280) },
        hash_by: HashBy::CallId,
        target: 512,
        tiers: zones.iter().map(|z| Tier { zone: (*z).to_owned(), overflow: Overflow::Forward }).collect(),
        answers_options: true,
        retry_after: None,
        retries_refused: true,
        full_after_refusal: FullAfterRefusal::For(Duration::ZERO),
    }
}

/// A backend at 10.0.0.N.
pub(super) fn backend(name: &str, n: u8, zone: &str) -> Backend {
    Backend {
        name: name.into(),
        zone: zone.into(),
        address: ([10, 0, 0, n], 5060).into(),
        max_cps: Some(100),
        cps_burst: None,
        probing: None,
        max_channels: None,
        weight: 100,
    }
}

/// One service `trunks` on .10 that lists `uk`, with backends sw1.. at 10.0.0.1..
pub(super) fn simple(backends: u8) -> Config {
    let backends = (1..=backends).map(|n| backend(&format!("sw{n}"), n, "uk")).collect();
    config(vec![service("trunks", &[10], Forwarding::Nat, &["uk"])], backends)
}

/// What maps hold, without the program that reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables(pub(super) Model);

impl Tables {
    /// What maps hold that were written from nothing.
    pub(super) fn holding(model: &Model) -> Tables {
        let mut tables = Tables(model.clone());
        tables.0.rings.values_mut().for_each(|ring| *ring = unnamed(ring.slots.clone()));
        tables
    }

    /// One write.
    pub(super) fn apply(&mut self, write: &Write) {
        let model = &mut self.0;
        match write {
            Write::PutBackend(id, value) => drop(model.backends.insert(*id, *value)),
            Write::PutListener(index, value) => drop(model.listeners.insert(*index, *value)),
            Write::PutBackendAddress(key, value) => drop(model.backend_addresses.insert(*key, *value)),
            Write::PutZone(id, zone) => {
                model.zones.insert(*id, *zone);
                model.members.entry(*id).or_default();
            }
            Write::PutMembers(id, ids) => assert!(model.members.insert(*id, ids.clone()).is_some()),
            Write::PutPolicy(id, policy) => drop(model.policies.insert(*id, *policy)),
            Write::PutRing(index, slots) => drop(model.rings.insert(*index, unnamed(slots.clone()))),
            Write::PutService(key, value) => drop(model.services.insert(*key, *value)),
            Write::RemoveService(key) => assert!(model.services.remove(key).is_some()),
            Write::RemoveBackendAddress(key) => assert!(model.backend_addresses.remove(key).is_some()),
            Write::RemoveRing(index) => assert!(model.rings.remove(index).is_some()),
            Write::ClearPolicy(id) => assert!(model.policies.remove(id).is_some()),
            Write::ClearZone(id) => {
                assert!(model.zones.remove(id).is_some() && model.members.remove(id).is_some());
            }
            Write::ClearListener(index) => assert!(model.listeners.remove(index).is_some()),
            Write::ClearBackend(id) => assert!(model.backends.remove(id).is_some()),
        }
    }

    /// What a daemon finds that starts now, unused array entries and next hops included.
    pub(super) fn found(&self) -> Found {
        let next_hop = backend::NextHop { ifindex: 3, mtu: 1500, ..Default::default() };
        let used = self.0.backends.iter().map(|(id, b)| (*id, backend::Backend { next_hop, ..*b }));
        let unused =
            (0..40).filter(|id| !self.0.backends.contains_key(id)).map(|id| (id, Default::default()));
        let listeners = self.0.listeners.iter().map(|(index, l)| (*index, *l));
        Found {
            services: self.0.services.clone().into_iter().collect(),
            listeners: listeners.chain([(511, Default::default())]).collect(),
            backends: used.chain(unused).collect(),
            backend_addresses: self.0.backend_addresses.clone().into_iter().collect(),
            zones: (0..64)
                .map(|id| {
                    let members = self.0.members.get(&id).cloned().unwrap_or_default();
                    (id, self.0.zones.get(&id).copied().unwrap_or_default(), members)
                })
                .collect(),
            policies: (0..64).map(|id| (id, self.0.policies.get(&id).copied().unwrap_or_default())).collect(),
            rings: self.0.rings.keys().copied().collect(),
        }
    }
}

fn unnamed(slots: Arc<[u32]>) -> Ring {
    Ring { service: String::new(), zone: String::new(), slots }
}

const ZONES: [&str; 3] = ["uk", "germany", "france"];

/// Circumstances in which only these are not enabled.
pub(super) fn wills(wills: &[(&str, Will)]) -> Circumstances {
    let mut circumstances = Circumstances::default();
    for (name, will) in wills {
        circumstances.wishes.change(name, |wish| wish.will = *will);
    }
    circumstances
}

/// Any valid configuration of a small world: 12 addresses for backends, 6 for listeners, 3 zones.
pub(super) fn any_config() -> impl Strategy<Value = Config> {
    let addresses = subsequence((1..=12).collect::<Vec<u8>>(), 0..=8);
    let traits = vec((0_usize..3, 1_u16..4, any::<bool>(), 0_u8..8), 8);
    let services = subsequence((0..3).collect::<Vec<u8>>(), 0..=3);
    let service_traits =
        vec((subsequence(ZONES.to_vec(), 1..=3).prop_shuffle(), any::<bool>(), any::<bool>()), 3);
    (addresses, traits, services, service_traits).prop_map(|(addresses, traits, services, service_traits)| {
        let backends: Vec<Backend> = addresses
            .into_iter()
            .zip(traits)
            .map(|(address, (zone, weight, renamed, closed))| Backend {
                weight: weight * 100,
                max_cps: Some(u32::from(closed != 0)),
                ..backend(&format!("sw{address}{}", if renamed { "b" } else { "" }), address, ZONES[zone])
            })
            .collect();
        let services: Vec<Service> = services
            .into_iter()
            .zip(service_traits)
            .map(|(number, (zones, l2, swapped))| {
                let forwarding = if l2 { Forwarding::L2 } else { Forwarding::Nat };
                let listen =
                    if swapped { [2 * number + 1, 2 * number] } else { [2 * number, 2 * number + 1] };
                let mut service =
                    service(&format!("s{number}"), &listen[..1 + usize::from(l2)], forwarding, &zones);
                service.tiers.retain(|tier| backends.iter().any(|b| b.zone == tier.zone));
                service.tiers.iter_mut().skip(1).for_each(|tier| {
                    tier.overflow = if swapped { Overflow::Redirect } else { Overflow::Forward };
                });
                if l2 {
                    service.policy = Policy::PrimarySecondary;
                }
                service
            })
            .filter(|service| !service.tiers.is_empty())
            .collect();
        let listed = |b: &Backend| services.iter().any(|s| s.zones().any(|z| z == b.zone));
        let backends = backends.iter().filter(|b| listed(b)).cloned().collect();
        let elsewhere = Zone { name: ZONES[0].to_owned(), address: Some("sip.example.com".to_owned()) };
        Config { zones: vec![elsewhere], ..config(services, backends) }
    })
}

/// Wishes and health of some of the backends, and which of the first ids still have dialogs.
pub(super) fn any_circumstances() -> impl Strategy<Value = Circumstances> {
    let will = prop_oneof![Just(Will::Enabled), Just(Will::Draining), Just(Will::Disabled)];
    let limit = proptest::option::of((0_u32..3).prop_map(Limit::Calls));
    let wish = (will, limit, proptest::option::of(1_u16..300)).prop_map(|(will, max_cps, weight)| Wish {
        will,
        max_cps,
        weight,
        ..Wish::default()
    });
    let backends = proptest::collection::btree_map("sw[1-9]", wish, 0..4);
    let disabled_zones = proptest::collection::btree_set("uk|germany", 0..2);
    let wishes =
        (backends, disabled_zones).prop_map(|(backends, disabled_zones)| Wishes { backends, disabled_zones });
    let capacity = (0_u32..3, 1_u16..300).prop_map(|(cps, weight)| Capacity {
        max_cps: Some(cps),
        max_channels: Some(1000),
        weight,
        other_channels: 7,
        other_cps: 0,
    });
    let health = prop_oneof![Just(Health::Up), Just(Health::Draining), Just(Health::Down)];
    let standing = (health, any::<bool>(), proptest::option::of(capacity))
        .prop_map(|(health, drains, capacity)| Standing { health, drains, capacity });
    let standings = proptest::collection::btree_map("sw[1-9]", standing, 0..3);
    let busy = proptest::option::of(proptest::collection::btree_set((0_u16..16, 0_u16..3), 0..20));
    (wishes, standings, busy).prop_map(|(wishes, standings, busy)| Circumstances { wishes, standings, busy })
}
