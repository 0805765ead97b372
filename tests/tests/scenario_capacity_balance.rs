//! Real callers and servers, and calls of very different lengths: how evenly a policy spreads them over eight servers that are
//! alike, as the program itself counts.
//!
//! `SIPSTEER_BALANCE_CPS` and `SIPSTEER_BALANCE_SECONDS` make it longer than a few seconds; `--nocapture` shows the table.

use anyhow::{Context, Result, ensure};
use lb_common::map::load::Load as Carried;
use lb_tests::{
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    sipp::{Caller, Load, Server, scenario::Scenario, stat::Statistics},
    topology::{Forwarding, Lab},
};
use std::{
    env, thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
const SERVERS: u32 = 8;
/// Seconds that calls last on the mean, unless the run is too short for that: then a sixth of it.
const MEAN_SECONDS: f64 = 10.0;
/// Standard deviation of the logarithm of that: one call in a hundred lasts ten times as long as the mean.
const SIGMA: f64 = 1.5;
/// What each server may get, relative to what comes to it if all get the same.
const SPARE: u32 = 2;

/// What is offered.
struct Offer {
    cps: u32,
    seconds: u32,
}

impl Offer {
    fn wanted() -> Result<Offer> {
        let number = |name: &str, default| match env::var(name) {
            Ok(text) => text.parse().with_context(|| format!("{name} is {text:?}, which is no number")),
            Err(_) => Ok(default),
        };
        let (cps, seconds) = (number("SIPSTEER_BALANCE_CPS", 100)?, number("SIPSTEER_BALANCE_SECONDS", 6)?);
        ensure!(cps >= 1 && seconds >= 2, "{cps} calls a second for {seconds} seconds measure nothing");
        Ok(Offer { cps, seconds })
    }

    fn load(&self) -> Load {
        let mean = MEAN_SECONDS.min(f64::from(self.seconds) / 6.0);
        Load::calls(self.cps * self.seconds, self.cps).holding(Duration::from_secs_f64(mean)).spread(SIGMA)
    }

    /// Limits that no server meets unless it gets twice its share.
    fn limits(&self, load: &Load) -> Limits {
        let max_cps = (self.cps * SPARE).div_ceil(SERVERS);
        let max_channels = (f64::from(max_cps) * load.hold.as_secs_f64()).ceil().max(10.0) as u32;
        Limits { max_cps: Some(max_cps), cps_burst: None, max_channels: Some(max_channels) }
    }
}

/// What came of a policy.
struct Balance {
    policy: &'static str,
    /// Calls of each server.
    calls: Vec<u64>,
    /// Channels of each server, second by second.
    channels: Vec<Vec<u64>>,
    caller: Statistics,
}

fn play(policy: &'static str, offer: &Offer) -> Result<Balance> {
    let lab = Lab::new(Forwarding::Nat, SERVERS as u8)?;
    let load = offer.load();
    let lifetime = Duration::from_secs(u64::from(offer.seconds)) + 2 * PATIENCE;
    let _servers = Server::start_all(&lab, Scenario::Call, lifetime)?;
    let config = Config::of(&lab).limited(offer.limits(&load)).trunks(&format!("policy = {policy:?}"));
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    let caller = Caller::start(&lab, &load)?;
    let started = Instant::now();
    let mut channels = Vec::new();
    let of_all =
        |what: fn(&Carried) -> u64| -> Result<Vec<u64>> { Ok(node.loads()?.values().map(what).collect()) };
    // Not before as many calls end as begin, or nearly.
    thread::sleep(Duration::from_secs(u64::from(offer.seconds)) / 2);
    while channels.is_empty() || started.elapsed() < Duration::from_secs(offer.seconds.into()) {
        channels.push(of_all(Carried::in_progress)?);
        thread::sleep(Duration::from_secs(1));
    }
    wait_until("every call has begun", PATIENCE, || {
        let calls = of_all(|carried| carried.calls)?;
        Ok(calls.iter().sum::<u64>() + caller.so_far().failed >= load.calls.into())
    })?;
    // The longest calls last for minutes; the caller goes with what is left of them.
    Ok(Balance { policy, calls: of_all(|carried| carried.calls)?, channels, caller: caller.so_far() })
}

fn greatest_by_mean(values: &[u64]) -> f64 {
    let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
    values.iter().copied().max().unwrap_or_default() as f64 / mean
}

impl Balance {
    /// The most channels by the mean of all, on the mean of all seconds and in the worst one.
    fn channels(&self) -> (f64, f64) {
        let each: Vec<f64> = self.channels.iter().map(|second| greatest_by_mean(second)).collect();
        (each.iter().sum::<f64>() / each.len() as f64, each.iter().copied().fold(0.0, f64::max))
    }

    fn row(&self) -> String {
        let (mean, worst) = self.channels();
        let all = self.calls.iter().sum::<u64>();
        let last = self.channels.last().map_or(0, |second| second.iter().sum());
        let calls = greatest_by_mean(&self.calls);
        format!("{:<18} {all:>7} {calls:>9.2} {last:>9} {mean:>14.2} {worst:>15.2}", self.policy)
    }
}

#[test]
fn calls_of_any_length_are_spread_evenly() -> Result<()> {
    needs_bpf!();
    let offer = Offer::wanted()?;
    let played: Vec<Balance> = ["consistent", "least-loaded"]
        .into_iter()
        .map(|policy| play(policy, &offer))
        .collect::<Result<_>>()?;
    let Offer { cps, seconds } = offer;
    println!("{SERVERS} servers, {cps} calls a second for {seconds} s, MAX/MEAN of the servers:");
    println!(
        "{:<18} {:>7} {:>9} {:>9} {:>14} {:>15}",
        "POLICY", "CALLS", "OF CALLS", "CHANNELS", "THEIRS, MEAN", "THEIRS, WORST"
    );
    for balance in &played {
        println!("{}", balance.row());
    }
    for balance in &played {
        let Balance { policy, calls, caller, .. } = balance;
        assert_eq!((caller.failed, calls.len()), (0, SERVERS as usize), "{policy}: {caller:?}");
        assert_eq!(calls.iter().sum::<u64>(), u64::from(cps * seconds), "{policy}: each has one server");
        // Filled one by one, four servers would have all calls, which is 2.
        assert!(greatest_by_mean(calls) < 1.5, "{policy}: {calls:?}");
        let (mean, _) = balance.channels();
        assert!(mean < 2.0, "{policy}: {:?}", balance.channels);
    }
    Ok(())
}
