//! The sources that are asked: one task for each source and backend, and what came of it in one place.
//!
//! * `http`: pages of metrics. * `line`: agents. * `events`: FreeSWITCH's event socket.
//!
//! Nothing that a source sends, or fails to send, ends a task or holds up another one.

mod events;
mod http;
mod line;

use super::mapping::Reader;
use crate::{
    config::{Config, Source, Telemetry},
    core::{
        controller::{Readings, Trust},
        report::{Report, Sample},
    },
    dataplane::clock::steady as now,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};

/// Time over which the first questions are spread, so that not all are asked at once.
const SPREAD: Duration = Duration::from_secs(1);

/// The readings that tasks write and the daemon reads.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Readings>>);

impl Board {
    /// The readings.
    pub fn readings(&self) -> MutexGuard<'_, Readings> {
        // Every change of them is whole, whoever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sources of a configuration, asked until this is dropped.
#[derive(Debug, Default)]
pub struct Sources {
    board: Board,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sources {
    /// What they said.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Asks the sources of this configuration and no others. What was said of backends that stay is kept until it is too
    /// old. To be called within a runtime.
    pub fn ask(&mut self, config: &Config) {
        self.stop();
        let pairs = pairs(config);
        let total = pairs.len().max(1) as u32;
        {
            let mut readings = self.board.readings();
            readings.retain(|backend, source| {
                pairs.iter().any(|(telemetry, name, _)| telemetry.name == source && *name == backend)
            });
            for (telemetry, backend, _) in &pairs {
                readings.expect(backend, &telemetry.name, trust(&telemetry.source));
            }
        }
        for (number, (telemetry, backend, address)) in (0..).zip(pairs) {
            let desk = Desk {
                board: self.board.clone(),
                backend: backend.to_owned(),
                address,
                telemetry: telemetry.clone(),
            };
            let first = SPREAD.min(telemetry.interval) * number / total;
            let weight = config.backends.iter().find(|b| b.name == backend).map_or(1, |b| b.weight);
            match &telemetry.source {
                Source::Prometheus { .. } => self.tasks.push(tokio::spawn(http::run(desk, first))),
                Source::Agent { .. } => self.tasks.push(tokio::spawn(line::run(desk, first, weight))),
                Source::Freeswitch { .. } => self.tasks.push(tokio::spawn(events::run(desk, first))),
                Source::OverloadControl { .. } | Source::Push => {}
            }
        }
    }

    fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// Who is to be asked about whom, and where that is.
fn pairs(config: &Config) -> Vec<(&Telemetry, &str, SocketAddr)> {
    let mut pairs = Vec::new();
    for telemetry in &config.telemetry {
        for backend in config.backends.iter().filter(|b| telemetry.backends.contains(&b.name)) {
            pairs.push((telemetry, backend.name.as_str(), backend.address));
        }
    }
    pairs
}

/// How far a source is believed: agents and servers say what they want, the others count.
pub fn trust(source: &Source) -> Trust {
    match source {
        Source::Agent { .. } | Source::OverloadControl { .. } => Trust::Asks,
        Source::Prometheus { .. } | Source::Freeswitch { .. } | Source::Push => Trust::Measures,
    }
}

/// Figures of a server that counts a call as so many channels, as figures of calls.
#[must_use]
pub fn per_call(report: Report, legs: u32) -> Report {
    let legs = legs.max(1);
    Report {
        // A call that has only one of its sides yet is a call.
        channels: report.channels.map(|channels| channels.div_ceil(legs)),
        max_channels: report.max_channels.map(|limit| limit / legs),
        cps: report.cps.map(|cps| cps / f64::from(legs)),
        max_cps: report.max_cps.map(|limit| limit / legs),
        ..report
    }
}

/// What a task needs to ask one source about one backend, and to hand in what it heard.
#[derive(Debug)]
struct Desk {
    board: Board,
    backend: String,
    address: SocketAddr,
    telemetry: Telemetry,
}

impl Desk {
    /// Hands in what became of a question that was asked at `taken`.
    fn hand_in(&self, taken: Duration, result: Result<Report, String>) {
        let Telemetry { name, source, valid, legs, .. } = &self.telemetry;
        let mut readings = self.board.readings();
        match result {
            Ok(report) => {
                let sample = Sample { taken, valid: *valid, report: per_call(report, *legs) };
                readings.take(&self.backend, name, trust(source), sample);
            }
            Err(trouble) => {
                tracing::debug!("telemetry {name} of {}: {trouble}", self.backend);
                readings.trouble(&self.backend, name, trust(source), trouble);
            }
        }
    }

    /// When to ask: at the interval, and later after an answer that took long.
    fn ticks(&self, first: Duration) -> Interval {
        let mut ticks = interval_at(Instant::now() + first, self.telemetry.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// An answer, unless it takes longer than the timeout.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let limit = self.telemetry.timeout;
        timeout(limit, answer).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    /// A reader of pages for this source.
    fn reader(&self) -> Option<Reader> {
        match &self.telemetry.source {
            Source::Prometheus { mapping, .. } => Some(Reader::new(mapping.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "asking_tests.rs"]
mod asking;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_two_legs_is_one_call() {
        let report = Report {
            channels: Some(41),
            max_channels: Some(1001),
            cps: Some(5.0),
            max_cps: Some(30),
            cpu: Some(0.5),
            ..Report::default()
        };
        let calls = per_call(report, 2);
        assert_eq!((calls.channels, calls.max_channels), (Some(21), Some(500)));
        assert_eq!((calls.cps, calls.max_cps, calls.cpu), (Some(2.5), Some(15), Some(0.5)));
        assert_eq!(per_call(report, 1), report);
    }
}
