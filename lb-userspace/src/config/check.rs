//! What must hold between values of a file: uniqueness, references, bounds.

use super::{
    Forwarding, MAX_TRUSTED, check_service,
    complaint::Code,
    draft::{AnswersDraft, DialogsDraft, Draft, ProbingDraft, ServiceDraft},
    read_api, read_health,
    read_telemetry::{self, MAX_TELEMETRY},
    report::{Report, quoted, words},
};
use lb_common::limits;
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    hash::Hash,
    net::SocketAddr,
    time::Duration,
};
use toml_span::{Span, Spanned};

/// Shortest lifetime that a test may ask for: some jiffies on every kernel.
const SHORTEST: Duration = Duration::from_millis(100);
/// How many times as long as the shortest the longest of shortened lifetimes may be: both are counted in the same ticks,
/// of which 16 bits are kept.
const SHORTENED_RANGE: u32 = 500;

/// Checks everything that needs more than one value.
pub(super) fn draft(draft: &Draft, report: &mut Report<'_>) {
    counts(draft, report);
    names(draft, report);
    addresses(draft, report);
    references(draft, report);
    services_per_backend(draft, report);
    check_service::draft(draft, report);
    lifetimes(&draft.dialogs, report);
    answers(&draft.answers, report);
    health(draft, report);
    read_telemetry::check(draft, report);
    read_api::check(draft, report);
}

/// Upper bounds, and that there is anything at all.
fn counts(draft: &Draft, report: &mut Report<'_>) {
    let services: Vec<Span> = draft.services.iter().map(|s| s.span).collect();
    let backends: Vec<Span> = draft.backends.iter().map(|b| b.span).collect();
    at_least_one(&services, "[[service]]", "`name`, `listen` and `zones`", report);
    at_least_one(&backends, "[[backend]]", "`name`, `zone` and `address`", report);
    at_most(limits::MAX_SERVICES, &services, "services", "a node", report);
    at_most(limits::MAX_BACKENDS, &backends, "backends", "a node", report);
    if let Some(node) = &draft.node {
        at_most(limits::MAX_INTERFACES, &spans(&node.interfaces), "interfaces", "a node", report);
        once(&node.interfaces, Code::DuplicateItem, "interface", report);
    }
    let sources: Vec<Span> = draft.telemetry.iter().map(|t| t.span).collect();
    at_most(MAX_TELEMETRY, &sources, "sources of telemetry", "a node", report);
    at_most(MAX_TRUSTED, &spans(&draft.answers.trusted), "trusted networks", "a node", report);
    once(&draft.answers.trusted, Code::DuplicateItem, "network", report);
    for service in &draft.services {
        at_most(
            limits::MAX_LISTENERS,
            &spans(&service.listen),
            "addresses to listen on",
            "a service",
            report,
        );
        let tiers: Vec<Span> = service.zones().map(|z| z.span).collect();
        at_most(limits::MAX_TIERS, &tiers, "zones", "a service", report);
        once(service.zones(), Code::DuplicateItem, "zone in this list", report);
    }
    let mut zones: BTreeMap<&str, Span> = BTreeMap::new();
    let declared = draft.zones.iter().filter_map(|z| z.name.as_ref());
    let listed = draft.services.iter().flat_map(ServiceDraft::zones);
    for zone in declared.chain(listed).chain(draft.backends.iter().filter_map(|b| b.zone.as_ref())) {
        let first = zones.entry(&zone.value).or_insert(zone.span);
        first.start = first.start.min(zone.span.start);
    }
    let mut zones: Vec<Span> = zones.into_values().collect();
    zones.sort_by_key(|span| span.start);
    at_most(limits::MAX_ZONES, &zones, "zones", "a node", report);
}

fn at_least_one(spans: &[Span], header: &str, keys: &str, report: &mut Report<'_>) {
    if spans.is_empty() {
        let remedy = format!("add `{header}` with {keys}");
        let words = words(format!("there is no {header}"), "calls lead from a service to a backend", remedy);
        report.error(Code::MissingKey, Span::default(), words);
    }
}

fn at_most(most: u32, spans: &[Span], what: &str, of: &str, report: &mut Report<'_>) {
    if let Some(span) = spans.get(most as usize) {
        let message = format!("{} {what}, {of} may have {most}", spans.len());
        let reason = "the tables in the kernel have room for no more; this is the first too many";
        report.error(
            Code::TooMany,
            *span,
            words(message, reason, format!("remove {}", spans.len() - most as usize)),
        );
    }
}

fn spans<T>(values: &[Spanned<T>]) -> Vec<Span> {
    values.iter().map(|v| v.span).collect()
}

/// Names are unique among services, zones and backends.
fn names(draft: &Draft, report: &mut Report<'_>) {
    once(draft.services.iter().filter_map(|s| s.name.as_ref()), Code::DuplicateName, "service", report);
    let sources = draft.telemetry.iter().filter_map(|t| t.name.as_ref());
    once(sources, Code::DuplicateName, "source of telemetry", report);
    once(draft.zones.iter().filter_map(|z| z.name.as_ref()), Code::DuplicateName, "zone", report);
    once(draft.backends.iter().filter_map(|b| b.name.as_ref()), Code::DuplicateName, "backend", report);
}

pub(super) fn once<'a, T: Ord + Hash + ToString + 'a>(
    values: impl IntoIterator<Item = &'a Spanned<T>>,
    code: Code,
    what: &str,
    report: &mut Report<'_>,
) {
    let mut seen: BTreeMap<&T, Span> = BTreeMap::new();
    for value in values {
        match seen.entry(&value.value) {
            Entry::Vacant(vacant) => drop(vacant.insert(value.span)),
            Entry::Occupied(first) => {
                let message = format!("{what} {} is there already", quoted(&value.value.to_string()));
                let words = words(message, "the second one", "give it another one, or remove it");
                report.error_beside(code, value.span, words, (*first.get(), "the first one"));
            }
        }
    }
}

/// Addresses are unique among listeners and backends: a packet is told by them alone.
fn addresses(draft: &Draft, report: &mut Report<'_>) {
    let listeners = || draft.services.iter().flat_map(|s| &s.listen);
    let backends = || draft.backends.iter().filter_map(|b| b.address.as_ref());
    once(listeners(), Code::DuplicateAddress, "listener", report);
    once(backends(), Code::DuplicateAddress, "the address of a backend,", report);
    let listening: BTreeMap<SocketAddr, Span> = listeners().map(|a| (a.value, a.span)).collect();
    for backend in backends() {
        if let Some(listener) = listening.get(&backend.value) {
            let message = format!("{} is an address that a service listens on", backend.value);
            let remedy = "write the backend's own address; with `l2` too, the service address is set on the \
                          backend's loopback only";
            let words = words(message, "its calls would come back here", remedy);
            report.error_beside(Code::DuplicateAddress, backend.span, words, (*listener, "the listener"));
        }
    }
}

/// Zones hold services and backends together: every backend must be reachable.
fn references(draft: &Draft, report: &mut Report<'_>) {
    let listed: BTreeSet<&str> =
        draft.services.iter().flat_map(ServiceDraft::zones).map(|z| z.value.as_str()).collect();
    let manned: BTreeSet<&str> =
        draft.backends.iter().filter_map(|b| b.zone.as_ref()).map(|z| z.value.as_str()).collect();
    for zone in draft.backends.iter().filter_map(|b| b.zone.as_ref()) {
        if !listed.contains(zone.value.as_str()) {
            let message = format!("no service lists the zone {}", quoted(&zone.value));
            let remedy =
                format!("add it to the `zones` of a service{}, or move the backend", one_of(&listed));
            let words = words(message, "this backend would never get a call", remedy);
            report.error(Code::BackendInNoService, zone.span, words);
        }
    }
    for zone in &draft.zones {
        if let Some(name) = zone.name.as_ref()
            && !listed.contains(name.value.as_str())
            && !manned.contains(name.value.as_str())
        {
            let message = format!("nothing uses the zone {}", quoted(&name.value));
            let remedy = "list it in a service, or remove it";
            report.warn(
                Code::Unused,
                name.span,
                words(message, "no service lists it, no backend is in it", remedy),
            );
        }
    }
    let known = |name: &str| {
        let declared = draft.zones.iter().filter_map(|z| z.name.as_ref()).any(|z| z.value == name);
        declared || listed.contains(name) || manned.contains(name)
    };
    if let Some(zone) = draft.node.as_ref().and_then(|n| n.zone.as_ref()).filter(|z| !known(&z.value)) {
        let message = format!("there is no zone {}", quoted(&zone.value));
        let remedy = format!("name a zone of this file{}, or remove the key", one_of(&listed));
        report.error(
            Code::UnknownZone,
            zone.span,
            words(message, "no service, zone or backend names it", remedy),
        );
    }
}

/// What could be meant, in parentheses, if that is short.
fn one_of(names: &BTreeSet<&str>) -> String {
    let shown: Vec<&str> = names.iter().copied().collect();
    if (1..=4).contains(&shown.len()) { format!(" (listed are {})", shown.join(", ")) } else { String::new() }
}

/// A reply is looked up in every `nat` service of its backend.
fn services_per_backend(draft: &Draft, report: &mut Report<'_>) {
    let mut listing: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for service in draft.services.iter().filter(|s| s.forwarding == Some(Forwarding::Nat)) {
        let zones: BTreeMap<&str, Span> = service.zones().map(|z| (z.value.as_str(), z.span)).collect();
        for (zone, span) in zones {
            listing.entry(zone).or_default().push(span);
        }
    }
    for (zone, spans) in listing {
        let most = limits::MAX_SERVICES_PER_BACKEND;
        if let Some(span) = spans.get(most) {
            let message =
                format!("{} services with `nat` list the zone {}, {most} may", spans.len(), quoted(zone));
            let reason = "a reply is looked up in each of them; this is the first too many";
            let remedy = "let services share addresses in one `listen`, split the zone, or use `l2`, which has no bound";
            report.error(Code::TooMany, *span, words(message, reason, remedy));
        }
    }
}

/// A source gets no more than all together.
fn answers(draft: &AnswersDraft, report: &mut Report<'_>) {
    let rates = draft.finish();
    if let Some(span) = draft.per_source.as_ref().map(|p| p.span)
        && let Some(per_source) = rates.per_source.filter(|per_source| *per_source > rates.total)
    {
        let message = format!("`per_source` is {per_source}, but all together get {} at most", rates.total);
        let remedy = format!("raise `total`, or write {} or less", rates.total);
        report.warn(Code::NoEffect, span, words(message, "the lower of the two limits counts first", remedy));
    }
    if let Some(first) = draft.trusted.first()
        && rates.per_source.is_none()
    {
        let reason = "without a limit per source nobody needs to be without one";
        let words = words("`trusted` has no effect with this `per_source`", reason, "remove one of the two");
        report.warn(Code::NoEffect, first.span, words);
    }
}

/// Probes, of `[health]` and of each backend that has its own.
fn health(draft: &Draft, report: &mut Report<'_>) {
    let usual = ProbingDraft::default();
    let base = draft.health.as_ref().unwrap_or(&usual);
    read_health::check(base, &usual, report);
    for own in draft.backends.iter().filter_map(|b| b.health.as_ref()) {
        read_health::check(own, base, report);
    }
    let decided = draft.backends.iter().all(|b| b.is_decided(draft.health.as_ref()));
    read_health::check_absent(decided, report);
}

/// Lifetimes in bounds and in proportion.
fn lifetimes(draft: &DialogsDraft, report: &mut Report<'_>) {
    let dialogs = draft.finish();
    let longest = Duration::from_secs(limits::MAX_LIFETIME_SECONDS.into());
    let (ended, shortest) = match draft.shortened {
        Some(_) => (SHORTEST, "100ms"),
        None => (Duration::from_secs(limits::LIFETIME_ENDED_SECONDS.into()), "32s"),
    };
    if let Some(value) = draft.ended.as_ref().filter(|v| v.value < ended) {
        let message = format!("`ended` is shorter than {shortest}");
        let reason = "a transaction lasts 64*T1, 32 s, after which retransmissions end (RFC 3261 17.1.1.2)";
        let remedy = match draft.shortened {
            Some(_) => "write 100ms or more: a tick of the kernel's clock may be 10 ms",
            None => "write 32s or more; tests may set `shortened = true`",
        };
        report.error(Code::OutOfRange, value.span, words(message, reason, remedy));
    }
    let others =
        [("unanswered", &draft.unanswered), ("answered", &draft.answered), ("subscribed", &draft.subscribed)];
    for (key, value) in others.into_iter().chain([("ended", &draft.ended)]) {
        let Some(value) = value else { continue };
        if value.value > longest {
            let message = format!("`{key}` is longer than {} s, about 13 hours", longest.as_secs());
            let reason = "the age of a dialog is kept in 16 bits";
            let remedy =
                "write 13h or less; a dialog that is seen lives on, the lifetime counts from its last packet";
            report.error(Code::OutOfRange, value.span, words(message, reason, remedy));
        } else if value.value < dialogs.ended {
            let message = format!("`{key}` is shorter than `ended`");
            let reason = "every dialog is kept for the lifetime of an ended one at least";
            report.error(
                Code::Lifetimes,
                value.span,
                words(message, reason, format!("write {:?} or more", dialogs.ended)),
            );
        }
    }
    if let Some(span) = draft.shortened {
        shortened(span, &dialogs, report);
    }
}

fn shortened(span: Span, dialogs: &super::Dialogs, report: &mut Report<'_>) {
    let shortest = dialogs.lifetimes().into_iter().min().unwrap_or(SHORTEST).max(SHORTEST);
    if dialogs.lifetimes().into_iter().any(|lifetime| lifetime > shortest * SHORTENED_RANGE) {
        let message =
            format!("lifetimes are more than {SHORTENED_RANGE} times as long as the shortest, {shortest:?}");
        let reason = "all are counted in the same short ticks, of which 16 bits are kept";
        let most = shortest * SHORTENED_RANGE;
        let remedy =
            format!("set `ended`, `unanswered`, `answered` and `subscribed`, none longer than {most:?}");
        report.error(Code::Lifetimes, span, words(message, reason, remedy));
    }
    let remedy = "remove `shortened` where real calls pass";
    let message = "lifetimes may be shorter than RFC 3261 allows";
    report.warn(Code::Shortened, span, words(message, "retransmissions may lose their backend", remedy));
}
