//! Three real Kamailio servers under load, one of which is killed and comes back.
//!
//! `HEALTH_CPS` sets the new calls per second; without it they are few, since all of this runs on one machine.

use anyhow::{Context, Result};
use lb_common::map::backend::health::{DOWN, UP};
use lb_tests::{
    daemon::{Config, Node},
    kamailio::{Kamailio, Role},
    needs_bpf,
    process::wait_until,
    sipp::{Caller, Load},
    topology::{Forwarding, Lab},
};
use rustix::process::Signal;
use std::{
    env,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// New calls per second.
fn cps() -> u32 {
    env::var("HEALTH_CPS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Calls opened on a backend so far.
fn calls(node: &Node<'_>, name: &str) -> Result<u64> {
    Ok(node.json(&["backend", "show", name])?["backend"]["calls"].as_u64().unwrap_or_default())
}

/// A backend's share of new calls at the moment.
fn weight(node: &Node<'_>, name: &str) -> Result<Option<u64>> {
    Ok(node.json(&["backend", "show", name])?["backend"]["weight"].as_u64())
}

#[test]
fn a_killed_backend_is_found_out_costs_no_call_and_gets_calls_again() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let servers = Kamailio::start_all(&lab, Role::Answers)?;
    let config = "[health]\nprobe = \"options\"\n[controller]\nwarm_up = \"5s\"\n";
    let node = Node::new(&lab, &Config::of(&lab).with(config))?;
    let daemon = node.start(&["--ephemeral"])?;
    let rate = cps();

    // Long enough for the kill, its detection and the repetition of the last INVITE before that.
    let load = Load::calls(rate * 8, rate).holding(Duration::from_secs(1));
    let caller = Caller::start(&lab, &load)?;
    wait_until("calls are made", PATIENCE, || Ok(caller.so_far().calls >= u64::from(rate) * 2))?;
    servers[1].kill()?;
    let killed = Instant::now();
    wait_until("the dead backend is found out", PATIENCE, || Ok(node.health("sw2")? == DOWN))?;
    let detection = killed.elapsed();
    println!("{rate} calls per second: a killed backend was down after {} ms", detection.as_millis());
    let at_detection = calls(&node, "sw2")?;
    let others = || Ok::<_, anyhow::Error>([calls(&node, "sw1")?, calls(&node, "sw3")?]);
    let before = others()?;

    // From now on every new call finds a server at once.
    let after = Caller::start(&lab, &Load::calls(rate * 2, rate))?.wait()?;
    assert_eq!((after.ok, after.failed), (u64::from(rate) * 2, 0), "{}", daemon.log());
    let made = caller.wait()?;
    let took: Vec<u64> = others()?.iter().zip(before).map(|(now, then)| now - then).collect();
    println!(
        "of {} calls after the detection the two others took {took:?}: a half each, a third before",
        took.iter().sum::<u64>()
    );
    // Those that began between the two repeated their INVITE, which went elsewhere.
    assert_eq!((made.ok, made.failed), (u64::from(load.calls), 0), "{}", daemon.last_words());
    assert_eq!(calls(&node, "sw2")?, at_detection, "a dead backend gets no new call");
    assert_eq!([node.health("sw1")?, node.health("sw3")?], [UP; 2]);
    println!(
        "of {} calls {} failed; {} messages were sent again, {} of them after the detection",
        made.calls + after.calls,
        made.failed + after.failed,
        made.retransmissions + after.retransmissions,
        after.retransmissions
    );
    let show = node.succeed(&["backend", "show", "sw2"])?;
    assert!(show.contains("HEALTH    down, since "), "{show}");

    let _again = Kamailio::start(&lab, &lab.backends[1], Role::Answers)?;
    wait_until("it is back", PATIENCE, || Ok(node.health("sw2")? == UP))?;
    let back = Caller::start(&lab, &Load::calls(rate * 2, rate))?.wait()?;
    assert_eq!((back.ok, back.failed), (u64::from(rate) * 2, 0));
    let warming = calls(&node, "sw2")? - at_detection;
    wait_until("it has warmed up", PATIENCE, || Ok(weight(&node, "sw2")? == Some(100)))?;
    let whole = Caller::start(&lab, &Load::calls(rate * 2, rate))?.wait()?;
    assert_eq!((whole.ok, whole.failed), (u64::from(rate) * 2, 0));
    let warm = calls(&node, "sw2")? - at_detection - warming;
    println!("of {} calls each, {warming} came while it warmed up, {warm} afterwards", rate * 2);
    assert!(
        warming > 0 && warming < warm,
        "{warming} of {} calls came to a cold server, then {warm}",
        rate * 2
    );
    assert!(warm > u64::from(rate) / 4, "{warm} of {} calls came to the one that is back", rate * 2);
    // Calls of the dead server have ended elsewhere, and are counted nowhere any more.
    wait_until("no channel is held", PATIENCE, || {
        let all = node.json(&["backend", "list"])?["backends"].clone();
        Ok(all.as_array().is_some_and(|all| all.iter().all(|backend| backend["channels"] == 0)))
    })
    .with_context(|| node.succeed(&["backend", "list"]).unwrap_or_default())?;
    let log = daemon.log();
    for told in ["backend sw2: up -> down: ", "backend sw2: down -> up: 2 probes in a row answered well"] {
        assert_eq!(log.matches(told).count(), 1, "{told:?} in {log}");
    }
    Ok(())
}

#[test]
fn a_frozen_backend_is_found_out_by_probes_alone() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Kamailio::start_all(&lab, Role::Answers)?;
    let node = Node::new(&lab, &Config::of(&lab).with("[health]\nprobe = \"options\""))?;
    let daemon = node.start(&["--ephemeral"])?;
    wait_until("it has answered", PATIENCE, || {
        Ok(node.json(&["backend", "list"])?["health"]["sw2"]["last_outcome"] == "200")
    })?;
    servers[1].signal(Signal::STOP)?;
    let frozen = Instant::now();
    wait_until("the frozen backend is found out", PATIENCE, || Ok(node.health("sw2")? == DOWN))?;
    println!("a frozen backend without calls was down after {} ms", frozen.elapsed().as_millis());
    let reason = "backend sw2: up -> down: 2 probes in a row got no answer within 500ms";
    assert!(daemon.log().contains(reason), "{}", daemon.log());
    servers[1].signal(Signal::CONT)?;
    wait_until("it is back", PATIENCE, || Ok(node.health("sw2")? == UP))?;
    Ok(())
}
