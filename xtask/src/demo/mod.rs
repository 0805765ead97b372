//! `cargo xtask demo`: real SIP calls from a client through sipsteer to three backends, and what became of them; with
//! `--stage`, to the servers of an example configuration.

mod progress;
mod report;
mod stage;
mod stage_report;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use lb_tests::{
    capability,
    daemon::{Config, Node},
    program::{Facts, RunTimeStatistics, attached, facts},
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{Forwarding, Lab},
};
use progress::Progress;
use report::{BackendCalls, Program, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

const BACKENDS: u8 = 3;
/// Calls to make, and how many a second, if nothing else is said.
const CALLS: u32 = 2000;
const RATE: u32 = 500;

/// What to show.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Calls to make; 2000, or what shows the stage, if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    calls: Option<u32>,
    /// New calls per second; 500, or what shows the stage, if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// How packets get to the backends
    #[arg(long, value_enum, default_value_t = Mode::Nat)]
    forwarding: Mode,
    /// Print one JSON object on stdout instead of a table
    #[arg(long)]
    json: bool,
    /// Run an example configuration, with limits and zones
    #[arg(long, value_enum, conflicts_with = "forwarding")]
    stage: Option<stage::Stage>,
}

/// A forwarding mode on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Rewrite the destination address; replies come back through the balancer
    Nat,
    /// Rewrite the MAC address; replies go straight to the caller
    L2,
}

impl From<Mode> for Forwarding {
    fn from(mode: Mode) -> Forwarding {
        match mode {
            Mode::Nat => Forwarding::Nat,
            Mode::L2 => Forwarding::L2,
        }
    }
}

/// Runs the demo. True if every call succeeded.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    capability::bpf_and_namespaces().map_err(|reason| anyhow!("the demo cannot run: {reason}"))?;
    if let Some(stage) = arguments.stage {
        return stage::run(stage, arguments);
    }
    let (calls, rate) = (arguments.calls.unwrap_or(CALLS), arguments.rate.unwrap_or(RATE));
    let forwarding = arguments.forwarding.into();
    eprintln!("Wiring a client, a balancer and {BACKENDS} backends ({forwarding})");
    let lab = Lab::new(forwarding, BACKENDS)?;
    let load = Load::calls(calls, rate);
    let servers = Server::start_all(&lab, Scenario::Call, load.duration() + Duration::from_secs(90))?;
    eprintln!("Starting sipsteer on {}", lab.interfaces().join(" and "));
    let node = Node::new(&lab, &Config::of(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;

    eprintln!("Making {calls} calls, {rate} a second");
    let _statistics = RunTimeStatistics::start()?;
    let before = Programs::of(&lab)?;
    let started = Instant::now();
    let caller = Caller::start(&lab, &load)?;
    let mut progress = Progress::new(calls);
    while caller.is_running()? {
        progress.show(&caller.so_far(), started.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    let made = caller.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish(&made);

    let program = Programs::of(&lab)?.since(&before);
    let verdicts = node.verdicts()?.into_iter().collect();
    let backends = lab.backends.iter().zip(&servers).map(|(backend, server)| {
        Ok(BackendCalls { name: backend.name.clone(), calls: server.stop()?.calls })
    });
    let report = Report::new(&made, seconds, backends.collect::<Result<_>>()?, verdicts, program);
    daemon.end();
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(report.every_call_succeeded())
}

/// The programs on the balancer's interfaces, by id; one program may be on several.
struct Programs {
    modes: BTreeSet<&'static str>,
    facts: BTreeMap<u32, Facts>,
}

impl Programs {
    fn of(lab: &Lab) -> Result<Programs> {
        let mut programs = Programs { modes: BTreeSet::new(), facts: BTreeMap::new() };
        for interface in lab.interfaces() {
            let attached = attached(&lab.balancer, interface)?
                .ok_or_else(|| anyhow!("sipsteer runs, but there is no XDP program on {interface}"))?;
            programs.modes.insert(attached.mode);
            programs.facts.insert(attached.id, facts(attached.id)?);
        }
        Ok(programs)
    }

    /// What they did since `before`.
    fn since(&self, before: &Programs) -> Program {
        let mut program =
            Program { mode: self.modes.iter().copied().collect::<Vec<_>>().join("+"), ..Program::default() };
        for (id, now) in &self.facts {
            let then = before.facts.get(id).copied().unwrap_or_default();
            program.packets += now.runs.saturating_sub(then.runs);
            program.run_time_ns += now.run_time_ns.saturating_sub(then.run_time_ns);
            program.verified_instructions = program.verified_instructions.max(now.verified_instructions);
        }
        program
    }
}
