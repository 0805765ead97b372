//! The daemon dies at every point of [`fault`](sipsteer::fault) once, while calls go on. Each time the next one goes on with what
//! was left half done, to the next point or to the end.

use super::{FRONT, Load, PATIENCE, Story, lifetime, load};
use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{load::Load as Carried, name};
use lb_tests::{
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    program::attached,
    sipp::Caller,
    topology::{BACK, Forwarding, Lab},
};
use rustix::process::Signal;
use sipsteer::fault::Point;
use std::os::unix::process::ExitStatusExt;

/// An interface that no call passes.
const SPARE: &str = "spare";
/// What it is called later.
const EXTRA: &str = "extra";

/// What has a `sipsteer` pass a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A start that finds nothing.
    FirstStart,
    /// A start that takes over, with another configuration.
    Start,
    /// A start with an interface that was not attached to.
    NewInterface,
    /// A start with that interface, which was deleted and made anew.
    Return,
    /// A start with that interface, which is called otherwise.
    Rename,
    /// A start without that interface.
    Drop,
    /// A reload.
    Reload,
    /// A look at all dialogs, after a reload that removes a backend.
    Census,
    /// An operator drains a backend.
    Drain,
    /// A reload on trial.
    Trial,
    /// `sipsteer detach`.
    Detach,
    /// A start with a table of another size: `scenario_migration` has these.
    Migration,
}

/// A point that is new finds its place here, or this does not compile.
fn by(point: Point) -> By {
    match point {
        Point::KeyWritten | Point::BackendCleared => By::FirstStart,
        Point::MapsPinned
        | Point::ClockUnpinned
        | Point::RingFilled
        | Point::PlanWritten
        | Point::SettingsWritten
        | Point::LinkAdopted
        | Point::Attached
        | Point::FactsWritten
        | Point::PortsAdded
        | Point::NextHopWritten => By::Start,
        Point::LinkMade | Point::LinkPinned => By::NewInterface,
        Point::StaleLinkUnpinned => By::Return,
        Point::LinkRenamed => By::Rename,
        Point::OtherLinkDropped => By::Drop,
        Point::RingSwapped | Point::PlanWrite => By::Reload,
        Point::CountCorrected => By::Census,
        Point::DocumentMade | Point::DocumentKept => By::Drain,
        Point::DocumentWritten => By::Trial,
        Point::LinkReleased | Point::LinkDetached | Point::MapUnpinned => By::Detach,
        Point::MigrationFilled
        | Point::MigrationCopied
        | Point::MigrationSwapped
        | Point::MigrationCaughtUp
        | Point::MigrationPinMoved
        | Point::MigrationPinsMoved => By::Migration,
    }
}

fn points(way: By) -> impl Iterator<Item = Point> {
    Point::ALL.iter().copied().filter(move |point| by(*point) == way)
}

/// The first start dies, again and again.
fn first_starts(node: &Node<'_>) -> Result<()> {
    for point in points(By::FirstStart) {
        node.arm(point, 0)?;
        let daemon = node.spawn(&[])?;
        let status = daemon.wait(PATIENCE)?;
        let killed = status.signal() == Some(Signal::KILL.as_raw()) && !node.is_armed();
        ensure!(killed, "{point:?}: {status}; {}", daemon.last_words());
    }
    Ok(())
}

fn plug_spare(lab: &Lab) -> Result<()> {
    lab.balancer.connect(SPARE, &lab.client, SPARE)
}

/// Starts die, each with another configuration. No daemon gets as far as to say that it is ready.
fn starts(story: &mut Story<'_>) -> Result<()> {
    let lab = story.lab;
    for point in points(By::Start) {
        story.configure()?;
        story.dies_at(point, 0, Story::spawn)?;
    }
    plug_spare(lab)?;
    for point in points(By::NewInterface) {
        story.configure_on(&[FRONT, BACK, SPARE])?;
        story.dies_at(point, 0, Story::spawn)?;
    }
    for point in points(By::Return) {
        lab.balancer.ip(&format!("link del {SPARE}"))?;
        plug_spare(lab)?;
        story.dies_at(point, 0, Story::spawn)?;
    }
    // The one that attaches to it anew.
    story.dies_at(Point::Attached, 0, Story::spawn)?;
    for point in points(By::Rename) {
        let program = attached(&lab.balancer, SPARE)?.context("nothing is attached")?.id;
        for words in [format!("{SPARE} down"), format!("{SPARE} name {EXTRA}"), format!("{EXTRA} up")] {
            lab.balancer.ip(&format!("link set {words}"))?;
        }
        story.configure_on(&[FRONT, BACK, EXTRA])?;
        story.dies_at(point, 0, Story::spawn)?;
        ensure!(attached(&lab.balancer, EXTRA)?.is_some_and(|a| a.id == program), "it was attached to anew");
    }
    for point in points(By::Drop) {
        story.configure()?;
        story.dies_at(point, 0, Story::spawn)?;
        ensure!(attached(&lab.balancer, EXTRA)?.is_none(), "{EXTRA} is not dropped");
    }
    Ok(())
}

/// The daemon dies while it does what somebody wants of it.
fn commands(story: &mut Story<'_>) -> Result<()> {
    let started = |story: &mut Story<'_>| -> Result<()> {
        story.daemon = story.node.start(&[])?;
        Ok(())
    };
    for point in points(By::Reload) {
        started(story)?;
        story.configure()?;
        story.dies_at(point, u32::from(point == Point::PlanWrite), |story| story.try_reload())?;
    }
    for point in points(By::Census) {
        started(story)?;
        let zone = story.node.pins.join(name::ZONE_LOADS);
        let mut loads: Array<MapData, Carried> = Map::Array(MapData::from_pin(zone)?).try_into()?;
        // The configuration that removes a backend is every other one.
        if story.reloads % 2 == 1 {
            story.configure()?;
            story.node.succeed(&["reload"])?;
        }
        story.configure()?;
        story.dies_at(point, 0, |story| {
            let carried = loads.get(&0, 0)?;
            loads.set(0, Carried { channels: carried.channels + 100_000, ..carried }, 0)?;
            story.try_reload()
        })?;
        ensure!(loads.get(&0, 0)?.channels < 100_000, "the zone is corrected");
    }
    for point in points(By::Drain) {
        started(story)?;
        story.dies_at(point, 0, |story| story.node.ask(&["backend", "drain", "sw2"]).map(drop))?;
    }
    for point in points(By::Trial) {
        started(story)?;
        let list = story.node.json(&["backend", "list"])?;
        let drained =
            list["backends"].as_array().is_some_and(|all| all.iter().any(|b| b["will"] == "draining"));
        ensure!(drained, "what was kept is done by the next start: {list}");
        story.node.succeed(&["backend", "enable", "sw2"])?;
        story.configure()?;
        story.dies_at(point, 0, |story| story.node.ask(&["reload", "--confirm-within", "1h"]).map(drop))?;
    }
    Ok(())
}

/// `sipsteer detach` dies; the next start brings everything back.
fn detachments(node: &Node<'_>) -> Result<()> {
    for point in points(By::Detach) {
        node.arm(point, 0)?;
        let status = node.ask(&["detach"])?.status;
        ensure!(status.signal() == Some(Signal::KILL.as_raw()) && !node.is_armed(), "{point:?}: {status}");
        node.start(&[])?.end();
    }
    node.succeed(&["detach"]).map(drop)
}

#[test]
fn a_daemon_dies_at_every_point_and_the_next_one_goes_on() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    first_starts(&node)?;
    let mut story = Story::with(&lab, node, lifetime(3000))?;
    let caller = Caller::start(&lab, &Load { rate: 100, ..load(1000) })?;
    wait_until("calls are made", PATIENCE, || Ok(caller.so_far().calls > 0))?;
    story.daemon.kill()?;
    starts(&mut story)?;
    commands(&mut story)?;
    story.daemon = story.node.start(&[])?;
    let sum = story.judge(&[caller])?;
    let passed = Point::ALL.len() - points(By::Migration).count();
    println!("{passed} points: {sum:?}");
    story.daemon.end();
    detachments(&story.node)
}
