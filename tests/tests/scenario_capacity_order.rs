//! Primary and secondary: the secondary gets a call when the primary has no room for it, and not before.

use anyhow::Result;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        pace::most_in_a_second,
        seen::Record,
        server::{Habits, Server},
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{CLIENT, Forwarding, Lab},
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A policy for the service, and a limit for the primary.
fn config(lab: &Lab, primary: Limits) -> Config {
    Config::of(lab).trunks("policy = \"primary-secondary\"").limit("sw1", primary)
}

/// Whether exactly the calls of these numbers came to a server.
fn holds(record: &Record, plan: &Plan, numbers: std::ops::Range<usize>) -> bool {
    numbers.clone().all(|number| record.call(&plan.call_id(number, CLIENT)).is_some())
        && record.calls.iter().filter(|call| call.id.starts_with(&format!("{}-", plan.name))).count()
            == numbers.len()
}

#[test]
fn the_secondary_gets_its_first_call_exactly_when_the_primary_is_full() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::new(&lab, &config(&lab, Limits::channels(20)))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let first = Plan::calls("first", 30, 100).until_told();
        let caller = Caller::start(&lab, &first)?;
        wait_until("all calls are up", PATIENCE, || Ok(caller.so_far().up == 30))?;
        assert_eq!(node.loads()?.values().map(|load| load.channels).collect::<Vec<_>>(), [20, 10]);
        assert_eq!(caller.wait()?.count(&Outcome::Completed), 30);
        wait_until("the channels are free", PATIENCE, || Ok(node.channels()? == 0))?;

        // Room again: back to the primary, call by call.
        let second = Plan::calls("second", 25, 100).until_told();
        let caller = Caller::start(&lab, &second)?;
        wait_until("all calls are up", PATIENCE, || Ok(caller.so_far().up == 25))?;
        assert_eq!(caller.wait()?.count(&Outcome::Completed), 25);
        let records = Server::stop_all(servers)?;
        assert!(holds(&records[0], &first, 0..20) && holds(&records[1], &first, 20..30), "{forwarding}");
        assert!(holds(&records[0], &second, 0..20) && holds(&records[1], &second, 20..25), "{forwarding}");
    }
    Ok(())
}

#[test]
fn the_secondary_takes_what_comes_too_fast_for_the_primary() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &config(&lab, Limits::cps(10, 9)))?;
    let _daemon = node.start(&["--ephemeral"])?;
    // All at once: ten may come at once, and then one every 100 ms.
    let plan = Plan { interval: Duration::ZERO, ..Plan::calls("blast", 60, 1) };
    let calls = Caller::start(&lab, &plan)?.wait()?;
    assert_eq!(calls.count(&Outcome::Completed), 60, "{:?}", calls.outcomes());
    let records = Server::stop_all(servers)?;
    for number in 0..10 {
        assert!(records[0].call(&plan.call_id(number, CLIENT)).is_some(), "call {number} had room");
    }
    assert!(most_in_a_second(&records[0].calls) <= 19);
    assert!(!records[1].calls.is_empty());
    Ok(())
}

#[test]
fn a_primary_with_room_gets_every_call() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &config(&lab, Limits::channels(100)))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let caller = Caller::start(&lab, &Plan::calls("room", 100, 200).until_told())?;
    wait_until("all calls are up", PATIENCE, || Ok(caller.so_far().up == 100))?;
    assert_eq!(caller.wait()?.count(&Outcome::Completed), 100);
    let seen: Vec<usize> = Server::stop_all(servers)?.iter().map(|record| record.calls.len()).collect();
    assert_eq!(seen, [100, 0], "the last of its channels is used before the secondary");
    Ok(())
}
