//! The difference between two models, as map writes in a safe order.

use super::{
    model::{Model, Ring},
    summary::Summary,
};
use lb_common::map::{
    backend::{Backend, BackendAddress, takes_dialogs},
    service::{Listener, Service, ServiceKey},
    zone::{Policy, Zone},
};
use std::{collections::BTreeMap, sync::Arc};

/// One write to a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// BACKENDS: set all fields but the next hop, which stays if the address does.
    PutBackend(u16, Backend),
    /// LISTENERS.
    PutListener(u32, Listener),
    /// BACKEND_ADDRESSES.
    PutBackendAddress(ServiceKey, BackendAddress),
    /// ZONES.
    PutZone(u16, Zone),
    /// ZONE_MEMBERS: these backends and no others.
    PutMembers(u16, Vec<u16>),
    /// POLICIES.
    PutPolicy(u16, Policy),
    /// RINGS: a new inner map with these slots.
    PutRing(u32, Arc<[u32]>),
    /// SERVICES.
    PutService(ServiceKey, Service),
    /// SERVICES: packets to this address are no longer ours.
    RemoveService(ServiceKey),
    /// BACKEND_ADDRESSES.
    RemoveBackendAddress(ServiceKey),
    /// RINGS.
    RemoveRing(u32),
    /// POLICIES: all zeros.
    ClearPolicy(u16),
    /// ZONES and ZONE_MEMBERS: all zeros.
    ClearZone(u16),
    /// LISTENERS: all zeros.
    ClearListener(u32),
    /// BACKENDS: all zeros, next hop included.
    ClearBackend(u16),
}

/// How to get from one model to another.
///
/// After every single write the maps are usable: whatever is referred to is there. Zones, backends, listeners
/// and backend addresses come before the rings and members of zones that name backends, all of them before policies, and
/// these before the services that lead packets to them. Then services and rings go, backends that shall take no new calls
/// are marked, as no ring and no zone names them any more, and what nothing refers to is cleared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes, in order.
    pub writes: Vec<Write>,
    /// What they mean.
    pub summary: Summary,
}

impl Plan {
    /// The writes that turn maps with the contents of `old` into maps with those of `new`.
    ///
    /// Rings whose slots are unknown are written again.
    pub fn between(old: &Model, new: &Model) -> Plan {
        let takes = |b: &Backend| takes_dialogs(b.will, b.health);
        let (opening, closing): (Vec<_>, Vec<_>) =
            changed(&old.backends, &new.backends).partition(|(_, backend)| takes(backend));
        let put_backend = |(id, backend): (u16, Backend)| Write::PutBackend(id, backend);
        let rings = new.rings.iter().filter(|(index, ring)| !same_slots(old.rings.get(index), ring));

        let mut writes: Vec<Write> =
            changed(&old.zones, &new.zones).map(|(id, zone)| Write::PutZone(id, zone)).collect();
        // Backends that the maps do not know yet come first even if they take nothing: addresses will name them.
        let (unknown, closing): (Vec<_>, Vec<_>) =
            closing.into_iter().partition(|(id, _)| !old.backends.contains_key(id));
        writes.extend(opening.into_iter().chain(unknown).map(put_backend));
        writes.extend(changed(&old.listeners, &new.listeners).map(|(i, l)| Write::PutListener(i, l)));
        writes.extend(
            changed(&old.backend_addresses, &new.backend_addresses)
                .map(|(key, value)| Write::PutBackendAddress(key, value)),
        );
        let members = new.members.iter().filter(|(id, ids)| old.members.get(id) != Some(ids));
        writes.extend(members.map(|(id, ids)| Write::PutMembers(*id, ids.clone())));
        let emptied = gone(&old.members, &new.members).filter(|id| old.members.get(id) != Some(&Vec::new()));
        writes.extend(emptied.map(|id| Write::PutMembers(id, Vec::new())));
        writes.extend(changed(&old.policies, &new.policies).map(|(id, p)| Write::PutPolicy(id, p)));
        writes.extend(rings.map(|(index, ring)| Write::PutRing(*index, ring.slots.clone())));
        writes.extend(changed(&old.services, &new.services).map(|(key, s)| Write::PutService(key, s)));
        writes.extend(gone(&old.services, &new.services).map(Write::RemoveService));
        writes.extend(gone(&old.rings, &new.rings).map(Write::RemoveRing));
        writes.extend(gone(&old.policies, &new.policies).map(Write::ClearPolicy));
        writes.extend(closing.into_iter().map(put_backend));
        writes.extend(gone(&old.backend_addresses, &new.backend_addresses).map(Write::RemoveBackendAddress));
        writes.extend(gone(&old.listeners, &new.listeners).map(Write::ClearListener));
        writes.extend(gone(&old.backends, &new.backends).map(Write::ClearBackend));
        writes.extend(gone(&old.zones, &new.zones).map(Write::ClearZone));
        Plan { writes, summary: Summary::between(old, new) }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Whether a ring stands in the maps as it should.
fn same_slots(old: Option<&Ring>, new: &Ring) -> bool {
    old.is_some_and(|old| old.slots == new.slots)
}

/// Entries of `new` that `old` lacks or has with another value.
fn changed<'a, K: Ord + Copy, V: PartialEq + Copy>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, V)> + 'a {
    new.iter().filter(|(key, value)| old.get(key) != Some(value)).map(|(key, value)| (*key, *value))
}

/// Keys of `old` that `new` lacks.
fn gone<'a, K: Ord + Copy, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = K> + 'a {
    old.keys().filter(|key| !new.contains_key(key)).copied()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
