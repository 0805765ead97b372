//! Plans lead where they should, and every step of the way is usable.

use super::{Plan, Write};
use crate::{
    config::Forwarding,
    core::{
        examples::{Tables, any_circumstances, any_config, backend, config, service, simple, wills},
        model::{Circumstances, Model},
        wishes::Will,
    },
};
use lb_common::map::{backend::will, listener_index};
use proptest::{collection::vec, prelude::*};

/// Whatever is referred to is there, and rings and members of zones are backends that take new calls only.
fn assert_usable(tables: &Tables) -> Result<(), TestCaseError> {
    let Tables(model) = tables;
    for ring in model.rings.values() {
        for id in ring.slots.iter().step_by(97) {
            let backend = model.backends.get(&(*id as u16));
            prop_assert!(backend.is_some_and(|b| b.takes_dialogs()), "a ring names {id}: {backend:?}");
        }
    }
    for id in model.members.values().flatten() {
        let backend = model.backends.get(id);
        prop_assert!(backend.is_some_and(|b| b.takes_dialogs()), "a zone's member {id}: {backend:?}");
    }
    for backend in model.backends.values() {
        prop_assert!(model.zones.contains_key(&backend.zone), "the zone of {backend:?}");
    }
    for policy in model.policies.values() {
        let zones = &policy.zones[..usize::from(policy.tiers)];
        prop_assert!(zones.iter().all(|z| model.zones.contains_key(z)), "{policy:?}");
    }
    for (key, service) in &model.services {
        prop_assert!(model.policies.contains_key(&service.service));
        let index = listener_index(service.service.into(), service.listener.into());
        prop_assert_eq!(model.listeners.get(&index).map(|l| l.address.port), Some(key.port));
    }
    for (key, address) in &model.backend_addresses {
        let backend = model.backends.get(&address.backend);
        prop_assert_eq!(backend.map(|b| (b.address, b.port)), Some((key.address, key.port)));
        prop_assert!((1..=4).contains(&address.count));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_leads_to_the_model_and_every_step_is_usable(
        steps in vec((any_config(), any_circumstances()), 1..6),
    ) {
        let mut old = Model::default();
        let mut tables = Tables::default();
        for (config, circumstances) in steps {
            let new = old.next(&config, &circumstances).expect("ids for everybody");
            for write in &Plan::between(&old, &new).writes {
                tables.apply(write);
                assert_usable(&tables)?;
            }
            prop_assert!(tables == Tables::holding(&new));
            old = new;
        }
    }

    #[test]
    fn an_id_never_changes_its_machine_and_no_pin_is_lost(steps in vec(any_config(), 2..6)) {
        let mut old = Model::default();
        for config in steps {
            let new = old.next(&config, &Circumstances::default()).expect("ids for everybody");
            for (id, before) in &old.backends {
                let after = new.backends.get(id);
                prop_assert_eq!(after.map(|b| (b.address, b.port)), Some((before.address, before.port)));
                prop_assert!(after.is_some_and(|b| b.keeps_dialogs()));
            }
            prop_assert!(Plan::between(&old, &new).summary.calls_leave.is_empty());
            old = new;
        }
    }

    #[test]
    fn a_daemon_that_starts_anew_writes_rings_only(config in any_config(), circumstances in any_circumstances()) {
        let model = Model::from_config(&config, &circumstances).expect("ids for everybody");
        let found = Model::adopted(Tables::holding(&model).found());
        let next = found.next(&config, &circumstances).expect("ids for everybody");
        prop_assert!(next == model);
        let plan = Plan::between(&found, &next);
        prop_assert!(plan.writes.iter().all(|write| matches!(write, Write::PutRing(..))));
        prop_assert_eq!(plan.writes.len(), model.rings.len());
        prop_assert!(plan.summary.rings.iter().all(|ring| ring.moved_ratio.is_none()));
    }

    #[test]
    fn the_same_configuration_again_changes_nothing(config in any_config()) {
        let model = Model::from_config(&config, &Circumstances::default()).expect("ids for everybody");
        let again = model.next(&config, &Circumstances::default()).expect("ids for everybody");
        let plan = Plan::between(&model, &again);
        prop_assert!(plan.is_empty() && plan.summary.is_empty());
        prop_assert_eq!(plan.summary.to_string(), "nothing changes");
    }
}

fn model(config: &crate::config::Config) -> Model {
    Model::from_config(config, &Circumstances::default()).expect("ids for everybody")
}

fn summary(old: &Model, new: &Model) -> String {
    Plan::between(old, new).summary.to_string()
}

#[test]
fn the_summary_counts_and_names() {
    let three = model(&simple(3));
    assert_eq!(
        summary(&Model::default(), &three),
        "+1 service, +1 zone, +3 backends, ring uk of trunks: 100.0 % of new calls move, 0 live calls move"
    );
    let four = three.next(&simple(4), &Circumstances::default()).unwrap();
    let added = summary(&three, &four);
    assert!(added.starts_with("+1 backend, ring uk of trunks: 25."), "{added}");
    assert!(added.ends_with(" % of new calls move, 0 live calls move"), "{added}");
    let back = four.next(&simple(3), &Circumstances::default()).unwrap();
    assert!(summary(&four, &back).starts_with("-1 backend, ring uk of trunks: 25."));

    let mut heavier = simple(3);
    heavier.backends[0].weight = 101;
    let heavier = three.next(&heavier, &Circumstances::default()).unwrap();
    assert!(summary(&three, &heavier).starts_with("~1 backend, ring uk of trunks: 0."));

    let disabled = three.next(&simple(3), &wills(&[("sw2", Will::Disabled)])).unwrap();
    let said = summary(&three, &disabled);
    assert!(said.ends_with("live calls of sw2 move"), "{said}");
}

#[test]
fn the_summary_says_which_addresses_are_left() {
    let backends = || vec![backend("sw1", 1, "uk")];
    let both = model(&config(vec![service("trunks", &[10, 11], Forwarding::Nat, &["uk"])], backends()));
    let one = config(vec![service("trunks", &[11], Forwarding::Nat, &["uk"])], backends());
    let one = both.next(&one, &Circumstances::default()).unwrap();
    assert_eq!(summary(&both, &one), "~1 service, 203.0.113.10:5060/udp no longer served, 0 live calls move");
    let json = serde_json::to_value(Plan::between(&both, &one).summary).unwrap();
    assert_eq!(json["addresses_left"][0], "203.0.113.10:5060/udp");
    assert_eq!(json["services"]["changed"][0], "trunks");
}

#[test]
fn a_released_backend_is_cleared_and_told_of() {
    let (two, one) = (simple(2), simple(1));
    let before = model(&two);
    let removed = before.next(&one, &Circumstances::default()).unwrap();
    assert_eq!(removed.backends[&1].will, will::REMOVED);
    let nobody = Circumstances { busy: Some([].into()), ..Circumstances::default() };
    let released = removed.next(&one, &nobody).unwrap();
    let plan = Plan::between(&removed, &released);
    assert_eq!(plan.summary.released, ["sw2"]);
    assert!(matches!(plan.writes.as_slice(), [Write::RemoveBackendAddress(_), Write::ClearBackend(1)]));
    assert_eq!(plan.summary.to_string(), "1 removed backend released, 0 live calls move");
}
