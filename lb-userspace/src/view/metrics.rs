//! Metrics for Prometheus, in OpenMetrics: what is counted, under names that stay.
//!
//! Names follow prometheus.io: `sipsteer_` first, base units, `_total` for counters, ratios from 0 to 1. No label holds what a
//! stranger may send: no Call-ID, no source address. What is not known is left out, never 0.

use super::{counters::CountersView, status::Status};
use crate::core::wishes::Limit;
use lb_common::{abi::ABI, verdict::Verdict};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::fmt;

/// A kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the maps are made anew; its samples end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; its labels tell. Its samples end in `_info`.
    Info,
}

/// A metric: its name without the ending of its kind, what it means, and its labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Without the ending of its kind.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it counts, with its unit.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

/// Every metric but the histograms.
pub const METRICS: &[Metric] = &[
    info(
        "sipsteer_build",
        "The daemon: its version, and the number of the maps' layout.",
        &["version", "abi"],
    ),
    gauge(
        "sipsteer_config_last_reload_successful",
        "1 if the latest reload or start was taken, 0 if refused.",
        &[],
    ),
    gauge(
        "sipsteer_config_last_reload_success_timestamp_seconds",
        "When the configuration that holds was taken, in Unix time.",
        &[],
    ),
    gauge(
        "sipsteer_config_differences",
        "What operators changed and the configuration file does not say.",
        &[],
    ),
    counter(
        "sipsteer_packets",
        "Packets by verdict; sipsteer_verdict_info says what a verdict means.",
        &["verdict"],
    ),
    counter("sipsteer_bytes", "Bytes of whole frames, by verdict.", &["verdict"]),
    info(
        "sipsteer_verdict",
        "What a verdict means, what becomes of its packets, and whether a healthy node gives it.",
        &["verdict", "fate", "expected", "meaning"],
    ),
    counter("sipsteer_requests", "Requests from callers by method.", &["service", "method"]),
    counter("sipsteer_calls_started", "New calls that a backend got.", &["backend", "zone"]),
    counter("sipsteer_calls_unpinned", "Those of them that could not be pinned.", &["backend", "zone"]),
    counter(
        "sipsteer_calls_answered",
        "Signs that a backend answered new calls: first answers in nat, ACKs in l2. A call may have several.",
        &["backend", "zone"],
    ),
    counter(
        "sipsteer_calls_ended",
        "Calls that are over, or were silent until they were forgotten; since the daemon started.",
        &[],
    ),
    counter(
        "sipsteer_calls_spilled",
        "New calls that another backend than the first choice got.",
        &["service"],
    ),
    counter("sipsteer_calls_overflowed", "New calls that a further zone got.", &["service"]),
    counter("sipsteer_calls_redirected", "INVITEs that got a 302 to another zone.", &["service"]),
    counter(
        "sipsteer_calls_rejected",
        "INVITEs refused because everything in reach is full, or takes no calls (down).",
        &["service", "reason"],
    ),
    counter(
        "sipsteer_calls_refused_by_backend",
        "Calls that a backend refused itself; only in nat.",
        &["backend", "zone"],
    ),
    gauge("sipsteer_backend_channels", "Calls in progress.", &["backend", "zone"]),
    gauge(
        "sipsteer_backend_channels_limit",
        "Most calls in progress; absent: unlimited.",
        &["backend", "zone"],
    ),
    gauge(
        "sipsteer_backend_calls_per_second_limit",
        "Most new calls per second; absent: unlimited.",
        &["backend", "zone"],
    ),
    gauge(
        "sipsteer_backend_utilisation_ratio",
        "The greater of calls in progress and new calls per second, relative to capacity.",
        &["backend", "zone"],
    ),
    gauge(
        "sipsteer_backend_weight",
        "Share of new calls relative to the others of its zone.",
        &["backend", "zone"],
    ),
    gauge(
        "sipsteer_backend_up",
        "Observed health: 1 up, 0 down or draining by itself.",
        &["backend", "zone"],
    ),
    gauge("sipsteer_backend_full", "1 while no new call fits.", &["backend", "zone"]),
    gauge(
        "sipsteer_backend_will",
        "What operators want: 1 for the will that holds.",
        &["backend", "zone", "will"],
    ),
    counter("sipsteer_backend_probes", "Probes that are over.", &["backend", "zone"]),
    counter("sipsteer_backend_probes_lost", "Those of them that got no answer.", &["backend", "zone"]),
    gauge(
        "sipsteer_backend_suspected",
        "1 while new calls get no answer from a backend that is probed.",
        &["backend", "zone"],
    ),
    gauge(
        "sipsteer_backend_telemetry_age_seconds",
        "How old the newest report of a source is; absent: it has not given any.",
        &["backend", "source"],
    ),
    gauge(
        "sipsteer_backend_telemetry_fresh",
        "1 while the newest report of a source is believed.",
        &["backend", "source"],
    ),
    gauge("sipsteer_zone_utilisation_ratio", "The same as that of backends, of a zone together.", &["zone"]),
    gauge("sipsteer_zone_hot", "1 while a zone is above its target.", &["zone"]),
    gauge("sipsteer_zone_takers", "Backends of a zone that take new calls, full ones included.", &["zone"]),
    gauge("sipsteer_dialogs", "Dialogs in the table: confirmed by an answer or not.", &["state"]),
    gauge("sipsteer_dialogs_limit", "Room for dialogs.", &[]),
    counter(
        "sipsteer_dialogs_unpinned",
        "New calls steered by the ring alone, because no entry was free.",
        &[],
    ),
    counter("sipsteer_map_write_errors", "Dialogs that found no place, by error number.", &["errno"]),
    gauge(
        "sipsteer_interface_xdp_mode",
        "1 for the mode an interface runs in; none: gone.",
        &["interface", "mode"],
    ),
    counter("sipsteer_answers", "Packets that the daemon answered itself, by answer.", &["answer"]),
    counter(
        "sipsteer_unanswered",
        "Packets that the daemon was handed and did not answer, by reason.",
        &["reason"],
    ),
    counter("process_cpu_seconds", "CPU time of the daemon, in seconds.", &[]),
    gauge("process_resident_memory_bytes", "Memory of the daemon, without the maps, in bytes.", &[]),
    gauge("process_open_fds", "Open file descriptors of the daemon.", &[]),
    gauge("process_max_fds", "Most file descriptors the daemon may open.", &[]),
    gauge("process_start_time_seconds", "When the daemon started, in Unix time.", &[]),
];

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Counter, help, labels }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Gauge, help, labels }
}

const fn info(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { name, kind: Kind::Info, help, labels }
}

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
        snapshot.add_backends(status);
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

    fn add_backends(&mut self, status: &Status) {
        for backend in &status.backends {
            let labels = [backend.name.as_str(), backend.zone.as_deref().unwrap_or_default()];
            self.whole("sipsteer_calls_started", &labels, backend.calls);
            self.whole("sipsteer_calls_unpinned", &labels, backend.unpinned);
            self.whole("sipsteer_calls_answered", &labels, backend.answered);
            self.whole("sipsteer_calls_refused_by_backend", &labels, backend.refusals);
            self.whole("sipsteer_backend_channels", &labels, backend.load.channels);
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
