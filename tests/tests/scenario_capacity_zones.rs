//! Zones: what does not fit into the first goes to the next, by forwarding or by a 302 that the caller follows.

use anyhow::Result;
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::{Calls, Outcome},
        seen::Record,
        server::{Habits, Server},
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    sipp::{self, Load, scenario::Scenario},
    topology::{Forwarding, Lab},
};
use std::{collections::BTreeMap, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const TWO: [(&str, u8); 2] = [("uk", 2), ("germany", 2)];

/// Calls that are all up at the same time. Ended, they have freed their channels.
fn call(lab: &Lab, node: &Node<'_>, plan: &Plan, up: usize) -> Result<Calls> {
    let before = node.channels()?;
    let caller = Caller::start(lab, &plan.clone().until_told())?;
    wait_until("the calls are up", PATIENCE, || {
        let progress = caller.so_far();
        Ok(progress.up == up && progress.up + progress.over == plan.calls)
    })?;
    assert_eq!(node.channels()?, before + up as u64);
    let calls = caller.wait()?;
    assert_eq!(calls.count(&Outcome::Completed), up, "{:?}", calls.outcomes());
    wait_until("the channels are free", PATIENCE, || Ok(node.channels()? == before))?;
    Ok(calls)
}

/// Calls by zone, as the servers saw them.
fn zones(records: &[Record]) -> BTreeMap<&str, usize> {
    let mut zones = BTreeMap::new();
    for record in records {
        *zones.entry(record.zone.as_str()).or_default() += record.calls.len();
    }
    zones
}

/// What a 302 to a zone has to name.
fn place_of(lab: &Lab, zone: &str) -> Result<String> {
    Ok(lab.zone(zone)?.service.map_or_else(String::new, |service| format!("@{service}")))
}

#[test]
fn a_full_zone_redirects_to_the_next_and_the_callers_arrive_there() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::with_zones(forwarding, &TWO)?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let config = Config::of(&lab).trunks("overflow = \"redirect\"").limit("uk", Limits::channels(10));
        let node = Node::new(&lab, &config)?;
        let _daemon = node.start(&["--ephemeral"])?;
        let plan = Plan::calls("abroad", 35, 100);
        let calls = call(&lab, &node, &plan, 35)?;

        assert_eq!(calls.flaw(), None);
        let germany = place_of(&lab, "germany")?;
        let redirected: Vec<_> = calls.0.iter().filter(|call| call.was_redirected()).collect();
        assert_eq!(redirected.len(), 15, "{forwarding}");
        assert!(calls.answers(302).all(|a| a.contacts.len() == 1 && a.contacts[0].ends_with(&germany)));
        let records = Server::stop_all(servers)?;
        assert_eq!(zones(&records), BTreeMap::from([("uk", 20), ("germany", 15)]), "{forwarding}");
        for call in redirected {
            // RFC 3261 section 8.1.3.4: the same Call-ID; the next number.
            let seen = records[2..].iter().find_map(|record| record.call(&call.id));
            assert_eq!(seen.map(|seen| seen.sequence), Some(2), "{forwarding}: {}", call.id);
        }
        assert!(node.packets(Verdict::Redirected)? >= 15 && node.packets(Verdict::AbsorbedAck)? >= 15);
        assert_eq!((node.packets(Verdict::SteeredOverflow)?, node.packets(Verdict::RefusedFull)?), (0, 0));
    }
    Ok(())
}

#[test]
fn sipp_follows_the_redirect_too() -> Result<()> {
    needs_bpf!();
    let lab = Lab::with_zones(Forwarding::Nat, &TWO)?;
    let servers = sipp::Server::start_all(&lab, Scenario::Call, Duration::from_secs(90))?;
    let config = Config::of(&lab).trunks("overflow = \"redirect\"").limit("uk", Limits::channels(10));
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    // Each call lasts until all have begun.
    let load = Load::calls(30, 30).of(Scenario::Redirected).holding(Duration::from_secs(10));
    let made = sipp::Caller::start(&lab, &load)?.wait()?;
    assert_eq!((made.ok, made.failed), (30, 0), "{:?}", node.verdicts()?);
    let seen = servers.iter().map(sipp::Server::stop).collect::<Result<Vec<_>>>()?;
    let (uk, germany) = (seen[0].calls + seen[1].calls, seen[2].calls + seen[3].calls);
    assert_eq!(uk + germany, 30, "{seen:?}");
    assert!(germany > 0 && node.packets(Verdict::Redirected)? >= germany, "{seen:?}");
    Ok(())
}

#[test]
fn a_full_zone_forwards_to_the_next_and_the_callers_do_not_notice() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::with_zones(forwarding, &TWO)?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let config = Config::of(&lab).trunks("overflow = \"forward\"").limit("uk", Limits::channels(10));
        let node = Node::new(&lab, &config)?;
        let _daemon = node.start(&["--ephemeral"])?;
        let calls = call(&lab, &node, &Plan::calls("forwarded", 35, 100), 35)?;
        assert!(!calls.0.iter().any(|call| call.was_redirected()));
        let records = Server::stop_all(servers)?;
        assert_eq!(zones(&records), BTreeMap::from([("uk", 20), ("germany", 15)]), "{forwarding}");
        assert!(records.iter().flat_map(|r| &r.calls).all(|seen| seen.sequence == 1));
        assert_eq!(node.packets(Verdict::SteeredOverflow)?, 15);
        assert_eq!(node.packets(Verdict::Redirected)?, 0);
    }
    Ok(())
}

#[test]
fn six_zones_are_filled_in_their_order_and_then_callers_are_refused() -> Result<()> {
    needs_bpf!();
    let names = ["uk", "usa-east", "usa-west", "germany", "amsterdam", "singapore"];
    let sizes = [3, 2, 2, 3, 2, 2];
    let plan: Vec<(&str, u8)> = names.into_iter().zip(sizes).collect();
    let lab = Lab::with_zones(Forwarding::Nat, &plan)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    // The second zone is near enough to be forwarded to; the others are redirected to.
    let config = Config::of(&lab)
        .trunks("overflow = \"redirect\"")
        .trunks(
            "zones = [\"uk\", { zone = \"usa-east\", overflow = \"forward\" }, \"usa-west\", \"germany\", \
             \"amsterdam\", \"singapore\"]",
        )
        .limited(Limits::channels(5));
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    // One source gets 20 answers a second from the balancer itself.
    let room: usize = sizes.iter().map(|servers| usize::from(*servers) * 5).sum();
    let calls = call(&lab, &node, &Plan::calls("world", room + 10, 20), room)?;
    assert_eq!(calls.count(&Outcome::Refused(503)), 10, "{:?}", calls.outcomes());
    assert_eq!(node.packets(Verdict::SteeredOverflow)?, 10);
    // A 302 names every zone that has room, the nearest first, so the lists get shorter.
    let mut left = usize::MAX;
    for answer in calls.answers(302) {
        let order: Vec<usize> = answer
            .contacts
            .iter()
            .filter_map(|uri| {
                lab.zones.iter().position(|z| z.service.is_some_and(|s| uri.ends_with(&s.to_string())))
            })
            .collect();
        assert_eq!(order.len(), answer.contacts.len(), "only zones are named: {answer:?}");
        assert!(order.is_sorted() && order.iter().all(|zone| *zone >= 2), "{answer:?}");
        assert!(order.len() <= left, "{answer:?}");
        left = order.len();
    }
    let expected: BTreeMap<&str, usize> = plan.iter().map(|(name, n)| (*name, usize::from(*n) * 5)).collect();
    assert_eq!(zones(&Server::stop_all(servers)?), expected);
    Ok(())
}

#[test]
fn a_zone_is_taken_out_and_put_back() -> Result<()> {
    needs_bpf!();
    let lab = Lab::with_zones(Forwarding::Nat, &TWO)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).trunks("overflow = \"forward\""))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let held = Caller::start(&lab, &Plan::calls("held", 20, 200).until_told())?;
    wait_until("the held calls are up", PATIENCE, || Ok(held.so_far().up == 20))?;

    node.succeed(&["zone", "disable", "uk"])?;
    call(&lab, &node, &Plan::calls("without", 20, 200), 20)?;
    assert_eq!(node.channels()?, 20, "calls in progress stay");
    node.succeed(&["zone", "enable", "uk"])?;
    call(&lab, &node, &Plan::calls("with", 20, 200), 20)?;

    assert_eq!(held.wait()?.count(&Outcome::Completed), 20);
    let records = Server::stop_all(servers)?;
    let uk: Vec<&str> = records[..2].iter().flat_map(|r| &r.calls).map(|seen| seen.id.as_str()).collect();
    let count = |name: &str| uk.iter().filter(|id| id.starts_with(&format!("{name}-"))).count();
    assert_eq!((count("held"), count("without"), count("with")), (20, 0, 20));
    Ok(())
}

#[test]
fn full_and_out_of_service_are_told_apart() -> Result<()> {
    needs_bpf!();
    let lab = Lab::with_zones(Forwarding::Nat, &TWO)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(5)))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let refused = |calls: &Calls| calls.count(&Outcome::Refused(503));
    let packets = || -> Result<(u64, u64)> {
        Ok((node.packets(Verdict::RefusedFull)?, node.packets(Verdict::RefusedDown)?))
    };

    let calls = call(&lab, &node, &Plan::calls("full", 25, 100), 20)?;
    assert_eq!(refused(&calls), 5);
    let (full, down) = packets()?;
    assert!(full >= 5 && down == 0, "{full} {down}");

    for zone in ["uk", "germany"] {
        node.succeed(&["zone", "disable", zone])?;
    }
    let calls = call(&lab, &node, &Plan::calls("closed", 5, 100), 0)?;
    assert_eq!(refused(&calls), 5);
    let (still_full, down) = packets()?;
    assert!(still_full == full && down >= 5, "{still_full} {down}");
    assert_eq!(zones(&Server::stop_all(servers)?).values().sum::<usize>(), 20);
    Ok(())
}
