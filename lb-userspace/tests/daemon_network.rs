//! The daemon follows the network.

mod support;

use anyhow::Result;
use lb_tests::{needs_bpf, process::wait_until};
use rustix::process::Signal;
use serde_json::Value;
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
    bench.balancer.ip("neigh flush all")?;
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
    assert!(next_hop(&bench, "sw1")?.is_null());

    bench.plug()?;
    wait_until("it is attached again", PATIENCE, || Ok(bench.program_on("front")?.is_some()))?;
    let after = bench.status()?["interfaces"][0].clone();
    assert_ne!((&after["ifindex"], &after["link"]), (&before["ifindex"], &before["link"]));
    assert_eq!(after["mode"], "native");
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
