//! What a plan means, for humans and for `--json`.

use super::{maglev, model::Model};
use crate::config::Settings;
use lb_common::{
    limits,
    map::{
        backend::{Backend, Limits, name_of, will},
        zone::Policy,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What changes between two models, by name.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// Services that are new, gone, or changed in address, forwarding, zones or in how they choose.
    pub services: Changes,
    /// Zones that services list and did not, or no longer do, or that are changed in will.
    pub zones: Changes,
    /// Backends that are new, gone from the configuration, or changed in will, health, weight, limits, zone or name.
    pub backends: Changes,
    /// Removed backends whose last dialog is over: their ids are free again.
    pub released: Vec<String>,
    /// Rings that change.
    pub rings: Vec<RingChange>,
    /// Addresses that no service listens on any more: packets to them, also of live calls, are left to the host.
    pub addresses_left: Vec<String>,
    /// Backends that kept their calls and no longer do: their calls move to others.
    pub calls_leave: Vec<String>,
    /// Keys of the configuration file beside these, as in `backend.sw1.health` or `api.listen`; of a start or of a change by
    /// an operator none.
    #[serde(default)]
    pub settings: Changes,
}

/// Names of what is new, gone and changed.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Changes {
    /// New.
    pub added: Vec<String>,
    /// Gone.
    pub removed: Vec<String>,
    /// Changed.
    pub changed: Vec<String>,
}

/// A ring that changes.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct RingChange {
    /// Name of the service.
    pub service: String,
    /// Name of the zone, or `tier N` (from 1) if it is not known.
    pub zone: String,
    /// Share of new calls that go to another backend than before, 0 to 1; `null`: not known, because the ring before
    /// was found in the kernel.
    pub moved_ratio: Option<f64>,
}

impl Summary {
    /// The summary of the way from `old` to `new`.
    pub(super) fn between(old: &Model, new: &Model) -> Summary {
        let services = Changes::between(&services(old), &services(new));
        let (before, after) = (backends(old), backends(new));
        let released = old.backends.iter().filter(|(id, _)| !new.backends.contains_key(id));
        let leave = new.backends.iter().filter(|(id, backend)| {
            !backend.keeps_dialogs() && old.backends.get(id).is_some_and(Backend::keeps_dialogs)
        });
        Summary {
            services,
            zones: Changes::between(&zones(old), &zones(new)),
            backends: Changes::between(&before, &after),
            released: released.map(|(_, b)| name_of(&b.name).to_owned()).collect(),
            rings: ring_changes(old, new),
            addresses_left: old
                .services
                .keys()
                .filter(|key| !new.services.contains_key(key))
                .map(|key| format!("{}/udp", key.socket_address()))
                .collect(),
            calls_leave: leave.map(|(_, b)| name_of(&b.name).to_owned()).collect(),
            settings: Changes::default(),
        }
    }

    /// The same, with what changes in the configuration file beside it.
    pub fn with_settings(self, old: &Settings, new: &Settings) -> Summary {
        let names = |of: &Settings, is: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
            of.iter().filter(|(key, value)| is(key, value)).map(|(key, _)| key.clone()).collect()
        };
        let settings = Changes {
            added: names(new, &|key, _| !old.contains_key(key)),
            removed: names(old, &|key, _| !new.contains_key(key)),
            changed: names(new, &|key, value| old.get(key).is_some_and(|before| before != value)),
        };
        Summary { settings, ..self }
    }

    /// What changes by name, a line for each kind of thing.
    pub fn details(&self) -> Vec<String> {
        let kinds = [
            ("services", &self.services),
            ("zones", &self.zones),
            ("backends", &self.backends),
            ("settings", &self.settings),
        ];
        let mut lines: Vec<String> = kinds
            .iter()
            .filter_map(|(what, changes)| Some(format!("{what}: {}", changes.names()?)))
            .collect();
        if !self.released.is_empty() {
            lines.push(format!("released: {}", self.released.join(" ")));
        }
        lines
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Summary::default()
    }
}

impl Changes {
    fn between<V: PartialEq>(old: &Told<V>, new: &Told<V>) -> Changes {
        let names =
            |keys: &mut dyn Iterator<Item = &(String, u16)>| keys.map(|(name, _)| name.clone()).collect();
        let by_id: BTreeMap<u16, &V> = old.iter().map(|((_, id), value)| (*id, value)).collect();
        let ids: BTreeSet<u16> = new.keys().map(|(_, id)| *id).collect();
        Changes {
            added: names(&mut new.keys().filter(|(_, id)| !by_id.contains_key(id))),
            removed: names(&mut old.keys().filter(|(_, id)| !ids.contains(id))),
            changed: names(
                &mut new
                    .iter()
                    .filter(|(key, value)| {
                        by_id.get(&key.1).is_some_and(|before| before != value || !old.contains_key(key))
                    })
                    .map(|(key, _)| key),
            ),
        }
    }

    /// Names with their signs; `None`: there are none.
    fn names(&self) -> Option<String> {
        let lists = [("+", &self.added), ("-", &self.removed), ("~", &self.changed)];
        let signed =
            lists.iter().flat_map(|(sign, names)| names.iter().map(move |name| format!("{sign}{name}")));
        Some(signed.collect::<Vec<_>>().join(" ")).filter(|names| !names.is_empty())
    }

    fn describe(&self, what: &str, parts: &mut Vec<String>) {
        for (sign, names) in [("+", &self.added), ("-", &self.removed), ("~", &self.changed)] {
            if !names.is_empty() {
                parts.push(format!("{sign}{}", counted(names.len(), what)));
            }
        }
    }
}

/// Things by name and id, with what is told of them.
type Told<V> = BTreeMap<(String, u16), V>;

/// What is told of a service: address, forwarding and number of zones of each listener, and the policy.
type ToldService = (Vec<(String, u8, u8)>, Option<Policy>);

/// Services.
fn services(model: &Model) -> Told<ToldService> {
    let mut services = Told::<ToldService>::new();
    for (index, listener) in &model.listeners {
        let tiers = model.services.get(&listener.address).map_or(0, |s| s.tiers);
        let id = (index / limits::MAX_LISTENERS) as u16;
        let address = listener.address.socket_address().to_string();
        let told = services.entry((name_of(&listener.name).to_owned(), id)).or_default();
        told.0.push((address, listener.forwarding, tiers));
        told.1 = model.policies.get(&id).copied();
    }
    services
}

/// Zones that services list: will.
fn zones(model: &Model) -> Told<u8> {
    let listed: BTreeSet<u16> = model
        .policies
        .values()
        .flat_map(|policy| policy.zones.into_iter().take(policy.tiers.into()))
        .collect();
    let zones = model.zones.iter().filter(|(id, _)| listed.contains(id));
    zones.map(|(id, zone)| ((name_of(&zone.name).to_owned(), *id), zone.will)).collect()
}

/// Backends of the configuration: will, health, weight, zone and limits.
fn backends(model: &Model) -> Told<(u8, u8, u16, u16, Limits)> {
    let told = |b: &Backend| (b.will, b.health, b.weight, b.zone, b.limits);
    let configured = model.backends.iter().filter(|(_, b)| b.will != will::REMOVED);
    configured.map(|(id, b)| ((name_of(&b.name).to_owned(), *id), told(b))).collect()
}

fn ring_changes(old: &Model, new: &Model) -> Vec<RingChange> {
    let indices: BTreeSet<u32> = old.rings.keys().chain(new.rings.keys()).copied().collect();
    let mut changes = Vec::new();
    for index in indices {
        let (before, after) = (old.rings.get(&index), new.rings.get(&index));
        let moved = match (before, after) {
            (Some(before), Some(after)) if before.slots.is_empty() || after.slots.is_empty() => None,
            (Some(before), Some(after)) => {
                Some(maglev::moved(&before.slots, &after.slots) as f64 / f64::from(limits::RING_SLOTS))
            }
            _ => Some(1.0),
        };
        let Some(ring) = after.or(before) else { continue };
        if moved != Some(0.0) {
            let tier = || format!("tier {}", index % limits::MAX_TIERS + 1);
            let zone = if ring.zone.is_empty() { tier() } else { ring.zone.clone() };
            changes.push(RingChange { service: ring.service.clone(), zone, moved_ratio: moved });
        }
    }
    changes
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        let mut parts = Vec::new();
        self.services.describe("service", &mut parts);
        self.zones.describe("zone", &mut parts);
        self.backends.describe("backend", &mut parts);
        self.settings.describe("setting", &mut parts);
        if !self.released.is_empty() {
            parts.push(format!("{} released", counted(self.released.len(), "removed backend")));
        }
        for ring in &self.rings {
            let moved = match ring.moved_ratio {
                Some(ratio) => format!("{:.1} % of new calls move", ratio * 100.0),
                None => "written again".to_owned(),
            };
            parts.push(format!("ring {} of {}: {moved}", ring.zone, ring.service));
        }
        if !self.addresses_left.is_empty() {
            parts.push(format!("{} no longer served", self.addresses_left.join(", ")));
        }
        parts.push(match self.calls_leave.as_slice() {
            [] => "0 live calls move".to_owned(),
            names => format!("live calls of {} move", names.join(", ")),
        });
        f.write_str(&parts.join(", "))
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
