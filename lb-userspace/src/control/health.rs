//! The health of backends as part of the daemon: probes and traffic are heard here, and what they mean goes on to the
//! standings.

use super::daemon::Daemon;
use crate::{
    config::{Algorithm, Config, Forwarding},
    core::{
        health::{
            Outcome, Patient,
            doubt::{self, Acks, Belief, Member},
            witness::{Hearing, Traffic, Voices},
        },
        standing::Health,
        standings::{Aspect, Observation},
    },
    dataplane::clock::steady as now,
    probe::{Heard, Probe, Room, Target},
    view::health::HealthView,
};
use lb_common::map::{
    backend::{name_of, will},
    counters::BackendCounter,
};
use rustix::process::{Resource, getrlimit};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::mpsc;

/// Outcomes that wait to be heard: some seconds of a thousand backends.
const EARSHOT: usize = 4096;

/// Outcomes of all probes.
pub(super) type Ears = mpsc::Receiver<Heard>;

/// All backends that are probed, by name.
#[derive(Debug)]
pub(super) struct Wards {
    ears: mpsc::Sender<Heard>,
    room: Room,
    pub(super) by_name: BTreeMap<String, Ward>,
    /// What the ACKs of services say whose answers pass elsewhere, by name.
    pub(super) acks: BTreeMap<String, Acks>,
    /// Services whose probes are not believed, and why.
    pub(super) doubts: BTreeMap<String, String>,
}

/// A backend that is probed.
#[derive(Debug)]
pub(super) struct Ward {
    probe: Probe,
    patient: Patient,
    last: Option<Heard>,
    last_rtt: Option<Duration>,
    sent: u64,
    lost: u64,
    /// Packets of its calls at the latest look, and when there were more than before.
    replies: Option<u64>,
    replied: Option<Duration>,
    /// What is believed of it.
    belief: Belief,
}

impl Wards {
    /// None yet, and where the outcomes of their probes will come.
    pub(super) fn new() -> (Wards, Ears) {
        let (ears, heard) = mpsc::channel(EARSHOT);
        let room = Room::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        let (acks, doubts) = (BTreeMap::new(), BTreeMap::new());
        (Wards { ears, room, by_name: BTreeMap::new(), acks, doubts }, heard)
    }
}

impl Ward {
    fn new(target: Target, health: Health, room: Room, ears: mpsc::Sender<Heard>) -> Ward {
        let patient = Patient::new(target.probing.clone(), health, now());
        let probe = Probe::start(target, room, ears);
        Ward {
            probe,
            patient,
            last: None,
            last_rtt: None,
            sent: 0,
            lost: 0,
            replies: None,
            replied: None,
            belief: Belief::Probes,
        }
    }

    /// How it is, as far as its probes are believed.
    pub(super) fn health(&self) -> Health {
        match self.belief {
            Belief::Lives => self.patient.health_but_for_silence(),
            Belief::Probes | Belief::Confirmed => self.patient.health(),
        }
    }

    /// Why.
    pub(super) fn reason(&self) -> String {
        match self.belief {
            Belief::Lives if self.has_fallen_silent() => {
                format!("{}, which is not believed", self.patient.reason())
            }
            _ => self.patient.reason().to_owned(),
        }
    }

    /// Whether it would be otherwise if its probes had not been silent.
    pub(super) fn has_fallen_silent(&self) -> bool {
        self.patient.health() != self.patient.health_but_for_silence()
    }

    /// Takes what is believed of it now.
    pub(super) fn believe(&mut self, belief: Belief) {
        self.belief = belief;
        if belief == Belief::Lives && self.patient.recovers() {
            self.patient.pardon();
        }
    }

    /// What of it matters to others of its service.
    pub(super) fn member(&self, now: Duration) -> Member {
        Member {
            quiet_since: self.patient.quiet_since(),
            recovers: self.patient.recovers(),
            refused: self.patient.is_refused(),
            detection: self.patient.probing().detection(),
            calls: doubt::say(self.replied, self.patient.is_suspected(), now),
            belief: self.belief,
        }
    }

    /// Counts a probe, or takes back that it was lost.
    fn count(&mut self, heard: &Heard) {
        match heard.outcome {
            Outcome::Answered { rtt, .. } | Outcome::Connected { rtt } => {
                // Then it was told of as lost before.
                if rtt > heard.target.probing.timeout {
                    self.lost = self.lost.saturating_sub(1);
                } else {
                    self.sent += 1;
                }
                self.last_rtt = Some(rtt);
            }
            Outcome::TimedOut | Outcome::Refused => (self.sent, self.lost) = (self.sent + 1, self.lost + 1),
            Outcome::NotAsked(_) => {}
        }
    }

    fn view(&self, now: Duration) -> HealthView {
        let view =
            HealthView::new(&self.patient, self.last.as_ref(), self.last_rtt, [self.sent, self.lost], now);
        HealthView { health: self.health().word().to_owned(), reason: self.reason(), ..view }
    }
}

impl Daemon {
    /// Probes the backends that the configuration wants probed, and no others.
    pub(super) fn follow_probing(&mut self) {
        let mut old = std::mem::take(&mut self.wards.by_name);
        let mut left: Vec<Observation> = Vec::new();
        for backend in &self.config.backends {
            let (name, address) = (&backend.name, backend.address);
            let ward = old.remove(name).filter(|ward| ward.probe.target().address == address);
            let Some(probing) = backend.probing.clone() else {
                if ward.is_some() || self.standings.of(name).health != Health::Up {
                    let (backend, reason) = (name.clone(), "it is not probed any more".to_owned());
                    left.push(Observation { backend, now: Aspect::Health(Health::Up), reason });
                }
                continue;
            };
            let offered =
                self.config.overload_control(name).map_or(&Algorithm::USUAL[..], |(_, offered)| offered);
            let target = Target { backend: name.clone(), address, probing, algorithms: offered.to_vec() };
            let (ears, room) = (self.wards.ears.clone(), self.wards.room.clone());
            let ward = match ward {
                Some(ward) if *ward.probe.target() == target => ward,
                Some(mut ward) => {
                    ward.patient.set_probing(target.probing.clone());
                    Ward { probe: Probe::start(target, room, ears), ..ward }
                }
                None => Ward::new(target, self.standings.of(name).health, room, ears),
            };
            self.wards.by_name.insert(name.clone(), ward);
        }
        for name in old.keys().filter(|name| !self.wards.by_name.contains_key(*name)) {
            self.measures.forget(name);
        }
        self.observe(left);
    }

    /// Probes are over.
    pub(super) fn hear(&mut self, heard: Vec<Heard>) {
        let mut turned = false;
        for heard in heard {
            let name = heard.target.backend.clone();
            self.hear_load(&heard);
            let replies = match heard.outcome {
                Outcome::TimedOut | Outcome::Refused => self.replies_of(&name),
                _ => None,
            };
            let Some(ward) = self.wards.by_name.get_mut(&name) else { continue };
            // What became of a probe of an address that it has no more says nothing.
            if ward.probe.target().address != heard.target.address {
                continue;
            }
            ward.count(&heard);
            if let Outcome::Answered { rtt, .. } | Outcome::Connected { rtt } = heard.outcome {
                self.measures.answered(&name, rtt);
            }
            turned |= ward.patient.note(&heard.outcome, replies, heard.at).is_some();
            if let Outcome::NotAsked(why) = &heard.outcome
                && !ward.last.as_ref().is_some_and(|last| matches!(last.outcome, Outcome::NotAsked(_)))
            {
                tracing::warn!("backend {}: cannot be probed: {why}", heard.target.backend);
            }
            ward.last = Some(heard);
        }
        if turned {
            self.believe();
        }
    }

    /// Once a second: what the traffic of backends shows.
    pub(super) fn look_at_traffic(&mut self) {
        let (seen, now) = (self.traffic(), now());
        let voices = |of: Hearing| -> Voices {
            let heard = seen.iter().filter(|(_, hearing, _)| *hearing == of);
            let wards = heard.filter_map(|(name, ..)| self.wards.by_name.get(name));
            wards.map(|ward| ward.patient.voice(now)).collect()
        };
        let (by_answers, by_acks) = (voices(Hearing::Answers), voices(Hearing::Acks));
        for (name, hearing, traffic) in seen {
            let Some(ward) = self.wards.by_name.get_mut(&name) else { continue };
            if ward.replies.replace(traffic.replies).is_some_and(|before| before != traffic.replies) {
                ward.replied = Some(now);
            }
            ward.patient.set_hearing(hearing);
            let voices = match hearing {
                Hearing::Answers => by_answers,
                Hearing::Acks => by_acks,
            };
            let others_answer = voices.others_answer(ward.patient.voice(now));
            if ward.patient.look(traffic, others_answer, now).newly_suspected {
                tracing::info!(
                    "backend {name}: suspected: new calls got no answer from it; it is probed at once"
                );
                ward.probe.hurry();
            }
        }
        self.look_at_acks();
        self.believe();
    }

    /// Counters of the backends that are probed, by name, and what tells that they answer.
    fn traffic(&self) -> Vec<(String, Hearing, Traffic)> {
        let present = self.model.backends.iter().filter(|(_, backend)| backend.will != will::REMOVED);
        let named = present.map(|(id, backend)| (*id, name_of(&backend.name)));
        let probed = named.filter(|(_, name)| self.wards.by_name.contains_key(*name));
        let read = probed.filter_map(|(id, name)| match self.tables.maps.backend_counter(id) {
            Ok(counter) => {
                let visible = self.visible_backends.contains(name);
                let hearing = if visible { Hearing::Answers } else { Hearing::Acks };
                Some((name.to_owned(), hearing, traffic_of(&counter, visible)))
            }
            Err(failure) => {
                tracing::error!("{failure}");
                None
            }
        });
        read.collect()
    }

    /// Packets of a backend's calls, if they pass us.
    fn replies_of(&self, name: &str) -> Option<u64> {
        let mut backends = self.model.backends.iter();
        let here = |(_, b): &(&u16, &lb_common::map::backend::Backend)| {
            b.will != will::REMOVED && name_of(&b.name) == name
        };
        let id = backends.find(here).map(|(id, _)| *id).filter(|_| self.visible_backends.contains(name))?;
        self.tables.maps.backend_counter(id).ok().map(|counter| counter.reply_packets)
    }

    /// The health of all backends that are probed, by name.
    pub(super) fn health(&self) -> BTreeMap<String, HealthView> {
        let now = now();
        self.wards.by_name.iter().map(|(name, ward)| (name.clone(), ward.view(now))).collect()
    }

    /// The health of one.
    pub(super) fn health_of(&self, name: &str) -> Option<HealthView> {
        self.wards.by_name.get(name).map(|ward| ward.view(now()))
    }
}

/// What the counters of a backend say. Its packets are a sign of life where all of them pass us.
fn traffic_of(counter: &BackendCounter, visible: bool) -> Traffic {
    Traffic {
        // Whether the others are answered is not known.
        calls: counter.calls.saturating_sub(counter.unpinned),
        replies: if visible { counter.reply_packets } else { 0 },
        answered: counter.answered,
    }
}

/// Names of the backends all of whose answers pass us: those that only `nat` services send calls to.
pub(super) fn visible_backends(config: &Config) -> BTreeSet<String> {
    let lists = |zone: &str, forwarding: Forwarding| {
        config.services.iter().any(|s| s.forwarding == forwarding && s.zones().any(|z| z == zone))
    };
    let visible = |zone: &str| lists(zone, Forwarding::Nat) && !lists(zone, Forwarding::L2);
    config.backends.iter().filter(|b| visible(&b.zone)).map(|b| b.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn only_backends_of_nat_services_alone_are_seen_answering() {
        let text = r#"
            [node]
            name = "lb1"
            interfaces = ["eth0"]
            [[service]]
            name = "nat"
            listen = ["203.0.113.10:5060/udp"]
            zones = ["a", "b"]
            [[service]]
            name = "direct"
            listen = ["203.0.113.11:5060/udp"]
            forwarding = "l2"
            zones = ["b", "c"]
        "#;
        let mut text = text.to_owned();
        for (number, zone) in (1..).zip(["a", "b", "c"]) {
            text.push_str(&format!(
                "[[backend]]\nname = '{zone}1'\nzone = '{zone}'\naddress = '10.0.0.{number}:5060'\n"
            ));
        }
        let config = config::parse(&text, "sipsteer.toml").unwrap().config;
        assert_eq!(visible_backends(&config), ["a1".to_owned()].into());
    }

    #[test]
    fn calls_that_could_not_be_pinned_are_not_waited_for() {
        let counter = BackendCounter {
            reply_packets: 70,
            calls: 9,
            unpinned: 4,
            answered: 6,
            ..BackendCounter::default()
        };
        assert_eq!(traffic_of(&counter, true), Traffic { calls: 5, replies: 70, answered: 6 });
        assert_eq!(traffic_of(&counter, false), Traffic { calls: 5, replies: 0, answered: 6 });
    }
}
