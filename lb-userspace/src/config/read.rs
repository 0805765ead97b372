//! Tables of the file to a [`Draft`]: every key by itself.

use super::{
    MAX_ANSWERS, MAX_LIMIT, MAX_WEIGHT, XdpMode,
    complaint::Code,
    draft::{AnswersDraft, BackendDraft, DialogsDraft, Draft, NodeDraft, ZoneDraft},
    read_api::read_api,
    read_health::read_health,
    read_service::read_service,
    read_telemetry::{read_control, read_telemetry},
    report::{Report, words},
    section::{Section, boolean, integer, path, table, tables, text, texts},
    values::{self, Choice, choice},
};
use lb_common::limits;
use std::{net::SocketAddr, time::Duration};
use toml_span::{Span, Spanned, Value};

/// Weight of a backend that sets none.
const WEIGHT: u32 = 100;
/// Limits of a backend that sets none: new calls per second, and calls in progress.
const MAX_CPS: u32 = 100;
const MAX_CHANNELS: u32 = 1000;
/// Smallest dialog table.
const LEAST_DIALOGS: u32 = 1024;
/// Where the hash key is if nothing else is said.
const HASH_KEY_FILE: &str = "/etc/sipsteer/hash.key";

const XDP_MODES: &[Choice<XdpMode>] =
    &[("auto", Some(XdpMode::Auto)), ("native", Some(XdpMode::Native)), ("generic", Some(XdpMode::Generic))];

/// Reads the whole file.
pub(super) fn file(root: &Value<'_>, report: &mut Report<'_>) -> Draft {
    const KEYS: &[&str] = &[
        "node",
        "dialogs",
        "answers",
        "metrics",
        "api",
        "health",
        "controller",
        "telemetry",
        "service",
        "zone",
        "backend",
    ];
    let Some(file) = Section::new("the file", root, KEYS, report) else { return Draft::default() };
    let node = table(file.get("node"), "[node]", report);
    if file.get("node").is_none() {
        let remedy = "add `[node]` with `name = \"lb1\"` and `interfaces = [\"eth0\"]`";
        let words = words("there is no [node]", "it says where to attach", remedy);
        report.error(Code::MissingKey, Span::default(), words);
    }
    let mut draft = Draft { node: node.and_then(|v| read_node(v, report)), ..Draft::default() };
    if let Some(value) = table(file.get("dialogs"), "[dialogs]", report) {
        draft.dialogs = read_dialogs(value, report);
    }
    if let Some(value) = table(file.get("answers"), "[answers]", report) {
        draft.answers = read_answers(value, report);
    }
    if let Some(value) = table(file.get("metrics"), "[metrics]", report) {
        draft.metrics = read_metrics(value, report);
    }
    if let Some(value) = table(file.get("api"), "[api]", report) {
        draft.api = read_api(value, report);
    }
    if let Some(value) = table(file.get("health"), "[health]", report) {
        // One that cannot be read is there all the same.
        draft.health = Some(read_health("[health]", value, report).unwrap_or_default());
    }
    if let Some(value) = table(file.get("controller"), "[controller]", report) {
        draft.control = read_control(value, report);
    }
    for value in tables(file.get("telemetry"), "[[telemetry]]", report) {
        draft.telemetry.extend(read_telemetry(value, report));
    }
    for value in tables(file.get("service"), "[[service]]", report) {
        draft.services.extend(read_service(value, report));
    }
    for value in tables(file.get("zone"), "[[zone]]", report) {
        draft.zones.extend(read_zone(value, report));
    }
    for value in tables(file.get("backend"), "[[backend]]", report) {
        draft.backends.extend(read_backend(value, report));
    }
    draft
}

fn read_node(value: &Value<'_>, report: &mut Report<'_>) -> Option<NodeDraft> {
    const KEYS: &[&str] = &["name", "interfaces", "xdp_mode", "hash_key_file", "zone"];
    let node = Section::new("[node]", value, KEYS, report)?;
    let interfaces = node
        .required("interfaces", "[\"eth0\"]", report)
        .and_then(|value| texts(value, "[\"eth0\"]", report).map(|texts| (value.span, texts)));
    if let Some((span, texts)) = &interfaces
        && texts.is_empty()
    {
        let remedy = "name at least one, as in `interfaces = [\"eth0\"]`";
        let words = words("no interface is named", "XDP has nowhere to attach", remedy);
        report.error(Code::MissingKey, *span, words);
    }
    let interfaces = interfaces.map(|(_, texts)| texts).unwrap_or_default();
    Some(NodeDraft {
        name: required_name(&node, "\"lb1\"", report),
        interfaces: interfaces.into_iter().filter_map(|t| values::interface(&t, report)).collect(),
        xdp_mode: node
            .get("xdp_mode")
            .and_then(|v| choice(v, "xdp_mode", XDP_MODES, "", report))
            .unwrap_or(XdpMode::Auto),
        hash_key_file: node
            .get("hash_key_file")
            .and_then(|v| path(v, &format!("\"{HASH_KEY_FILE}\""), report))
            .map_or_else(|| HASH_KEY_FILE.into(), |path| path.value),
        zone: optional_name(&node, "zone", report),
    })
}

fn read_dialogs(value: &Value<'_>, report: &mut Report<'_>) -> DialogsDraft {
    const KEYS: &[&str] = &["max", "unanswered", "answered", "ended", "subscribed", "shortened"];
    let Some(dialogs) = Section::new("[dialogs]", value, KEYS, report) else {
        return DialogsDraft::default();
    };
    let mut lifetime = |key: &str| dialogs.get(key).and_then(|v| values::duration(v, report));
    let (ended, unanswered) = (lifetime("ended"), lifetime("unanswered"));
    let (answered, subscribed): (Option<Spanned<Duration>>, _) =
        (lifetime("answered"), lifetime("subscribed"));
    let reason = "the dialog table is allocated at the start; 1,048,576 dialogs take about 160 MB";
    let max = dialogs.get("max").and_then(|v| integer(v, LEAST_DIALOGS, limits::MAX_DIALOGS, reason, report));
    let shortened = dialogs.get("shortened").filter(|v| boolean(v, report) == Some(true)).map(|v| v.span);
    DialogsDraft { max, ended, unanswered, answered, subscribed, shortened }
}

fn read_metrics(value: &Value<'_>, report: &mut Report<'_>) -> Option<Spanned<SocketAddr>> {
    let metrics = Section::new("[metrics]", value, &["listen"], report)?;
    own_address(&metrics, "127.0.0.1:9464", "which Prometheus asks", report)
}

/// `listen` of something that is served over TCP; `who` says for whom.
pub(super) fn own_address(
    section: &Section<'_, '_>,
    example: &str,
    who: &str,
    report: &mut Report<'_>,
) -> Option<Spanned<SocketAddr>> {
    let example = format!("\"{example}\"");
    let listen = text(section.required("listen", &example, report)?, &example, report)?;
    let address = listen.value.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
    if address.is_none() {
        let reason = format!("it is an address of this host and a TCP port, {who}");
        let remedy = format!("write for instance `listen = {example}`");
        report.error(Code::BadAddress, listen.span, words("not an address with a port", reason, remedy));
    }
    Some(Spanned::with_span(address?, listen.span))
}

fn read_answers(value: &Value<'_>, report: &mut Report<'_>) -> AnswersDraft {
    const TRUSTED: &str = "[\"198.51.100.0/24\"]";
    let Some(answers) = Section::new("[answers]", value, &["per_source", "total", "trusted"], report) else {
        return AnswersDraft::default();
    };
    let per_source = answers.get("per_source").and_then(|v| {
        values::answers_per_source(v, report).map(|per_source| Spanned::with_span(per_source, v.span))
    });
    let reason = "it is counted in answers per second; a forged source must not get more than it can bear";
    let total = answers.get("total").and_then(|v| integer(v, 1, MAX_ANSWERS, reason, report));
    let trusted = answers.get("trusted").and_then(|v| texts(v, TRUSTED, report)).unwrap_or_default();
    let trusted = trusted.into_iter().filter_map(|t| values::prefix(&t, report)).collect();
    AnswersDraft { per_source, total, trusted }
}

fn read_zone(value: &Value<'_>, report: &mut Report<'_>) -> Option<ZoneDraft> {
    let zone = Section::new("[[zone]]", value, &["name", "address"], report)?;
    let address = zone.get("address").and_then(|v| text(v, "\"sip.uk.example.com:5060\"", report));
    let address = address.and_then(|t| values::host(&t, report).map(|host| Spanned::with_span(host, t.span)));
    Some(ZoneDraft { name: required_name(&zone, "\"uk\"", report), address })
}

fn read_backend(value: &Value<'_>, report: &mut Report<'_>) -> Option<BackendDraft> {
    const KEYS: &[&str] =
        &["name", "zone", "address", "max_cps", "cps_burst", "max_channels", "weight", "health"];
    let backend = Section::new("[[backend]]", value, KEYS, report)?;
    let zone = backend.required("zone", "\"uk\"", report).and_then(|v| text(v, "\"uk\"", report));
    let address = backend.required("address", "\"10.0.0.11:5060\"", report);
    let address = address.and_then(|v| text(v, "\"10.0.0.11:5060\"", report));
    let mut limit = |key: &str| backend.get(key).and_then(|v| values::limit(v, report));
    let (max_cps, max_channels) = (limit("max_cps"), limit("max_channels"));
    let reason = "a burst is counted in calls; the usual one is a tenth of max_cps";
    let cps_burst = backend.get("cps_burst").and_then(|v| {
        integer(v, 0, MAX_LIMIT, reason, report).map(|burst| Spanned::with_span(burst, v.span))
    });
    let reason = "shares are proportional to weights; the usual weight is 100";
    let weight = backend.get("weight").and_then(|v| integer(v, 1, MAX_WEIGHT.into(), reason, report));
    let health = backend.get("health");
    let health = health.map(|v| read_health("[backend.health]", v, report).unwrap_or_default());
    Some(BackendDraft {
        span: backend.span,
        name: required_name(&backend, "\"sw1\"", report),
        zone: zone.and_then(|t| values::name(&t, report)),
        address: address.and_then(|t| values::backend(&t, report)),
        max_cps: max_cps.unwrap_or(Some(MAX_CPS)),
        cps_burst,
        max_channels: max_channels.unwrap_or(Some(MAX_CHANNELS)),
        weight: weight.unwrap_or(WEIGHT) as u16,
        health,
    })
}

pub(super) fn required_name(
    section: &Section<'_, '_>,
    example: &str,
    report: &mut Report<'_>,
) -> Option<Spanned<String>> {
    let value = section.required("name", example, report)?;
    text(value, example, report).and_then(|t| values::name(&t, report))
}

fn optional_name(section: &Section<'_, '_>, key: &str, report: &mut Report<'_>) -> Option<Spanned<String>> {
    text(section.get(key)?, "\"uk\"", report).and_then(|t| values::name(&t, report))
}
