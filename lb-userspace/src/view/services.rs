//! Services with their listeners and counters.

use super::{listen, name_or};
use crate::{dataplane::maps::Maps, failure::Failure};
use lb_common::{
    map::{counters::METHODS, service::forwarding},
    sip::Method,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Number in the maps.
    pub id: u16,
    /// Name.
    pub name: String,
    /// Addresses callers send to.
    pub listen: Vec<String>,
    /// `nat` or `l2`.
    pub forwarding: String,
    /// Number of its zones.
    pub tiers: u8,
    /// Packets from callers.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Requests by method; without methods that were not seen.
    pub requests: BTreeMap<String, u64>,
    /// Responses from callers.
    pub responses: u64,
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
        let count = |method: Method| counter.methods.get(method as usize).copied().unwrap_or_default();
        views.push(ServiceView {
            id: service.service,
            name: name_or(&listener.name, "service", service.service),
            listen: vec![address],
            forwarding: forwarding_word(service.forwarding).to_owned(),
            tiers: service.tiers,
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
