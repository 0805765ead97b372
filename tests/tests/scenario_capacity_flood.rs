//! A flood of INVITEs of which no two belong together, from one source: it costs nobody else a call.
//!
//! SIPSTEER_FLOOD is the number of INVITEs, 50,000 if it is not set. SIPSTEER_FULL_TABLE is the size of the dialog table that ten
//! times as many calls are to find room in, 4,096 if it is not set.

use anyhow::{Context, Result};
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        flood::{Flood, Sink},
        outcome::Outcome,
        server::{Habits, Server},
        wish::Wish,
    },
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    sipp::{self, Load, scenario::Scenario},
    topology::{Forwarding, Lab},
};
use std::{env, time::Duration};

const PATIENCE: Duration = Duration::from_secs(60);
/// A dialog table that the flood would fill.
const TABLE: &str = "[dialogs]\nmax = 32768\n";
const ESTABLISHED: usize = 300;
const PER_SECOND: u32 = 10_000;

fn number(variable: &str, otherwise: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(number) => number.parse().with_context(|| format!("{variable} is {number}")),
        Err(_) => Ok(otherwise),
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

    let count = number("SIPSTEER_FLOOD", 50_000)?;
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

/// R4: ten times as many calls as there is room for, all accepted and none ended.
#[test]
fn a_full_table_moves_no_call_and_steers_new_ones_by_the_ring() -> Result<()> {
    needs_bpf!();
    const NEW: u32 = 100;
    let room = number("SIPSTEER_FULL_TABLE", 4096)?;
    let flooding = Duration::from_secs(room * 10 / u64::from(PER_SECOND));
    let lab = Lab::with_zones(Forwarding::Nat, &[("uk", 2), ("sink", 1)])?;
    let attacker = lab.callers(1)?[0];
    let lifetime = PATIENCE + flooding * 3;
    let start = |backend| sipp::Server::start(&lab, backend, Scenario::StrictCall, lifetime);
    let servers = lab.backends[..2].iter().map(start).collect::<Result<Vec<_>>>()?;
    let _sink = Sink::start(&lab.backends[2])?;
    let table = format!("[dialogs]\nmax = {room}\n");
    let node = Node::new(&lab, &Config::of(&lab).trunks("zones = [\"uk\"]").with(&table))?;
    let _daemon = node.start(&["--ephemeral"])?;

    let calls = |calls| Load::calls(calls, 300).of(Scenario::StrictCall);
    let established = calls(ESTABLISHED as u32).holding(flooding + Duration::from_secs(3));
    let established = sipp::Caller::start(&lab, &established)?;
    wait_until("calls are established", PATIENCE, || Ok(node.dialogs()? == ESTABLISHED as u64))?;
    let target = lab.zone("sink")?.service.context("a zone has a service")?;
    let flood = Flood::start(&lab.client, attacker, target, room * 10, PER_SECOND)?;
    flood.wait()?;
    let full = node.dialogs()?;
    let (pinned, unpinned) = (node.packets(Verdict::SteeredNew)?, node.packets(Verdict::SteeredUnpinned)?);
    println!("{} INVITEs: {full} dialogs, {pinned} pinned, {unpinned} without room", room * 10);
    assert!(full >= room && unpinned > room * 5, "{:?}", node.verdicts()?);
    assert_eq!(full, pinned, "nobody who is in the table is put out of it");

    let made = sipp::Caller::start(&lab, &calls(NEW))?.wait()?;
    assert_eq!((made.ok, made.failed), (u64::from(NEW), 0), "{:?}", node.verdicts()?);
    let after = node.packets(Verdict::SteeredUnpinned)?;
    assert!(after > unpinned, "the table has room for {NEW}");
    let counters = node.json(&["counters"])?;
    let errors = counters["write_errors"].as_array().context("no write errors")?;
    let counted: u64 = errors.iter().filter_map(|error| error["count"].as_u64()).sum();
    assert_eq!(counted, after, "each has a reason: {errors:?}");

    let ended = established.wait()?;
    assert_eq!((ended.ok, ended.failed), (ESTABLISHED as u64, 0), "{:?}", node.verdicts()?);
    let seen = servers.iter().map(sipp::Server::stop).collect::<Result<Vec<_>>>()?;
    let (calls, failed) =
        (seen.iter().map(|s| s.calls).sum::<u64>(), seen.iter().map(|s| s.failed).sum::<u64>());
    assert_eq!(
        (calls, failed),
        (ESTABLISHED as u64 + u64::from(NEW), 0),
        "no call shows up at a second backend"
    );
    Ok(())
}
