//! Backends with their counters and next hops.

use super::{
    health_word,
    loads::{LoadView, full_because},
    mac, name_or, will_word,
};
use crate::{
    core::wishes::Limit,
    dataplane::{clock::monotonic, maps::Maps},
    failure::Failure,
};
use lb_common::map::{
    backend::{Backend, UNLIMITED, name_of, will},
    service::ServiceKey,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendView {
    /// Number in the maps.
    pub id: u16,
    /// Name.
    pub name: String,
    /// Zone; `null`: it is not in the maps, which happens for a moment while a configuration is taken.
    pub zone: Option<String>,
    /// Address and port.
    pub address: String,
    /// What the operator wants: enabled, draining, disabled; removed: no longer configured, but it still has dialogs.
    pub will: String,
    /// What was observed: up, draining or down.
    pub health: String,
    /// Why no new call fits: `max_channels`, `max_cps`, or that it refused calls itself; `null`: there is room.
    pub full: Option<String>,
    /// What it carries.
    #[serde(flatten)]
    pub load: LoadView,
    /// Most calls in progress.
    pub max_channels: Limit,
    /// Most new calls per second.
    pub max_cps: Limit,
    /// Calls that may come at once beyond that pace; 0 too where there is none.
    pub cps_burst: u32,
    /// New calls it was passed over for because of `max_channels`.
    pub over_channels: u64,
    /// New calls it was passed over for because of `max_cps`.
    pub over_cps: u64,
    /// Calls that it refused itself with a 503 or redirected with a 3xx; only in `nat`.
    pub refusals: u64,
    /// Share of new calls relative to the others of its zone.
    pub weight: u16,
    /// Where its packets go; `null`: not resolved.
    pub next_hop: Option<NextHopView>,
    /// Dialogs pinned to it; `null`: not counted.
    pub dialogs: Option<u64>,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Packets that came from it and were sent on; only in `nat`.
    pub reply_packets: u64,
    /// Bytes of those frames.
    pub reply_bytes: u64,
    /// Calls opened on it.
    pub calls: u64,
    /// Those of them that could not be pinned.
    pub unpinned: u64,
    /// Signs that it answered new calls: in `nat` its responses to those that had none, in `l2` the ACKs of final ones. A call
    /// may have several.
    pub answered: u64,
    /// Other requests outside a dialog.
    pub transactions: u64,
}

impl BackendView {
    /// Whether a limit of 0 says that no new calls may come.
    pub fn is_closed(&self) -> bool {
        [self.max_channels, self.max_cps].contains(&Limit::Calls(0))
    }
}

/// Where a backend's packets go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextHopView {
    /// Interface they leave by.
    pub interface: String,
    /// MAC address they are sent to.
    pub mac: String,
    /// Largest packet, in bytes.
    pub mtu: u16,
}

/// Names of interfaces by number; a number that is not known stands for itself.
pub type InterfaceNames = BTreeMap<u32, String>;

/// All backends, by zone and number.
///
/// # Errors
/// The kernel's.
pub fn backends(maps: &Maps, interfaces: &InterfaceNames) -> Result<Vec<BackendView>, Failure> {
    let mut views = Vec::new();
    for (id, backend) in maps.backends()? {
        views.push(view(maps, id, &backend, interfaces)?);
    }
    views.sort_by(|a, b| (&a.zone, a.id).cmp(&(&b.zone, b.id)));
    Ok(views)
}

/// The backend of a name.
///
/// # Errors
/// When there is none, or the kernel's.
pub fn backend(maps: &Maps, name: &str, interfaces: &InterfaceNames) -> Result<BackendView, Failure> {
    let found = maps.backends()?.into_iter().filter(|(_, b)| name_of(&b.name) == name);
    // One that was removed may have a successor of the same name.
    let Some((id, backend)) = found.min_by_key(|(_, b)| b.will == will::REMOVED) else {
        return Err(Failure::bad("backend_not_found", format!("there is no backend {name:?}"))
            .remedy("`sipsteer backend list` lists all backends"));
    };
    view(maps, id, &backend, interfaces)
}

fn view(
    maps: &Maps,
    id: u16,
    backend: &Backend,
    interfaces: &InterfaceNames,
) -> Result<BackendView, Failure> {
    let name = name_or(&backend.name, "backend", id);
    let counter = maps.backend_counter(id)?;
    let (load, limits, now) = (maps.backend_load(id)?, &backend.limits, monotonic());
    let limit = |number: u32| Limit::from((number != UNLIMITED).then_some(number));
    let address =
        ServiceKey { address: backend.address, port: backend.port, ..ServiceKey::default() }.socket_address();
    let hop = backend.next_hop;
    let next_hop = (hop.ifindex != 0).then(|| NextHopView {
        interface: interfaces
            .get(&hop.ifindex)
            .cloned()
            .unwrap_or_else(|| format!("interface {}", hop.ifindex)),
        mac: mac(hop.destination_mac),
        mtu: hop.mtu,
    });
    Ok(BackendView {
        id,
        zone: Some(name_of(&maps.zone(backend.zone)?.name).to_owned()).filter(|name| !name.is_empty()),
        name,
        address: address.to_string(),
        will: will_word(backend.will).to_owned(),
        health: health_word(backend.health).to_owned(),
        full: full_because(&load, limits, now).map(str::to_owned),
        load: LoadView::new(&load, limits, now),
        max_channels: limit(limits.max_channels),
        max_cps: limit(limits.max_cps),
        cps_burst: limits.burst,
        over_channels: load.over_channels,
        over_cps: load.over_cps,
        refusals: load.refusals,
        weight: backend.weight,
        next_hop,
        dialogs: None,
        packets: counter.packets,
        bytes: counter.bytes,
        reply_packets: counter.reply_packets,
        reply_bytes: counter.reply_bytes,
        calls: counter.calls,
        unpinned: counter.unpinned,
        answered: counter.answered,
        transactions: counter.transactions,
    })
}

/// Counts the dialogs of every backend: reads the whole table, a quarter of a second for a million.
///
/// # Errors
/// The kernel's.
pub fn count_dialogs(maps: &Maps, views: &mut [BackendView]) -> Result<(), Failure> {
    let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
    maps.for_each_dialog(|dialog| *counts.entry(dialog.state.backend).or_default() += 1)?;
    for view in views {
        view.dialogs = Some(counts.get(&view.id).copied().unwrap_or_default());
    }
    Ok(())
}
