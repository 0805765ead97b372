//! What must hold between the keys of a service, its zones and their backends, so that calls without room get somewhere.

use super::{
    Forwarding, Overflow, Policy,
    complaint::Code,
    draft::{BackendDraft, Draft, ServiceDraft},
    report::{Report, quoted, words},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
};
use toml_span::Spanned;

/// SIP's port where none is written (RFC 3261 section 19.1.2).
const SIP_PORT: u16 = 5060;

/// Checks all services and the limits of all backends.
pub(super) fn draft(draft: &Draft, report: &mut Report<'_>) {
    let zones = Zones {
        manned: draft.backends.iter().filter_map(|b| b.zone.as_ref()).map(|z| z.value.as_str()).collect(),
        addresses: draft
            .zones
            .iter()
            .filter_map(|z| Some((z.name.as_ref()?.value.as_str(), z.address.as_ref()?)))
            .collect(),
    };
    for service in &draft.services {
        tiers(service, &zones, report);
        no_effect(service, report);
    }
    draft.backends.iter().for_each(|backend| bursts(backend, report));
}

/// What is known of zones.
struct Zones<'d> {
    /// Those with a backend.
    manned: BTreeSet<&'d str>,
    /// Addresses that redirects name.
    addresses: BTreeMap<&'d str, &'d Spanned<String>>,
}

/// Calls must find something in every tier: backends, or an address.
fn tiers(service: &ServiceDraft, zones: &Zones<'_>, report: &mut Report<'_>) {
    let redirects: BTreeSet<&str> = service.redirects().map(|z| z.value.as_str()).collect();
    for zone in service.zones() {
        let name = zone.value.as_str();
        let (manned, address) = (zones.manned.contains(name), zones.addresses.get(name));
        let loops =
            |address: &Spanned<String>| service.listen.iter().any(|own| names(&address.value, own.value));
        match (redirects.contains(name), address) {
            (true, Some(address)) if loops(address) => redirect_loop(zone, address, report),
            (true, None) if !manned => nowhere(zone, report),
            (true, None) if service.forwarding == Some(Forwarding::Nat) => no_address(zone, report),
            (false, _) if !manned => empty(zone, report),
            _ => {}
        }
    }
}

/// Whether what a redirect names is this address.
fn names(host: &str, own: SocketAddr) -> bool {
    let named = host.parse::<SocketAddr>().ok();
    named.or_else(|| Some((host.parse::<Ipv4Addr>().ok()?, SIP_PORT).into())) == Some(own)
}

fn redirect_loop(zone: &Spanned<String>, address: &Spanned<String>, report: &mut Report<'_>) {
    let message = format!("callers would be redirected to {}, where they come from", address.value);
    let remedy = format!(
        "write the address of {} elsewhere, or forward to it: {{ zone = \"{}\", overflow = \"forward\" }}",
        quoted(&zone.value),
        zone.value
    );
    let reason = "a redirected call keeps its Call-ID and would come back to a service that has no room";
    report.error_beside(
        Code::RedirectLoop,
        zone.span,
        words(message, reason, remedy),
        (address.span, "what the redirect names"),
    );
}

fn no_address(zone: &Spanned<String>, report: &mut Report<'_>) {
    let message = format!("a redirect to the zone {} has no address to name", quoted(&zone.value));
    let reason = "with `nat`, callers do not reach its backends themselves";
    let remedy = format!(
        "add a [[zone]] with `name = \"{0}\"` and its `address`, or forward: {{ zone = \"{0}\", overflow = \"forward\" }}",
        zone.value
    );
    report.error(Code::NoAddress, zone.span, words(message, reason, remedy));
}

fn nowhere(zone: &Spanned<String>, report: &mut Report<'_>) {
    let message = format!("the zone {} has neither a backend nor an address", quoted(&zone.value));
    let remedy = format!("add a [[zone]] with `name = \"{}\"` and its `address`", zone.value);
    report.warn(Code::EmptyService, zone.span, words(message, "no call is redirected there", remedy));
}

fn empty(zone: &Spanned<String>, report: &mut Report<'_>) {
    let message = format!("the zone {} has no backend", quoted(&zone.value));
    let remedy =
        format!("add a [[backend]] with `zone = \"{}\"`, or remove the zone from the list", zone.value);
    report.error(Code::EmptyService, zone.span, words(message, "its calls would go nowhere", remedy));
}

/// Keys that change nothing beside the others.
fn no_effect(service: &ServiceDraft, report: &mut Report<'_>) {
    if let Some(span) = service.bound.filter(|_| !matches!(service.policy, Policy::Consistent { .. })) {
        let reason = "only `consistent` passes over backends above a multiple of the mean";
        let words = words("`bound` has no effect with this policy", reason, "remove it");
        report.warn(Code::NoEffect, span, words);
    }
    if service.forwarding == Some(Forwarding::L2) {
        for (key, span) in &service.refusals {
            let message = format!("`{key}` has no effect with `l2`");
            let reason = "answers of backends do not pass the balancer";
            report.warn(Code::NoEffect, *span, words(message, reason, "remove it, or use `nat`"));
        }
    } else if !service.retries_refused
        && let Some((key, span)) = service.refusals.iter().find(|(key, _)| *key == "full_after_refusal")
    {
        let message = format!("`{key}` has no effect with `retry_refused = false`");
        let reason = "then a backend's own refusal is an answer like any other";
        report.warn(Code::NoEffect, *span, words(message, reason, "remove one of the two"));
    }
    if let Some(tier) = service.tiers.first()
        && let (Some(span), Overflow::Redirect) = (tier.own_overflow, tier.overflow)
    {
        let reason = "calls go to the first zone anyway; what does not fit goes on to the next";
        let words = words("no call is redirected to the first zone", reason, "remove `overflow` here");
        report.warn(Code::NoEffect, span, words);
    }
}

/// A burst goes beyond a pace, which must be there.
fn bursts(backend: &BackendDraft, report: &mut Report<'_>) {
    let Some(burst) = backend.cps_burst.as_ref() else { return };
    let reason = match backend.max_cps {
        None => "without a limit there is nothing to go beyond",
        Some(0) => "no new call comes at all",
        Some(_) => return,
    };
    let words =
        words("`cps_burst` has no effect with this `max_cps`", reason, "remove it, or limit `max_cps`");
    report.warn(Code::NoEffect, burst.span, words);
}
