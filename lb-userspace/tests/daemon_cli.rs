//! The commands, with a daemon and without.

mod support;

use anyhow::Result;
use aya::maps::{Array, Map, MapData};
use lb_common::{
    decide::table::homes,
    map::{
        dialog::{Bucket, Dialog, DialogKey, Phase, State},
        name,
        settings::Settings,
    },
};
use lb_tests::{command::output, needs_bpf};
use serde_json::{Value, json};
use sipsteer::{core::maglev, dataplane::clock::Clock, dataplane::pins::PinDir, view::dialogs::key_of};
use std::process::Command;
use support::{BACKENDS, BINARY, Bench};

const COMMANDS: [&[&str]; 19] = [
    &["run"],
    &["init"],
    &["check"],
    &["reload"],
    &["status"],
    &["backend", "list"],
    &["backend", "drain"],
    &["backend", "enable"],
    &["backend", "disable"],
    &["backend", "limit"],
    &["backend", "weight"],
    &["zone", "list"],
    &["zone", "disable"],
    &["zone", "enable"],
    &["service", "list"],
    &["dialog", "show"],
    &["counters"],
    &["detach"],
    &["completions"],
];

fn help(command: &[&str]) -> Result<String> {
    let said = output(Command::new(BINARY).args(command).arg("--help"))?;
    assert!(said.status.success(), "{command:?}");
    Ok(String::from_utf8(said.stdout)?)
}

fn map<M: TryFrom<Map>>(bench: &Bench, name: &str) -> Result<M>
where
    M::Error: std::error::Error + Send + Sync + 'static,
{
    Ok(Map::from_map_data(MapData::from_pin(bench.pins.join(name))?)?.try_into()?)
}

#[test]
fn every_command_teaches_by_example() -> Result<()> {
    for command in COMMANDS {
        let text = help(command)?;
        assert!(text.contains("Examples:"), "{command:?}: {text}");
        assert!(text.contains("--json"), "{command:?}");
    }
    let top = help(&[])?;
    for command in COMMANDS {
        assert!(top.contains(command[0]), "{command:?} is not in {top}");
    }
    assert!(!top.contains("--pin-dir"), "for tests only");
    Ok(())
}

#[test]
fn wrong_usage_is_status_2_and_one_document_with_json() -> Result<()> {
    let said = output(Command::new(BINARY).args(["backend", "lst"]))?;
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8(said.stderr)?.contains("list"), "the right word is suggested");
    let said = output(Command::new(BINARY).args(["status", "--nonsense", "--json"]))?;
    assert_eq!(said.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&said.stdout)?;
    assert_eq!(document["error"]["code"], "usage");
    Ok(())
}

#[test]
fn completions_know_the_commands() -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let said = output(Command::new(BINARY).args(["completions", shell]))?;
        let script = String::from_utf8(said.stdout)?;
        assert!(said.status.success() && script.contains("backend") && script.contains("detach"), "{shell}");
    }
    Ok(())
}

#[test]
fn what_init_writes_is_what_check_wants() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("new").join("sipsteer.toml");
    let init = || {
        let mut command = Command::new(BINARY);
        command.args(["init", "--interface", "eth0", "--listen", "203.0.113.10:5060/udp"]);
        command.args(["--backend", "10.0.0.11:5060", "--backend", "10.0.0.12:5060", "--output"]).arg(&file);
        output(&mut command)
    };
    assert!(init()?.status.success());
    assert!(output(Command::new(BINARY).arg("check").arg(&file))?.status.success());
    let before = std::fs::read(&file)?;
    assert_eq!(init()?.status.code(), Some(1), "an existing file is left alone");
    assert_eq!(std::fs::read(&file)?, before);

    let mut bad = Command::new(BINARY);
    bad.args([
        "init",
        "--interface",
        "eth0",
        "--listen",
        "nowhere",
        "--backend",
        "10.0.0.11:0",
        "--output",
        "-",
    ]);
    let said = output(&mut bad)?;
    let words = String::from_utf8(said.stderr)?;
    assert_eq!((said.status.code(), said.stdout.len()), (Some(1), 0));
    assert!(words.contains("nowhere") && words.contains("10.0.0.11:0"), "{words}");
    Ok(())
}

#[test]
fn check_looks_at_the_host_when_asked() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let file = bench.config_file();
    let check = ["check", "--host", file.to_str().unwrap()];
    let document = bench.json(&check)?;
    let findings = document["host"].as_array().unwrap();
    assert!(findings.len() >= 6 && findings.iter().all(|f| f["ok"] == true), "{document}");

    bench.balancer.ip("addr del 203.0.113.10/32 dev lo")?;
    bench.balancer.sysctl(&[("ipv4/ip_forward", "0")])?;
    let said = bench.ask(&check)?;
    assert_eq!(said.status, 1);
    for word in ["ip addr add 203.0.113.10/32", "sysctl -w net.ipv4.ip_forward=1"] {
        assert!(said.stdout.contains(word), "all at once: {}", said.stdout);
    }
    assert!(!bench.pins.exists(), "check changes nothing");
    Ok(())
}

#[test]
fn a_call_is_shown_with_its_pin_or_with_what_the_ring_says() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    // Without a daemon: the maps are enough.
    bench.start(&[])?.end();
    let settings: Array<MapData, Settings> = map(&bench, name::SETTINGS)?;
    let settings = settings.get(&0, 0)?;

    let entries: Vec<maglev::Entry<'_>> =
        [(0, "sw1"), (1, "sw2")].map(|(id, name)| maglev::Entry { id, weight: 100, name }).into();
    let ring = maglev::build(&entries);
    for call_id in ["a84b4c76e66710@pc33", "x", "another one's".trim_end_matches(" one's")] {
        let said = bench.ask(&["dialog", "show", call_id, "--json"])?;
        let document: Value = serde_json::from_str(&said.stdout)?;
        let slot = maglev::slot(key_of(call_id, &settings));
        let expected = entries[ring[slot as usize] as usize].name;
        assert_eq!((said.status, &document["known"]), (1, &json!(false)));
        assert_eq!(document["dialogs"][0]["backend"], expected, "{call_id}");
    }

    let key = key_of("known@example.com", &settings);
    let now = Clock::open(&PinDir::new(&bench.pins)).unwrap().now().unwrap();
    let state = State {
        backend: 1,
        phase: Phase::Answered as u8,
        seen: (now.jiffies >> settings.tick_shift) as u16,
        ..State::default()
    };
    let mut dialogs: Array<MapData, Bucket> = map(&bench, name::DIALOGS)?;
    let home = homes(&DialogKey::new(key, 0), settings.bucket_mask);
    assert_eq!(dialogs.len(), settings.bucket_mask + 1);
    // In either of its buckets, in any slot.
    for (index, slot) in [(home.first, 0), (home.first, 3), (home.second, 2)] {
        let mut bucket = Bucket::default();
        bucket.slots[slot] = Dialog { call_key: key, state, ..Dialog::default() };
        dialogs.set(index, bucket, 0)?;
        let shown = &bench.json(&["dialog", "show", "known@example.com"])?["dialogs"][0];
        assert_eq!((&shown["backend"], &shown["phase"]), (&json!("sw2"), &json!("answered")));
        assert_eq!(
            (&shown["service"], &shown["listener"]),
            (&json!("trunks"), &json!("203.0.113.10:5060/udp"))
        );
        assert!(shown["seen_seconds_ago"].is_number(), "{shown}");
        dialogs.set(index, Bucket::default(), 0)?;
        assert_eq!(bench.ask(&["dialog", "show", "known@example.com"])?.status, 1, "gone");
    }
    bench.ask(&["dialog", "show", "known@example.com", "--service", "x"])?.refused(1, &["service list"]);
    bench.ask(&["dialog", "show", "two words"])?.refused(1, &["no Call-ID"]);
    Ok(())
}

#[test]
fn documents_have_a_schema_a_node_and_a_time() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    for (command, schema) in [
        (&["status"][..], "sipsteer/status/1"),
        (&["backend", "list"], "sipsteer/backend-list/1"),
        (&["zone", "list"], "sipsteer/zone-list/1"),
        (&["service", "list"], "sipsteer/service-list/1"),
        (&["counters"], "sipsteer/counters/1"),
        (&["reload"], "sipsteer/reload/1"),
    ] {
        let document = bench.json(command)?;
        assert_eq!((&document["schema"], &document["node"]), (&json!(schema), &json!("lb1")));
        assert!(document["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
    let backends = &bench.json(&["backend", "list"])?["backends"];
    assert_eq!((&backends[0]["zone"], &backends[0]["will"]), (&json!("here"), &json!("enabled")));
    assert_eq!(backends[0]["address"], format!("{}:5060", BACKENDS[0]));
    assert_eq!((&backends[0]["max_cps"], &backends[0]["cps_burst"]), (&json!(100), &json!(10)));
    assert_eq!((&backends[0]["full"], &backends[0]["utilisation"]), (&Value::Null, &json!(0.0)));
    Ok(())
}
