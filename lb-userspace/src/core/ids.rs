//! Ids that stay: what stood at an id before keeps it, what is new takes the lowest one that is free.

use super::model::Model;
use crate::config::{self, Config};
use lb_common::{
    limits,
    map::{backend::name_of, service::ServiceKey},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// Ids of a configuration's services, zones and backends, in the order of the file.
pub(super) struct Ids {
    /// Service ids.
    pub(super) services: Vec<u16>,
    /// Numbers of the zones, by [`Config::zone_names`].
    pub(super) zones: Vec<u16>,
    /// Backend ids.
    pub(super) backends: Vec<u16>,
}

/// More backends or zones than ids, because removed ones still hold theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {what} id is free: {what}s that are no longer in the configuration but still have calls hold {removed} of {max}; \
     reload again when some have ended, or change fewer {what}s at once"
)]
pub struct OutOfIds {
    /// `backend` or `zone`.
    pub what: &'static str,
    /// How many hold an id and are no longer in the configuration.
    pub removed: usize,
    /// How many ids there are.
    pub max: u32,
}

impl Ids {
    /// The ids of `config` when `old` is what the maps hold.
    pub(super) fn assign(config: &Config, old: &Model) -> Result<Ids, OutOfIds> {
        Ok(Ids {
            services: services(config, old),
            zones: zones(config, old)?,
            backends: backends(config, old)?,
        })
    }
}

/// A backend is its address: a dialog that is pinned to an id must not find another machine there, and a machine that
/// only got another name keeps its dialogs.
fn backends(config: &Config, old: &Model) -> Result<Vec<u16>, OutOfIds> {
    let by_address: BTreeMap<([u8; 16], u16), u16> =
        old.backends.iter().rev().map(|(id, b)| ((b.address, b.port), *id)).collect();
    let known = |b: &config::Backend| {
        let key = ServiceKey::udp(b.address);
        by_address.get(&(key.address, key.port)).copied()
    };
    let mut free = (0..limits::MAX_BACKENDS as u16).filter(|id| !old.backends.contains_key(id));
    let ids: Option<Vec<u16>> = config.backends.iter().map(|b| known(b).or_else(|| free.next())).collect();
    ids.ok_or_else(|| {
        let kept = config.backends.iter().filter_map(known).count();
        OutOfIds {
            what: "backend",
            removed: old.backends.len().saturating_sub(kept),
            max: limits::MAX_BACKENDS,
        }
    })
}

/// A zone is its name. What it carries is counted under its number, which nobody else gets before its last backend is gone.
fn zones(config: &Config, old: &Model) -> Result<Vec<u16>, OutOfIds> {
    let by_name: BTreeMap<&str, u16> = old.zones.iter().map(|(id, z)| (name_of(&z.name), *id)).collect();
    let mut free = (0..limits::MAX_ZONES as u16).filter(|id| !old.zones.contains_key(id));
    let names = config.zone_names();
    let ids = names.iter().map(|name| by_name.get(name).copied().or_else(|| free.next())).collect();
    let ids: Option<Vec<u16>> = ids;
    ids.ok_or_else(|| {
        let kept = names.iter().filter(|name| by_name.contains_key(**name)).count();
        OutOfIds { what: "zone", removed: old.zones.len() - kept, max: limits::MAX_ZONES }
    })
}

/// A service is its name, or, when that is new, the service that had one of its addresses and is gone by name.
fn services(config: &Config, old: &Model) -> Vec<u16> {
    let by_name = service_names(old);
    let mut used: BTreeSet<u16> =
        config.services.iter().filter_map(|s| by_name.get(s.name.as_str()).copied()).collect();
    let mut ids = Vec::with_capacity(config.services.len());
    for service in &config.services {
        let id = by_name
            .get(service.name.as_str())
            .copied()
            .or_else(|| inherited(service, old).filter(|id| !used.contains(id)))
            .unwrap_or_else(|| lowest_free(&used, old));
        used.insert(id);
        ids.push(id);
    }
    ids
}

/// Names and ids of the services in a model.
fn service_names(old: &Model) -> BTreeMap<&str, u16> {
    old.listeners
        .iter()
        .rev()
        .map(|(index, listener)| (name_of(&listener.name), (index / limits::MAX_LISTENERS) as u16))
        .collect()
}

/// The id of the service that had one of this one's addresses.
fn inherited(service: &config::Service, old: &Model) -> Option<u16> {
    service.listen.iter().find_map(|address| old.services.get(&ServiceKey::udp(*address)).map(|s| s.service))
}

/// The lowest service id that nobody has; one that nobody had either, if there is one.
fn lowest_free(used: &BTreeSet<u16>, old: &Model) -> u16 {
    let before: BTreeSet<u16> = old.services.values().map(|s| s.service).collect();
    let free = || (0..limits::MAX_SERVICES as u16).filter(|id| !used.contains(id));
    free()
        .find(|id| !before.contains(id))
        .or_else(|| free().next())
        .unwrap_or(limits::MAX_SERVICES as u16 - 1)
}

/// Numbers of a service's listeners, in the order of the file: dialogs remember the number they came in at.
pub(super) fn listener_numbers(id: u16, listen: &[SocketAddr], old: &Model) -> Vec<u8> {
    let before = |address: &SocketAddr| {
        old.services.get(&ServiceKey::udp(*address)).filter(|s| s.service == id).map(|s| s.listener)
    };
    let mut used: BTreeSet<u8> = listen.iter().filter_map(before).collect();
    listen
        .iter()
        .map(|address| {
            before(address).unwrap_or_else(|| {
                let number = (0..limits::MAX_LISTENERS as u8).find(|n| !used.contains(n)).unwrap_or(0);
                used.insert(number);
                number
            })
        })
        .collect()
}
