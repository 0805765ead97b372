//! What `status` says of a node.

use super::*;
use crate::{
    control::recent::Calls,
    core::wishes::Limit,
    view::{loads::LoadView, services::RecentView},
};

fn zone(takers: u64, utilisation: f64) -> ZoneView {
    ZoneView {
        id: 0,
        name: "uk".to_owned(),
        will: "enabled".to_owned(),
        backends: 2,
        up: takers,
        takers,
        load: LoadView { utilisation: Some(utilisation), ..LoadView::default() },
        capacity_channels: Limit::Calls(2000),
        capacity_cps: Limit::Calls(200),
        target_utilisation: Some(0.5),
        hot: utilisation > 0.5,
    }
}

fn backend(health: &str, full: Option<&str>, max_cps: u32) -> BackendView {
    let view = serde_json::json!({
        "id": 0, "name": "sw1", "zone": "uk", "address": "10.0.0.11:5060", "will": "enabled", "health": health,
        "full": full, "channels": 0, "cps": 0.0, "utilisation": null, "max_channels": "unlimited",
        "max_cps": max_cps, "cps_burst": 1, "over_channels": 0, "over_cps": 0, "refusals": 0, "weight": 100,
        "next_hop": {"interface": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1500}, "dialogs": null,
        "packets": 0, "bytes": 0, "reply_packets": 0, "reply_bytes": 0, "calls": 0, "unpinned": 0,
        "answered": 0, "transactions": 0,
    });
    serde_json::from_value(view).expect("a backend")
}

fn about(zone: &ZoneView, backends: Vec<BackendView>) -> Option<String> {
    let status = Status {
        state: State::Ok,
        attention: Vec::new(),
        daemon: None,
        interfaces: Vec::new(),
        services: Vec::new(),
        zones: Vec::new(),
        backends,
        differences: Vec::new(),
        dialogs: DialogsView::default(),
    };
    status.about_zone(zone)
}

#[test]
fn a_zone_is_down_full_or_hot_and_never_two_of_them() {
    let (free, full) = (|| backend("up", None, 100), || backend("up", Some("max_cps"), 100));
    assert_eq!(about(&zone(2, 0.5), vec![free(), full()]), None, "at the target, one full");
    let hot = about(&zone(2, 0.51), vec![free(), full()]);
    assert_eq!(hot.as_deref(), Some("zone uk is hot: utilisation 0.51, target 0.50"));
    assert_eq!(about(&zone(2, 1.0), vec![full(), full()]).as_deref(), Some("zone uk is full"));
    let down = || backend("down", None, 100);
    assert_eq!(about(&zone(1, 1.0), vec![down(), full()]).as_deref(), Some("zone uk is full"));
    let closed = backend("up", Some("max_cps"), 0);
    assert_eq!(about(&zone(1, 0.2), vec![closed, free()]), None, "limited to 0 is not full");
    let none = about(&zone(0, 0.0), vec![down(), down()]);
    assert_eq!(none.as_deref(), Some("zone uk: none of its 2 backends takes new calls"));
    let disabled = ZoneView { will: "disabled".to_owned(), ..zone(0, 0.9) };
    assert_eq!(about(&disabled, vec![down()]), None, "an operator wanted it");
}

#[test]
fn a_certificate_that_expires_soon_or_did_is_told() {
    let api = |certificate_seconds| ApiView {
        listen: "10.0.0.1:9443".to_owned(),
        tls: true,
        certificate_expires: Some("2026-12-01T00:00:00Z".to_owned()),
        certificate_seconds: Some(certificate_seconds),
        deaf: None,
    };
    let fortnight = 14 * 24 * 3600;
    assert!(about_api(&api(fortnight)).is_empty());
    let remedy = "put a new one there, and its key, then `sipsteer reload`";
    for (seconds, word) in [(fortnight - 1, "expires"), (0, "expires"), (-1, "expired")] {
        let told =
            format!("the certificate of the API at 10.0.0.1:9443 {word} at 2026-12-01T00:00:00Z: {remedy}");
        assert_eq!(about_api(&api(seconds)), [told], "{seconds}");
    }
    let plain = ApiView { tls: false, certificate_expires: None, certificate_seconds: None, ..api(0) };
    assert!(about_api(&plain).is_empty());
    let deaf = ApiView { deaf: Some("the address is taken".to_owned()), ..api(-1) };
    assert_eq!(about_api(&deaf).len(), 2, "both are true");
}

fn refused(refused_full: u64, refused_down: u64) -> Option<String> {
    let calls = Calls { refused_full, refused_down, ..Calls::default() };
    let service = serde_json::json!({
        "id": 0, "name": "trunks", "listen": [], "forwarding": "nat", "policy": "consistent", "bound": null,
        "hash_by": "call-id", "target_utilisation": 0.5, "tiers": 1, "zones": [], "spilled": 0, "overflowed": 0,
        "redirected": 0, "refused_full": 9, "refused_down": 9, "recent": RecentView { seconds: 60.0, calls },
        "packets": 0, "bytes": 0, "requests": {}, "responses": 0,
    });
    about_refusals(&serde_json::from_value(service).expect("a service"))
}

#[test]
fn refusals_of_the_last_minute_say_why() {
    assert_eq!(refused(0, 0), None, "those before do not count");
    let of = |full, down| refused(full, down).expect("something was refused");
    assert_eq!(of(3, 0), "trunks refused 3 calls in the last 60 s: every backend in reach is full");
    assert_eq!(of(0, 1), "trunks refused 1 call in the last 60 s: no backend in reach takes calls");
    assert!(of(3, 1).ends_with("3 because every backend in reach is full, 1 because none takes calls"));
}
