//! The daemon follows the network.

mod support;

use anyhow::{Context, Result};
use lb_tests::{
    guest::Guest,
    needs_bpf,
    netns::Namespace,
    process::{Process, wait_until},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};
use support::{BACKENDS, Bench, PATIENCE};

fn next_hop(bench: &Bench, backend: &str) -> Result<Value> {
    let list = bench.json(&["backend", "list"])?;
    let backends = list["backends"].as_array().unwrap();
    Ok(backends.iter().find(|b| b["name"] == backend).map_or(Value::Null, |b| b["next_hop"].clone()))
}

#[test]
fn next_hops_are_there_before_it_says_ready() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.ip("link set front mtu 1400")?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let hop = next_hop(&bench, "sw1")?;
    assert_eq!(hop["mac"], bench.far.mac("eth0")?);
    assert_eq!((&hop["interface"], &hop["mtu"]), (&"front".into(), &1400.into()));
    Ok(())
}

#[test]
fn another_mac_address_is_followed() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let before = next_hop(&bench, "sw2")?["mac"].clone();
    bench.far.ip("link set eth0 address 02:00:00:00:00:99")?;
    assert_ne!(before, "02:00:00:00:00:99");
    wait_until("the new MAC address is in the map", PATIENCE, || {
        Ok(next_hop(&bench, "sw2")?["mac"] == "02:00:00:00:00:99")
    })
}

#[test]
fn a_flushed_neighbour_table_is_filled_again_and_costs_no_next_hop() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    // `ip` ends with a failure where the kernel has removed an entry that it is about to.
    wait_until("it is flushed", PATIENCE, || Ok(bench.balancer.ip("neigh flush all").is_ok()))?;
    wait_until("the neighbour is known again", PATIENCE, || {
        assert!(next_hop(&bench, "sw1")?.is_object(), "{}", daemon.last_words());
        Ok(bench.balancer.ip("neigh show 10.0.0.11")?.contains("lladdr"))
    })
}

#[test]
fn what_happens_in_a_storm_of_changes_is_not_missed() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    // While it is stopped, the kernel keeps some hundred messages for it and drops the others.
    daemon.signal(Signal::STOP)?;
    let routes: String = (0..5000)
        .map(|n| format!("route add 192.{}.{}.0/24 via 10.0.0.12\n", 100 + n / 250, n % 250))
        .collect();
    let batch = bench.folder.path().join("routes");
    std::fs::write(&batch, routes)?;
    bench.balancer.ip(&format!("-batch {}", batch.display()))?;
    bench.far.ip("link set eth0 address 02:00:00:00:00:99")?;
    wait_until("the kernel knows the new MAC address", PATIENCE, || {
        Ok(bench.balancer.ip("neigh show 10.0.0.11")?.contains("02:00:00:00:00:99"))
    })?;
    daemon.signal(Signal::CONT)?;
    wait_until("it is in the map", PATIENCE, || Ok(next_hop(&bench, "sw1")?["mac"] == "02:00:00:00:00:99"))?;
    assert!(daemon.log().contains("reading it anew"), "{}", daemon.last_words());
    bench.far.ip("link set eth0 address 02:00:00:00:00:aa")?;
    wait_until("the daemon still listens", PATIENCE, || {
        Ok(next_hop(&bench, "sw1")?["mac"] == "02:00:00:00:00:aa")
    })
}

#[test]
fn a_gateway_is_the_next_hop_of_what_lies_behind() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.ip("route add 192.0.2.0/24 via 10.0.0.12 mtu 1300")?;
    bench.configure(&bench.config(&["front"], &["192.0.2.5"]))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let hop = next_hop(&bench, "sw1")?;
    assert_eq!((&hop["mac"], &hop["mtu"]), (&bench.far.mac("eth0")?.into(), &1300.into()));

    bench.balancer.ip("route del 192.0.2.0/24")?;
    wait_until("the next hop is gone with its route", PATIENCE, || Ok(next_hop(&bench, "sw1")?.is_null()))?;
    let status = bench.status()?;
    assert_eq!(status["state"], "degraded");
    assert!(status["daemon"]["unresolved"]["sw1"].as_str().unwrap().contains("no route"), "{status}");
    Ok(())
}

#[test]
fn a_silent_backend_is_told_with_its_reason() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.configure(&bench.config(&["front"], &[BACKENDS[0], "10.0.0.77"]))?;
    let daemon = bench.start(&["--ephemeral"])?;
    assert!(daemon.log().contains("backend sw2 has no next hop: 10.0.0.77 does not answer on front"));
    assert!(next_hop(&bench, "sw1")?.is_object(), "one silent backend holds up no other");
    bench.far.ip("addr add 10.0.0.77/24 dev eth0")?;
    wait_until("it answers", PATIENCE, || Ok(next_hop(&bench, "sw2")?.is_object()))
}

/// Waits until the first interface is attached to by another link than `before`; what the status says of it then.
fn attached_anew(bench: &Bench, before: &Value) -> Result<Value> {
    let mut now = Value::Null;
    wait_until("it is attached again", PATIENCE, || {
        now = bench.status()?["interfaces"][0].clone();
        Ok(now.is_object() && now["ifindex"] != 0 && now["link"] != before["link"])
    })
    .with_context(|| now.to_string())?;
    Ok(now)
}

#[test]
fn an_interface_that_vanished_and_returned_is_attached_again() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let before = bench.status()?["interfaces"][0].clone();
    bench.balancer.ip("link del front")?;
    wait_until("its absence is told", PATIENCE, || Ok(bench.status()?["interfaces"][0]["ifindex"] == 0))?;
    let status = bench.status()?;
    assert_eq!(status["state"], "down");
    // The kernel tells of the link at once, of the next hop the daemon does when it has heard of it.
    wait_until("its next hops are gone too", PATIENCE, || Ok(next_hop(&bench, "sw1")?.is_null()))?;

    bench.plug()?;
    let after = attached_anew(&bench, &before)?;
    assert_ne!(after["ifindex"], before["ifindex"]);
    assert_eq!(after["mode"], "native");
    assert!(bench.program_on("front")?.is_some());
    assert!(daemon.log().contains("front: the interface is gone"), "{}", daemon.last_words());
    wait_until("next hops are back", PATIENCE, || Ok(next_hop(&bench, "sw1")?.is_object()))
}

#[test]
fn an_interface_that_came_back_while_no_daemon_ran_is_attached_anew() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    bench.balancer.ip("link del front")?;
    bench.plug()?;
    assert_eq!(bench.program_on("front")?, None, "the kernel does not do it");
    let daemon = bench.start(&["--ephemeral"])?;
    assert!(daemon.log().contains("was that of an interface that is gone"), "{}", daemon.last_words());
    assert!(bench.program_on("front")?.is_some());
    Ok(())
}

#[test]
fn generic_mode_is_taken_when_asked_for() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let config =
        bench.config(&["front"], &BACKENDS).replace("[dialogs]", "xdp_mode = \"generic\"\n[dialogs]");
    bench.configure(&config)?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let status = bench.status()?;
    assert_eq!((&status["interfaces"][0]["mode"], &status["state"]), (&"generic".into(), &"degraded".into()));
    Ok(())
}

#[test]
fn another_mode_is_taken_by_a_reload_and_by_a_start() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    let want = |mode: &str| {
        let config = bench.config(&["front"], &BACKENDS[..2]);
        bench.configure(&config.replace("[dialogs]", &format!("xdp_mode = \"{mode}\"\n[dialogs]")))
    };
    let is = |mode: &str| {
        wait_until(mode, PATIENCE, || Ok(bench.status()?["interfaces"][0]["mode"] == mode))?;
        anyhow::Ok(bench.status()?["interfaces"][0]["link"].clone())
    };
    let native = is("native")?;
    want("generic")?;
    let plan = bench.json(&["reload"])?;
    assert_eq!(plan["details"], serde_json::json!(["settings: ~node.xdp_mode"]), "{plan}");
    let generic = is("generic")?;
    assert_ne!(native, generic);
    asks_for(&bench, &["front runs in generic mode", "node.xdp_mode = \"native\""])?;
    assert!(daemon.log().contains("node.xdp_mode has changed"), "{}", daemon.last_words());
    want("auto")?;
    bench.json(&["reload"])?;
    let native = is("native")?;
    bench.json(&["reload"])?;
    assert_eq!(is("native")?, native);

    want("generic")?;
    bench.json(&["reload", "--confirm-within", "5m"])?;
    is("generic").with_context(|| daemon.last_words())?;
    bench.json(&["undo"])?;
    is("native")?;
    bench.json(&["reload"])?;
    let generic = is("generic")?;
    daemon.end();

    want("auto")?;
    let daemon = bench.start(&[])?;
    assert_eq!(is("generic")?, generic, "no start tries what nobody asked for");
    daemon.end();
    want("native")?;
    let _daemon = bench.start(&["--ephemeral"])?;
    is("native")?;
    is_well(&bench)
}

/// Waits until the daemon has logged these words, and says how long that took.
fn told(daemon: &Process, what: &str, words: &[&str]) -> Result<()> {
    let start = Instant::now();
    wait_until(what, PATIENCE, || {
        Ok(daemon.log().lines().any(|l| words.iter().all(|word| l.contains(word))))
    })
    .with_context(|| daemon.last_words())?;
    println!("{what}: told after {} ms", start.elapsed().as_millis());
    Ok(())
}

/// Waits until the status asks for attention with these words.
fn asks_for(bench: &Bench, words: &[&str]) -> Result<()> {
    let mut attention = Vec::new();
    wait_until("the status says so", PATIENCE, || {
        let status = bench.status()?;
        let all = status["attention"].as_array().cloned().unwrap_or_default();
        attention = all.iter().filter_map(|line| Some(line.as_str()?.to_owned())).collect();
        Ok(attention.iter().any(|line| words.iter().all(|word| line.contains(word))))
    })
    .with_context(|| format!("{attention:?}"))
}

fn is_well(bench: &Bench) -> Result<()> {
    wait_until("all is well", PATIENCE, || Ok(bench.status()?["state"] == "ok"))
}

fn rename(bench: &Bench, from: &str, to: &str) -> Result<()> {
    for words in [format!("{from} down"), format!("{from} name {to}"), format!("{to} up")] {
        bench.balancer.ip(&format!("link set {words}"))?;
    }
    Ok(())
}

#[test]
fn an_interface_that_is_renamed_keeps_its_link_under_whatever_name_it_is_wanted() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.connect("back", &bench.far, "eth1")?;
    bench.configure(&bench.config(&["front", "back"], &BACKENDS[..2]))?;
    let daemon = bench.start(&[])?;
    let link = |status: &Value, name: &str| {
        status["interfaces"].as_array()?.iter().find(|i| i["name"] == name)?["link"].as_u64()
    };
    let before = bench.status()?;
    rename(&bench, "front", "edge")?;
    told(&daemon, "renamed", &["front: is called edge now", "node.interfaces", "sipsteer reload"])?;
    asks_for(&bench, &["interface front is called edge", "sipsteer reload"])?;
    wait_until("packets leave by it", PATIENCE, || Ok(next_hop(&bench, "sw1")?["interface"] == "edge"))?;
    bench.configure(&bench.config(&["edge", "back"], &BACKENDS[..2]))?;
    bench.json(&["reload"])?;
    assert_eq!(link(&bench.status()?, "edge"), link(&before, "front"));
    is_well(&bench)?;
    daemon.end();

    // Two that change names while nobody looks.
    for (from, to) in [("edge", "third"), ("back", "edge"), ("third", "back")] {
        rename(&bench, from, to)?;
    }
    let _daemon = bench.start(&["--ephemeral"])?;
    let after = bench.status()?;
    assert_eq!(link(&after, "back"), link(&before, "front"));
    assert_eq!(link(&after, "edge"), link(&before, "back"));
    assert_eq!(after["interfaces"].as_array().map(Vec::len), Some(2), "{after}");
    Ok(())
}

#[test]
fn an_interface_in_another_namespace_is_not_taken_for_one_of_its_number() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let elsewhere = Namespace::new("elsewhere")?;
    let daemon = bench.start(&["--ephemeral"])?;
    let before = bench.status()?["interfaces"][0].clone();
    bench.balancer.ip(&format!("link set front netns {}", elsewhere.name()))?;
    told(
        &daemon,
        "moved",
        &["front: the interface is gone to another network namespace", "node.interfaces"],
    )?;
    asks_for(&bench, &["interface front is gone", "sipsteer reload"])?;
    assert_eq!(bench.status()?["state"], "down");

    // One of the same name and number, which the pinned link is not about.
    let number = before["ifindex"].clone();
    bench.balancer.ip(&format!("link add front index {number} type veth peer name other"))?;
    bench.balancer.ip("link set front up")?;
    assert_eq!(attached_anew(&bench, &before)?["ifindex"], number);
    assert!(bench.program_on("front")?.is_some());
    Ok(())
}

#[test]
fn whatever_befalls_an_interface_other_connections_live() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let elsewhere = Namespace::new("elsewhere")?;
    let daemon = bench.start(&["--ephemeral"])?;
    let mut guest = Guest::log_in(&bench.balancer, "10.0.0.1:2222".parse()?, &bench.far)?;
    guest.types()?;
    let before = bench.status()?["interfaces"][0].clone();

    bench.balancer.ip(&format!("link set front netns {}", elsewhere.name()))?;
    told(&daemon, "moved", &["gone to another network namespace"])?;
    elsewhere.ip(&format!("link set front netns {}", bench.balancer.name()))?;
    bench.balancer.ip("addr add 10.0.0.1/24 dev front")?;
    bench.balancer.ip("link set front up")?;
    is_well(&bench)?;
    assert_eq!(bench.status()?["interfaces"][0], before, "the same link on the same interface");
    guest.types()?;

    bench.balancer.ip("link del front")?;
    told(&daemon, "deleted", &["front: the interface is gone;"])?;
    bench.plug()?;
    is_well(&bench)?;
    guest.types()?;

    bench.balancer.ip("link set front down")?;
    told(&daemon, "down", &["front: is down; no call comes or goes", "ip link set front up"])?;
    asks_for(&bench, &["interface front is down", "ip link set front up"])?;
    bench.balancer.ip("link set front up")?;
    is_well(&bench)?;
    guest.types()?;

    rename(&bench, "front", "edge")?;
    told(&daemon, "renamed", &["front: is called edge now"])?;
    guest.types()?;
    rename(&bench, "edge", "front")?;
    is_well(&bench)?;
    guest.types()
}

#[test]
fn a_port_of_a_bridge_goes_on_and_somebody_is_told() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let hop = next_hop(&bench, "sw1")?;
    bench.balancer.ip("link add br0 type bridge")?;
    bench.balancer.ip("link set br0 up")?;
    bench.balancer.ip("link set front master br0")?;
    told(&daemon, "enslaved", &["front: is a port of br0 now", "ip link set front nomaster"])?;
    asks_for(&bench, &["interface front is a port of br0", "nomaster"])?;
    assert!(bench.program_on("front")?.is_some());
    // Nobody answers a port's questions, for longer than a silent neighbour is kept.
    bench.balancer.ip("neigh del 10.0.0.11 dev front")?;
    thread::sleep(Duration::from_secs(4));
    assert!(!bench.balancer.ip("neigh show 10.0.0.11")?.contains("lladdr"));
    assert_eq!(next_hop(&bench, "sw1")?, hop, "calls go on");
    bench.balancer.ip("link set front nomaster")?;
    is_well(&bench)
}
