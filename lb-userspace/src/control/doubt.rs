//! Which probes are believed, as part of the daemon: all backends of a service are looked at together, and their health goes on
//! to the standings.

use super::daemon::Daemon;
use crate::{
    config::{Forwarding, Service},
    core::{
        health::doubt::{Belief, Calls, Requests, weigh},
        standings::{Aspect, Observation},
        wishes::Will,
    },
    dataplane::clock::steady as now,
};
use lb_common::{
    limits::MAX_LISTENERS,
    map::{backend::name_of, counters::ServiceCounter},
    sip::Method,
};
use std::{collections::BTreeMap, time::Duration};

impl Daemon {
    /// Weighs probes against each other and against calls, and hands on how every backend is.
    pub(super) fn believe(&mut self) {
        let now = now();
        let mut beliefs: BTreeMap<String, Belief> = BTreeMap::new();
        let mut doubts = BTreeMap::new();
        for service in &self.config.services {
            let (weighed, doubt) = self.weigh_service(service, now);
            for (name, belief) in weighed {
                let all = beliefs.entry(name).or_default();
                *all = belief.max(*all);
            }
            doubts.extend(doubt.map(|doubt| (service.name.clone(), doubt)));
        }
        self.tell_doubts(&doubts);
        self.wards.doubts = doubts;
        let mut observations = Vec::new();
        for (name, ward) in &mut self.wards.by_name {
            ward.believe(beliefs.get(name).copied().unwrap_or_default());
            if self.standings.of(name).health != ward.health() {
                let now = Aspect::Health(ward.health());
                observations.push(Observation { backend: name.clone(), now, reason: ward.reason() });
            }
        }
        self.observe(observations);
    }

    /// What is believed of the backends of a service, by name, and what is to be said if it is not the probes.
    fn weigh_service(&self, service: &Service, now: Duration) -> (Vec<(String, Belief)>, Option<String>) {
        let here = |zone: &str| service.zones().any(|z| z == zone);
        let wanted = |name: &str| self.wishes.of(name).will != Will::Disabled;
        let backends = self.config.backends.iter().filter(|b| here(&b.zone) && wanted(&b.name));
        let wards: Vec<_> = backends.filter_map(|b| self.wards.by_name.get_key_value(&b.name)).collect();
        let members: Vec<_> = wards.iter().map(|(_, ward)| ward.member(now)).collect();
        let acks = self.wards.acks.get(&service.name).map_or(Calls::Unknown, |acks| acks.say(now));
        let threshold = f64::from(self.config.control.panic_threshold) / 1024.0;
        let beliefs = weigh(&members, acks, threshold);
        let fallen = |((_, ward), belief): &(&(&String, &super::health::Ward), &Belief)| {
            **belief == Belief::Lives && ward.has_fallen_silent()
        };
        let doubt = wards.iter().zip(&beliefs).any(|pair| fallen(&pair)).then(|| {
            let quiet = members.iter().filter(|m| m.quiet_since.is_some()).count();
            let answered = acks == Calls::Answered || members.iter().any(|m| m.calls == Calls::Answered);
            let but = match answered {
                true => "but calls are answered",
                false => "all at once, and no call has shown yet that they are dead",
            };
            format!(
                "{quiet} of {} backends answer no probes, {but}: probes are not believed, new calls go on; look for what keeps \
                 probes or their answers away, a firewall for instance",
                members.len()
            )
        });
        (wards.into_iter().map(|(name, _)| name.clone()).zip(beliefs).collect(), doubt)
    }

    /// Says once what begins and what is over.
    fn tell_doubts(&self, doubts: &BTreeMap<String, String>) {
        for (service, doubt) in doubts.iter().filter(|(name, _)| !self.wards.doubts.contains_key(*name)) {
            tracing::error!("service {service}: {doubt}");
        }
        for service in self.wards.doubts.keys().filter(|name| !doubts.contains_key(*name)) {
            tracing::info!("service {service}: probes are believed again");
        }
    }

    /// Once a second: counts the ACKs of services whose answers pass elsewhere.
    pub(super) fn look_at_acks(&mut self) {
        let now = now();
        let direct = self.config.services.iter().filter(|s| s.forwarding != Forwarding::Nat);
        let names: Vec<String> = direct.map(|s| s.name.clone()).collect();
        let ids: BTreeMap<&str, u32> =
            self.model.listeners.iter().map(|(index, l)| (name_of(&l.name), index / MAX_LISTENERS)).collect();
        self.wards.acks.retain(|name, _| names.contains(name));
        for name in names {
            let Some(id) = ids.get(name.as_str()).and_then(|id| u16::try_from(*id).ok()) else { continue };
            match self.tables.maps.service_counter(id) {
                Ok(counter) => self.wards.acks.entry(name).or_default().look(requests(&counter), now),
                Err(failure) => tracing::error!("{failure}"),
            }
        }
    }
}

/// What the counters of a service say of requests.
fn requests(counter: &ServiceCounter) -> Requests {
    let of = |method: Method| counter.methods.get(method as usize).copied().unwrap_or_default();
    let ServiceCounter { redirected, refused_full, refused_down, .. } = *counter;
    Requests {
        invites: of(Method::Invite),
        acks: of(Method::Ack),
        refused: redirected + refused_full + refused_down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_their_method_and_by_who_answered() {
        let mut counter =
            ServiceCounter { redirected: 1, refused_full: 2, refused_down: 4, ..ServiceCounter::default() };
        counter.methods[Method::Invite as usize] = 70;
        counter.methods[Method::Ack as usize] = 60;
        assert_eq!(requests(&counter), Requests { invites: 70, acks: 60, refused: 7 });
    }
}
