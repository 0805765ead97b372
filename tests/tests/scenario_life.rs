//! What happens to calls while the daemon is killed, stopped, restarted and reloaded.

use anyhow::Result;
use lb_tests::{
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    program::attached,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{FRONT, Forwarding, Lab},
};
use rustix::process::Signal;
use std::time::Duration;

const LIFETIME: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until this many calls are answered or over.
fn until_calls(caller: &Caller, calls: u64) -> Result<()> {
    wait_until("some calls were made", PATIENCE, || Ok(caller.so_far().calls >= calls))
}

#[test]
fn killing_the_daemon_costs_no_call_and_the_next_one_adopts() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let first = node.start(&[])?;
    let program = attached(&lab.balancer, FRONT)?.map(|a| a.id);

    let caller = Caller::start(&lab, &Load::calls(2400, 400).holding(Duration::from_secs(2)))?;
    until_calls(&caller, 600)?;
    first.kill()?;
    assert_eq!(attached(&lab.balancer, FRONT)?.map(|a| a.id), program, "the program stays");
    until_calls(&caller, 1400)?;
    let dialogs = node.dialogs()?;
    let second = node.start(&["--ephemeral"])?;
    assert!(node.dialogs()? >= dialogs, "the second daemon goes on with the dialogs of the first");
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (2400, 0), "{}", second.last_words());

    second.end();
    assert_eq!(attached(&lab.balancer, FRONT)?, None, "an ephemeral run detaches at its end");
    assert!(!node.pins.exists(), "and leaves no pins");
    Ok(())
}

#[test]
fn a_daemon_that_ends_leaves_the_data_plane_until_it_is_detached() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let daemon = node.start(&[])?;
    daemon.end();
    assert!(daemon.log().contains("sipsteer detach"), "its last words name the way out: {}", daemon.log());
    let made = Caller::start(&lab, &Load::calls(200, 200))?.wait()?;
    assert_eq!((made.ok, made.failed), (200, 0));

    node.succeed(&["detach"])?;
    assert_eq!(attached(&lab.balancer, FRONT)?, None);
    node.succeed(&["detach"])?;
    Ok(())
}

#[test]
fn removing_a_backend_moves_no_call_that_is_up() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let servers = Server::start_all(&lab, Scenario::StrictCall, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;

    // Every call that is up at the reload ends after it, so its BYE shows where it is steered.
    let load = Load::calls(1800, 300).of(Scenario::StrictCall).holding(Duration::from_secs(3));
    let caller = Caller::start(&lab, &load)?;
    until_calls(&caller, 900)?;
    node.configure(&Config::of(&lab).without("sw2"))?;
    node.succeed(&["reload"])?;
    let at_reload = servers[1].so_far().calls;
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (1800, 0));

    let seen = servers.iter().map(Server::stop).collect::<Result<Vec<_>>>()?;
    assert_eq!(
        seen.iter().map(|s| s.calls).sum::<u64>(),
        1800,
        "no call shows up at a second backend: {seen:?}"
    );
    assert_eq!(seen.iter().map(|s| s.failed).sum::<u64>(), 0, "{seen:?}");
    // Its statistics are up to a second old, at a hundred calls a second.
    assert!(
        seen[1].calls <= at_reload + 200,
        "sw2 gets no new calls after the reload: {at_reload}, {seen:?}"
    );
    assert!(seen[0].calls > seen[1].calls && seen[2].calls > seen[1].calls, "{seen:?}");
    Ok(())
}

#[test]
fn with_the_daemon_stopped_the_table_neither_fills_nor_leaks() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let lifetimes = "[dialogs]\nmax = 2048\nshortened = true\nended = \"1s\"\nunanswered = \"2s\"\n\
        answered = \"2s\"\nsubscribed = \"2s\"\n";
    let node = Node::new(&lab, &Config::of(&lab).with(lifetimes))?;
    let daemon = node.start(&["--ephemeral"])?;
    daemon.signal(Signal::STOP)?;

    // 6,000 calls through a table for 2,048.
    let caller = Caller::start(&lab, &Load::calls(6000, 600))?;
    let mut most = 0;
    while caller.is_running()? {
        most = most.max(node.dialogs()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (6000, 0));
    // 0.1 s of call, 1 s of lifetime and rounds of the search within jiffies, with ticks rounded up, at 600 calls a second.
    assert!(most < 3000, "{most} dialogs at a time; they do not expire");

    // What is left is forgotten as new calls go by: in the end only some of these are there.
    let trickle = Caller::start(&lab, &Load::calls(1500, 300))?;
    let made = trickle.wait()?;
    assert_eq!((made.ok, made.failed), (1500, 0));
    let left = node.dialogs()?;
    assert!(left <= 1500, "{left} dialogs are left of 7,500");
    Ok(())
}
