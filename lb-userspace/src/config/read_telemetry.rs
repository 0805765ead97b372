//! `[controller]` and `[[telemetry]]`: every key by itself, and what must hold between them.

use super::{
    check::once,
    complaint::Code,
    draft::{ControlDraft, Draft, TelemetryDraft},
    read::required_name,
    report::{Report, quoted, words},
    section::{Section, integer, path, table, text, texts, wrong_type},
    telemetry::{Algorithm, Control, Login, Place, Source, Url},
    values,
};
use crate::telemetry::mapping::{self, Figure, Mapping};
use std::time::Duration;
use toml_span::{Span, Spanned, Value};

/// Most sources: the daemon asks them all.
pub(super) const MAX_TELEMETRY: u32 = 64;
/// Longest time that anything is believed: for two minutes the daemon knows what calls of its own there were.
const LONGEST_VALID: Duration = Duration::from_secs(120);
/// Shortest time between two questions.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
/// Longest warm-up.
const LONGEST_WARM_UP: Duration = Duration::from_secs(3600);
/// Most channels of a server that a call takes.
const MOST_LEGS: u32 = 10;

/// All keys; the first five mean something for every type.
const KEYS: [&str; 17] = [
    "name",
    "type",
    "backends",
    "zone",
    "legs",
    "url",
    "profile",
    "map",
    "username",
    "password_file",
    "ca_file",
    "address",
    "send",
    "algorithms",
    "interval",
    "timeout",
    "valid",
];
/// Types, and which further keys have a meaning there.
const TYPES: [(&str, &[&str]); 5] = [
    (
        "prometheus",
        &["url", "profile", "map", "username", "password_file", "ca_file", "interval", "timeout", "valid"],
    ),
    ("agent", &["address", "send", "interval", "timeout", "valid"]),
    ("freeswitch", &["address", "password_file", "timeout", "valid"]),
    ("overload-control", &["algorithms"]),
    ("push", &["valid"]),
];

/// Keys of `[controller]`.
const CONTROL_KEYS: [&str; 3] = ["warm_up", "cpu_target", "panic_threshold"];

pub(super) fn read_control(value: &Value<'_>, report: &mut Report<'_>) -> ControlDraft {
    let Some(control) = Section::new("[controller]", value, &CONTROL_KEYS, report) else {
        return ControlDraft::default();
    };
    let warm_up = control.get("warm_up").and_then(|v| {
        let longest = LONGEST_WARM_UP;
        let reason = "a backend that came up gets less than its share for so long";
        within(values::duration(v, report)?, Duration::ZERO, longest, "warm_up", reason, report)
    });
    let reason = "it is the part of the time in which its processors are busy";
    let cpu_target = control.get("cpu_target").and_then(|v| values::ratio(v, [0.1, 1.0], reason, report));
    let reason = "it is a part of the backends of a service, and 0 believes probes whatever calls say";
    let panic_threshold =
        control.get("panic_threshold").and_then(|v| values::ratio(v, [0.0, 1.0], reason, report));
    ControlDraft { warm_up, cpu_target, panic_threshold }
}

pub(super) fn read_telemetry(value: &Value<'_>, report: &mut Report<'_>) -> Option<TelemetryDraft> {
    let section = Section::new("[[telemetry]]", value, &KEYS, report)?;
    let name = required_name(&section, "\"metrics\"", report);
    let choices = TYPES.map(|(word, _)| (word, Some(word)));
    let kind = section.required("type", "\"prometheus\"", report);
    let kind = kind.and_then(|v| values::choice(v, "type", &choices, "", report));
    let backends = section.get("backends").and_then(|v| {
        let texts = texts(v, "[\"sw1\"]", report)?;
        Some(Spanned::with_span(
            texts.iter().filter_map(|t| values::name(t, report)).collect::<Vec<_>>(),
            v.span,
        ))
    });
    let zone = section.get("zone").and_then(|v| values::name(&text(v, "\"uk\"", report)?, report));
    if section.get("backends").is_some() == section.get("zone").is_some() {
        let (message, remedy) = if section.get("zone").is_some() {
            ("both `backends` and `zone` are there", "remove one of the two")
        } else {
            (
                "neither `backends` nor `zone` is there",
                "add for instance `backends = [\"sw1\"]`, or `zone = \"uk\"` for all of a zone",
            )
        };
        report.error(Code::MissingKey, section.span, words(message, "it says who is asked", remedy));
    }
    let legs = section.get("legs").and_then(|v| {
        let reason = "a server that connects two sides counts a call as two channels";
        integer(v, 1, MOST_LEGS, reason, report)
    });
    let kind = kind?;
    no_effect(&section, kind, report);
    let times = times(&section, kind, report);
    let source = source(&section, kind, report);
    let [interval, timeout, valid] = times?;
    Some(TelemetryDraft {
        span: section.span,
        name,
        source,
        backends,
        zone,
        interval,
        timeout,
        valid,
        legs: legs.unwrap_or(1),
    })
}

fn has_effect(kind: &str, key: &str) -> bool {
    TYPES.iter().any(|(word, keys)| *word == kind && keys.contains(&key))
}

/// Keys that mean something for another type.
fn no_effect(section: &Section<'_, '_>, kind: &str, report: &mut Report<'_>) {
    for key in KEYS.into_iter().skip(5).filter(|key| !has_effect(kind, key)) {
        if let Some(span) = section.key_span(key) {
            let message = format!("`{key}` has no effect with type = \"{kind}\"");
            report.warn(Code::NoEffect, span, words(message, "it belongs to another type", "remove it"));
        }
    }
}

/// Interval, timeout and validity, in proportion.
fn times(section: &Section<'_, '_>, kind: &str, report: &mut Report<'_>) -> Option<[Duration; 3]> {
    let seconds = Duration::from_secs;
    let (usual_interval, usual_timeout) = match kind {
        "agent" => (seconds(2), seconds(1)),
        // The event socket tells by itself, every 20 s if nobody says otherwise.
        "freeswitch" => (seconds(20), seconds(5)),
        "push" => (seconds(10), seconds(1)),
        _ => (seconds(5), seconds(2)),
    };
    let mut read = |key: &'static str, usual: Duration, [least, most]: [Duration; 2], reason: &str| {
        let Some(value) = section.get(key).filter(|_| has_effect(kind, key)) else {
            return Some(Spanned::new(usual));
        };
        within(values::duration(value, report)?, least, most, key, reason, report)
    };
    let reason = "more often is a burden to the server, and less often is older than it may be";
    let interval = read("interval", usual_interval, [SHORTEST_INTERVAL, LONGEST_VALID], reason);
    let interval = interval?;
    let usual = usual_timeout.min(interval.value);
    let reason = "an answer that takes longer is of no use";
    let timeout = read("timeout", usual, [Duration::from_millis(50), seconds(30)], reason)?;
    let usual = (3 * interval.value).min(LONGEST_VALID);
    let reason =
        "older numbers say nothing, and for two minutes the daemon knows what calls of its own there were";
    let valid = read("valid", usual, [SHORTEST_INTERVAL, LONGEST_VALID], reason)?;
    if !has_effect(kind, "interval") {
        return Some([interval.value, timeout.value, valid.value]);
    }
    if timeout.value > interval.value {
        let message = format!("`timeout` is longer than `interval`, {:?}", interval.value);
        let remedy = format!("write {:?} or less", interval.value);
        let words = words(message, "the next question would wait for the last answer", remedy);
        report.error(Code::OutOfRange, timeout.span, words);
    }
    if valid.value < interval.value {
        let message = format!("`valid` is shorter than `interval`, {:?}", interval.value);
        let remedy = format!("write two or three times `interval`, {:?} for instance", 3 * interval.value);
        let words = words(message, "every answer would be stale before the next", remedy);
        report.error(Code::OutOfRange, valid.span, words);
    }
    Some([interval.value, timeout.value, valid.value])
}

fn within(
    value: Spanned<Duration>,
    least: Duration,
    most: Duration,
    key: &str,
    reason: &str,
    report: &mut Report<'_>,
) -> Option<Spanned<Duration>> {
    if (least..=most).contains(&value.value) {
        return Some(value);
    }
    let message = format!("`{key}` is not between {least:?} and {most:?}");
    report.error(
        Code::OutOfRange,
        value.span,
        words(message, reason, format!("write {least:?} to {most:?}")),
    );
    None
}

fn source(section: &Section<'_, '_>, kind: &str, report: &mut Report<'_>) -> Option<Source> {
    match kind {
        "prometheus" => {
            let example = "\"http://{host}:9090/metrics\"";
            let url = section.required("url", example, report).and_then(|v| text(v, example, report));
            let url = url.and_then(|t| right(&t, Url::parse(t.value), example, report));
            let mapping = read_mapping(section, report);
            let login = login(section, report);
            let ca_file = section.get("ca_file").map(|v| path(v, "\"/etc/ssl/own-ca.pem\"", report));
            if let (Some(url), Some(span)) = (&url, section.key_span("ca_file"))
                && !url.tls
            {
                let words =
                    words("`ca_file` has no effect with http://", "nothing is encrypted", "write https://");
                report.warn(Code::NoEffect, span, words);
            }
            let ca_file = match ca_file {
                Some(path) => Some(path?.value),
                None => None,
            };
            Some(Source::Prometheus { url: url?, mapping: mapping?, login: login?, ca_file })
        }
        "agent" => {
            let address = place(section, "\"{host}:9707\"", report);
            let send = section.get("send").map(|v| text(v, "\"status\\n\"", report));
            let send = match send {
                Some(text) => text?.value.to_owned(),
                None => String::new(),
            };
            Some(Source::Agent { address: address?, send })
        }
        "freeswitch" => {
            let address = place(section, "\"{host}:8021\"", report);
            let password = section.required("password_file", "\"/etc/sipsteer/freeswitch.password\"", report);
            let password_file =
                password.and_then(|v| path(v, "\"/etc/sipsteer/freeswitch.password\"", report));
            Some(Source::Freeswitch { address: address?, password_file: password_file?.value })
        }
        "overload-control" => Some(Source::OverloadControl { algorithms: algorithms(section, report)? }),
        _ => Some(Source::Push),
    }
}

/// What was read of a text, or a complaint.
fn right<T>(
    text: &Spanned<&str>,
    read: Result<T, &'static str>,
    example: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    read.map_err(|reason| {
        let message = format!("{} cannot be asked", quoted(text.value));
        report.error(
            Code::BadAddress,
            text.span,
            words(message, reason, format!("write for instance {example}")),
        );
    })
    .ok()
}

/// `algorithms`, in the order in which they are written.
fn algorithms(section: &Section<'_, '_>, report: &mut Report<'_>) -> Option<Vec<Algorithm>> {
    const EXAMPLE: &str = "[\"loss\", \"rate\"]";
    let Some(value) = section.get("algorithms") else { return Some(Algorithm::USUAL.to_vec()) };
    let Some(items) = value.as_array() else {
        wrong_type(value, "a list of algorithms", &format!("write for instance {EXAMPLE}"), report);
        return None;
    };
    let choices = Algorithm::ALL.map(|algorithm| (algorithm.word(), Some(algorithm)));
    let read = |item: &Value<'_>, report: &mut Report<'_>| {
        values::choice(item, "algorithm", &choices, "", report).map(|a| Spanned::with_span(a, item.span))
    };
    let read: Option<Vec<Spanned<Algorithm>>> =
        items.iter().map(|item| read(item, report)).collect::<Vec<_>>().into_iter().collect();
    let read = read?;
    once(&read, Code::DuplicateItem, "algorithm", report);
    if !read.iter().any(|algorithm| algorithm.value == Algorithm::Loss) {
        let reason = "whoever understands overload control offers it (RFC 7339 section 4.2)";
        let words = words("\"loss\" is not among the algorithms", reason, format!("write {EXAMPLE}"));
        report.error(Code::UnknownValue, value.span, words);
        return None;
    }
    Some(read.into_iter().map(|algorithm| algorithm.value).collect())
}

fn place(section: &Section<'_, '_>, example: &str, report: &mut Report<'_>) -> Option<Place> {
    let value = section.required("address", example, report)?;
    let text = text(value, example, report)?;
    right(&text, Place::parse(text.value, None), example, report)
}

/// `username` and `password_file`, both or neither; the outer `None`: there were complaints.
fn login(section: &Section<'_, '_>, report: &mut Report<'_>) -> Option<Option<Login>> {
    let (username, password) = (section.get("username"), section.get("password_file"));
    match (username, password) {
        (None, None) => Some(None),
        (Some(username), Some(password)) => {
            let user = text(username, "\"sipsteer\"", report);
            let password_file = path(password, "\"/etc/sipsteer/metrics.password\"", report)?.value;
            let user = user?;
            if user.value.is_empty() || user.value.contains(|c: char| c == ':' || c.is_control()) {
                let reason = "a colon ends the name (RFC 7617 section 2)";
                let words = words("not a name for basic authentication", reason, "write one without a colon");
                report.error(Code::BadName, user.span, words);
                return None;
            }
            Some(Some(Login { username: user.value.to_owned(), password_file }))
        }
        (Some(value), None) | (None, Some(value)) => {
            let words = words(
                "`username` and `password_file` belong together",
                "basic authentication needs both",
                "add the other one, or remove this one",
            );
            report.error(Code::MissingKey, value.span, words);
            None
        }
    }
}

/// `profile`, with what `map` says otherwise.
fn read_mapping(section: &Section<'_, '_>, report: &mut Report<'_>) -> Option<Mapping> {
    let profiles = mapping::PROFILES.map(|(name, _)| (name, Some(name)));
    let mut mapping = match section.get("profile") {
        Some(value) => mapping::profile(values::choice(value, "profile", &profiles, "", report)?)?,
        None => Mapping::new(),
    };
    let figures = Figure::NAMES.map(|(name, _)| name);
    if let Some(value) = table(section.get("map"), "map", report) {
        let own = Section::new("map", value, &figures, report)?;
        for (name, figure) in Figure::NAMES {
            let Some(value) = own.get(name) else { continue };
            let Some(written) = text(value, "\"sum(calls{state=\\\"up\\\"})\"", report) else { continue };
            match written.value.parse() {
                Ok(selector) => drop(mapping.insert(figure, selector)),
                Err(why) => {
                    let message = format!("{} names no metric", quoted(written.value));
                    let remedy = "write name, name{label=\"value\"}, or one of these in sum(), rate(), percent() or \
                                  idle_percent()";
                    report.error(Code::UnknownValue, written.span, words(message, why, remedy));
                }
            }
        }
    } else if let Some(value) = section.get("map") {
        wrong_type(value, "a table", "write for instance map = { channels = \"calls\" }", report);
    }
    if mapping.is_empty() {
        let remedy = format!(
            "add `profile` ({}), or `map` with one of {}",
            mapping::PROFILES.map(|(name, _)| format!("\"{name}\"")).join(", "),
            figures.join(", ")
        );
        let words = words("there is neither `profile` nor `map`", "nothing of the page would count", remedy);
        report.error(Code::MissingKey, section.span, words);
        return None;
    }
    Some(mapping)
}

/// That the backends are there.
pub(super) fn check(draft: &Draft, report: &mut Report<'_>) {
    let names = |name: &str| draft.backends.iter().filter_map(|b| b.name.as_ref()).any(|n| n.value == name);
    let manned = |zone: &str| draft.backends.iter().filter_map(|b| b.zone.as_ref()).any(|z| z.value == zone);
    let unknown = |message: String, span: Span, report: &mut Report<'_>| {
        let remedy = "name what is in this file";
        report.error(Code::UnknownName, span, words(message, "there is nobody to ask", remedy));
    };
    for source in &draft.telemetry {
        let backends = source.backends.iter().flat_map(|b| &b.value);
        for backend in backends.filter(|b| !names(&b.value)) {
            unknown(format!("there is no backend {}", quoted(&backend.value)), backend.span, report);
        }
        if let Some(list) = source.backends.as_ref().filter(|list| list.value.is_empty()) {
            unknown("no backend is named".to_owned(), list.span, report);
        }
        if let Some(zone) = source.zone.as_ref().filter(|z| !manned(&z.value)) {
            unknown(format!("no backend is in a zone {}", quoted(&zone.value)), zone.span, report);
        }
    }
}

impl ControlDraft {
    /// With defaults for what is absent.
    pub(super) fn finish(&self) -> Control {
        let default = Control::default();
        Control {
            warm_up: self.warm_up.as_ref().map_or(default.warm_up, |v| v.value),
            cpu_target: self.cpu_target.unwrap_or(default.cpu_target),
            panic_threshold: self.panic_threshold.unwrap_or(default.panic_threshold),
        }
    }
}
