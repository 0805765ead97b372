//! What the maps should hold.

use super::{
    capacity,
    ids::{self, Ids},
    maglev::{self, Entry},
    standing::{Health, Standing},
    wishes::{Will, Wishes},
};
use crate::config::{self, Config, Forwarding};
use lb_common::{
    limits,
    map::{
        backend::{Backend, BackendAddress, NextHop, health, padded_name, will},
        listener_index, ring_index,
        service::{Listener, Service, ServiceKey, forwarding},
        zone::{Policy, Zone, zone_will},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use super::ids::OutOfIds;

/// Contents of the maps that follow from the configuration. Next hops are the daemon's business and always zero here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// SERVICES.
    pub services: BTreeMap<ServiceKey, Service>,
    /// LISTENERS, without those of port 0.
    pub listeners: BTreeMap<u32, Listener>,
    /// BACKENDS, without those of will `ABSENT`.
    pub backends: BTreeMap<u16, Backend>,
    /// BACKEND_ADDRESSES: backends of `nat` services.
    pub backend_addresses: BTreeMap<ServiceKey, BackendAddress>,
    /// ZONES, without those of will `ABSENT`.
    pub zones: BTreeMap<u16, Zone>,
    /// ZONE_MEMBERS of each of these zones.
    pub members: BTreeMap<u16, Vec<u16>>,
    /// POLICIES, without those of no tiers.
    pub policies: BTreeMap<u16, Policy>,
    /// RINGS by [`ring_index`]. A tier whose backends take no new calls has none.
    pub rings: BTreeMap<u32, Ring>,
}

/// One service's ring of one tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Name of the service.
    pub service: String,
    /// Name of the zone; empty when the ring was found in the kernel.
    pub zone: String,
    /// Backend ids; empty when the ring was found in the kernel, whose rings cannot be read back without CAP_SYS_ADMIN.
    pub slots: Arc<[u32]>,
}

/// What a model depends on besides the configuration. Empty: all backends are enabled and up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What operators want beyond the configuration.
    pub wishes: Wishes,
    /// What was observed of backends, by name; those that are absent are up and may carry what the configuration says.
    pub standings: BTreeMap<String, Standing>,
    /// Pairs of backend id and service id that still have dialogs; `None`: not known, so all that may have are kept.
    ///
    /// It must come from a look at DIALOGS that began after the previous model was applied, and the configuration must
    /// be that of the previous model: dialogs that were opened since are not in it.
    pub busy: Option<BTreeSet<(u16, u16)>>,
}

/// What a daemon finds in pinned maps.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Entries of SERVICES.
    pub services: Vec<(ServiceKey, Service)>,
    /// Entries of LISTENERS.
    pub listeners: Vec<(u32, Listener)>,
    /// Entries of BACKENDS.
    pub backends: Vec<(u16, Backend)>,
    /// Entries of BACKEND_ADDRESSES.
    pub backend_addresses: Vec<(ServiceKey, BackendAddress)>,
    /// Entries of ZONES, and of ZONE_MEMBERS the ids that are used.
    pub zones: Vec<(u16, Zone, Vec<u16>)>,
    /// Entries of POLICIES.
    pub policies: Vec<(u16, Policy)>,
    /// Indices in RINGS that hold a ring.
    pub rings: Vec<u32>,
}

impl Model {
    /// The model that pinned maps are the result of. Unused array entries are left out.
    pub fn adopted(found: Found) -> Model {
        let listeners: BTreeMap<u32, Listener> =
            found.listeners.into_iter().filter(|(_, l)| l.address.port != 0).collect();
        let service_name = |ring: u32| {
            let first = listener_index(ring / limits::MAX_TIERS, 0);
            let mut own = listeners.range(first..first + limits::MAX_LISTENERS);
            own.next().map(|(_, l)| lb_common::map::backend::name_of(&l.name).to_owned()).unwrap_or_default()
        };
        let ring =
            |index: u32| Ring { service: service_name(index), zone: String::new(), slots: Arc::default() };
        let zones = || found.zones.iter().filter(|(_, zone, _)| zone.will != zone_will::ABSENT);
        Model {
            zones: zones().map(|(id, zone, _)| (*id, *zone)).collect(),
            members: zones().map(|(id, _, members)| (*id, members.clone())).collect(),
            policies: found.policies.into_iter().filter(|(_, p)| p.tiers > 0).collect(),
            services: found.services.into_iter().collect(),
            rings: found.rings.into_iter().map(|index| (index, ring(index))).collect(),
            backends: found
                .backends
                .into_iter()
                .filter(|(_, b)| b.will != will::ABSENT)
                .map(|(id, b)| (id, Backend { next_hop: NextHop::default(), ..b }))
                .collect(),
            backend_addresses: found.backend_addresses.into_iter().collect(),
            listeners,
        }
    }

    /// The model of a configuration from nothing.
    pub fn from_config(config: &Config, circumstances: &Circumstances) -> Result<Model, OutOfIds> {
        Model::default().next(config, circumstances)
    }

    /// The model of a configuration when `self` is what the maps hold: everything keeps its id, and a backend that is
    /// gone from the configuration stays, as [`will::REMOVED`], until it has no dialogs.
    pub fn next(&self, config: &Config, circumstances: &Circumstances) -> Result<Model, OutOfIds> {
        let config = &circumstances.wishes.applied(config);
        let ids = Ids::assign(config, self)?;
        let numbers: BTreeMap<&str, u16> =
            config.zone_names().into_iter().zip(ids.zones.iter().copied()).collect();
        let number = |zone: &str| numbers.get(zone).copied().unwrap_or_default();
        let mut model = Model::default();
        for (service, id) in config.services.iter().zip(&ids.services) {
            model.add_service(service, *id, self);
            model.policies.insert(*id, capacity::policy(service, number));
        }
        for (backend, id) in config.backends.iter().zip(&ids.backends) {
            model.backends.insert(*id, configured(backend, number(&backend.zone), circumstances));
        }
        model.keep_removed(self, circumstances);
        for (name, id) in &numbers {
            model.add_zone(name, *id, config, &ids, &circumstances.wishes);
        }
        model.keep_zones(self);
        model.add_backend_addresses(config, &ids, self, circumstances);
        model.add_rings(config, &ids);
        Ok(model)
    }

    fn add_service(&mut self, service: &config::Service, id: u16, old: &Model) {
        let forwarding = number_of(service.forwarding);
        let numbers = ids::listener_numbers(id, &service.listen, old);
        for (address, listener) in service.listen.iter().zip(numbers) {
            let key = ServiceKey::udp(*address);
            let tiers = service.tiers.len() as u8;
            self.services.insert(key, Service { service: id, listener, forwarding, tiers, _pad: [0; 3] });
            let value = Listener { address: key, forwarding, _pad: [0; 3], name: padded_name(&service.name) };
            self.listeners.insert(listener_index(u32::from(id), u32::from(listener)), value);
        }
    }

    fn add_zone(&mut self, name: &str, id: u16, config: &Config, ids: &Ids, wishes: &Wishes) {
        let own = || config.backends.iter().zip(&ids.backends).filter(|(b, _)| b.zone == name);
        let takers: Vec<u16> = own().map(|(_, id)| *id).filter(|id| self.takes_calls(*id)).collect();
        let address = config.zones.iter().any(|z| z.name == name && z.address.is_some());
        let elsewhere = address && own().next().is_none();
        let will =
            if wishes.disabled_zones.contains(name) { zone_will::DISABLED } else { zone_will::ENABLED };
        let zone = Zone { will, name: padded_name(name), ..Zone::default() };
        let zone = capacity::zone(takers.iter().filter_map(|id| self.backends.get(id)), elsewhere, zone);
        self.zones.insert(id, zone);
        self.members.insert(id, takers);
    }

    /// Removed backends are still counted in their zones.
    fn keep_zones(&mut self, old: &Model) {
        let named: BTreeSet<u16> = self.backends.values().map(|b| b.zone).collect();
        for (id, zone) in old.zones.iter().filter(|(id, _)| named.contains(id)) {
            self.members.entry(*id).or_default();
            self.zones.entry(*id).or_insert(Zone {
                will: zone_will::DISABLED,
                name: zone.name,
                ..Zone::default()
            });
        }
    }

    fn takes_calls(&self, id: u16) -> bool {
        self.backends.get(&id).is_some_and(capacity::takes_calls)
    }

    fn keep_removed(&mut self, old: &Model, circumstances: &Circumstances) {
        for (id, backend) in &old.backends {
            let may_have_dialogs = backend.will != will::REMOVED
                || circumstances.busy.as_ref().is_none_or(|busy| busy.iter().any(|(b, _)| b == id));
            if may_have_dialogs && !self.backends.contains_key(id) {
                self.backends.insert(*id, Backend { will: will::REMOVED, ..*backend });
            }
        }
    }

    /// Replies of a backend are looked up in the services that list its zone and in those that did: its dialogs there
    /// outlive the configuration that opened them.
    fn add_backend_addresses(
        &mut self,
        config: &Config,
        ids: &Ids,
        old: &Model,
        circumstances: &Circumstances,
    ) {
        let nat: BTreeSet<u16> =
            self.services.values().filter(|s| s.forwarding == forwarding::NAT).map(|s| s.service).collect();
        let zone_of: BTreeMap<u16, &str> =
            ids.backends.iter().copied().zip(config.backends.iter().map(|b| b.zone.as_str())).collect();
        for (id, backend) in &self.backends {
            let key = ServiceKey { address: backend.address, port: backend.port, ..udp_key() };
            let lists = |service: &&config::Service| {
                zone_of.get(id).is_some_and(|z| service.zones().any(|n| n == *z))
            };
            let listed =
                config.services.iter().zip(&ids.services).filter(|(s, _)| lists(s)).map(|(_, id)| *id);
            let busy = |service: &u16| {
                circumstances.busy.as_ref().is_none_or(|busy| busy.contains(&(*id, *service)))
            };
            let before = old.backend_addresses.get(&key).filter(|a| a.backend == *id);
            let lingering =
                before.into_iter().flat_map(|a| a.services.into_iter().take(a.count.into())).filter(busy);
            let mut value = BackendAddress { backend: *id, ..BackendAddress::default() };
            for service in listed.chain(lingering).filter(|s| nat.contains(s)) {
                let count = usize::from(value.count);
                if count < value.services.len() && !value.services[..count].contains(&service) {
                    value.services[count] = service;
                    value.count += 1;
                }
            }
            if value.count > 0 {
                self.backend_addresses.insert(key, value);
            }
        }
    }

    fn add_rings(&mut self, config: &Config, ids: &Ids) {
        let mut by_zone: BTreeMap<&str, Arc<[u32]>> = BTreeMap::new();
        for (service, id) in config.services.iter().zip(&ids.services) {
            for (tier, zone) in (0..).zip(service.zones()) {
                let slots = by_zone.entry(zone).or_insert_with(|| self.slots_of(zone, config, ids).into());
                if !slots.is_empty() {
                    let (service, zone) = (service.name.clone(), zone.to_owned());
                    let ring = Ring { service, zone, slots: slots.clone() };
                    self.rings.insert(ring_index(u32::from(*id), tier), ring);
                }
            }
        }
    }

    fn slots_of(&self, zone: &str, config: &Config, ids: &Ids) -> Vec<u32> {
        let entries: Vec<Entry<'_>> = config
            .backends
            .iter()
            .zip(&ids.backends)
            .filter(|(b, id)| b.zone == zone && self.takes_calls(**id))
            .map(|(b, id)| Entry {
                id: *id,
                weight: self.backends.get(id).map_or(b.weight, |b| b.weight),
                name: &b.name,
            })
            .collect();
        maglev::build(&entries)
    }
}

/// The value of a backend in the configuration.
fn configured(backend: &config::Backend, zone: u16, circumstances: &Circumstances) -> Backend {
    let key = ServiceKey::udp(backend.address);
    let standing = circumstances.standings.get(&backend.name).copied().unwrap_or_default();
    Backend {
        address: key.address,
        port: key.port,
        will: number_of_will(circumstances.wishes.of(&backend.name).will),
        health: number_of_health(standing.seen()),
        next_hop: NextHop::default(),
        weight: standing.capacity.map_or(backend.weight, |c| c.weight),
        zone,
        limits: capacity::limits(backend, standing.capacity),
        name: padded_name(&backend.name),
    }
}

fn udp_key() -> ServiceKey {
    ServiceKey { transport: lb_common::map::service::UDP, ..ServiceKey::default() }
}

/// A will as the maps hold it.
const fn number_of_will(will: Will) -> u8 {
    match will {
        Will::Enabled => will::ENABLED,
        Will::Draining => will::DRAINING,
        Will::Disabled => will::DISABLED,
    }
}

/// A health as the maps hold it.
const fn number_of_health(health: Health) -> u8 {
    match health {
        Health::Up => health::UP,
        Health::Draining => health::DRAINING,
        Health::Down => health::DOWN,
    }
}

/// A way of forwarding as the maps hold it.
const fn number_of(forwarding: Forwarding) -> u8 {
    match forwarding {
        Forwarding::Nat => forwarding::NAT,
        Forwarding::L2 => forwarding::L2,
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
