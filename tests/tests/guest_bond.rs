//! A balancer whose link is a bond. Runs only in the guests of `cargo xtask kernel`, whose kernels have bonds.

use anyhow::{Context, Result, ensure};
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        server::{Habits, Server},
    },
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    program::attached,
    topology::{BOND, FRONT, Forwarding, Lab, SPARE},
};
use serde_json::Value;
use std::time::Duration;

/// Emulated kernels are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The port of the bond that carries.
fn carrier(lab: &Lab) -> Result<String> {
    let links: Value = serde_json::from_str(&lab.balancer.ip(&format!("-d -j link show {BOND}"))?)?;
    let active = links[0]["linkinfo"]["info_data"]["active_slave"].as_str();
    Ok(active.unwrap_or_default().to_owned())
}

fn carries(lab: &Lab, port: &str) -> Result<()> {
    wait_until(&format!("{port} carries"), PATIENCE, || Ok(carrier(lab)? == port))
}

/// Calls go through a bond, also when its ports lose their carrier, go and come back.
fn calls_by_bond(forwarding: Forwarding) -> Result<()> {
    let mut lab = Lab::new(forwarding, 3)?;
    let first = lab.bond()?;
    let servers = lab.backends.iter().map(|b| Server::start(b, Habits::default()));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let interfaces: &[&str] = if forwarding == Forwarding::Nat { &[FRONT, BOND] } else { &[BOND] };
    let node = Node::new(&lab, &Config::of(&lab).on(interfaces))?;
    let daemon = node.start(&["--ephemeral"])?;
    let of_bond = || -> Result<Value> {
        let status = node.status()?;
        let all = status["interfaces"].as_array().context("no interfaces")?;
        Ok(all.iter().find(|i| i["name"] == BOND).context("no bond")?.clone())
    };
    let before = of_bond()?;
    ensure!(before["mode"] == "native", "{before}");
    let calls = |name: &str| -> Result<()> {
        let made = Caller::start(&lab, &Plan::calls(name, 30, 20))?.wait()?;
        let completed = made.count(&Outcome::Completed);
        ensure!(completed == 30, "{name}: {:?}; {:?}", made.outcomes(), node.verdicts()?);
        ensure!(made.completed_by().len() == 3, "{name}: spread over all backends");
        Ok(())
    };
    let held = Caller::start(&lab, &Plan::calls("held", 20, 20).until_told())?;
    wait_until("the held calls are up", PATIENCE, || Ok(held.so_far().up == 20))
        .with_context(|| format!("{:?}; {}", node.verdicts(), daemon.log()))?;
    carries(&lab, first)?;
    calls("whole")?;

    lab.set_carrier(first, false)?;
    carries(&lab, SPARE)?;
    calls("by-spare")?;
    // The first one is taken out, mended, and put in again.
    lab.balancer.ip(&format!("link set {first} nomaster"))?;
    calls("alone")?;
    lab.set_carrier(first, true)?;
    lab.join(first)?;
    calls("together")?;
    lab.set_carrier(SPARE, false)?;
    carries(&lab, first)?;
    calls("by-first")?;

    held.hang_up();
    assert_eq!(held.wait()?.count(&Outcome::Completed), 20, "{}", daemon.log());
    assert_eq!(of_bond()?, before, "the same link and program");
    let strangers: u64 = Server::stop_all(servers)?.iter().map(|record| record.strangers).sum();
    assert_eq!(strangers, 0, "no dialog was moved");
    ensure!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    for left in [Verdict::HostForwards, Verdict::ReplyHostForwards] {
        assert_eq!(node.packets(left)?, 0, "{:?}", node.verdicts()?);
    }
    Ok(())
}

#[test]
fn calls_go_through_a_bond_by_nat() -> Result<()> {
    needs_bpf!();
    calls_by_bond(Forwarding::Nat)
}

#[test]
fn calls_go_through_a_bond_by_l2() -> Result<()> {
    needs_bpf!();
    calls_by_bond(Forwarding::L2)
}

#[test]
fn an_interface_that_becomes_a_port_goes_on_and_somebody_is_told() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::L2, 3)?;
    let servers = lab.backends.iter().map(|b| Server::start(b, Habits::default()));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;
    let program = attached(&lab.balancer, FRONT)?.context("no program")?;
    let told = |words: &str| {
        wait_until(words, PATIENCE, || Ok(daemon.log().contains(words))).with_context(|| daemon.log())
    };
    let held = Caller::start(&lab, &Plan::calls("held", 20, 20).until_told())?;
    wait_until("the held calls are up", PATIENCE, || Ok(held.so_far().up == 20))
        .with_context(|| format!("{:?}; {}", node.verdicts(), daemon.log()))?;

    lab.balancer.ip(&format!("link add {BOND} type bond mode active-backup miimon 50"))?;
    lab.balancer.ip(&format!("link set {BOND} up"))?;
    lab.join(FRONT)?;
    told("front: is a port of bond0 now and steers calls as before")?;
    told("ip link set front nomaster")?;
    let attention = node.status()?["attention"].to_string();
    ensure!(attention.contains("interface front is a port of bond0"), "{attention}");
    assert_eq!(attached(&lab.balancer, FRONT)?, Some(program));
    let made = Caller::start(&lab, &Plan::calls("port", 30, 20))?.wait()?;
    assert_eq!(made.count(&Outcome::Completed), 30, "{:?}; {:?}", made.outcomes(), node.verdicts()?);

    lab.balancer.ip(&format!("link set {FRONT} nomaster"))?;
    lab.balancer.ip(&format!("link set {FRONT} up"))?;
    wait_until("all is well", PATIENCE, || Ok(node.status()?["state"] == "ok"))
        .with_context(|| daemon.log())?;
    held.hang_up();
    assert_eq!(held.wait()?.count(&Outcome::Completed), 20, "{}", daemon.log());
    drop(servers);
    Ok(())
}
