//! Reloads, `kill -9` and upgrades while calls go on: no call fails, and none moves.
//!
//! The short form takes a few thousand calls. SIPSTEER_CHANGE_CALLS=100000 is the long one: 50 reloads, 20 kills, 5 upgrades.
//! SIPSTEER_SEED repeats a run.

use anyhow::{Context, Result, ensure};
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
use std::{
    collections::BTreeSet,
    env,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

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
        let servers = Server::start_all(lab, Scenario::StrictCall, lifetime)?;
        let node = Node::new(lab, &Config::of(lab))?;
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
        self.reloads += 1;
        let whole = Config::of(self.lab);
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
        Ok(sum)
    }
}

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
    let kills = if number("SIPSTEER_CHANGE_CALLS")?.is_some_and(|calls| calls >= 100_000) { 100 } else { 10 };
    let mut dice = Dice::new()?;
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let mut story = Story::new(&lab, lifetime(3000))?;
    story.daemon.kill()?;
    let mut callers = vec![Caller::start(&lab, &load(2400))?];
    for kill in 0..kills {
        if !callers.last().context("there is one")?.is_running()? {
            callers.push(Caller::start(&lab, &load(600))?);
        }
        story.configure()?;
        if kill % 2 == 0 {
            // Some die before the maps are looked at, some while rings are written or the link is updated, some later.
            let daemon = story.node.spawn(&[])?;
            thread::sleep(Duration::from_millis(dice.below(900)));
            daemon.kill()?;
        } else {
            let daemon = story.node.start(&[])?;
            story.configure()?;
            thread::scope(|scope| -> Result<()> {
                // Its end is as it comes: done, or the daemon is gone.
                let reload = scope.spawn(|| story.node.ask(&["reload"]));
                thread::sleep(Duration::from_millis(dice.below(60)));
                daemon.kill()?;
                reload.join().expect("asking does not panic").map(drop)
            })?;
        }
        ensure!(attached(&lab.balancer, FRONT)?.is_some(), "the program is gone after kill {kill}");
    }
    story.daemon = story.node.start(&[])?;
    let sum = story.judge(&callers)?;
    println!("{kills} kills: {sum:?}");
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
