//! Reloads that are foreseen, tried and undone; changes that last and changes that do not; drains that are waited for.

mod support;

use anyhow::Result;
use aya::maps::{Array, Map, MapData};
use lb_common::map::{load::Load, name};
use lb_tests::{needs_bpf, process::wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{fs, thread, time::Duration};
use support::{BACKENDS, Bench, PATIENCE};

fn names(bench: &Bench) -> Result<Vec<String>> {
    let status = bench.status()?;
    let backends = status["backends"].as_array().unwrap().iter().filter(|b| b["will"] != "removed");
    Ok(backends.map(|b| b["name"].as_str().unwrap().to_owned()).collect())
}

fn attention(bench: &Bench) -> Result<String> {
    Ok(bench.status()?["attention"].to_string())
}

#[test]
fn a_dry_run_tells_what_would_change_and_changes_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    let told = bench.json(&["reload", "--dry-run"])?;
    assert_eq!((&told["dry_run"], &told["details"]), (&json!(true), &json!(["backends: +sw3"])));
    let moved = told["plan"]["rings"][0]["moved_ratio"].as_f64().unwrap();
    // A third of the slots is the newcomer's; Maglev moves few others.
    assert!((0.33..0.40).contains(&moved), "{moved}");
    assert!(told["changes"].as_str().unwrap().ends_with("0 live calls move"), "{told}");
    assert_eq!(names(&bench)?, ["sw1", "sw2"]);
    let text = bench.ask(&["reload", "--dry-run"])?.stdout;
    assert!(text.contains("backends: +sw3") && text.contains("nothing was changed"), "{text}");

    // What no map holds is told too, and once it holds it is no change any more.
    bench.configure(&(bench.config(&["front"], &BACKENDS[..2]) + "[controller]\nwarm_up = \"9s\"\n"))?;
    for command in [&["reload", "--dry-run"][..], &["reload"]] {
        let told = bench.json(command)?;
        assert_eq!(told["details"], json!(["settings: ~controller.warm_up"]));
        assert_eq!(told["changes"], "~1 setting, 0 live calls move");
        assert_eq!(told["plan"]["settings"]["changed"], json!(["controller.warm_up"]));
    }
    assert_eq!(bench.json(&["reload"])?["changes"], "nothing changes");

    // A refused one is refused, and nobody is alarmed: nothing was tried.
    bench.configure("[node]")?;
    bench.ask(&["reload", "--dry-run"])?.refused(1, &["is refused"]);
    assert_eq!(bench.status()?["daemon"]["reload_refused"], Value::Null);

    // Another key file that is not there is neither made nor taken.
    let elsewhere = bench.folder.path().join("other.key");
    let text = bench.config(&["front"], &BACKENDS).replace("hash.key", "other.key");
    bench.configure(&text)?;
    for command in [&["reload", "--dry-run"][..], &["reload"]] {
        bench.ask(command)?.refused(1, &["other.key", "earlier"]);
        assert!(!elsewhere.exists());
    }
    drop(daemon);
    Ok(())
}

#[test]
fn nobody_confirms_and_the_reload_is_undone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let new = bench.config(&["front"], &BACKENDS);
    bench.configure(&new)?;
    let told = bench.json(&["reload", "--confirm-within", "2s"])?;
    assert!(told["undone_at"].is_string(), "{told}");
    assert_eq!(names(&bench)?, ["sw1", "sw2", "sw3"]);
    assert!(attention(&bench)?.contains("sipsteer confirm"));
    bench.ask(&["reload"])?.refused(1, &["awaits confirmation", "sipsteer confirm", "sipsteer undo"]);
    assert!(!attention(&bench)?.contains("refused"), "nothing is wrong with the file");
    wait_until("it is undone", PATIENCE, || Ok(names(&bench)? == ["sw1", "sw2"]))?;
    assert!(daemon.log().contains("nobody confirmed the reload in time"), "{}", daemon.log());
    assert_eq!(fs::read_to_string(bench.config_file())?, new, "the file is the operator's");
    assert!(attention(&bench)?.contains("was undone"));
    bench.ask(&["confirm"])?.refused(1, &["no reload awaits confirmation"]);
    bench.ask(&["undo"])?.refused(1, &["no reload awaits confirmation"]);

    // Whoever wants it nevertheless takes it.
    bench.json(&["reload"])?;
    assert_eq!(names(&bench)?, ["sw1", "sw2", "sw3"]);
    assert_eq!(bench.status()?["daemon"]["trial"], Value::Null);
    assert!(!bench.state_dir().join("trial.json").exists());
    Ok(())
}

#[test]
fn a_confirmed_reload_stays_and_one_that_is_undone_goes() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    assert_eq!(bench.json(&["confirm"])?["confirmed"], true);
    assert_eq!(bench.status()?["daemon"]["trial"], Value::Null);

    // Of two trials in a row the second ends, and what was confirmed comes back.
    bench.configure(&bench.config(&["front"], &BACKENDS[..2]))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    bench.configure(&bench.config(&["front"], &BACKENDS[..1]))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    assert_eq!(names(&bench)?, ["sw1"]);
    let undone = bench.json(&["undo"])?;
    assert_eq!(undone["plan"]["backends"]["added"], json!(["sw2", "sw3"]), "{undone}");
    assert_eq!(names(&bench)?, ["sw1", "sw2", "sw3"]);

    // SIGHUP is a plain reload: it takes what was undone.
    daemon.signal(Signal::HUP)?;
    wait_until("SIGHUP was obeyed", PATIENCE, || Ok(names(&bench)? == ["sw1"]))?;
    bench.ask(&["reload", "--confirm-within", "25h"])?.refused(1, &["86400"]);
    bench.ask(&["reload", "--confirm-within", "soon"])?.refused(2, &["5m"]);

    // What cannot be kept is not tried.
    fs::remove_dir_all(bench.state_dir())?;
    fs::write(bench.state_dir(), "a file where a folder should be")?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.ask(&["reload", "--confirm-within", "1h"])?.refused(1, &["trial.json", "nothing was changed"]);
    assert_eq!(names(&bench)?, ["sw1"]);
    Ok(())
}

#[test]
fn a_restart_neither_confirms_a_trial_nor_forgets_it() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    daemon.kill()?;
    let daemon = bench.start(&[])?;
    assert_eq!(names(&bench)?, ["sw1", "sw2", "sw3"]);
    assert!(bench.status()?["daemon"]["trial"]["until"].is_string(), "the trial goes on");
    bench.json(&["undo"])?;
    daemon.kill()?;
    let daemon = bench.start(&[])?;
    assert_eq!(names(&bench)?, ["sw1", "sw2"], "what was undone stays so, although the file says otherwise");
    assert!(daemon.log().contains("what held before it holds"), "{}", daemon.log());

    // The time is over while no daemon runs.
    bench.json(&["reload", "--confirm-within", "1s"])?;
    daemon.kill()?;
    thread::sleep(Duration::from_millis(1100));
    let daemon = bench.start(&[])?;
    assert_eq!(names(&bench)?, ["sw1", "sw2"]);

    // A file that somebody changed is what they want.
    daemon.kill()?;
    bench.configure(&bench.config(&["front"], &BACKENDS[..1]))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    assert_eq!(names(&bench)?, ["sw1"]);
    assert!(!bench.state_dir().join("trial.json").exists());
    Ok(())
}

#[test]
fn a_change_until_the_restart_is_told_and_forgotten() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    let limited = bench.json(&["backend", "limit", "sw1", "max_cps=80", "--until-restart"])?;
    let undo = "sipsteer backend limit sw1 max_cps=file --until-restart";
    assert_eq!((&limited["until_restart"], &limited["undo"]), (&json!(true), &json!(undo)));
    assert!(!bench.state_dir().join("state.json").exists());
    bench.json(&["backend", "drain", "sw2"])?;
    let enabled = bench.ask(&["backend", "enable", "sw2", "--until-restart"])?.stdout;
    assert!(enabled.contains("until the daemon restarts"), "{enabled}");
    let differences = bench.status()?["differences"].clone();
    assert_eq!(
        (&differences[0]["key"], &differences[0]["after_restart"]),
        (&json!("max_cps"), &json!("100"))
    );
    assert_eq!(
        (&differences[1]["now"], &differences[1]["after_restart"]),
        (&json!("enabled"), &json!("draining"))
    );
    bench.json(&["reload"])?;
    assert_eq!(bench.status()?["differences"], differences, "a reload changes nothing about it");
    daemon.kill()?;

    let _daemon = bench.start(&["--ephemeral"])?;
    let status = bench.status()?;
    let told = &status["differences"];
    assert_eq!((told.as_array().unwrap().len(), &told[0]["now"]), (1, &json!("draining")), "{told}");
    assert_eq!(told[0]["after_restart"], Value::Null);
    Ok(())
}

#[test]
fn a_drain_is_waited_for_until_no_call_is_left() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let mut loads: Array<MapData, Load> =
        Map::from_map_data(MapData::from_pin(bench.pins.join(name::BACKEND_LOADS))?)?.try_into()?;
    loads.set(0, Load { channels: 2, ..Load::default() }, 0)?;
    let drain = ["backend", "drain", "sw1", "--wait"];
    let late = bench.ask(&[&drain[..], &["--timeout", "1s"]].concat())?;
    late.refused(5, &["sw1: draining, 2 calls in progress", "still has 2 calls", "stays drained"]);
    bench.json(&["reload"])?;
    assert_eq!(bench.status()?["backends"][0]["will"], "draining", "after a reload too");

    // Somebody takes it back while another waits.
    bench.json(&["backend", "enable", "sw1"])?;
    let drained = || Ok(bench.status()?["backends"][0]["will"] == "draining");
    let said = thread::scope(|scope| -> Result<_> {
        let waiter = scope.spawn(|| bench.ask(&[&drain[..], &["--timeout", "1m"]].concat()));
        wait_until("it drains", PATIENCE, drained)?;
        bench.json(&["backend", "enable", "sw1"])?;
        waiter.join().expect("the waiter ends")
    })?;
    said.refused(1, &["somebody else changed it"]);

    let after = thread::scope(|scope| -> Result<_> {
        let waiter = scope.spawn(|| bench.ask(&[&drain[..], &["--timeout", "1m", "--json"]].concat()));
        wait_until("it drains", PATIENCE, drained)?;
        loads.set(0, Load::default(), 0)?;
        waiter.join().expect("the waiter ends")
    })?;
    assert_eq!(after.status, 0, "{}", after.stderr);
    let document: Value = serde_json::from_str(&after.stdout)?;
    assert_eq!((&document["channels"], &document["done"]), (&json!(0), &json!("draining")));
    assert!(document["waited_seconds"].is_u64(), "{document}");
    Ok(())
}
