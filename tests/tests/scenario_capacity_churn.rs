//! Calls of every kind of end, mixed, while packets get lost on the way: every channel is given back, once.
//!
//! SIPSTEER_MIXED_CALLS is the number of calls of each kind, 2,000 if it is not set.

use anyhow::{Context, Result};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        endpoint::Loss,
        outcome::Outcome,
        server::{Habits, Server},
        wish::Wish,
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{Forwarding, Lab},
};
use sipsteer::core::recount::{ADDED, TAKEN_OFF};
use std::{env, thread, time::Duration};

const T1: Duration = Duration::from_millis(100);
const RATE: u32 = 800;
/// Of a hundred packets, at each of both ends and in each direction.
const LOSS: u32 = 5;
/// Transactions last 64*T1 here, so what is over may be forgotten after 6.4 s and what is silent after more.
const LIFETIMES: &str = "[dialogs]\nshortened = true\nended = \"7s\"\nunanswered = \"8s\"\nanswered = \"9s\"\n\
    subscribed = \"9s\"\n";

fn calls_of_each_kind() -> Result<usize> {
    match env::var("SIPSTEER_MIXED_CALLS") {
        Ok(number) => number.parse().with_context(|| format!("SIPSTEER_MIXED_CALLS is {number}")),
        Err(_) => Ok(2000),
    }
}

fn churn(forwarding: Forwarding, each: usize) -> Result<()> {
    let lab = Lab::new(forwarding, 3)?;
    let habits = |seed| Habits { t1: T1, loss: Loss::percent(LOSS, seed) };
    let servers = lab.backends.iter().zip(1..).map(|(backend, seed)| Server::start(backend, habits(seed)));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let limits = Limits::channels(500_000);
    let node = Node::new(&lab, &Config::of(&lab).with(LIFETIMES).limited(limits))?;
    let daemon = node.start(&["--ephemeral"])?;
    let wishes = [Wish::ANSWER, Wish::Refuse, Wish::Ring, Wish::Silence];
    let plan =
        Plan { t1: T1, loss: Loss::percent(LOSS, 99), ..Plan::calls("mixed", each * wishes.len(), RATE) };
    let caller = Caller::start(&lab, &plan.wishing(&wishes))?;
    let mut most = 0;
    while caller.is_running() {
        most = most.max(node.channels()?);
        thread::sleep(Duration::from_millis(200));
    }
    let calls = caller.wait()?;
    let ends = [Outcome::Completed, Outcome::Refused(486), Outcome::Cancelled, Outcome::TimedOut];
    for end in &ends {
        // With one packet in ten lost each way, a transaction may fail now and then.
        assert!(calls.count(end) * 100 >= each * 99, "{forwarding} {end:?}: {:?}", calls.outcomes());
    }
    assert!(most > 0, "channels are counted");
    wait_until("every channel is free", Duration::from_secs(60), || Ok(node.channels()? == 0))
        .with_context(|| format!("{forwarding}: {:?}", node.loads()))?;
    // New calls bury what is left of the old ones, and nothing is given back a second time.
    let burial = Plan { t1: T1, ..Plan::calls("burial", each.min(1000), RATE) };
    Caller::start(&lab, &burial)?.wait()?;
    wait_until("every channel is free again", Duration::from_secs(60), || Ok(node.channels()? == 0))?;
    for (name, load) in node.loads()? {
        assert_eq!(load.channels, 0, "{forwarding} {name}");
    }
    for correction in [TAKEN_OFF, ADDED] {
        assert!(!daemon.log().contains(correction), "{forwarding}: {}", daemon.log());
    }
    drop(servers);
    Ok(())
}

#[test]
fn channels_return_to_zero_after_calls_of_every_kind_through_nat() -> Result<()> {
    needs_bpf!();
    churn(Forwarding::Nat, calls_of_each_kind()?)
}

#[test]
fn channels_return_to_zero_after_calls_of_every_kind_through_l2() -> Result<()> {
    needs_bpf!();
    churn(Forwarding::L2, calls_of_each_kind()?)
}
