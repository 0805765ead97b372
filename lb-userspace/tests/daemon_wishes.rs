//! What operators change while the daemon runs: it is done, told, kept, and can be undone.

mod support;

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{
    backend::{Backend, will},
    load::{Load, Rate},
    name,
    zone::{Members, Policy, Zone, zone_will},
};
use lb_tests::needs_bpf;
use serde_json::{Value, json};
use sipsteer::dataplane::clock::monotonic;
use std::fs;
use support::{BACKENDS, Bench};

fn array<T: aya::Pod>(bench: &Bench, name: &str) -> Result<Array<MapData, T>> {
    Ok(Map::from_map_data(MapData::from_pin(bench.pins.join(name))?)?.try_into()?)
}

fn backend(bench: &Bench, id: u32) -> Result<Backend> {
    Ok(array(bench, name::BACKENDS)?.get(&id, 0)?)
}

fn members(bench: &Bench, zone: u32) -> Result<Vec<u16>> {
    let members: Members = array(bench, name::ZONE_MEMBERS)?.get(&zone, 0)?;
    Ok(members.ids[..members.count as usize].to_vec())
}

/// The command that a command says undoes it, split into words.
fn undo(document: &Value) -> Result<Vec<String>> {
    let line = document["undo"].as_str().with_context(|| format!("nothing undoes {document}"))?;
    Ok(line.strip_prefix("sipsteer ").context("not ours")?.split(' ').map(str::to_owned).collect())
}

#[test]
fn a_drained_backend_stays_drained_until_it_is_enabled() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let first = bench.start(&[])?;
    let asked = bench.json(&["backend", "drain", "sw1", "--dry-run"])?;
    assert_eq!((&asked["done"], &asked["dry_run"]), (&json!("draining"), &json!(true)));
    assert!(asked["plan"]["rings"][0]["moved_ratio"].as_f64().unwrap() > 0.4, "{asked}");
    assert_eq!(backend(&bench, 0)?.will, will::ENABLED, "nothing was done");
    assert!(!bench.state_dir().exists());

    let drained = bench.json(&["backend", "drain", "sw1"])?;
    assert_eq!(
        (&drained["schema"], &drained["done"]),
        (&json!("sipsteer/backend-drain/1"), &json!("draining"))
    );
    assert_eq!((backend(&bench, 0)?.will, members(&bench, 0)?), (will::DRAINING, vec![1]));
    let again = bench.json(&["backend", "drain", "sw1"])?;
    assert_eq!((&again["undo"], &again["changes"]), (&Value::Null, &json!("nothing changes")));

    // A reload, the end of the daemon and another start change nothing about it.
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload"])?;
    assert_eq!(backend(&bench, 0)?.will, will::DRAINING);
    first.kill()?;
    let shown = bench.json(&["backend", "list"])?;
    assert_eq!(shown["differences"][0]["undo"], "sipsteer backend enable sw1", "also without a daemon");
    assert_eq!(bench.json(&["detach"])?["interfaces"][0], "front");
    let _second = bench.start(&["--ephemeral"])?;
    assert_eq!((backend(&bench, 0)?.will, members(&bench, 0)?), (will::DRAINING, vec![1, 2]));
    let status = bench.status()?;
    assert_eq!((&status["differences"][0]["now"], &status["state"]), (&json!("draining"), &json!("ok")));

    let words = undo(&drained)?;
    bench.json(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert_eq!((backend(&bench, 0)?.will, members(&bench, 0)?), (will::ENABLED, vec![0, 1, 2]));
    assert_eq!(bench.status()?["differences"], json!([]));
    Ok(())
}

#[test]
fn a_disabled_backend_says_that_its_calls_move() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let said = bench.ask(&["backend", "maint", "sw2"])?;
    assert_eq!(said.status, 0, "{}", said.stderr);
    for word in ["backend sw2: disabled", "live calls of sw2 move", "to undo: sipsteer backend enable sw2"] {
        assert!(said.stdout.contains(word), "{word}: {}", said.stdout);
    }
    assert_eq!(backend(&bench, 1)?.will, will::DISABLED);
    assert_eq!(bench.ask(&["backend", "ready", "sw2"])?.status, 0);
    assert_eq!(backend(&bench, 1)?.will, will::ENABLED);
    Ok(())
}

#[test]
fn limits_and_weights_hold_at_once_and_can_be_put_back() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let limited = bench.json(&["backend", "limit", "sw1", "max_cps=80", "max_channels=unlimited"])?;
    let limits = backend(&bench, 0)?.limits;
    assert_eq!((limits.max_cps, limits.burst, limits.interval_ns), (80, 8, 12_500_000));
    assert_eq!((limits.max_channels, limits.capacity_channels), (u32::MAX, 1000));
    assert_eq!(limited["lasting"], "max_cps = 80, max_channels = \"unlimited\"");
    bench.json(&["backend", "limit", "sw1", "max_channels=0"])?;
    assert_eq!(members(&bench, 0)?, [1], "0: no new calls");
    let shown = &bench.json(&["backend", "list"])?["backends"][0];
    assert_eq!((&shown["full"], &shown["health"]), (&json!("max_channels"), &json!("up")));

    let weighted = bench.json(&["backend", "weight", "sw2", "300"])?;
    assert_eq!(backend(&bench, 1)?.weight, 300);
    for document in [&limited, &weighted] {
        let words = undo(document)?;
        bench.json(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    let (one, two) = (backend(&bench, 0)?, backend(&bench, 1)?);
    assert_eq!((one.limits.max_cps, one.limits.max_channels, two.weight), (100, 1000, 100));
    assert_eq!(bench.status()?["differences"], json!([]));
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let drain = ["backend", "drain", "sw1"];
    bench.ask(&drain)?.refused(3, &["sipsteer run"]);
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.ask(&["backend", "drain", "sw9"])?.refused(1, &["\"sw9\"", "sipsteer backend list"]);
    bench.ask(&["zone", "disable", "nowhere"])?.refused(1, &["\"nowhere\"", "sipsteer zone list"]);
    bench.ask(&["backend", "weight", "sw1", "0"])?.refused(1, &["1 to 1000"]);
    bench.ask(&["backend", "weight", "sw1", "1001"])?.refused(1, &["1 to 1000"]);
    bench.ask(&["backend", "limit", "sw1", "max_cps=1000001"])?.refused(2, &["unlimited"]);
    bench.ask(&["backend", "limit", "sw1", "cps=1"])?.refused(2, &["max_channels=N"]);
    bench.ask(&["backend", "limit", "sw1", "max_cps=1", "max_cps=2"])?.refused(2, &["twice"]);
    let failed = bench.ask(&["backend", "drain", "sw9", "--json"])?;
    let document: Value = serde_json::from_str(&failed.stdout)?;
    assert_eq!((failed.status, &document["error"]["code"]), (1, &json!("backend_not_found")));

    // What cannot be kept is not done.
    fs::write(bench.state_dir(), "a file where a folder should be")?;
    bench.ask(&drain)?.refused(1, &["state.json", "nothing was changed"]);
    assert_eq!(backend(&bench, 0)?.will, will::ENABLED);
    Ok(())
}

#[test]
fn a_broken_state_file_stops_the_start_before_anything_is_touched() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    fs::create_dir(bench.state_dir())?;
    fs::write(bench.state_dir().join("state.json"), "{\"schema\":")?;
    bench.ask(&["run"])?.refused(1, &["state.json", "move it away"]);
    assert_eq!(bench.program_on("front")?, None);
    assert!(!bench.pins.exists());
    Ok(())
}

/// Two zones: `here` with sw1, and `there` with sw2, to which callers are redirected.
fn two_zones(bench: &Bench) -> String {
    let one = bench.config(&["front"], &BACKENDS[..2]);
    let (first, second) = one.rsplit_once("zone = \"here\"").expect("two backends");
    format!(
        "{first}zone = \"there\"{second}[[zone]]\nname = \"there\"\naddress = \"sip.there.example.com\"\n"
    )
    .replace(
        "zones = [\"here\"]",
        "zones = [\"here\", { zone = \"there\", overflow = \"redirect\" }]\ntarget_utilisation = 0.25",
    )
}

#[test]
fn a_zone_is_taken_out_and_put_back() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.configure(&two_zones(&bench))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let zones = || -> Result<Array<MapData, Zone>> { array(&bench, name::ZONES) };
    let policy: Policy = array(&bench, name::POLICIES)?.get(&0, 0)?;
    assert_eq!((policy.tiers, policy.redirects, policy.target), (2, 0b10, 256));
    let there = u32::from(policy.zones[1]);
    assert_eq!((zones()?.get(&there, 0)?.takers, members(&bench, there)?), (1, vec![1]));

    let taken = bench.json(&["zone", "disable", "there"])?;
    assert_eq!((&taken["schema"], &taken["zone"]), (&json!("sipsteer/zone-disable/1"), &json!("there")));
    assert_eq!(zones()?.get(&there, 0)?.will, zone_will::DISABLED);
    let list = bench.json(&["zone", "list"])?;
    let shown = list["zones"].as_array().unwrap().iter().find(|z| z["name"] == "there").unwrap();
    assert_eq!((&shown["will"], &shown["up"]), (&json!("disabled"), &json!(1)));
    assert_eq!(bench.status()?["state"], "ok", "what an operator wanted is no fault");
    bench.json(&["zone", "disable", "here"])?;
    assert_eq!(bench.status()?["state"], "down", "but nobody takes calls now");
    bench.json(&["zone", "enable", "here"])?;
    let words = undo(&taken)?;
    bench.json(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert_eq!(zones()?.get(&there, 0)?.will, zone_will::ENABLED);
    Ok(())
}

#[test]
fn loads_are_shown_as_what_they_mean() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.configure(&two_zones(&bench))?;
    let daemon = bench.start(&[])?;
    daemon.end();
    // No packet passes: what stands here stays.
    let now = monotonic();
    let mut loads: Array<MapData, Load> = array(&bench, name::BACKEND_LOADS)?;
    loads.set(0, Load { channels: 300, over_cps: 7, ..Load::default() }, 0)?;
    loads.set(1, Load { channels: 1000, ..Load::default() }, 0)?;
    let policy: Policy = array(&bench, name::POLICIES)?.get(&0, 0)?;
    let mut zones: Array<MapData, Load> = array(&bench, name::ZONE_LOADS)?;
    // 20 calls in a window of 1.07 s, an hour ahead, where the rate does not decay.
    let rate = Rate { value: 20 * 1024, at: ((now + 3_600_000_000_000) >> 20) as u32 }.to_word();
    zones.set(policy.zones[0].into(), Load { channels: 300, rate, ..Load::default() }, 0)?;
    zones.set(policy.zones[1].into(), Load { channels: 1000, ..Load::default() }, 0)?;

    let backends = &bench.json(&["backend", "list"])?["backends"];
    assert_eq!((&backends[0]["channels"], &backends[0]["utilisation"]), (&json!(300), &json!(0.3)));
    assert_eq!((&backends[0]["full"], &backends[0]["over_cps"]), (&Value::Null, &json!(7)));
    assert_eq!((&backends[1]["full"], &backends[1]["health"]), (&json!("max_channels"), &json!("up")));
    let text = bench.ask(&["backend", "list"])?.stdout;
    assert!(text.contains("300/1,000") && text.contains("up, full"), "{text}");

    let list = bench.json(&["zone", "list"])?;
    let zone = |name: &str| list["zones"].as_array().unwrap().iter().find(|z| z["name"] == name).unwrap();
    assert_eq!((&zone("here")["hot"], &zone("here")["cps"]), (&json!(true), &json!(18.6)));
    assert_eq!(zone("here")["utilisation"], json!(0.3));
    let told = bench.status()?["attention"].to_string();
    assert!(told.contains("zone here is hot: utilisation 0.30, target 0.25"), "{told}");
    assert!(told.contains("zone there is full") && !told.contains("down"), "{told}");

    // Whoever comes to an id or a zone starts at zero; what stays keeps what it has.
    let swapped = bench.config(&["front"], &BACKENDS[1..]).replace("\"here\"", "\"elsewhere\"");
    bench.configure(&swapped)?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let of =
        |id: u32| -> Result<u64> { Ok(array::<Load>(&bench, name::BACKEND_LOADS)?.get(&id, 0)?.channels) };
    assert_eq!((of(1)?, of(2)?), (1000, 0));
    let list = bench.json(&["zone", "list"])?;
    let elsewhere = list["zones"].as_array().unwrap().iter().find(|z| z["name"] == "elsewhere").unwrap();
    assert_eq!(elsewhere["channels"], 1000, "the calls of a backend follow it to its zone");
    Ok(())
}

#[test]
fn services_say_how_they_choose() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.configure(&two_zones(&bench))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let service = &bench.json(&["service", "list"])?["services"][0];
    assert_eq!((&service["policy"], &service["bound"]), (&json!("consistent"), &json!(1.25)));
    assert_eq!((&service["hash_by"], &service["target_utilisation"]), (&json!("call-id"), &json!(0.25)));
    assert_eq!(
        service["zones"],
        json!([{"zone": "here", "overflow": "forward"}, {"zone": "there", "overflow": "redirect"}])
    );
    assert_eq!((&service["spilled"], &service["refused_full"]), (&json!(0), &json!(0)));
    let changed = two_zones(&bench).replace("target_utilisation = 0.25", "policy = \"primary-secondary\"");
    bench.configure(&changed)?;
    let plan = &bench.json(&["reload"])?["plan"];
    assert_eq!(plan["services"]["changed"], json!(["trunks"]));
    assert_eq!(plan["rings"], json!([]), "rings do not depend on the policy");
    assert_eq!(bench.json(&["service", "list"])?["services"][0]["policy"], "primary-secondary");
    Ok(())
}
