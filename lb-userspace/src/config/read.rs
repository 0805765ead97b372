//! Tables of the file to a [`Draft`]: every key by itself.

use super::{
    Forwarding, XdpMode,
    complaint::Code,
    draft::{BackendDraft, DialogsDraft, Draft, NodeDraft, ServiceDraft, ZoneDraft},
    report::{Report, words},
    section::{Section, boolean, integer, table, tables, text, texts},
    values::{self, Choice, choice},
};
use lb_common::limits;
use std::{path::PathBuf, time::Duration};
use toml_span::{Span, Spanned, Value};

/// Largest weight of a backend.
const MAX_WEIGHT: u32 = 1000;
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
const FORWARDINGS: &[Choice<Forwarding>] =
    &[("nat", Some(Forwarding::Nat)), ("l2", Some(Forwarding::L2)), ("ipip", None)];
const POLICIES: &[Choice<()>] =
    &[("consistent", Some(())), ("least-loaded", None), ("primary-secondary", None)];
const OVERFLOWS: &[Choice<()>] = &[("forward", Some(())), ("redirect", None)];

/// Reads the whole file.
pub(super) fn file(root: &Value<'_>, report: &mut Report<'_>) -> Draft {
    const KEYS: &[&str] = &["node", "dialogs", "service", "zone", "backend"];
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
    for value in tables(file.get("service"), "[[service]]", report) {
        draft.services.extend(read_service(value, report));
    }
    for value in tables(file.get("zone"), "[[zone]]", report) {
        draft.zones.extend(read_zone(value, report));
    }
    let mut limits = Limits::default();
    for value in tables(file.get("backend"), "[[backend]]", report) {
        draft.backends.extend(read_backend(value, &mut limits, report));
    }
    limits.warn(report);
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
            .and_then(|v| hash_key_file(v, report))
            .unwrap_or_else(|| HASH_KEY_FILE.into()),
        zone: optional_name(&node, "zone", report),
    })
}

/// An absolute path: the daemon's working directory is nobody's business.
fn hash_key_file(value: &Value<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let path = text(value, &format!("\"{HASH_KEY_FILE}\""), report)?;
    if path.value.starts_with('/') && !path.value.ends_with('/') && !path.value.contains('\0') {
        return Some(path.value.into());
    }
    let reason = "a relative path would depend on where the daemon was started, and a directory is no file";
    let words =
        words("not an absolute path of a file", reason, format!("write for instance \"{HASH_KEY_FILE}\""));
    report.error(Code::BadPath, path.span, words);
    None
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

fn read_service(value: &Value<'_>, report: &mut Report<'_>) -> Option<ServiceDraft> {
    const KEYS: &[&str] = &["name", "listen", "forwarding", "policy", "zones", "overflow"];
    const LISTEN: &str = "[\"203.0.113.10:5060/udp\"]";
    let service = Section::new("[[service]]", value, KEYS, report)?;
    if let Some(value) = service.get("policy") {
        choice(value, "policy", POLICIES, "it arrives with capacity limits", report);
    }
    if let Some(value) = service.get("overflow") {
        let not_yet =
            "answering with 302 arrives with the slow path; a further zone gets the calls forwarded";
        choice(value, "overflow", OVERFLOWS, not_yet, report);
    }
    let forwarding = match service.get("forwarding") {
        Some(value) => choice(value, "forwarding", FORWARDINGS, "IPIP encapsulation comes later", report),
        None => Some(Forwarding::Nat),
    };
    let listen = service.required("listen", LISTEN, report);
    let listen =
        listen.and_then(|v| filled(v, LISTEN, "no address to listen on", report)).unwrap_or_default();
    let zones = service.required("zones", "[\"uk\"]", report);
    let zones =
        zones.and_then(|v| filled(v, "[\"uk\"]", "the service lists no zone", report)).unwrap_or_default();
    Some(ServiceDraft {
        span: service.span,
        name: required_name(&service, "\"trunks\"", report),
        listen: listen.into_iter().filter_map(|t| values::listener(&t, report)).collect(),
        forwarding,
        zones: zones.into_iter().filter_map(|t| values::name(&t, report)).collect(),
    })
}

/// A list of texts that is not empty.
fn filled<'v>(
    value: &'v Value<'_>,
    example: &str,
    empty: &str,
    report: &mut Report<'_>,
) -> Option<Vec<Spanned<&'v str>>> {
    if value.as_array().is_some_and(Vec::is_empty) {
        let words = words(
            empty,
            "a service leads from addresses to backends",
            format!("write for instance {example}"),
        );
        report.error(Code::EmptyService, value.span, words);
    }
    texts(value, example, report)
}

fn read_zone(value: &Value<'_>, report: &mut Report<'_>) -> Option<ZoneDraft> {
    let zone = Section::new("[[zone]]", value, &["name", "address"], report)?;
    let address = zone.get("address").and_then(|v| text(v, "\"sip.uk.example.com:5060\"", report));
    let address = address.and_then(|t| values::host(&t, report));
    if let Some(span) = zone.key_span("address").filter(|_| address.is_some()) {
        let reason = "redirects by 302 arrive with the slow path";
        let words = words(
            "the address of a zone has no effect in this version",
            reason,
            "leave it for later or remove it",
        );
        report.warn(Code::NoEffect, span, words);
    }
    Some(ZoneDraft { name: required_name(&zone, "\"uk\"", report), address })
}

fn read_backend(value: &Value<'_>, limits: &mut Limits, report: &mut Report<'_>) -> Option<BackendDraft> {
    const KEYS: &[&str] = &["name", "zone", "address", "max_cps", "max_channels", "weight"];
    let backend = Section::new("[[backend]]", value, KEYS, report)?;
    let zone = backend.required("zone", "\"uk\"", report).and_then(|v| text(v, "\"uk\"", report));
    let address = backend.required("address", "\"10.0.0.11:5060\"", report);
    let address = address.and_then(|v| text(v, "\"10.0.0.11:5060\"", report));
    let mut limit = |key: &str| backend.get(key).map(|v| (backend.key_span(key), values::limit(v, report)));
    let (max_cps, max_channels) = (limit("max_cps"), limit("max_channels"));
    limits.note(max_cps);
    limits.note(max_channels);
    let reason = "shares are proportional to weights; the usual weight is 100";
    let weight =
        backend.get("weight").and_then(|v| integer(v, 1, MAX_WEIGHT, reason, report)).unwrap_or(WEIGHT);
    Some(BackendDraft {
        span: backend.span,
        name: required_name(&backend, "\"sw1\"", report),
        zone: zone.and_then(|t| values::name(&t, report)),
        address: address.and_then(|t| values::backend(&t, report)),
        max_cps: max_cps.and_then(|(_, limit)| limit).unwrap_or(Some(MAX_CPS)),
        max_channels: max_channels.and_then(|(_, limit)| limit).unwrap_or(Some(MAX_CHANNELS)),
        weight: weight as u16,
    })
}

/// Limits that are set but not kept yet: one warning for all of them.
#[derive(Default)]
struct Limits {
    first: Option<Span>,
    count: usize,
}

impl Limits {
    /// A limit of 0 is kept (no new calls), and "unlimited" is what happens anyway.
    fn note(&mut self, limit: Option<(Option<Span>, Option<Option<u32>>)>) {
        if let Some((span, Some(Some(1..)))) = limit {
            self.first = self.first.or(span);
            self.count += 1;
        }
    }

    fn warn(&self, report: &mut Report<'_>) {
        let Some(span) = self.first else { return };
        let message =
            format!("max_cps and max_channels are not enforced in this version ({} set)", self.count);
        let reason = "admission by capacity is not there yet; only 0, no new calls, is kept";
        let remedy = "share the load by weight for now; the limits may stay in the file";
        report.warn(Code::NoEffect, span, words(message, reason, remedy));
    }
}

fn required_name(
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
