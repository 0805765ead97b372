//! One of six servers is removed under load: the others share its calls evenly, and no call that is up moves.

use anyhow::Result;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::{Calls, Outcome},
        server::{Habits, Server},
    },
    configuration::fix_hash_key,
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    topology::{Forwarding, Lab},
};
use std::{collections::BTreeMap, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const REMOVED: &str = "sw4";

/// Where of a hundred calls each server gets how many.
fn shares(calls: &Calls) -> BTreeMap<&str, f64> {
    let all = calls.0.len() as f64;
    calls.completed_by().into_iter().map(|(name, count)| (name, count as f64 * 100.0 / all)).collect()
}

#[test]
fn the_share_of_a_removed_server_spreads_evenly_over_the_others() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 6)?;
    // The same Call-IDs meet the same servers in every run, so no share depends on luck.
    fix_hash_key(&lab)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let config = || Config::of(&lab).trunks("bound = \"none\"");
    let node = Node::new(&lab, &config())?;
    let _daemon = node.start(&["--ephemeral"])?;
    let brief = |name| Plan::calls(name, 2500, 500).holding(Duration::ZERO);

    let before = Caller::start(&lab, &brief("before"))?.wait()?;
    let held = Caller::start(&lab, &Plan::calls("held", 300, 300).until_told())?;
    wait_until("the held calls are up", PATIENCE, || Ok(held.so_far().up == 300))?;
    let load = Caller::start(&lab, &Plan::calls("load", 900, 300).holding(Duration::from_secs(1)))?;
    wait_until("the load is there", PATIENCE, || Ok(load.so_far().up >= 100))?;
    node.configure(&config().without(REMOVED))?;
    node.succeed(&["reload"])?;
    let after = Caller::start(&lab, &brief("after"))?.wait()?;

    for (what, calls, count) in [
        ("before", &before, 2500),
        ("load", &load.wait()?, 900),
        ("held", &held.wait()?, 300),
        ("after", &after, 2500),
    ] {
        assert_eq!(calls.count(&Outcome::Completed), count, "{what}: {:?}", calls.outcomes());
    }
    let (before, after) = (shares(&before), shares(&after));
    let lost = before[REMOVED];
    assert!((12.0..22.0).contains(&lost), "{before:?}");
    assert_eq!(after.len(), 5, "{after:?}");
    for (name, share) in &after {
        let gained = share - before[name];
        assert!((gained - lost / 5.0).abs() < 2.0, "{name} gained {gained}: {before:?} {after:?}");
    }
    // A call that had moved would have asked a server that does not know it to end it.
    let records = Server::stop_all(servers)?;
    assert_eq!(records.iter().map(|record| record.strangers).sum::<u64>(), 0);
    let ids: usize = records.iter().map(|record| record.calls.len()).sum();
    assert_eq!(ids, 2500 + 900 + 300 + 2500, "no call came to two servers");
    Ok(())
}
