//! `--stage`: one of the example configurations at work, with more calls than its first servers take.

use super::{Arguments, Programs, stage_report::StageReport};
use anyhow::{Result, anyhow};
use clap::ValueEnum;
use lb_tests::{
    calls::{
        caller::Plan,
        crowd::Crowd,
        server::{Habits, Server},
    },
    daemon::Node,
    examples::Example,
    program::RunTimeStatistics,
};
use std::{
    io::{IsTerminal, Write, stderr},
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

/// Seconds that calls are made, if nothing else is said.
const SECONDS: u32 = 6;
/// How long a call lasts.
const HOLD: Duration = Duration::from_secs(1);
/// Callers: the balancer itself gives 20 answers a second to each.
const SOURCES: u8 = 20;

/// A stage of growth; its name is that of its example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// One server, protected: what it cannot take is refused
    OneServer,
    /// The secondary gets what the primary has no room for
    PrimarySecondary,
    /// Four servers share the calls evenly
    Pool,
    /// Four servers share the calls evenly and answer callers themselves
    PoolL2,
    /// The UK is full: callers are redirected to Germany (302)
    OverflowRedirect,
    /// The UK is full: calls are forwarded to Germany
    OverflowForward,
    /// Six zones, the near one by forwarding and the far ones by 302
    SixZones,
}

impl Stage {
    /// The name of its example.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// New calls per second that show what it is about.
    fn rate(self) -> u32 {
        match self {
            Stage::OneServer => 130,
            Stage::PrimarySecondary => 150,
            Stage::Pool | Stage::PoolL2 => 300,
            Stage::OverflowRedirect | Stage::OverflowForward => 280,
            Stage::SixZones => 320,
        }
    }
}

/// Runs a stage. True if every call was completed, or refused in the right words.
pub(super) fn run(stage: Stage, arguments: &Arguments) -> Result<bool> {
    let name = stage.name();
    let rate = arguments.rate.unwrap_or_else(|| stage.rate());
    let calls = arguments.calls.unwrap_or(rate * SECONDS);
    let example = Example::named(&name)?;
    let count = example.config.backends.len();
    eprintln!("Wiring a client, a balancer and {count} servers for lb-userspace/examples/{name}.toml");
    let lab = example.lab()?;
    let sources = lab.callers(SOURCES)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    eprintln!("Starting sipsteer on {}", lab.interfaces().join(" and "));
    let node = Node::with_text(&lab, &example.text(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;

    eprintln!("Making {calls} calls of {} s, {rate} a second, from {SOURCES} callers", HOLD.as_secs());
    let _statistics = RunTimeStatistics::start()?;
    let before = Programs::of(&lab)?;
    let started = Instant::now();
    let plan = Plan::calls(&name, calls as usize, rate).holding(HOLD);
    let made = follow(&lab, &sources, &plan)?;
    let seconds = started.elapsed().as_secs_f64();
    let program = Programs::of(&lab)?.since(&before);
    let verdicts = node.verdicts()?.into_iter().collect();
    daemon.end();
    if made.0.is_empty() {
        return Err(anyhow!("no call was made"));
    }
    let report = StageReport::new(
        &name,
        &example.config,
        &made,
        &Server::stop_all(servers)?,
        seconds,
        verdicts,
        program,
    );
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(report.nothing_failed())
}

/// Makes the calls and shows how far they are, on a terminal.
fn follow(
    lab: &lb_tests::topology::Lab,
    sources: &[Ipv4Addr],
    plan: &Plan,
) -> Result<lb_tests::calls::outcome::Calls> {
    let crowd = Crowd::start(lab, sources, plan)?;
    while crowd.is_running() {
        thread::sleep(Duration::from_millis(100));
        if stderr().is_terminal() {
            let now = crowd.so_far();
            let line =
                format!("\r  {} of {} calls begun, {} up, {} over ", now.begun, plan.calls, now.up, now.over);
            // A terminal that is gone must not end the run.
            let _ = stderr().write_all(line.as_bytes());
        }
    }
    if stderr().is_terminal() {
        eprintln!();
    }
    crowd.wait()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_tests::examples::ALL;

    #[test]
    fn every_example_is_a_stage() {
        let stages: Vec<String> = Stage::value_variants().iter().map(|stage| stage.name()).collect();
        assert_eq!(stages, ALL.map(|(name, _)| name));
    }
}
