//! Every metric, under the name that stays: what it means and which labels it has.

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
    gauge(
        "sipsteer_api_certificate_expiry_timestamp_seconds",
        "When the certificate of the API expires, in Unix time; absent: it has none.",
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
    counter(
        "sipsteer_backend_channels_corrected",
        "Calls added to or taken off its calls in progress, as the dialogs said otherwise; since the daemon started.",
        &["backend", "zone"],
    ),
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
