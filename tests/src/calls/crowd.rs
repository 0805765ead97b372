//! Callers at many addresses that share one schedule: no single source gets more answers than the balancer gives to one.

use super::{
    caller::{Caller, Plan, Progress},
    outcome::Calls,
};
use crate::{process::wait_until, topology::Lab};
use anyhow::Result;
use std::{net::Ipv4Addr, time::Duration};

/// How long calls may take to get anywhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// Callers at work.
pub struct Crowd {
    callers: Vec<Caller>,
}

impl Crowd {
    /// Starts calling the lab's service from these addresses of its client, each in turn: together they keep the plan.
    ///
    /// # Errors
    /// As [`Caller::start_to`].
    pub fn start(lab: &Lab, sources: &[Ipv4Addr], plan: &Plan) -> Result<Crowd> {
        let count = sources.len();
        let caller = |(at, source): (usize, &Ipv4Addr)| {
            let part = Plan {
                name: format!("{}-{at}", plan.name),
                calls: (plan.calls + count - 1 - at) / count,
                interval: plan.interval * count as u32,
                offset: plan.offset + plan.interval * at as u32,
                ..plan.clone()
            };
            Caller::start_to(&lab.client, *source, lab.service(), &part)
        };
        Ok(Crowd { callers: sources.iter().enumerate().map(caller).collect::<Result<_>>()? })
    }

    /// How far they are together.
    pub fn so_far(&self) -> Progress {
        let add = |sum: Progress, caller: &Caller| {
            let Progress { begun, up, over } = caller.so_far();
            Progress { begun: sum.begun + begun, up: sum.up + up, over: sum.over + over }
        };
        self.callers.iter().fold(Progress::default(), add)
    }

    /// Waits until this many calls are up or over.
    ///
    /// # Errors
    /// When that takes longer than a minute.
    pub fn until_settled(&self, calls: usize) -> Result<()> {
        wait_until("calls are up or over", PATIENCE, || {
            let Progress { up, over, .. } = self.so_far();
            Ok(up + over >= calls)
        })
    }

    /// Whether any of them is still calling.
    pub fn is_running(&self) -> bool {
        self.callers.iter().any(Caller::is_running)
    }

    /// As [`Caller::wait`]: all calls, in the order in which they were sent.
    ///
    /// # Errors
    /// When a caller could not go on.
    pub fn wait(self) -> Result<Calls> {
        self.callers.iter().for_each(Caller::hang_up);
        let mut calls = Vec::new();
        for caller in self.callers {
            calls.extend(caller.wait()?.0);
        }
        calls.sort_by_key(|call| call.sent);
        Ok(Calls(calls))
    }
}
