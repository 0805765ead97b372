//! `[[service]]` to a [`ServiceDraft`]: every key by itself.

use super::{
    Forwarding, FullAfterRefusal, HashBy, Overflow, Policy,
    complaint::Code,
    draft::{ServiceDraft, TierDraft},
    read::required_name,
    report::{Report, words},
    section::{Section, boolean, text, texts, wrong_type},
    values::{self, Choice, choice},
};
use std::time::Duration;
use toml_span::{Spanned, Value};

/// `bound` of a service that sets none: 1.25.
const BOUND: u16 = 1280;
/// Bounds of `bound`: at 1 only backends below the mean get calls, at 10 hardly anything is left of it.
const BOUNDS: [f64; 2] = [1.0, 10.0];
/// `target_utilisation` of a service that sets none: 0.5.
const TARGET: u16 = 512;
/// Bounds of `target_utilisation`.
const TARGETS: [f64; 2] = [0.01, 1.0];

/// `policy`, before its bound is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Consistent,
    LeastLoaded,
    PrimarySecondary,
}

const FORWARDINGS: &[Choice<Forwarding>] =
    &[("nat", Some(Forwarding::Nat)), ("l2", Some(Forwarding::L2)), ("ipip", None)];
const POLICIES: &[Choice<Word>] = &[
    ("consistent", Some(Word::Consistent)),
    ("least-loaded", Some(Word::LeastLoaded)),
    ("primary-secondary", Some(Word::PrimarySecondary)),
];
const HASHES: &[Choice<HashBy>] = &[
    ("call-id", Some(HashBy::CallId)),
    ("from-user", Some(HashBy::FromUser)),
    ("to-user", Some(HashBy::ToUser)),
    ("request-user", Some(HashBy::RequestUser)),
    ("source", Some(HashBy::Source)),
];
const OVERFLOWS: &[Choice<Overflow>] =
    &[("forward", Some(Overflow::Forward)), ("redirect", Some(Overflow::Redirect))];
const OPTIONS: &[Choice<bool>] = &[("answer", Some(true)), ("forward", Some(false))];
const KEYS: &[&str] = &[
    "name",
    "listen",
    "forwarding",
    "policy",
    "bound",
    "hash_by",
    "target_utilisation",
    "zones",
    "overflow",
    "options",
    "retry_after",
    "retry_refused",
    "full_after_refusal",
];
/// Keys about what a backend answers itself.
const REFUSALS: [&str; 2] = ["retry_refused", "full_after_refusal"];

/// Reads one `[[service]]`.
pub(super) fn read_service(value: &Value<'_>, report: &mut Report<'_>) -> Option<ServiceDraft> {
    const LISTEN: &str = "[\"203.0.113.10:5060/udp\"]";
    let service = Section::new("[[service]]", value, KEYS, report)?;
    let forwarding = match service.get("forwarding") {
        Some(value) => choice(value, "forwarding", FORWARDINGS, "IPIP encapsulation comes later", report),
        None => Some(Forwarding::Nat),
    };
    let listen = service.required("listen", LISTEN, report);
    let listen = listen
        .filter(|v| filled(v, LISTEN, "no address to listen on", report))
        .and_then(|v| texts(v, LISTEN, report));
    let overflow = service.get("overflow").and_then(|v| choice(v, "overflow", OVERFLOWS, "", report));
    let tiers = read_tiers(&service, overflow.unwrap_or(Overflow::Forward), report);
    let hash_by = service.get("hash_by").and_then(|v| choice(v, "hash_by", HASHES, "", report));
    let reason = "it is the part of its capacity that a backend should carry; at 1 it is full";
    let target = service.get("target_utilisation").and_then(|v| values::ratio(v, TARGETS, reason, report));
    let options = service.get("options").and_then(|v| choice(v, "options", OPTIONS, "", report));
    let full = service.get("full_after_refusal").and_then(|v| values::full_after_refusal(v, report));
    Some(ServiceDraft {
        span: service.span,
        name: required_name(&service, "\"trunks\"", report),
        listen: listen.unwrap_or_default().into_iter().filter_map(|t| values::listener(&t, report)).collect(),
        forwarding,
        policy: read_policy(&service, report),
        bound: service.key_span("bound"),
        hash_by: hash_by.unwrap_or(HashBy::CallId),
        target: target.unwrap_or(TARGET),
        tiers,
        answers_options: options.unwrap_or(true),
        retry_after: service.get("retry_after").and_then(|v| values::retry_after(v, report)),
        retries_refused: service.get("retry_refused").and_then(|v| boolean(v, report)).unwrap_or(true),
        full_after_refusal: full.unwrap_or(FullAfterRefusal::For(Duration::ZERO)),
        refusals: REFUSALS.iter().filter_map(|key| Some((*key, service.key_span(key)?))).collect(),
    })
}

fn read_policy(service: &Section<'_, '_>, report: &mut Report<'_>) -> Policy {
    let word = service.get("policy").and_then(|v| choice(v, "policy", POLICIES, "", report));
    let reason = "it is a multiple of the mean utilisation of the zone's backends";
    let bound = match service.get("bound") {
        None => Some(BOUND),
        Some(value) if value.as_str() == Some("none") => None,
        Some(value) => values::ratio(value, BOUNDS, reason, report),
    };
    match word.unwrap_or(Word::Consistent) {
        Word::Consistent => Policy::Consistent { bound },
        Word::LeastLoaded => Policy::LeastLoaded,
        Word::PrimarySecondary => Policy::PrimarySecondary,
    }
}

/// `zones`: names, or tables that say for one tier how calls get there.
fn read_tiers(service: &Section<'_, '_>, overflow: Overflow, report: &mut Report<'_>) -> Vec<TierDraft> {
    const ZONES: &str = "[\"uk\", { zone = \"germany\", overflow = \"forward\" }]";
    let Some(value) = service.required("zones", ZONES, report) else { return Vec::new() };
    if !filled(value, ZONES, "the service lists no zone", report) {
        return Vec::new();
    }
    let Some(items) = value.as_array() else {
        wrong_type(value, "a list of zones", &format!("write for instance {ZONES}"), report);
        return Vec::new();
    };
    items.iter().filter_map(|item| read_tier(item, overflow, report)).collect()
}

fn read_tier(value: &Value<'_>, overflow: Overflow, report: &mut Report<'_>) -> Option<TierDraft> {
    if value.as_table().is_none() {
        let example = "\"germany\" or { zone = \"germany\", overflow = \"forward\" }";
        let zone = values::name(&text(value, example, report)?, report)?;
        return Some(TierDraft { zone, overflow, own_overflow: None });
    }
    let tier = Section::new("a table in `zones`", value, &["zone", "overflow"], report)?;
    let zone = tier.required("zone", "\"germany\"", report).and_then(|v| text(v, "\"germany\"", report));
    let own = tier.get("overflow").and_then(|v| choice(v, "overflow", OVERFLOWS, "", report));
    Some(TierDraft {
        zone: zone.and_then(|t: Spanned<&str>| values::name(&t, report))?,
        overflow: own.unwrap_or(overflow),
        own_overflow: tier.key_span("overflow"),
    })
}

/// Complains about an empty list, of which nothing more has to be said.
fn filled(value: &Value<'_>, example: &str, empty: &str, report: &mut Report<'_>) -> bool {
    let is_empty = value.as_array().is_some_and(Vec::is_empty);
    if is_empty {
        let words = words(
            empty,
            "a service leads from addresses to backends",
            format!("write for instance {example}"),
        );
        report.error(Code::EmptyService, value.span, words);
    }
    !is_empty
}
