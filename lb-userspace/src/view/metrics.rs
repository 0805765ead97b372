//! Metrics for Prometheus, in OpenMetrics: what is counted, under names that stay.
//!
//! Names follow prometheus.io: `sipsteer_` first, base units, `_total` for counters, ratios from 0 to 1. No label holds what a
//! stranger may send: no Call-ID, no source address. What is not known is left out, never 0.

mod list;

pub use list::{Kind, METRICS, Metric};

use super::{counters::CountersView, status::Status};
use crate::core::wishes::Limit;
use jiff::Timestamp;
use lb_common::{abi::ABI, verdict::Verdict};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{collections::BTreeMap, fmt};

/// What the daemon alone knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// Whether the latest reload or the start was taken.
    pub reload_successful: bool,
    /// When the configuration was taken, in Unix time.
    pub configured: i64,
    /// When the daemon started, in Unix time.
    pub started: i64,
    /// What it uses; `None`: not known.
    pub process: Option<Process>,
    /// Calls that are over since the daemon started.
    pub calls_ended: u64,
    /// Calls that were added to or taken off the calls in progress of backends, by id, since the daemon started.
    pub corrected: BTreeMap<u16, u64>,
    /// What telemetry there is.
    pub sources: Vec<Source>,
}

/// A source of telemetry about one backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The backend.
    pub backend: String,
    /// Name of the source.
    pub name: String,
    /// Age of its newest report in seconds; `None`: there was none.
    pub age: Option<f64>,
    /// Whether that is believed.
    pub fresh: bool,
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time.
    pub cpu_seconds: f64,
    /// Memory.
    pub resident_bytes: u64,
    /// Open files.
    pub open_fds: u64,
    /// Most open files.
    pub max_fds: u64,
}

/// One sample: values of the metric's labels, in their order, and its own.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    metric: &'static str,
    labels: Vec<String>,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Whole(u64),
    Real(f64),
}

/// All samples of one moment.
#[derive(Debug, Default)]
pub struct Snapshot(Vec<Sample>);

impl Snapshot {
    /// What holds now.
    pub fn of(status: &Status, counters: &CountersView, own: &Own) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add_daemon(status, own);
        snapshot.add_counters(counters);
        snapshot.add_services(status);
        snapshot.add_backends(status, own);
        snapshot.add_telemetry(own);
        snapshot.add_rest(status);
        snapshot
    }

    fn whole(&mut self, metric: &'static str, labels: &[&str], value: u64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push(Sample { metric, labels, value: Value::Whole(value) });
    }

    fn real(&mut self, metric: &'static str, labels: &[&str], value: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push(Sample { metric, labels, value: Value::Real(value) });
    }

    fn add_daemon(&mut self, status: &Status, own: &Own) {
        self.whole("sipsteer_build", &[env!("CARGO_PKG_VERSION"), &ABI.to_string()], 1);
        self.whole("sipsteer_config_last_reload_successful", &[], own.reload_successful.into());
        self.real("sipsteer_config_last_reload_success_timestamp_seconds", &[], own.configured as f64);
        self.whole("sipsteer_config_differences", &[], status.differences.len() as u64);
        let api = status.daemon.as_ref().and_then(|d| d.api.as_ref());
        let expires = api.and_then(|api| api.certificate_expires.as_ref()?.parse::<Timestamp>().ok());
        if let Some(expires) = expires {
            self.real("sipsteer_api_certificate_expiry_timestamp_seconds", &[], expires.as_second() as f64);
        }
        self.whole("sipsteer_calls_ended", &[], own.calls_ended);
        self.real("process_start_time_seconds", &[], own.started as f64);
        if let Some(process) = own.process {
            self.real("process_cpu_seconds", &[], process.cpu_seconds);
            self.whole("process_resident_memory_bytes", &[], process.resident_bytes);
            self.whole("process_open_fds", &[], process.open_fds);
            self.whole("process_max_fds", &[], process.max_fds);
        }
    }

    fn add_counters(&mut self, counters: &CountersView) {
        for verdict in &counters.verdicts {
            let name = verdict.verdict.as_str();
            self.whole("sipsteer_packets", &[name], verdict.packets);
            self.whole("sipsteer_bytes", &[name], verdict.bytes);
            let expected = if verdict.expected { "true" } else { "false" };
            self.whole("sipsteer_verdict", &[name, &verdict.fate, expected, &verdict.meaning], 1);
            if name == Verdict::SteeredUnpinned.name() {
                self.whole("sipsteer_dialogs_unpinned", &[], verdict.packets);
            }
        }
        for error in &counters.write_errors {
            self.whole("sipsteer_map_write_errors", &[&error.errno.to_string()], error.count);
        }
    }

    fn add_services(&mut self, status: &Status) {
        for service in &status.services {
            let name = service.name.as_str();
            for (method, count) in &service.requests {
                self.whole("sipsteer_requests", &[name, method], *count);
            }
            let calls = service.calls;
            self.whole("sipsteer_calls_spilled", &[name], calls.spilled);
            self.whole("sipsteer_calls_overflowed", &[name], calls.overflowed);
            self.whole("sipsteer_calls_redirected", &[name], calls.redirected);
            self.whole("sipsteer_calls_rejected", &[name, "full"], calls.refused_full);
            self.whole("sipsteer_calls_rejected", &[name, "down"], calls.refused_down);
        }
    }

    fn add_backends(&mut self, status: &Status, own: &Own) {
        for backend in &status.backends {
            let labels = [backend.name.as_str(), backend.zone.as_deref().unwrap_or_default()];
            self.whole("sipsteer_calls_started", &labels, backend.calls);
            self.whole("sipsteer_calls_unpinned", &labels, backend.unpinned);
            self.whole("sipsteer_calls_answered", &labels, backend.answered);
            self.whole("sipsteer_calls_refused_by_backend", &labels, backend.refusals);
            self.whole("sipsteer_backend_channels", &labels, backend.load.channels);
            let corrected = own.corrected.get(&backend.id).copied().unwrap_or_default();
            self.whole("sipsteer_backend_channels_corrected", &labels, corrected);
            let limits = [
                ("sipsteer_backend_channels_limit", backend.max_channels),
                ("sipsteer_backend_calls_per_second_limit", backend.max_cps),
            ];
            for (metric, limit) in limits {
                if let Limit::Calls(calls) = limit {
                    self.whole(metric, &labels, calls.into());
                }
            }
            if let Some(utilisation) = backend.load.utilisation {
                self.real("sipsteer_backend_utilisation_ratio", &labels, utilisation);
            }
            self.whole("sipsteer_backend_weight", &labels, backend.weight.into());
            self.whole("sipsteer_backend_up", &labels, (backend.health == "up").into());
            self.whole("sipsteer_backend_full", &labels, backend.full.is_some().into());
            if let Some(health) = status.daemon.as_ref().and_then(|d| d.health.get(&backend.name)) {
                self.whole("sipsteer_backend_probes", &labels, health.probes);
                self.whole("sipsteer_backend_probes_lost", &labels, health.probes_lost);
                self.whole("sipsteer_backend_suspected", &labels, health.suspected.into());
            }
            for will in ["enabled", "draining", "disabled", "removed"] {
                let [name, zone] = labels;
                self.whole("sipsteer_backend_will", &[name, zone, will], (backend.will == will).into());
            }
        }
    }

    fn add_telemetry(&mut self, own: &Own) {
        for Source { backend, name, age, fresh } in &own.sources {
            if let Some(age) = age {
                self.real("sipsteer_backend_telemetry_age_seconds", &[backend, name], *age);
            }
            self.whole("sipsteer_backend_telemetry_fresh", &[backend, name], (*fresh).into());
        }
    }

    fn add_rest(&mut self, status: &Status) {
        for zone in &status.zones {
            if let Some(utilisation) = zone.load.utilisation {
                self.real("sipsteer_zone_utilisation_ratio", &[&zone.name], utilisation);
            }
            self.whole("sipsteer_zone_hot", &[&zone.name], zone.hot.into());
            self.whole("sipsteer_zone_takers", &[&zone.name], zone.takers);
        }
        let dialogs = &status.dialogs;
        self.whole("sipsteer_dialogs", &["unconfirmed"], dialogs.unconfirmed);
        self.whole("sipsteer_dialogs", &["confirmed"], dialogs.entries.saturating_sub(dialogs.unconfirmed));
        self.whole("sipsteer_dialogs_limit", &[], dialogs.max.into());
        for interface in &status.interfaces {
            for mode in ["native", "generic"] {
                let holds = interface.mode.as_deref() == Some(mode);
                self.whole("sipsteer_interface_xdp_mode", &[&interface.name, mode], holds.into());
            }
        }
        let Some(slow_path) = status.daemon.as_ref().map(|d| &d.slow_path) else { return };
        for (answer, count) in &slow_path.answered {
            self.whole("sipsteer_answers", &[answer], *count);
        }
        for (reason, count) in &slow_path.not_answered {
            self.whole("sipsteer_unanswered", &[reason], *count);
        }
    }
}

/// The samples of a moment and whatever else a registry holds, as text.
///
/// # Errors
/// Never, in fact: text has room.
pub fn text(snapshot: Snapshot, mut registry: Registry) -> Result<String, fmt::Error> {
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let mut samples = self.0.iter().filter(|s| s.metric == metric.name).peekable();
            if samples.peek().is_none() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in samples {
                let labels: Vec<(&str, &str)> =
                    metric.labels.iter().copied().zip(sample.labels.iter().map(String::as_str)).collect();
                if metric.kind == Kind::Info {
                    family.encode_info(&labels)?;
                    continue;
                }
                let one = family.encode_family(&labels)?;
                match (metric.kind, sample.value) {
                    (Kind::Counter, Value::Whole(n)) => ConstCounter::new(n).encode(one),
                    (Kind::Counter, Value::Real(n)) => ConstCounter::new(n).encode(one),
                    (_, Value::Whole(n)) => ConstGauge::new(n).encode(one),
                    (_, Value::Real(n)) => ConstGauge::new(n).encode(one),
                }?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units that are not those of a base, and words that say twice what a metric is: what `promtool check metrics` finds.
    const ODD: [&str; 17] = [
        "milliseconds",
        "ms",
        "microseconds",
        "us",
        "nanoseconds",
        "ns",
        "minutes",
        "hours",
        "days",
        "percent",
        "kilobytes",
        "kb",
        "mb",
        "bits",
        "counter",
        "gauge",
        "histogram",
    ];

    #[test]
    fn names_and_help_are_as_prometheus_wants_them() {
        for (number, metric) in METRICS.iter().enumerate() {
            let Metric { name, help, labels, .. } = metric;
            let words: Vec<&str> = name.split('_').collect();
            let plain = |word: &&str| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            assert!(words.len() > 1 && words.iter().all(plain), "{name}");
            assert!(["sipsteer", "process"].contains(&words[0]), "{name}");
            assert!(!words.iter().any(|word| ODD.contains(word)), "{name}");
            // These endings are added for a kind, or belong to another one.
            let last = words[words.len() - 1];
            assert!(!["total", "count", "sum", "bucket", "info", "created"].contains(&last), "{name}");
            // A unit is told by the name, at its end, and in full.
            if let Some(unit) = ["seconds", "bytes", "ratio"].into_iter().find(|unit| words.contains(unit)) {
                assert_eq!(last, unit, "{name}");
            }
            assert!(
                help.ends_with('.') && help.starts_with(|c: char| c.is_ascii_uppercase() || c == '1'),
                "{name}: {help}"
            );
            assert!(!help.contains('\n'), "{name}");
            for label in *labels {
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}: {label}");
                assert!(
                    !["le", "quantile", "type", "name", "job", "instance"].contains(label),
                    "{name}: {label}"
                );
            }
            assert!(METRICS[..number].iter().all(|other| other.name != *name), "{name} is there twice");
        }
    }
}
