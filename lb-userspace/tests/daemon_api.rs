//! The API against its own description: every route is there, every answer is as it says, and no request that it allows or
//! forbids harms the daemon.

mod api;
mod support;

use anyhow::{Result, ensure};
use api::{Api, fuzz};
use lb_tests::needs_bpf;
use serde_json::{Value, json};
use support::{BACKENDS, Bench};

#[test]
fn every_route_answers_as_the_document_says() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let api = Api::of(&bench)?;
    let printed = bench.json(&["schema"])?;
    assert_eq!(printed["openapi"], *api.document(), "`sipsteer schema` and the daemon say the same");
    assert_eq!(api.document()["openapi"], "3.1.0");

    let reports = "[[telemetry]]\nname = \"reports\"\ntype = \"push\"\nzone = \"here\"\n";
    bench.configure(&format!("{}{reports}", bench.config(&["front"], &BACKENDS)))?;
    let report = json!({ "backend": "sw1", "channels": 3 });
    let drain = json!({ "change": "backend-will", "name": "sw1", "will": "draining" });
    let limit =
        json!({ "change": "backend-limit", "name": "sw1", "max_cps": 80, "max_channels": "unlimited" });
    let weight = json!({ "change": "backend-weight", "name": "sw1", "weight": "file", "dry_run": true });
    let zone = json!({ "change": "zone-will", "name": "here", "enabled": true, "until_restart": true });
    let good: [(&str, &str, Option<Value>); 24] = [
        ("post", "/v1/change", Some(drain)),
        ("post", "/v1/change", Some(limit)),
        ("post", "/v1/change", Some(weight)),
        ("post", "/v1/change", Some(zone)),
        ("post", "/v1/reload", Some(json!({ "dry_run": true }))),
        ("post", "/v1/reload", Some(json!({ "confirm_within_seconds": 60 }))),
        ("get", "/v1/status", None),
        ("post", "/v1/undo", None),
        ("post", "/v1/reload", Some(json!({ "confirm_within_seconds": 60 }))),
        ("post", "/v1/confirm", None),
        ("post", "/v1/reload", None),
        ("post", "/v1/telemetry", Some(report)),
        ("get", "/v1/health", None),
        ("get", "/v1/facts", None),
        ("get", "/v1/backends", None),
        ("get", "/v1/backends/{name}", None),
        ("get", "/v1/zones", None),
        ("get", "/v1/services", None),
        ("get", "/v1/dialogs/{call_id}", None),
        ("get", "/v1/counters", None),
        ("get", "/v1/openapi.json", None),
        ("get", "/metrics", None),
        ("get", "/healthz", None),
        ("get", "/readyz", None),
    ];
    for (method, path, body) in &good {
        let body = body.as_ref().map(Value::to_string);
        let answer = api.ask(method, &of_sw1(path), body.as_deref().map(str::as_bytes))?;
        ensure!(answer.status == 200, "{method} {path}: {answer:?}");
        api.check(method, path, &answer)?;
    }
    let asked: Vec<(&str, &str)> = good.iter().map(|(method, path, _)| (*method, *path)).collect();
    for (method, path) in api.operations() {
        ensure!(
            asked.contains(&(method.as_str(), path.as_str())),
            "{method} {path} is described and not asked here"
        );
    }
    Ok(())
}

/// A path of the document with a name in it.
fn of_sw1(path: &str) -> String {
    path.replace("{name}", "sw1").replace("{call_id}", "a%2Fb%40example.com")
}

#[test]
fn what_is_not_described_is_not_there() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let api = Api::of(&bench)?;
    for (method, path) in api.operations() {
        let other = if method == "get" { "post" } else { "get" };
        let answer = api.ask(other, &of_sw1(&path), None)?;
        assert_eq!(
            (answer.status, &answer.json()?["error"]["code"]),
            (405, &json!("wrong_method")),
            "{path}"
        );
    }
    for path in ["/", "/v1", "/v1/", "/v1/status/", "/v2/status", "/v1/%2e%2e/status", "/metrics/x"] {
        let answer = api.ask("get", path, None)?;
        assert_eq!((answer.status, &answer.json()?["error"]["code"]), (404, &json!("not_found")), "{path}");
    }
    for path in ["/v1/backends/%ff", "/v1/dialogs/%ff"] {
        let answer = api.ask("get", path, None)?;
        assert_eq!((answer.status, &answer.json()?["error"]["code"]), (422, &json!("bad_request")), "{path}");
    }
    // What serde would take for an object.
    for body in ["[]", "[true]", "null", "\"\"", "{\"dryrun\":true}", "{\"dry_run\":null}", "{", "{}{}"] {
        let answer = api.ask("post", "/v1/reload", Some(body.as_bytes()))?;
        assert_eq!((answer.status, &answer.json()?["error"]["code"]), (422, &json!("bad_request")), "{body}");
    }
    let large = format!("{{\"change\":\"backend-will\",\"name\":\"{}\"}}", "x".repeat(70_000));
    let answer = api.ask("post", "/v1/change", Some(large.as_bytes()))?;
    assert_eq!(answer.status, 422);
    Ok(())
}

/// Requests from the document, right and wrong, in an order that the seed decides; SIPSTEER_FUZZ_REQUESTS sets how many.
#[test]
fn no_request_from_the_document_harms_the_daemon() -> Result<()> {
    needs_bpf!();
    let count = std::env::var("SIPSTEER_FUZZ_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let api = Api::of(&bench)?;
    fuzz(&api, &daemon, count)
}
