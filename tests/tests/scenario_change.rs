//! Reloads, `kill -9` and upgrades while calls go on: no call fails, and none moves.
//!
//! The short form takes a few thousand calls. SIPSTEER_CHANGE_CALLS=100000 is the long one: 50 reloads, 20 kills, 5 upgrades, and
//! 100 kills more at any moment and 2,000 calls a second. SIPSTEER_SEED repeats a run.

#[cfg(debug_assertions)]
#[path = "scenario_change/faults.rs"]
mod faults;

use anyhow::{Context, Result, ensure};
use lb_common::verdict::Verdict;
use lb_tests::{
    command::run,
    daemon::{Config, Node},
    needs_bpf,
    process::Process,
    program::attached,
    sipp::{Caller, Load, Server, scenario::Scenario, stat::Statistics},
    topology::{FRONT, Forwarding, Lab},
    variant::variants,
};
use rustix::process::Signal;
use sipsteer::fault::Point;
use std::{
    collections::BTreeSet,
    env,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// New calls per second.
const RATE: u32 = 300;
/// How long each call is up, so that some hundred are at any moment.
const HOLD: Duration = Duration::from_secs(2);

fn number(variable: &str) -> Result<Option<u64>> {
    let text = env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable} is {text}"))).transpose()
}

/// Random numbers that a seed repeats (xorshift64*).
struct Dice(u64);

impl Dice {
    fn new() -> Result<Dice> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let seed = number("SIPSTEER_SEED")?.unwrap_or(now) | 1;
        println!("SIPSTEER_SEED={seed}");
        Ok(Dice(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// How much happens.
#[derive(Clone, Copy, Debug)]
struct Plan {
    calls: u64,
    reloads: usize,
    kills: usize,
    upgrades: usize,
}

impl Plan {
    fn chosen() -> Result<Plan> {
        let calls = number("SIPSTEER_CHANGE_CALLS")?.unwrap_or(3000);
        let long = calls >= 100_000;
        let (reloads, kills, upgrades) = if long { (50, 20, 5) } else { (10, 4, 2) };
        Ok(Plan { calls, reloads, kills, upgrades })
    }

    /// The order of things: spread evenly, upgrades among them.
    fn steps(self) -> Vec<Step> {
        let all = self.reloads + self.kills + self.upgrades;
        let due = |step: usize, of: usize| (step + 1) * of / all > step * of / all;
        (0..all)
            .map(|step| match step {
                _ if due(step, self.upgrades) => Step::Upgrade,
                _ if due(step, self.upgrades + self.kills) => Step::Kill,
                _ => Step::Reload,
            })
            .collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Reload,
    Kill,
    Upgrade,
}

/// A node whose daemon things are done to, and its callers.
struct Story<'l> {
    lab: &'l Lab,
    node: Node<'l>,
    daemon: Process,
    servers: Vec<Server>,
    reloads: usize,
    tags: BTreeSet<String>,
}

impl<'l> Story<'l> {
    fn new(lab: &'l Lab, lifetime: Duration) -> Result<Story<'l>> {
        let node = Node::new(lab, &Config::of(lab))?;
        Story::with(lab, node, lifetime)
    }

    fn with(lab: &'l Lab, node: Node<'l>, lifetime: Duration) -> Result<Story<'l>> {
        let servers = Server::start_all(lab, Scenario::StrictCall, lifetime)?;
        let daemon = node.start(&[])?;
        let mut story = Story { lab, node, daemon, servers, reloads: 0, tags: BTreeSet::new() };
        story.note_program()?;
        Ok(story)
    }

    /// The kernel's name for what the program is.
    fn note_program(&mut self) -> Result<()> {
        let id = attached(&self.lab.balancer, FRONT)?.context("nothing is attached")?.id;
        let text = run(Command::new("bpftool").args(["-j", "prog", "show", "id", &id.to_string()]))?;
        let told: serde_json::Value = serde_json::from_str(&text)?;
        self.tags.insert(told["tag"].as_str().context("no tag")?.to_owned());
        Ok(())
    }

    /// Another configuration each time: a backend goes and comes, so rings change and removed backends keep their calls.
    fn configure(&mut self) -> Result<()> {
        self.configure_on(self.lab.interfaces())
    }

    fn configure_on(&mut self, interfaces: &[&str]) -> Result<()> {
        self.reloads += 1;
        let whole = Config::of(self.lab).on(interfaces);
        self.node.configure(&if self.reloads % 2 == 1 { whole.without("sw3") } else { whole })
    }

    fn take(&mut self, step: Step, binaries: &mut Vec<PathBuf>) -> Result<()> {
        match step {
            Step::Reload => {
                self.configure()?;
                self.node.succeed(&["reload"]).map(drop)
            }
            Step::Kill => {
                self.daemon.kill()?;
                self.daemon = self.node.start(&[])?;
                Ok(())
            }
            Step::Upgrade => {
                let before = self.tags.len();
                self.daemon.signal(Signal::TERM)?;
                self.daemon.wait(Duration::from_secs(20))?;
                self.node.binary = binaries.pop().context("no version is left")?;
                self.daemon = self.node.start(&[])?;
                self.note_program()?;
                ensure!(
                    self.tags.len() == before + 1,
                    "the kernel runs the same program as before: {:?}",
                    self.tags
                );
                Ok(())
            }
        }
    }

    /// Ends all calls and judges them.
    fn judge(&self, callers: &[Caller]) -> Result<Statistics> {
        let mut sum = Statistics::default();
        for caller in callers {
            let made = caller.wait()?;
            sum.calls += made.calls;
            sum.ok += made.ok;
            sum.failed += made.failed;
            sum.retransmissions += made.retransmissions;
        }
        ensure!(sum.failed == 0 && sum.ok == sum.calls, "{sum:?}; {}", self.daemon.last_words());
        let seen = self.servers.iter().map(Server::stop).collect::<Result<Vec<_>>>()?;
        // A call that moves shows up at a second backend, whose scenario it then fails.
        ensure!(seen.iter().map(|s| s.calls).sum::<u64>() == sum.calls, "calls moved: {sum:?}, {seen:?}");
        ensure!(seen.iter().all(|s| s.failed == 0), "{seen:?}");
        let verdicts = self.node.verdicts()?;
        let bad = |name: &str| Verdict::ALL.iter().any(|v| v.name() == name && !v.expected());
        ensure!(!verdicts.iter().any(|(name, _)| bad(name)), "{verdicts:?}");
        Ok(sum)
    }

    /// The daemon dies at a point, which `provoke` has it pass, and takes nothing with it.
    fn dies_at(
        &mut self,
        point: Point,
        before: u32,
        provoke: impl FnOnce(&mut Story<'l>) -> Result<()>,
    ) -> Result<()> {
        self.node.arm(point, before)?;
        provoke(self).with_context(|| format!("at {point:?}"))?;
        let status = self.daemon.wait(PATIENCE).with_context(|| format!("{point:?} was not passed"))?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()) && !self.node.is_armed(),
            "{point:?}: {status}; {}",
            self.daemon.last_words()
        );
        ensure!(attached(&self.lab.balancer, FRONT)?.is_some(), "the program is gone with {point:?}");
        Ok(())
    }

    /// Starts a daemon that may die any moment.
    fn spawn(&mut self) -> Result<()> {
        self.daemon = self.node.spawn(&[])?;
        Ok(())
    }

    /// Asks the daemon for a reload, whose end is as it comes: done, or the daemon is gone.
    fn try_reload(&self) -> Result<()> {
        self.node.ask(&["reload"]).map(drop)
    }

    /// The daemon dies, somewhere.
    fn dies_somewhere(&mut self, dice: &mut Dice) -> Result<()> {
        self.configure()?;
        // Without debug assertions it knows no points.
        match dice.below(if cfg!(debug_assertions) { 4 } else { 2 }) {
            // Before the maps are looked at, while rings are written, while the link is updated, or later.
            0 => {
                self.spawn()?;
                thread::sleep(Duration::from_millis(dice.below(900)));
                self.daemon.kill()
            }
            1 => {
                self.daemon = self.node.start(&[])?;
                self.configure()?;
                thread::scope(|scope| -> Result<()> {
                    let reload = scope.spawn(|| self.try_reload());
                    thread::sleep(Duration::from_millis(dice.below(60)));
                    self.daemon.kill()?;
                    reload.join().expect("asking does not panic")
                })
            }
            2 => {
                // What an earlier one left half done may be little; this one is to find all of another configuration.
                self.daemon = self.node.start(&[])?;
                self.daemon.kill()?;
                self.configure()?;
                let (point, times) = AT_START[dice.below(AT_START.len() as u64) as usize];
                self.dies_at(point, dice.below(times) as u32, Story::spawn)
            }
            _ => {
                self.daemon = self.node.start(&[])?;
                self.configure()?;
                let point = AT_RELOAD[dice.below(AT_RELOAD.len() as u64) as usize];
                self.dies_at(point, 0, |story| story.try_reload())
            }
        }
    }
}

/// What every start passes that finds another configuration, and how often at least.
const AT_START: [(Point, u64); 10] = [
    (Point::MapsPinned, 1),
    (Point::ClockUnpinned, 1),
    (Point::RingFilled, 1),
    (Point::PlanWrite, 3),
    (Point::PlanWritten, 1),
    (Point::SettingsWritten, 1),
    (Point::LinkAdopted, 2),
    (Point::Attached, 1),
    (Point::FactsWritten, 1),
    (Point::NextHopWritten, 2),
];
/// What every reload passes.
const AT_RELOAD: [Point; 6] = [
    Point::RingFilled,
    Point::RingSwapped,
    Point::PlanWrite,
    Point::PlanWritten,
    Point::SettingsWritten,
    Point::FactsWritten,
];

fn lifetime(calls: u64) -> Duration {
    Duration::from_secs(120 + 3 * calls / u64::from(RATE))
}

fn load(calls: u64) -> Load {
    Load::calls(u32::try_from(calls).unwrap_or(u32::MAX), RATE).of(Scenario::StrictCall).holding(HOLD)
}

#[test]
fn reloads_kills_and_upgrades_cost_no_call() -> Result<()> {
    needs_bpf!();
    let plan = Plan::chosen()?;
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let mut story = Story::new(&lab, lifetime(plan.calls))?;
    let mut binaries = variants(&story.node.binary, lab.folder(), plan.upgrades)?;
    let mut callers = vec![Caller::start(&lab, &load(plan.calls))?];
    let steps = plan.steps();
    let pause = Duration::from_secs(plan.calls / u64::from(RATE)) / (steps.len() as u32 * 2);
    for step in &steps {
        thread::sleep(pause);
        // A slow machine may need more time for this than the calls take.
        if !callers.last().context("there is one")?.is_running()? {
            callers.push(Caller::start(&lab, &load(600))?);
        }
        story.take(*step, &mut binaries)?;
    }
    assert_eq!(story.tags.len(), plan.upgrades + 1);
    let sum = story.judge(&callers)?;
    println!("{plan:?}: {sum:?}");
    Ok(())
}

/// R1: the daemon dies in the middle of its start, of taking over, and of a reload, wherever that happens to be.
#[test]
fn a_daemon_that_dies_at_any_moment_costs_no_call() -> Result<()> {
    needs_bpf!();
    let long = number("SIPSTEER_CHANGE_CALLS")?.is_some_and(|calls| calls >= 100_000);
    let (kills, calls, rate) = if long { (100, 100_000, 2000) } else { (4, 1500, RATE) };
    let at_rate = |calls| Load { rate, ..load(calls) };
    let mut dice = Dice::new()?;
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let mut story = Story::new(&lab, lifetime(calls))?;
    let mut callers = Vec::new();
    let baseline = if long {
        callers.push(Caller::start(&lab, &at_rate(calls / 5))?);
        let made = callers[0].wait()?;
        println!("with a daemon that lives: {made:?}");
        made
    } else {
        Statistics::default()
    };
    story.daemon.kill()?;
    callers.push(Caller::start(&lab, &at_rate(calls))?);
    for kill in 0..kills {
        // A slow machine may need more time for this than the calls take.
        if !callers.last().context("there is one")?.is_running()? {
            callers.push(Caller::start(&lab, &at_rate(u64::from(rate) * 2))?);
        }
        story.dies_somewhere(&mut dice).with_context(|| format!("kill {kill}"))?;
        ensure!(attached(&lab.balancer, FRONT)?.is_some(), "the program is gone after kill {kill}");
    }
    story.daemon = story.node.start(&[])?;
    let sum = story.judge(&callers)?;
    println!("{kills} kills: {sum:?}");
    // Only so many calls say something, and only of a machine that does nothing else.
    if long {
        let (before, all) = (baseline.retransmissions, sum.retransmissions);
        ensure!(
            (all - before) * baseline.calls <= before * (sum.calls - baseline.calls),
            "{sum:?}, {baseline:?}"
        );
    }
    Ok(())
}

#[test]
fn the_plan_has_as_much_of_each_as_it_says() -> Result<()> {
    let plan = Plan { calls: 100_000, reloads: 50, kills: 20, upgrades: 5 };
    let count = |step| plan.steps().iter().filter(|s| **s == step).count();
    assert_eq!((count(Step::Upgrade), plan.steps().len()), (5, 75));
    assert_eq!((count(Step::Kill), count(Step::Reload)), (20, 50));
    Ok(())
}
