//! What is counted of calls in progress is wrong, and is set right while calls come and go: no call is lost for it, and nothing
//! is corrected that is right.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{load::Load, name};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        server::{Habits, Server},
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{Forwarding, Lab},
};
use sipsteer::core::recount::{ADDED, TAKEN_OFF};
use std::time::Duration;

/// Three looks at all dialogs, seven seconds from one to the next, and what a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(90);
/// Calls of backend 0 that there are not.
const LEFT_OVER: u64 = 200;
/// Calls of backend 1 that hold on.
const HELD: usize = 300;
/// Calls that come and go meanwhile.
const LOAD: usize = 6000;

/// Adds to a counter before anybody else does.
fn add(node: &Node<'_>, map: &str, index: u32, by: i64) -> Result<()> {
    let mut loads: Array<MapData, Load> = Map::Array(MapData::from_pin(node.pins.join(map))?).try_into()?;
    let load = loads.get(&index, 0)?;
    Ok(loads.set(index, Load { channels: load.channels.wrapping_add_signed(by), ..load }, 0)?)
}

#[test]
fn a_wrong_number_of_calls_is_set_right_in_traffic_and_a_right_one_stays() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let servers = lab.backends.iter().map(|b| Server::start(b, Habits::default()));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(2000)))?;
    let daemon = node.start(&["--ephemeral"])?;

    let held = Caller::start(&lab, &Plan::calls("held", HELD, 200).until_told())?;
    wait_until("the calls are up", PATIENCE, || Ok(held.so_far().up == HELD))?;
    let before = node.loads()?;
    let forgotten = before["sw2"].channels;
    ensure!(forgotten > 50, "calls are spread: {before:?}");
    add(&node, name::BACKEND_LOADS, 0, LEFT_OVER.cast_signed())?;
    add(&node, name::BACKEND_LOADS, 1, -forgotten.cast_signed())?;
    add(&node, name::ZONE_LOADS, 0, 2 * LEFT_OVER.cast_signed())?;

    // Calls come and go until it is done, and afterwards.
    let load = Caller::start(&lab, &Plan::calls("load", LOAD, 200).holding(Duration::from_millis(500)))?;
    let told = |words: &str| {
        let of = |line: &&str| line.contains(words) && [TAKEN_OFF, ADDED].iter().any(|c| line.contains(c));
        daemon.log().lines().find(of).map(str::to_owned)
    };
    let [sw1, sw2, zone] = ["backend sw1: ", "backend sw2: ", "zone "];
    wait_until("all three are told", PATIENCE, || {
        Ok([sw1, sw2, zone].into_iter().all(|w| told(w).is_some()))
    })
    .with_context(|| daemon.log())?;
    ensure!(load.is_running(), "in traffic: {}", daemon.log());
    let calls = load.wait()?;
    assert_eq!(calls.count(&Outcome::Completed), LOAD, "{:?}", calls.outcomes());

    // Each by what it was wrong, or less, as something may have come or gone during a look that took long; and no other.
    for (who, correction, wrong) in
        [(sw1, TAKEN_OFF, LEFT_OVER), (sw2, ADDED, forgotten), (zone, TAKEN_OFF, 2 * LEFT_OVER)]
    {
        let line = told(who).unwrap_or_default();
        let before = line.split_once(correction).with_context(|| line.clone())?.0;
        let by: u64 = before.rsplit(' ').next().unwrap_or_default().parse().with_context(|| line.clone())?;
        ensure!(by <= wrong && by > wrong / 2, "{wrong}: {line}");
    }
    ensure!(told("backend sw3: ").is_none(), "{}", daemon.log());
    let after = node.loads()?;
    for (name, load) in &after {
        let really = before[name].channels;
        ensure!(load.channels.abs_diff(really) < LEFT_OVER / 2, "{name}: {load:?}, it has {really} calls");
    }
    held.hang_up();
    assert_eq!(held.wait()?.count(&Outcome::Completed), HELD);
    let moved: u64 = Server::stop_all(servers)?.iter().map(|record| record.strangers).sum();
    assert_eq!(moved, 0, "no dialog was moved");
    Ok(())
}
