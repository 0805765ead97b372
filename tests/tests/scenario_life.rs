//! What happens to calls while the daemon is killed, stopped, restarted and reloaded.

use anyhow::{Context, Result};
use lb_common::verdict::Verdict;
use lb_tests::{
    cgroup::Starving,
    command::run_words,
    daemon::{Config, Node},
    needs, needs_bpf,
    process::{Process, wait_until},
    program::attached,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{FRONT, Forwarding, Lab},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{env, os::unix::process::ExitStatusExt, thread, time::Duration};

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
fn a_daemon_that_is_killed_for_want_of_memory_costs_no_call_and_the_next_one_adopts() -> Result<()> {
    needs_bpf!();
    let starving = needs!(Starving::new("starving"));
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let first = node.start(&[])?;
    let program = attached(&lab.balancer, FRONT)?.map(|a| a.id);
    let caller = Caller::start(&lab, &Load::calls(800, 400).holding(Duration::from_secs(1)))?;
    until_calls(&caller, 100)?;

    starving.take_in(first.pid())?;
    // It needs some memory to answer.
    node.ask(&["status"])?;
    let end = first.wait(PATIENCE)?;
    assert_eq!((end.signal(), starving.kills()?), (Some(Signal::KILL.as_raw()), 1), "{}", first.last_words());
    let status = node.status()?;
    assert_eq!((&status["state"], &status["daemon"]), (&"degraded".into(), &Value::Null), "{status}");
    assert_eq!(attached(&lab.balancer, FRONT)?.map(|a| a.id), program, "the program stays");
    until_calls(&caller, 500)?;

    let dialogs = node.dialogs()?;
    let second = node.start(&["--ephemeral"])?;
    assert!(node.dialogs()? >= dialogs, "the second daemon goes on with the dialogs of the first");
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (800, 0), "{}", second.last_words());
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

/// How long the daemon is stopped, by how many calls, with which lifetimes, and how many dialogs that makes at most.
struct Stop {
    calls: u32,
    rate: u32,
    dialogs: &'static str,
    most: u64,
    left: u64,
}

impl Stop {
    fn chosen() -> Result<Stop> {
        let Ok(seconds) = env::var("SIPSTEER_STOPPED_SECONDS") else {
            // 6,000 calls through a table for 2,048. 0.1 s of call, 1 s of lifetime and rounds of the search within jiffies, with
            // ticks rounded up, at 600 calls a second.
            let dialogs = "[dialogs]\nmax = 2048\nshortened = true\nended = \"1s\"\nunanswered = \"2s\"\n\
                answered = \"2s\"\nsubscribed = \"2s\"\n";
            return Ok(Stop { calls: 6000, rate: 600, dialogs, most: 3000, left: 1500 });
        };
        let seconds: u32 =
            seconds.parse().with_context(|| format!("SIPSTEER_STOPPED_SECONDS is {seconds}"))?;
        // The search comes by every 128 s, so that a call is there for 34 to 162 s: 48,600 at most, of which none finds its
        // buckets full. The few calls at the end find as many as ever.
        let (dialogs, most) = ("[dialogs]\nmax = 131072\n", 48_600 * 6 / 5);
        Ok(Stop { calls: seconds * 300, rate: 300, dialogs, most, left: most })
    }
}

/// R6: SIGSTOP; SIPSTEER_STOPPED_SECONDS=1800 is the long form.
#[test]
fn with_the_daemon_stopped_the_table_neither_fills_nor_leaks() -> Result<()> {
    needs_bpf!();
    let stop = Stop::chosen()?;
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(
        &lab,
        Scenario::Call,
        LIFETIME + Duration::from_secs((stop.calls / stop.rate).into()),
    )?;
    let node = Node::new(&lab, &Config::of(&lab).with(stop.dialogs))?;
    let daemon = node.start(&["--ephemeral"])?;
    daemon.signal(Signal::STOP)?;

    let caller = Caller::start(&lab, &Load::calls(stop.calls, stop.rate))?;
    let mut most = 0;
    while caller.is_running()? {
        most = most.max(node.dialogs()?);
        thread::sleep(Duration::from_millis(100));
    }
    let made = caller.wait()?;
    println!("{} s: {made:?}, {most} dialogs at most", stop.calls / stop.rate);
    assert_eq!((made.ok, made.failed), (stop.calls.into(), 0));
    assert!(most < stop.most, "{most} dialogs at a time; they do not expire");
    daemon.signal(Signal::CONT)?;
    assert_eq!(node.packets(Verdict::SteeredUnpinned)?, 0, "{:?}", node.verdicts()?);
    wait_until("the daemon works as before", PATIENCE, || Ok(node.status()?["state"] == "ok"))?;

    // What is left is forgotten as new calls go by: in the end only some of these are there.
    let trickle = Caller::start(&lab, &Load::calls(1500, 300))?;
    lacks_things(&node, &daemon)?;
    let made = trickle.wait()?;
    assert_eq!((made.ok, made.failed), (1500, 0));
    let left = node.dialogs()?;
    assert!(left <= stop.left, "{left} dialogs are left of {}", stop.calls + 1500);
    let verdicts = node.verdicts()?;
    let bad = |name: &str| Verdict::ALL.iter().any(|v| v.name() == name && !v.expected());
    assert!(!verdicts.iter().any(|(name, _)| bad(name)), "{verdicts:?}");
    Ok(())
}

/// The daemon has no file descriptors, and no idea of the time of day.
fn lacks_things(node: &Node<'_>, daemon: &Process) -> Result<()> {
    let pid = node.status()?["daemon"]["pid"].as_u64().context("no pid")?;
    let limit = |files: u32| run_words("prlimit", &format!("--pid {pid} --nofile={files}:20000"));
    limit(3)?;
    let asked = thread::scope(|scope| {
        let asked = scope.spawn(|| node.ask(&["reload"]));
        thread::sleep(Duration::from_secs(1));
        limit(20_000)?;
        asked.join().expect("asking does not panic")
    })?;
    assert!(asked.status.success(), "{}", daemon.last_words());
    assert!(daemon.log().contains("calls are steered as before"), "{}", daemon.last_words());
    for jump in [3600, -3600] {
        node.tell_faults(&format!("clock {jump}"))?;
        node.succeed(&["reload"])?;
    }
    node.disarm()
}
