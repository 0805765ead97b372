//! Services with their listeners and counters.

use super::{listen, loads::ratio, name_or};
use crate::{control::recent::Calls, dataplane::maps::Maps, failure::Failure};
use lb_common::{
    map::{
        counters::METHODS,
        service::forwarding,
        zone::{Policy, choice, hash_by},
    },
    sip::Method,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Methods that are counted, with their slot and name.
const NAMES: [(Method, &str); 15] = [
    (Method::Invite, "INVITE"),
    (Method::Ack, "ACK"),
    (Method::Bye, "BYE"),
    (Method::Cancel, "CANCEL"),
    (Method::Register, "REGISTER"),
    (Method::Options, "OPTIONS"),
    (Method::Prack, "PRACK"),
    (Method::Update, "UPDATE"),
    (Method::Subscribe, "SUBSCRIBE"),
    (Method::Notify, "NOTIFY"),
    (Method::Publish, "PUBLISH"),
    (Method::Info, "INFO"),
    (Method::Refer, "REFER"),
    (Method::Message, "MESSAGE"),
    (Method::Other, "other"),
];
const _: () = assert!(NAMES.len() + 1 == METHODS);

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceView {
    /// Number in the maps.
    pub id: u16,
    /// Name.
    pub name: String,
    /// Addresses callers send to.
    pub listen: Vec<String>,
    /// `nat` or `l2`.
    pub forwarding: String,
    /// `consistent`, `least-loaded` or `primary-secondary`.
    pub policy: String,
    /// A backend above this multiple of its zone's mean utilisation is passed over; `null`: none is.
    pub bound: Option<f64>,
    /// What the ring is asked with: `call-id`, for instance.
    pub hash_by: String,
    /// The preferred ceiling of utilisation, 0 to 1.
    pub target_utilisation: f64,
    /// Number of its zones.
    pub tiers: u8,
    /// Its zones in order of preference.
    pub zones: Vec<TierView>,
    /// What became of new calls that did not go to the first choice, since the maps were made.
    #[serde(flatten)]
    pub calls: Calls,
    /// The same for the last minute; `null`: no daemon was asked.
    pub recent: Option<RecentView>,
    /// Packets from callers.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Requests by method; without methods that were not seen.
    pub requests: BTreeMap<String, u64>,
    /// Responses from callers.
    pub responses: u64,
}

/// One of a service's zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TierView {
    /// Name of the zone.
    pub zone: String,
    /// How calls get there: `forward` or `redirect`.
    pub overflow: String,
}

/// What became of new calls lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecentView {
    /// How long that is.
    pub seconds: f64,
    /// What became of them.
    #[serde(flatten)]
    pub calls: Calls,
}

impl RecentView {
    /// What became of calls within a time.
    pub fn new(length: Duration, calls: Calls) -> RecentView {
        RecentView { seconds: length.as_secs_f64().round(), calls }
    }
}

/// All services, by number.
///
/// # Errors
/// The kernel's.
pub fn services(maps: &Maps) -> Result<Vec<ServiceView>, Failure> {
    let mut entries = maps.services()?;
    entries.sort_by_key(|(_, s)| (s.service, s.listener));
    let mut views: Vec<ServiceView> = Vec::new();
    for (key, service) in entries {
        let address = listen(key.socket_address());
        if let Some(last) = views.last_mut().filter(|v| v.id == service.service) {
            last.listen.push(address);
            continue;
        }
        let listener = maps.listener(service.service, service.listener)?;
        let counter = maps.service_counter(service.service)?;
        let policy = maps.policy(service.service)?;
        let count = |method: Method| counter.methods.get(method as usize).copied().unwrap_or_default();
        views.push(ServiceView {
            id: service.service,
            name: name_or(&listener.name, "service", service.service),
            listen: vec![address],
            forwarding: forwarding_word(service.forwarding).to_owned(),
            policy: policy_word(policy.choice).to_owned(),
            bound: (policy.bound > 0).then(|| ratio(policy.bound.into())),
            hash_by: hash_word(policy.hash_by).to_owned(),
            target_utilisation: ratio(policy.target.into()),
            tiers: service.tiers,
            zones: tiers(maps, &policy)?,
            calls: (&counter).into(),
            recent: None,
            packets: counter.packets,
            bytes: counter.bytes,
            requests: NAMES
                .iter()
                .filter(|(method, _)| count(*method) > 0)
                .map(|(method, name)| ((*name).to_owned(), count(*method)))
                .collect(),
            responses: counter.methods[0],
        });
    }
    Ok(views)
}

fn tiers(maps: &Maps, policy: &Policy) -> Result<Vec<TierView>, Failure> {
    let zones = policy.zones.iter().take(policy.tiers.into()).enumerate();
    zones
        .map(|(tier, id)| {
            let redirect = policy.redirects >> tier & 1 == 1;
            Ok(TierView {
                zone: name_or(&maps.zone(*id)?.name, "zone", *id),
                overflow: if redirect { "redirect" } else { "forward" }.to_owned(),
            })
        })
        .collect()
}

/// A policy as the configuration writes it.
pub fn policy_word(number: u8) -> &'static str {
    match number {
        choice::CONSISTENT => "consistent",
        choice::LEAST_LOADED => "least-loaded",
        choice::PRIMARY_SECONDARY => "primary-secondary",
        _ => "unknown",
    }
}

/// What the ring is asked with, as the configuration writes it.
pub fn hash_word(number: u8) -> &'static str {
    match number {
        hash_by::CALL_ID => "call-id",
        hash_by::FROM_USER => "from-user",
        hash_by::TO_USER => "to-user",
        hash_by::REQUEST_USER => "request-user",
        hash_by::SOURCE => "source",
        _ => "unknown",
    }
}

/// A way of forwarding as the configuration writes it.
fn forwarding_word(number: u8) -> &'static str {
    match number {
        forwarding::NAT => "nat",
        forwarding::L2 => "l2",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_one_slot() {
        let mut slots: Vec<usize> = NAMES.iter().map(|(m, _)| *m as usize).collect();
        slots.sort_unstable();
        assert_eq!(slots, (1..METHODS).collect::<Vec<_>>());
    }
}
