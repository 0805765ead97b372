//! More calls than the servers may get: none of them gets more, the rest gets the right answer, and no call that was
//! admitted fails.

use anyhow::Result;
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{
        caller::Plan,
        crowd::Crowd,
        outcome::{Calls, Outcome},
        pace::{let_through, most_at_once, most_in_a_second},
        seen::Record,
        server::{Habits, Server},
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{Forwarding, Lab},
};
use std::time::Duration;

const CPS: u32 = 100;
const BURST: u32 = 10;
const CHANNELS: u32 = 50;
/// One source gets 20 answers a second from the balancer itself; together these may get all that are needed here.
const SOURCES: u8 = 10;

/// What became of calls to two servers with these limits, as they and their callers saw it.
struct Story {
    calls: Calls,
    records: Vec<Record>,
    refusals: u64,
    absorbed: u64,
}

fn tell(forwarding: Forwarding, limits: Limits, plan: &Plan) -> Result<Story> {
    let lab = Lab::new(forwarding, 2)?;
    let sources = lab.callers(SOURCES)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).limited(limits))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let crowd = Crowd::start(&lab, &sources, plan)?;
    if plan.hold.is_none() {
        crowd.until_settled(plan.calls)?;
    }
    let calls = crowd.wait()?;
    wait_until("the ended calls have given their channels back", Duration::from_secs(10), || {
        Ok(node.channels()? == 0)
    })?;
    Ok(Story {
        calls,
        records: Server::stop_all(servers)?,
        refusals: node.packets(Verdict::RefusedFull)?,
        absorbed: node.packets(Verdict::AbsorbedAck)?,
    })
}

impl Story {
    fn admitted(&self) -> usize {
        self.calls.count(&Outcome::Completed)
    }

    /// Every call was either completed, by the one server that saw it, or refused by the balancer in the right words.
    fn every_call_was_served_or_refused(&self) {
        let (all, outcomes) = (self.calls.0.len(), self.calls.outcomes());
        let refused = self.calls.count(&Outcome::Refused(503));
        assert_eq!(self.admitted() + refused, all, "{outcomes:?}");
        assert_eq!(self.calls.flaw(), None);
        let by_servers = self.calls.answers(503).filter(|answer| answer.by.is_some()).count();
        assert_eq!(by_servers, 0, "no server had to refuse");
        assert!(self.calls.answers(503).all(|answer| answer.retry_after.is_none()));
        let seen: usize = self.records.iter().map(|record| record.calls.len()).sum();
        assert_eq!(seen, self.admitted(), "what is refused does not reach a server");
        assert_eq!(self.records.iter().map(|record| record.strangers).sum::<u64>(), 0);
        assert!(self.refusals >= refused as u64 && self.absorbed >= refused as u64);
    }
}

#[test]
fn no_server_gets_more_new_calls_in_any_second_than_its_limit_and_its_burst() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let plan = Plan::calls("cps", 1250, 250);
        let story = tell(forwarding, Limits::cps(CPS, BURST), &plan)?;
        story.every_call_was_served_or_refused();
        for record in &story.records {
            let most = most_in_a_second(&record.calls);
            assert!(most <= (CPS + BURST) as usize, "{forwarding}: {most} at {}", record.name);
        }
        // The limits are also used: what arithmetic lets through at the times at which the calls were made.
        let fair = let_through(story.calls.0.iter().map(|call| call.sent), 2, CPS, BURST);
        assert!(story.admitted() * 10 >= fair * 9, "{forwarding}: {} instead of {fair}", story.admitted());
    }
    Ok(())
}

#[test]
fn no_server_gets_more_calls_at_once_than_it_has_channels() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let plan = Plan::calls("channels", 1000, 250).holding(Duration::from_secs(1));
        let story = tell(forwarding, Limits::channels(CHANNELS), &plan)?;
        story.every_call_was_served_or_refused();
        for record in &story.records {
            let most = most_at_once(&record.calls);
            assert!(most <= CHANNELS as usize, "{forwarding}: {most} at {}", record.name);
        }
        assert!(story.admitted() > 2 * CHANNELS as usize, "channels are given back and used again");
    }
    Ok(())
}

#[test]
fn all_channels_are_used_before_a_call_is_refused() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let plan = Plan::calls("fill", 150, 250).until_told();
        let story = tell(forwarding, Limits::channels(CHANNELS), &plan)?;
        story.every_call_was_served_or_refused();
        for record in &story.records {
            assert_eq!(record.calls.len(), CHANNELS as usize, "{forwarding}: {}", record.name);
        }
    }
    Ok(())
}

#[test]
fn a_limit_of_nothing_lets_nothing_through() -> Result<()> {
    needs_bpf!();
    for limits in [Limits::channels(0), Limits { max_cps: Some(0), ..Limits::default() }] {
        let lab = Lab::new(Forwarding::Nat, 2)?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::new(&lab, &Config::of(&lab).limit("sw1", limits))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let calls = Crowd::start(&lab, &lab.callers(1)?, &Plan::calls("closed", 40, 100))?.wait()?;
        assert_eq!(calls.count(&Outcome::Completed), 40, "{limits:?}: {:?}", calls.outcomes());
        let seen: Vec<usize> = Server::stop_all(servers)?.iter().map(|record| record.calls.len()).collect();
        assert_eq!(seen, [0, 40], "{limits:?}");
    }
    Ok(())
}
