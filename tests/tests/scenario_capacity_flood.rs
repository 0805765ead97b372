//! A flood of INVITEs of which no two belong together, from one source: it costs nobody else a call.
//!
//! SIPSTEER_FLOOD is the number of INVITEs, 50,000 if it is not set.

use anyhow::{Context, Result};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        flood::Flood,
        outcome::Outcome,
        server::{Habits, Server},
        wish::Wish,
    },
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    topology::{Forwarding, Lab},
};
use std::{env, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);
/// A dialog table that the flood would fill.
const TABLE: &str = "[dialogs]\nmax = 32768\n";
const ESTABLISHED: usize = 300;
const PER_SECOND: u32 = 10_000;

fn invites() -> Result<u64> {
    match env::var("SIPSTEER_FLOOD") {
        Ok(number) => number.parse().with_context(|| format!("SIPSTEER_FLOOD is {number}")),
        Err(_) => Ok(50_000),
    }
}

#[test]
fn a_flood_takes_no_call_from_others() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let attacker = lab.callers(1)?[0];
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).with(TABLE))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let established = Caller::start(&lab, &Plan::calls("established", ESTABLISHED, 300).until_told())?;
    wait_until("calls are established", PATIENCE, || Ok(established.so_far().up == ESTABLISHED))?;

    let count = invites()?;
    let flood = Flood::start(&lab.client, attacker, lab.service(), count, PER_SECOND)?;
    wait_until("the flood has begun", PATIENCE, || Ok(flood.sent() > count / 10))?;
    // Calls of every length that begin in the flood.
    let wishes = [Wish::ANSWER, Wish::Answer(Duration::from_millis(300)), Wish::Ring, Wish::Refuse];
    let during = Caller::start(&lab, &Plan::calls("during", 150, 50).wishing(&wishes))?;
    flood.wait()?;
    let during = during.wait()?;
    let ends = [Outcome::Completed, Outcome::Cancelled, Outcome::Refused(486)].map(|end| during.count(&end));
    assert_eq!(ends, [76, 37, 37], "{:?}; {:?}", during.outcomes(), node.verdicts());

    let ended = established.wait()?;
    assert_eq!(ended.count(&Outcome::Completed), ESTABLISHED, "{:?}", ended.outcomes());
    // A call whose dialog had been evicted might have been asked about elsewhere.
    let records = Server::stop_all(servers)?;
    assert_eq!(records.iter().map(|record| record.strangers).sum::<u64>(), 0);
    let seen: usize = records.iter().map(|record| record.calls.len()).sum();
    assert!(seen > count as usize / 2, "the flood reached the servers: {seen}");
    Ok(())
}
