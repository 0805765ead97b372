//! Telemetry as part of the daemon: once a second what sources said, health and our own calls go through the controller, and
//! what comes out goes on to the standings.

use super::daemon::Daemon;
use crate::{
    config::{Config, Source},
    core::{
        controller::{Controller, Explanation, Input, Own, Pace, Tuning},
        report::{Report, Sample},
        standings::{Aspect, Observation},
    },
    dataplane::clock::steady as now,
    failure::{Failure, Kind},
    probe::{Heard, message::Answer},
    telemetry::{
        oc::{Feedback, Listener},
        push::Pushed,
        source::{Sources, per_call, trust},
    },
    view::metrics,
};
use lb_common::map::backend::{name_of, will};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who is asked, and what was made of the answers.
#[derive(Debug)]
pub(super) struct Feeding {
    controller: Controller,
    sources: Sources,
    /// Feedback in answers to probes, by backend.
    listeners: BTreeMap<String, Listener>,
    /// Why backends may carry what they may, by name.
    explanations: BTreeMap<String, Explanation>,
}

/// Body of the answer to a pushed report.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PushBody {
    /// The backend.
    pub backend: String,
    /// The source of the configuration as which it counts.
    pub source: String,
    /// For how long it is believed.
    pub valid_seconds: f64,
}

impl Feeding {
    /// Nobody is asked yet.
    pub(super) fn new(config: &Config) -> Feeding {
        Feeding {
            controller: Controller::new(tuning(config)),
            sources: Sources::default(),
            listeners: BTreeMap::new(),
            explanations: BTreeMap::new(),
        }
    }
}

fn tuning(config: &Config) -> Tuning {
    let control = config.control;
    Tuning {
        warm_up: control.warm_up,
        cpu_target: f64::from(control.cpu_target) / 1024.0,
        pace: Pace::DEFAULT,
    }
}

impl Daemon {
    /// Asks the sources of the configuration. `before`: the one before it, of which what is known of backends that have kept
    /// their address stays.
    pub(super) fn follow_telemetry(&mut self, before: Option<&Config>) {
        let address =
            |config: &Config, name: &str| config.backends.iter().find(|b| b.name == name).map(|b| b.address);
        let config = &self.config;
        let stays = |name: &str| {
            address(config, name).is_some_and(|now| before.is_none_or(|b| address(b, name) == Some(now)))
        };
        self.feeding.controller.tune(tuning(config));
        self.feeding.controller.retain(stays);
        self.feeding.listeners.retain(|name, _| stays(name));
        self.feeding.explanations.retain(|name, _| stays(name));
        let same = before.is_some_and(|before| {
            let all = |config: &Config| -> Vec<_> {
                config.backends.iter().map(|b| (b.name.clone(), b.address, b.weight)).collect()
            };
            before.telemetry == config.telemetry && all(before) == all(config)
        });
        if !same {
            self.feeding.sources.board().readings().retain(|backend, _| stays(backend));
            self.feeding.sources.ask(config);
        }
    }

    /// Once a second, and after a change: decides what every backend may carry.
    pub(super) fn feed(&mut self) {
        let own = match self.own_calls() {
            Ok(own) => own,
            Err(failure) => return tracing::error!("{failure}"),
        };
        let config = self.wishes.applied(&self.config);
        let mut observations = Vec::new();
        {
            let readings = self.feeding.sources.board().readings();
            // Not earlier: a sample of the future is not believed.
            let now = now();
            for backend in &config.backends {
                let name = &backend.name;
                let input = Input {
                    backend,
                    health: self.standings.of(name).health,
                    own: own.get(name).copied().unwrap_or_default(),
                };
                let decision = self.feeding.controller.decide(now, &input, &readings);
                if let Some(news) = &decision.news {
                    tracing::info!("backend {name}: {news}");
                }
                let reason = decision.news.unwrap_or_else(|| "telemetry and warm-up".to_owned());
                for aspect in
                    [Aspect::Drains(decision.standing.drains), Aspect::Capacity(decision.standing.capacity)]
                {
                    observations.push(Observation {
                        backend: name.clone(),
                        now: aspect,
                        reason: reason.clone(),
                    });
                }
                self.feeding.explanations.insert(name.clone(), decision.explanation);
            }
        }
        self.observe(observations);
    }

    /// What backends carry of our calls, by name.
    fn own_calls(&self) -> Result<BTreeMap<String, Own>, Failure> {
        let mut own = BTreeMap::new();
        for (id, backend) in self.model.backends.iter().filter(|(_, b)| b.will != will::REMOVED) {
            let load = self.tables.maps.backend_load(*id)?;
            let carries = Own { channels: load.in_progress(), calls: load.calls };
            own.insert(name_of(&backend.name).to_owned(), carries);
        }
        Ok(own)
    }

    /// How old is what the sources said last.
    pub(super) fn telemetry_ages(&self) -> Vec<metrics::Source> {
        let now = now();
        let readings = self.feeding.sources.board().readings();
        let mut ages = Vec::new();
        for backend in &self.config.backends {
            for (name, reading) in readings.of(&backend.name) {
                ages.push(metrics::Source {
                    backend: backend.name.clone(),
                    name: name.to_owned(),
                    age: reading.sample.map(|s| now.saturating_sub(s.taken).as_secs_f64()),
                    fresh: reading.sample.is_some_and(|s| s.holds(now)),
                });
            }
        }
        ages
    }

    /// Why a backend may carry what it may; `None`: nothing was decided yet.
    pub(super) fn explanation(&self, backend: &str) -> Option<Explanation> {
        self.feeding.explanations.get(backend).cloned()
    }

    /// Hears what a server says of its load in the answer to a probe (RFC 7339), where the configuration wants that.
    pub(super) fn hear_load(&mut self, heard: &Heard) {
        let name = &heard.target.backend;
        let wanted = self.config.overload_control(name);
        let (Some((telemetry, _)), Some(answer)) = (wanted, Answer::read(&heard.answer)) else { return };
        if !self.config.backends.iter().any(|b| b.name == *name && b.address == heard.target.address) {
            return;
        }
        let via = String::from_utf8_lossy(answer.via);
        let listener = self.feeding.listeners.entry(name.clone()).or_default();
        let mut readings = self.feeding.sources.board().readings();
        let (source, trust) = (&telemetry.name, trust(&telemetry.source));
        let (report, valid) = match listener.read(&via, &heard.target.algorithms) {
            Ok(None) => return,
            Ok(Some(Feedback::Less(report, valid))) => (report, valid),
            Ok(Some(Feedback::Enough)) => (Report { share: Some(1.0), ..Report::default() }, telemetry.valid),
            Err(trouble) => return readings.trouble(name, source, trust, trouble),
        };
        let report = per_call(report, telemetry.legs);
        readings.take(name, source, trust, Sample { taken: heard.asked, valid, report });
    }

    /// Takes a report that came by the API.
    ///
    /// # Errors
    /// When it makes no sense, or the configuration wants none of this backend.
    pub(super) fn push(&mut self, pushed: &Pushed) -> Result<PushBody, Failure> {
        let name = &pushed.backend;
        let report = pushed
            .report()
            .map_err(|why| Failure::new(Kind::Usage, "bad_report", format!("{name}: {why}")))?;
        if !self.config.backends.iter().any(|b| b.name == *name) {
            let message = format!("there is no backend {name:?}");
            return Err(Failure::bad("backend_not_found", message)
                .remedy("`sipsteer backend list` lists all backends"));
        }
        let wanted = |telemetry: &&crate::config::Telemetry| {
            telemetry.source == Source::Push && telemetry.backends.contains(name)
        };
        let Some(telemetry) = self.config.telemetry.iter().find(wanted) else {
            let message = format!("the configuration takes no pushed reports of {name}");
            return Err(Failure::bad("push_not_wanted", message).remedy(format!(
                "add a [[telemetry]] with `type = \"push\"` and `backends = [\"{name}\"]`, then `sipsteer reload`"
            )));
        };
        let sample =
            Sample { taken: now(), valid: telemetry.valid, report: per_call(report, telemetry.legs) };
        let mut readings = self.feeding.sources.board().readings();
        readings.take(name, &telemetry.name, trust(&telemetry.source), sample);
        Ok(PushBody {
            backend: name.clone(),
            source: telemetry.name.clone(),
            valid_seconds: telemetry.valid.as_secs_f64(),
        })
    }
}
