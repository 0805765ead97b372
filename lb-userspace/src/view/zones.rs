//! Zones with what their backends carry together.

use super::{loads::LoadView, name_or, services::ServiceView};
use crate::{core::wishes::Limit, dataplane::clock::monotonic, dataplane::maps::Maps, failure::Failure};
use lb_common::{
    limits,
    map::{
        backend::{Backend, Limits, UNLIMITED, health, will},
        zone::{Zone, zone_will},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneView {
    /// Number in the maps.
    pub id: u16,
    /// Name.
    pub name: String,
    /// What the operator wants: enabled or disabled; removed: no longer configured, but backends of it still have calls.
    pub will: String,
    /// Its backends; 0: it is elsewhere, and only redirects lead there.
    pub backends: u64,
    /// Those of them that answer.
    pub up: u64,
    /// Those that take new calls: enabled, up, limits above 0. Full ones are among them.
    pub takers: u64,
    /// What it carries; utilisation relative to the capacity of those that take new calls.
    #[serde(flatten)]
    pub load: LoadView,
    /// Calls in progress at utilisation 1.
    pub capacity_channels: Limit,
    /// New calls per second at utilisation 1.
    pub capacity_cps: Limit,
    /// The ceiling that services prefer, 0 to 1, the lowest of those that list the zone; `null`: none does.
    pub target_utilisation: Option<f64>,
    /// Whether it is above that.
    pub hot: bool,
}

/// All zones, by number.
///
/// # Errors
/// The kernel's.
pub fn zones(maps: &Maps, services: &[ServiceView]) -> Result<Vec<ZoneView>, Failure> {
    let backends = maps.backends()?;
    let mut views = Vec::new();
    for id in 0..limits::MAX_ZONES as u16 {
        let zone = maps.zone(id)?;
        if zone.will != zone_will::ABSENT {
            views.push(view(maps, id, &zone, &backends, services)?);
        }
    }
    Ok(views)
}

fn view(
    maps: &Maps,
    id: u16,
    zone: &Zone,
    backends: &BTreeMap<u16, Backend>,
    services: &[ServiceView],
) -> Result<ZoneView, Failure> {
    let name = name_or(&zone.name, "zone", id);
    let own = || backends.values().filter(|b| b.zone == id && b.will != will::REMOVED);
    let removed = own().next().is_none() && backends.values().any(|b| b.zone == id);
    let capacity = Limits {
        capacity_channels: zone.capacity_channels,
        capacity_cps: zone.capacity_cps,
        ..Limits::default()
    };
    let mut load = LoadView::new(&maps.zone_load(id)?, &capacity, monotonic());
    if own().next().is_none() {
        // It is elsewhere, or nearly gone: what it carries in all is not known here.
        load.utilisation = None;
    }
    let lists = |service: &&ServiceView| service.zones.iter().any(|tier| tier.zone == name);
    let target = services.iter().filter(lists).map(|s| s.target_utilisation).min_by(f64::total_cmp);
    let hot = target.zip(load.utilisation).is_some_and(|(target, utilisation)| utilisation > target);
    let limit = |capacity: u32| Limit::from((capacity != UNLIMITED).then_some(capacity));
    Ok(ZoneView {
        id,
        will: if removed { "removed".to_owned() } else { will_word(zone.will).to_owned() },
        name,
        backends: own().count() as u64,
        up: own().filter(|b| b.health == health::UP).count() as u64,
        takers: if own().next().is_none() { 0 } else { zone.takers.into() },
        load,
        capacity_channels: limit(zone.capacity_channels),
        capacity_cps: limit(zone.capacity_cps),
        target_utilisation: target,
        hot,
    })
}

/// The operator's will about a zone as a word.
pub fn will_word(number: u8) -> &'static str {
    match number {
        zone_will::ABSENT => "absent",
        zone_will::ENABLED => "enabled",
        zone_will::DISABLED => "disabled",
        _ => "unknown",
    }
}
