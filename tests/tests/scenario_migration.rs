//! Another size of the dialog table, and maps of another layout, while calls go on: no call fails, none moves, and in the end
//! every channel is given back.
//!
//! SIPSTEER_CHANGE_CALLS=100000 is the long form: a start is cut off at every step.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    abi::ABI,
    decide::table::{Homes, homes},
    map::{
        dialog::{Bucket, Dialog, DialogKey, Phase, State},
        name,
        settings::Settings,
    },
};
use lb_tests::{
    daemon::{Config, Node},
    needs_bpf,
    process::{Process, wait_until},
    program::attached,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{FRONT, Forwarding, Lab},
    version,
};
use rustix::process::Signal;
use sipsteer::{
    dataplane::{clock::Clock, pins::PinDir},
    fault::Point,
};
use std::{env, path::Path, thread, time::Duration};

/// New calls per second.
const RATE: u32 = 300;
/// How long each call is up, so that some hundred are at any moment.
const HOLD: Duration = Duration::from_secs(2);
const LIFETIME: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(20);

fn sized(lab: &Lab, max: u32) -> Config {
    Config::of(lab).with(&format!("[dialogs]\nmax = {max}\n"))
}

fn is_long() -> bool {
    env::var("SIPSTEER_CHANGE_CALLS").is_ok_and(|calls| calls.len() >= 6)
}

/// Callers, servers and a node whose daemon is not started.
struct Story<'l> {
    lab: &'l Lab,
    node: Node<'l>,
    servers: Vec<Server>,
    callers: Vec<Caller>,
}

impl<'l> Story<'l> {
    fn new(lab: &'l Lab, max: u32) -> Result<Story<'l>> {
        let servers = Server::start_all(lab, Scenario::StrictCall, LIFETIME)?;
        Ok(Story { lab, node: Node::new(lab, &sized(lab, max))?, servers, callers: Vec::new() })
    }

    fn call(&mut self, calls: u32) -> Result<()> {
        let load = Load::calls(calls, RATE).of(Scenario::StrictCall).holding(HOLD);
        self.callers.push(Caller::start(self.lab, &load)?);
        Ok(())
    }

    /// Waits until a second of calls has been made, with new callers if need be.
    fn go_on(&mut self) -> Result<()> {
        if !self.callers.last().context("there is one")?.is_running()? {
            self.call(600)?;
        }
        thread::sleep(Duration::from_secs(1));
        Ok(())
    }

    fn take(&mut self, step: Step, daemon: &Process) -> Result<Process> {
        match step {
            Step::Resize(max) => {
                daemon.signal(Signal::TERM)?;
                daemon.wait(PATIENCE)?;
                self.node.configure(&sized(self.lab, max))?;
            }
            Step::CutOff(max, point, before) => {
                daemon.kill()?;
                self.node.configure(&sized(self.lab, max))?;
                die_at(&self.node, point, before)?;
                ensure!(attached(&self.lab.balancer, FRONT)?.is_some(), "the program is gone");
            }
            Step::Up => {
                daemon.kill()?;
                version::make_abi_3(&self.node.pins)?;
            }
            Step::Down => {
                daemon.kill()?;
                version::change_backends(&self.node.pins, ABI + 1)?;
                self.refuses(&[&format!("ABI {} or higher", ABI + 1)])?;
                version::set_numbers(&self.node.pins, version::NEWER, ABI)?;
            }
        }
        let daemon = self.node.start(&[])?;
        let log = daemon.log();
        ensure!(log.contains("dialogs copied in") || matches!(step, Step::CutOff(..)), "{log}");
        let has_said = |layout| log.contains(&format!("have layout {layout}, this version has"));
        ensure!(has_said(3) == matches!(step, Step::Up), "{log}");
        ensure!(has_said(version::NEWER) == matches!(step, Step::Down), "{log}");
        ensure!(!self.node.pins.join(version::NEWER_MAP).exists(), "{log}");
        Ok(daemon)
    }

    /// A start over these maps is refused with these words, and the program steers on.
    fn refuses(&self, words: &[&str]) -> Result<()> {
        let said = self.node.ask(&["check", "--host", &self.node.config.to_string_lossy()])?.stdout;
        let said = String::from_utf8_lossy(&said);
        ensure!(words.iter().all(|word| said.contains(word)), "{said}");
        let daemon = self.node.spawn(&[])?;
        ensure!(!daemon.wait(PATIENCE)?.success(), "{}", daemon.log());
        ensure!(attached(&self.lab.balancer, FRONT)?.is_some(), "the program is gone");
        Ok(())
    }

    /// All calls were made, each at one backend, and none is counted as in progress.
    fn judge(&self, daemon: &Process) -> Result<()> {
        let (mut calls, mut retransmissions) = (0, 0);
        for caller in &self.callers {
            let made = caller.wait()?;
            ensure!(made.failed == 0 && made.ok == made.calls, "{made:?}; {}", daemon.last_words());
            calls += made.ok;
            retransmissions += made.retransmissions;
        }
        let seen = self.servers.iter().map(Server::stop).collect::<Result<Vec<_>>>()?;
        // A call that moves shows up at a second backend, whose scenario it then fails.
        ensure!(seen.iter().map(|s| s.calls).sum::<u64>() == calls, "calls moved: {calls}, {seen:?}");
        ensure!(seen.iter().all(|s| s.failed == 0), "{seen:?}");
        let channels = self.node.channels()?;
        ensure!(channels == 0, "{channels} channels are still held; {}", daemon.log());
        println!("{calls} calls, {retransmissions} retransmissions");
        Ok(())
    }
}

/// What a log tells about dialogs that were brought over.
fn told(log: &str) -> String {
    let words = ["copied in", "brought over", "cut off"];
    let lines = log.lines().filter(|line| words.iter().any(|word| line.contains(word)));
    lines
        .map(|line| line.split_once("INFO").map_or(line, |(_, rest)| rest.trim()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A step of the way through sizes and layouts.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A restart with a table of another size.
    Resize(u32),
    /// The same, cut off at a point that was passed so often before; and another start.
    CutOff(u32, Point, u32),
    /// A restart over maps of ABI 3.
    Up,
    /// A restart over maps of a newer version, refused as long as that says that this one does not understand them.
    Down,
}

const SHORT: &[Step] =
    &[Step::Resize(16_384), Step::CutOff(8192, Point::MigrationSwapped, 0), Step::Up, Step::Down];

const LONG: &[Step] = &[
    Step::Resize(65_536),
    Step::Resize(8192),
    Step::CutOff(16_384, Point::MigrationFilled, 0),
    Step::CutOff(8192, Point::MigrationCopied, 0),
    Step::CutOff(16_384, Point::LinkAdopted, 0),
    Step::CutOff(8192, Point::MigrationSwapped, 0),
    Step::CutOff(16_384, Point::MigrationCaughtUp, 0),
    Step::CutOff(8192, Point::MigrationPinMoved, 0),
    Step::CutOff(16_384, Point::MigrationPinMoved, 9),
    Step::CutOff(8192, Point::MigrationPinsMoved, 0),
    Step::Up,
    Step::Down,
    Step::Resize(16_384),
    Step::Down,
    Step::Up,
];

#[test]
fn other_sizes_and_layouts_cost_no_call_also_when_a_start_is_cut_off() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let mut story = Story::new(&lab, 8192)?;
    let mut daemon = story.node.start(&[])?;
    story.call(1200)?;
    for step in if is_long() { LONG } else { SHORT } {
        story.go_on()?;
        let dialogs = story.node.dialogs()?;
        daemon = story.take(*step, &daemon).with_context(|| format!("{step:?}"))?;
        println!("{step:?}: {}", told(&daemon.log()));
        assert!(!story.node.pins.join("next").exists(), "{step:?}");
        assert!(story.node.dialogs()? >= dialogs, "{step:?}: {dialogs} dialogs before");
    }
    story.judge(&daemon)
}

/// Starts a daemon that dies at a point.
fn die_at(node: &Node<'_>, point: Point, before: u32) -> Result<()> {
    node.arm(point, before)?;
    let daemon = node.spawn(&[])?;
    wait_until("it dies", PATIENCE, || Ok(daemon.status()?.is_some()))
        .with_context(|| format!("{point:?}: {}", daemon.log()))?;
    ensure!(!node.is_armed(), "{point:?} was not passed: {}", daemon.log());
    Ok(())
}

/// Fills the table with answered calls of backends 0 and 1; how many.
fn fill(pins: &Path, calls: u64) -> Result<u64> {
    let map = |name| -> Result<Map> { Ok(Map::from_map_data(MapData::from_pin(pins.join(name))?)?) };
    let settings: Array<MapData, Settings> = map(name::SETTINGS)?.try_into()?;
    let Settings { bucket_mask, tick_shift, .. } = settings.get(&0, 0)?;
    let now = Clock::open(&PinDir::new(pins))?.now()?;
    let mut buckets = vec![Bucket::default(); bucket_mask as usize + 1];
    let mut filled = 0;
    for call in 0..calls {
        let call_key = (call + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        let Homes { first, second } = homes(&DialogKey::new(call_key, 0), bucket_mask);
        let used = |at: u32| buckets[at as usize].slots.iter().filter(|d| d.state.phase != 0).count();
        let at = if used(first) <= used(second) { first } else { second };
        let state = State {
            backend: (call % 2) as u16,
            phase: Phase::Answered as u8,
            seen: (now.jiffies >> tick_shift) as u16,
            ..State::default()
        };
        if let Some(slot) = buckets[at as usize].slots.iter_mut().find(|d| d.state.phase == 0) {
            *slot = Dialog { call_key, state, ..Dialog::default() };
            filled += 1;
        }
    }
    let mut table: Array<MapData, Bucket> = map(name::DIALOGS)?.try_into()?;
    for (index, bucket) in (0..).zip(buckets) {
        table.set(index, bucket, 0)?;
    }
    Ok(filled)
}

/// A million dialogs in the long form.
#[test]
fn a_table_that_is_full_of_dialogs_in_another_shape_comes_over() -> Result<()> {
    needs_bpf!();
    let (max, calls) = if is_long() { (1 << 20, 1_000_000) } else { (16_384, 16_000) };
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let node = Node::new(&lab, &sized(&lab, max))?;
    node.start(&[])?.kill()?;
    let calls = fill(&node.pins, calls)?;
    version::change_slots(&node.pins, ABI)?;
    // So full a table is no healthy one, for which `start` would wait.
    let daemon = node.spawn(&[])?;
    wait_until("it steers", PATIENCE, || Ok(daemon.log().lines().any(|line| line.ends_with(" ready"))))
        .with_context(|| daemon.last_words())?;
    println!("{calls} dialogs: {}", told(&daemon.log()));
    assert_eq!((node.dialogs()?, node.channels()?), (calls, calls), "{}", daemon.log());
    Ok(())
}
