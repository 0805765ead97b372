//! Metrics as Prometheus reads them, and whether the daemon is alive and ready.

mod support;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{load::Load, name};
use lb_tests::{command::run, needs_bpf, process::wait_until};
use serde_json::{Value, json};
use sipsteer::view::metrics::{Kind, METRICS};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::Command,
};
use support::{BACKENDS, Bench, PATIENCE, SERVICE};

/// Histograms, which the daemon keeps itself.
const HISTOGRAMS: [&str; 3] = [
    "sipsteer_control_loop_duration_seconds",
    "sipsteer_map_write_duration_seconds",
    "sipsteer_backend_probe_duration_seconds",
];
/// The names that dashboards rely on, as text shows them.
const PROMISED: [&str; 32] = [
    "sipsteer_build_info",
    "sipsteer_config_last_reload_successful",
    "sipsteer_config_last_reload_success_timestamp_seconds",
    "sipsteer_packets_total",
    "sipsteer_bytes_total",
    "sipsteer_verdict_info",
    "sipsteer_requests_total",
    "sipsteer_calls_started_total",
    "sipsteer_calls_ended_total",
    "sipsteer_calls_rejected_total",
    "sipsteer_calls_redirected_total",
    "sipsteer_backend_channels",
    "sipsteer_backend_channels_limit",
    "sipsteer_backend_calls_per_second_limit",
    "sipsteer_backend_utilisation_ratio",
    "sipsteer_backend_up",
    "sipsteer_backend_will",
    "sipsteer_backend_probes_total",
    "sipsteer_backend_probes_lost_total",
    "sipsteer_backend_probe_duration_seconds_count",
    "sipsteer_backend_telemetry_age_seconds",
    "sipsteer_backend_telemetry_fresh",
    "sipsteer_dialogs",
    "sipsteer_dialogs_limit",
    "sipsteer_dialogs_unpinned_total",
    "sipsteer_interface_xdp_mode",
    "sipsteer_control_loop_duration_seconds_count",
    "sipsteer_map_write_duration_seconds_bucket",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
];

/// What a request to the socket is answered with: status, content type, body.
fn get(mut stream: impl Read + Write, path: &str) -> Result<(u16, String, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sipsteer\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let kind = head.lines().find_map(|l| l.strip_prefix("content-type: ")).unwrap_or_default();
    Ok((status, kind.to_owned(), body.to_owned()))
}

fn ask(bench: &Bench, path: &str) -> Result<(u16, String, String)> {
    get(UnixStream::connect(bench.run_dir().join("api.sock"))?, path)
}

/// Hands a report to the daemon.
fn push(bench: &Bench, report: &str) -> Result<()> {
    let mut stream = UnixStream::connect(bench.run_dir().join("api.sock"))?;
    write!(
        stream,
        "POST /v1/telemetry HTTP/1.1\r\nHost: sipsteer\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{report}",
        report.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "{text}");
    Ok(())
}

/// Samples by name and labels, and types by family, as the parser of Prometheus' own Python client reads them.
fn parsed(text: &str) -> Result<(BTreeMap<String, f64>, BTreeMap<String, String>)> {
    const SCRIPT: &str = "import json,sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as read\n\
        families=list(read(open(sys.argv[1]).read()))\n\
        assert all(f.documentation for f in families), 'a family without help'\n\
        samples={s.name+json.dumps(s.labels,sort_keys=True): s.value for f in families for s in f.samples}\n\
        print(json.dumps([samples,{f.name: f.type for f in families}]))";
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("metrics");
    std::fs::write(&path, text)?;
    // The system's, since a scripts' own one may lack the client.
    let said = run(Command::new("/usr/bin/python3").args(["-c", SCRIPT]).arg(&path))?;
    Ok(serde_json::from_str(&said)?)
}

fn scrape(bench: &Bench) -> Result<(BTreeMap<String, f64>, BTreeMap<String, String>)> {
    let (status, kind, text) = ask(bench, "/metrics")?;
    ensure!(
        status == 200 && kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{status} {kind}"
    );
    ensure!(text.ends_with("# EOF\n"), "not to its end");
    parsed(&text)
}

/// Sends an OPTIONS that the daemon answers, and one message of each method that is counted. The answers come to the socket.
fn send_one_of_each(bench: &Bench) -> Result<UdpSocket> {
    let caller = bench.far.enter(|| UdpSocket::bind((BACKENDS[0], 5090)))??;
    bench.far.ip("route add 203.0.113.0/24 via 10.0.0.1")?;
    for method in ["OPTIONS", "REGISTER", "INVITE"] {
        let text = format!(
            "{method} sip:x@{SERVICE} SIP/2.0\r\nVia: SIP/2.0/UDP {}:5090;branch=z9hG4bK{method};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: {method}@h\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
            BACKENDS[0]
        );
        caller.send_to(text.as_bytes(), (SERVICE, 5060))?;
    }
    Ok(caller)
}

#[test]
fn prometheus_reads_every_metric_and_no_other() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    // The keys of the last backend; its TCP connections are taken by the host.
    let more = "max_cps = \"unlimited\"\nhealth = { probe = \"tcp\" }\n\
                [[telemetry]]\nname = \"reports\"\ntype = \"push\"\nbackends = [\"sw1\"]\n";
    bench.configure(&(bench.config(&["front"], &BACKENDS) + more))?;
    let _listener = bench.far.enter(|| TcpListener::bind((BACKENDS[2], 5060)))??;
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.json(&["backend", "drain", "sw2"])?;
    push(&bench, r#"{"backend":"sw1","channels":3}"#)?;
    let _caller = send_one_of_each(&bench)?;
    wait_until("they are counted", PATIENCE, || {
        let (samples, _) = scrape(&bench)?;
        Ok(samples.get(r#"sipsteer_requests_total{"method": "INVITE", "service": "trunks"}"#) == Some(&1.0)
            && samples.contains_key(r#"sipsteer_answers_total{"answer": "alive"}"#)
            && samples.contains_key(r#"sipsteer_backend_probe_duration_seconds_count{"backend": "sw3"}"#))
    })
    .with_context(|| ask(&bench, "/metrics").map(|m| m.2).unwrap_or_default())?;
    let (samples, types) = scrape(&bench)?;

    let known = METRICS.iter().map(|m| m.name).chain(HISTOGRAMS);
    let known: Vec<&str> = known.collect();
    for (family, kind) in &types {
        ensure!(known.contains(&family.as_str()), "{family} is not in the table");
        if let Some(metric) = METRICS.iter().find(|m| m.name == family) {
            let expected = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Info => "info",
            };
            assert_eq!(kind, expected, "{family}");
        } else {
            assert_eq!(kind, "histogram", "{family}");
        }
    }
    for name in PROMISED {
        ensure!(samples.keys().any(|key| key.starts_with(&format!("{name}{{"))), "there is no {name}");
    }
    // The labels are those of the table, and no sample is one of its kind twice: the parser would have refused it.
    for (key, _) in samples.iter().filter(|(key, _)| key.starts_with("sipsteer_") && !key.contains("\"le\""))
    {
        let (name, labels) = key.split_at(key.find('{').context("no labels")?);
        let labels: BTreeMap<String, String> = serde_json::from_str(labels)?;
        let plain = name.trim_end_matches("_total").trim_end_matches("_info");
        let Some(metric) = METRICS.iter().find(|m| m.name == plain) else { continue };
        let mut expected = metric.labels.to_vec();
        expected.sort_unstable();
        assert_eq!(labels.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{key}");
    }

    let value = |key: &str| samples.get(key).copied();
    let of =
        |name: &str, backend: &str| value(&format!(r#"{name}{{"backend": "{backend}", "zone": "here"}}"#));
    assert_eq!(of("sipsteer_backend_calls_per_second_limit", "sw1"), Some(100.0));
    assert_eq!(of("sipsteer_backend_calls_per_second_limit", "sw3"), None, "unlimited is no number");
    assert_eq!(of("sipsteer_backend_up", "sw1"), Some(1.0));
    let will = |will: &str| {
        value(&format!(r#"sipsteer_backend_will{{"backend": "sw2", "will": "{will}", "zone": "here"}}"#))
    };
    assert_eq!((will("draining"), will("enabled"), will("removed")), (Some(1.0), Some(0.0), Some(0.0)));
    assert_eq!(value("sipsteer_config_last_reload_successful{}"), Some(1.0));
    assert_eq!(value("sipsteer_dialogs_limit{}"), Some(4096.0));
    assert_eq!(of("sipsteer_backend_probes_lost_total", "sw3"), Some(0.0));
    assert_eq!(of("sipsteer_backend_probes_total", "sw1"), None, "sw1 is not probed");
    let reports = r#"{"backend": "sw1", "source": "reports"}"#;
    assert_eq!(value(&format!("sipsteer_backend_telemetry_fresh{reports}")), Some(1.0));
    let age = value(&format!("sipsteer_backend_telemetry_age_seconds{reports}")).context("no age")?;
    ensure!((0.0..=30.0).contains(&age), "{age}");
    assert_eq!(value("sipsteer_config_differences{}"), Some(1.0));

    bench.configure("[node]")?;
    bench.ask(&["reload"])?.refused(1, &["is refused"]);
    assert_eq!(scrape(&bench)?.0["sipsteer_config_last_reload_successful{}"], 0.0);
    Ok(())
}

#[test]
fn counters_never_fall_while_things_change() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    let counters = |samples: &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let counts = |key: &str| {
            ["_total", "_bucket", "_count"]
                .iter()
                .any(|end| key.split('{').next().unwrap_or_default().ends_with(end))
                && !key.starts_with("process_")
        };
        samples.iter().filter(|(key, _)| counts(key)).map(|(key, value)| (key.clone(), *value)).collect()
    };
    let mut before = counters(&scrape(&bench)?.0);
    ensure!(before.len() > 50, "{before:?}");
    let caller = bench.far.enter(|| UdpSocket::bind((BACKENDS[0], 5090)))??;
    bench.far.ip("route add 203.0.113.0/24 via 10.0.0.1")?;
    let steps: [&dyn Fn() -> Result<()>; 4] = [
        &|| {
            (0..20)
                .try_for_each(|_| caller.send_to(b"no SIP\r\n\r\n", (SERVICE, 5060)).map(drop))
                .map_err(Into::into)
        },
        &|| bench.json(&["backend", "drain", "sw1"]).map(drop),
        &|| {
            bench.configure(&bench.config(&["front"], &BACKENDS))?;
            bench.json(&["reload"]).map(drop)
        },
        &|| bench.json(&["backend", "enable", "sw1"]).map(drop),
    ];
    for step in steps {
        step()?;
        let after = counters(&scrape(&bench)?.0);
        for (key, value) in &before {
            let now = after.get(key).with_context(|| format!("{key} is gone"))?;
            ensure!(now >= value, "{key} fell from {value} to {now}");
        }
        before = after;
    }
    // What the kernel counts goes on when another daemon takes over.
    daemon.kill()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let after = counters(&scrape(&bench)?.0);
    for (key, value) in before.iter().filter(|(key, _)| key.starts_with("sipsteer_packets")) {
        ensure!(after[key] >= *value, "{key}");
    }
    Ok(())
}

#[test]
fn calls_that_are_over_are_counted_wherever_they_ended() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let pinned = Map::from_map_data(MapData::from_pin(bench.pins.join(name::BACKEND_LOADS))?)?;
    let mut loads: Array<MapData, Load> = pinned.try_into()?;
    // What the program counts: calls that began at sw1 and at sw2, and those in progress. A channel is taken before the other one
    // is given back here, so that no look in between finds more calls over than there are.
    for (begun, channels, ended) in
        [([0, 0], [0, 0], 0), ([5, 0], [2, 0], 3), ([5, 0], [0, 1], 4), ([6, 2], [0, 0], 8)]
    {
        for (id, (calls, channels)) in [0, 1].into_iter().zip(begun.into_iter().zip(channels)).rev() {
            loads.set(id, Load { calls, channels, ..Load::default() }, 0)?;
        }
        wait_until("they are counted", PATIENCE, || {
            Ok(scrape(&bench)?.0.get("sipsteer_calls_ended_total{}") == Some(&f64::from(ended)))
        })?;
    }
    Ok(())
}

#[test]
fn alive_and_ready_are_two_things() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let told = |path: &str| -> Result<(u16, Value)> {
        let (status, _, body) = ask(&bench, path)?;
        Ok((status, serde_json::from_str(&body)?))
    };
    assert_eq!(told("/healthz")?, (200, json!({ "alive": true })));
    let (status, ready) = told("/readyz")?;
    assert_eq!((status, &ready["ready"]), (200, &json!(true)));
    for name in ["sw1", "sw2"] {
        bench.json(&["backend", "drain", name])?;
    }
    let (status, ready) = told("/readyz")?;
    assert_eq!((status, &ready["ready"]), (503, &json!(false)));
    assert!(ready["attention"].to_string().contains("no backend takes new calls"), "{ready}");
    assert_eq!(told("/healthz")?.0, 200);
    Ok(())
}

#[test]
fn over_tcp_there_is_only_what_changes_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let plain = bench.config(&["front"], &BACKENDS);
    bench.configure(&format!("{plain}[metrics]\nlisten = \"127.0.0.1:9464\"\n"))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let at = |port: u16, path: &str| -> Result<(u16, String, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        get(bench.balancer.enter(|| TcpStream::connect(address))??, path)
    };
    assert_eq!(at(9464, "/metrics")?.0, 200);
    assert_eq!((at(9464, "/healthz")?.0, at(9464, "/readyz")?.0), (200, 200));
    assert_eq!((at(9464, "/v1/status")?.0, at(9464, "/v1/reload")?.0), (404, 404));

    bench.configure(&format!("{plain}[metrics]\nlisten = \"127.0.0.1:9465\"\n"))?;
    bench.json(&["reload"])?;
    assert_eq!(at(9465, "/metrics")?.0, 200);
    wait_until("the former port is closed", PATIENCE, || Ok(at(9464, "/metrics").is_err()))?;

    // A port that somebody else has: the calls do not suffer for it, and it is told.
    let _other = bench.balancer.enter(|| TcpListener::bind("127.0.0.1:9466"))??;
    bench.configure(&format!("{plain}[metrics]\nlisten = \"127.0.0.1:9466\"\n"))?;
    bench.json(&["reload"])?;
    let told = bench.status()?["attention"].to_string();
    assert!(told.contains("no metrics at 127.0.0.1:9466"), "{told}");
    drop(_other);
    wait_until("the port is free and taken", PATIENCE, || Ok(at(9466, "/metrics").is_ok()))?;
    assert_eq!(bench.status()?["state"], "ok");

    bench.configure(&format!("{plain}[metrics]\nlisten = \"localhost\"\n"))?;
    bench.ask(&["reload"])?.refused(1, &["not an address with a port", "127.0.0.1:9464"]);
    Ok(())
}
