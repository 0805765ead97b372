//! What the maps should hold.

use super::{
    ids::{self, Ids},
    maglev::{self, Entry},
};
use crate::config::{self, Config, Forwarding};
use lb_common::{
    limits,
    map::{
        backend::{Backend, BackendAddress, Limits, NextHop, health, padded_name, takes_dialogs, will},
        listener_index, ring_index,
        service::{Listener, Service, ServiceKey, forwarding},
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

/// What an operator wants of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Will {
    /// Takes new calls.
    #[default]
    Enabled,
    /// Keeps its calls, takes no new ones.
    Draining,
    /// Takes nothing; its calls move.
    Disabled,
}

impl Will {
    /// As the maps hold it.
    pub const fn number(self) -> u8 {
        match self {
            Will::Enabled => will::ENABLED,
            Will::Draining => will::DRAINING,
            Will::Disabled => will::DISABLED,
        }
    }
}

/// What a model depends on besides the configuration. Empty: all backends are enabled and up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Operator's will by name of the backend; enabled if absent.
    pub wills: BTreeMap<String, Will>,
    /// Names of the backends that do not answer.
    pub down: BTreeSet<String>,
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
        Model {
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
        let ids = Ids::assign(config, self)?;
        let mut model = Model::default();
        for (service, id) in config.services.iter().zip(&ids.services) {
            model.add_service(service, *id, self);
        }
        let zones = config.zone_names();
        for (backend, id) in config.backends.iter().zip(&ids.backends) {
            let zone = zones.iter().position(|z| *z == backend.zone).unwrap_or_default() as u16;
            model.backends.insert(*id, configured(backend, zone, circumstances));
        }
        model.keep_removed(self, circumstances);
        model.add_backend_addresses(config, &ids, self, circumstances);
        model.add_rings(config, &ids);
        Ok(model)
    }

    fn add_service(&mut self, service: &config::Service, id: u16, old: &Model) {
        let forwarding = number_of(service.forwarding);
        let numbers = ids::listener_numbers(id, &service.listen, old);
        for (address, listener) in service.listen.iter().zip(numbers) {
            let key = ServiceKey::udp(*address);
            let tiers = service.zones.len() as u8;
            self.services.insert(key, Service { service: id, listener, forwarding, tiers, _pad: [0; 3] });
            let value = Listener { address: key, forwarding, _pad: [0; 3], name: padded_name(&service.name) };
            self.listeners.insert(listener_index(u32::from(id), u32::from(listener)), value);
        }
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
                zone_of.get(id).is_some_and(|z| service.zones.iter().any(|n| n == z))
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
            for (tier, zone) in (0..).zip(&service.zones) {
                let slots = by_zone.entry(zone).or_insert_with(|| self.slots_of(zone, config, ids).into());
                if !slots.is_empty() {
                    let ring =
                        Ring { service: service.name.clone(), zone: zone.clone(), slots: slots.clone() };
                    self.rings.insert(ring_index(u32::from(*id), tier), ring);
                }
            }
        }
    }

    fn slots_of(&self, zone: &str, config: &Config, ids: &Ids) -> Vec<u32> {
        let takes = |id: &u16| self.backends.get(id).is_some_and(|b| takes_dialogs(b.will, b.health));
        let entries: Vec<Entry<'_>> = config
            .backends
            .iter()
            .zip(&ids.backends)
            .filter(|(b, id)| b.zone == zone && b.has_room_for_calls() && takes(id))
            .map(|(b, id)| Entry { id: *id, weight: b.weight, name: &b.name })
            .collect();
        maglev::build(&entries)
    }
}

/// The value of a backend in the configuration.
fn configured(backend: &config::Backend, zone: u16, circumstances: &Circumstances) -> Backend {
    let key = ServiceKey::udp(backend.address);
    let down = circumstances.down.contains(&backend.name);
    Backend {
        address: key.address,
        port: key.port,
        will: circumstances.wills.get(&backend.name).copied().unwrap_or_default().number(),
        health: if down { health::DOWN } else { health::UP },
        next_hop: NextHop::default(),
        weight: backend.weight,
        zone,
        limits: Limits::default(),
        name: padded_name(&backend.name),
    }
}

fn udp_key() -> ServiceKey {
    ServiceKey { transport: lb_common::map::service::UDP, ..ServiceKey::default() }
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
