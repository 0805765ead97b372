//! What a daemon does that runs out of something: it says so in a clear sentence, the data plane stays as it is, and when there
//! is enough again it goes on.

mod support;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{
    backend::{Backend, will},
    name,
    settings::SlowPath,
};
use lb_tests::{cleanup::Cleanup, command::run_words, needs_bpf, process::wait_until};
use rustix::process::Signal;
use serde_json::json;
use sipsteer::{
    dataplane::{
        clock::{Clock, monotonic},
        pins::PinDir,
    },
    fault,
};
use std::{fs, os::unix::net::UnixDatagram, path::Path, thread, time::Duration};
use support::{BACKENDS, Bench, PATIENCE};

fn backend(bench: &Bench, id: u32) -> Result<Backend> {
    let map = Map::from_map_data(MapData::from_pin(bench.pins.join(name::BACKENDS))?)?;
    Ok(Array::<MapData, Backend>::try_from(map)?.get(&id, 0)?)
}

#[test]
fn a_full_disk_refuses_what_could_not_be_kept() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let state = bench.state_dir();
    fs::create_dir(&state)?;
    run_words("mount", &format!("-t tmpfs -o size=16k sipsteer-test {}", state.display()))?;
    let mounted = state.clone();
    let _mount = Cleanup::new(move || drop(run_words("umount", &mounted.display().to_string())));
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.json(&["backend", "limit", "sw2", "max_cps=80"])?;
    let kept = fs::read_to_string(state.join("state.json"))?;
    let filler = state.join("filler");
    // Until no page is left.
    while fs::write(&filler, vec![0; fs::metadata(&filler).map_or(0, |m| m.len() as usize) + 4096]).is_ok() {}

    let words = ["state.json", "No space left", "nothing was changed", "the disk is not full"];
    bench.ask(&["backend", "drain", "sw1"])?.refused(1, &words);
    assert_eq!(backend(&bench, 0)?.will, will::ENABLED);
    assert_eq!(fs::read_to_string(state.join("state.json"))?, kept, "what was kept is kept");
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.ask(&["reload", "--confirm-within", "1h"])?.refused(1, &["trial.json", "No space left"]);
    // What need not be kept is done.
    bench.json(&["backend", "drain", "sw1", "--until-restart"])?;
    assert_eq!(backend(&bench, 0)?.will, will::DRAINING);
    bench.json(&["reload"])?;

    fs::remove_file(filler)?;
    bench.json(&["backend", "drain", "sw1"])?;
    assert_eq!(bench.status()?["differences"][0]["after_restart"], json!(null));
    Ok(())
}

#[test]
fn a_daemon_without_file_descriptors_keeps_the_data_plane_and_comes_back() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let pid = bench.status()?["daemon"]["pid"].as_u64().context("no pid")?;
    let program = bench.program_on("front")?;
    let limit = |files: &str| run_words("prlimit", &format!("--pid {pid} --nofile={files}"));
    limit("3:20000")?;
    // The socket is there, and nobody can be let in.
    let said = thread::scope(|scope| -> Result<_> {
        let asked = scope.spawn(|| bench.ask(&["reload", "--json"]));
        thread::sleep(Duration::from_secs(2));
        assert_eq!(bench.program_on("front")?, program, "packets are steered by the same program");
        assert_eq!(backend(&bench, 0)?.will, will::ENABLED);
        limit("20000:20000")?;
        asked.join().expect("asking does not panic")
    })?;
    assert_eq!(said.status, 0, "{}", said.stdout);
    let told = daemon.log();
    assert!(
        told.contains("commands cannot be let in, calls are steered as before: Too many open files"),
        "{told}"
    );
    wait_until("all is well", PATIENCE, || Ok(bench.status()?["state"] == "ok"))
}

#[test]
fn a_daemon_that_is_stopped_is_told_from_one_that_is_gone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let program = bench.program_on("front")?;
    daemon.signal(Signal::STOP)?;
    bench.ask(&["run"])?.refused(1, &["already running", "sipsteer reload"]);
    bench.ask(&["detach"])?.refused(1, &["runs"]);
    assert_eq!(bench.program_on("front")?, program);
    // Root reads the maps without it.
    let list = bench.json(&["backend", "list"])?;
    assert_eq!(list["backends"].as_array().map(Vec::len), Some(2));
    daemon.signal(Signal::CONT)?;
    wait_until("it answers again", PATIENCE, || Ok(bench.status()?["state"] == "ok"))
}

#[test]
fn an_interface_that_is_renamed_resized_or_down_for_a_while_stays_attached() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let program = bench.program_on("front")?;
    ensure!(program.is_some());
    let link = || -> Result<_> { Ok(bench.status()?["interfaces"][0]["link"].clone()) };
    let before = link()?;
    let hop = || -> Result<_> { Ok(bench.json(&["backend", "list"])?["backends"][0]["next_hop"].clone()) };

    bench.balancer.ip("link set front mtu 1400")?;
    wait_until("the new size is known", PATIENCE, || Ok(hop()?["mtu"] == 1400))?;
    bench.balancer.ip("link set front mtu 1500")?;
    wait_until("the old size is back", PATIENCE, || Ok(hop()?["mtu"] == 1500))?;

    bench.balancer.ip("link set front down")?;
    assert_eq!(bench.program_on("front")?, program);
    bench.balancer.ip("link set front up")?;
    wait_until("next hops are there", PATIENCE, || {
        Ok(hop()?.is_object() && bench.status()?["state"] == "ok")
    })?;

    bench.balancer.ip("link set front down")?;
    bench.balancer.ip("link set front name moved")?;
    bench.balancer.ip("link set moved up")?;
    assert_eq!(bench.program_on("moved")?, program, "the kernel goes by number");
    // Another file may change things meanwhile: the name is one that is gone, and nothing is attached twice.
    bench.json(&["reload"])?;
    assert_eq!(bench.program_on("moved")?, program);
    bench.balancer.ip("link set moved down")?;
    bench.balancer.ip("link set moved name front")?;
    bench.balancer.ip("link set front up")?;
    wait_until("all is as it was", PATIENCE, || Ok(bench.status()?["state"] == "ok"))
        .with_context(|| daemon.last_words())?;
    assert_eq!((bench.program_on("front")?, link()?), (program, before));
    Ok(())
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    // Every write to it finds the disk full.
    let daemon = bench.spawn_by(&["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"], &["--ephemeral"])?;
    wait_until("it is ready", PATIENCE, || {
        ensure!(daemon.status()?.is_none(), "it ended: {:?}", daemon.status()?);
        Ok(bench.status()?["state"] == "ok")
    })?;
    bench.configure("[node]")?;
    bench.ask(&["reload"])?.refused(1, &["is refused"]);
    bench.balancer.ip("link set front down")?;
    bench.balancer.ip("link set front up")?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload"])?;
    wait_until("all is well", PATIENCE, || Ok(bench.status()?["state"] == "ok"))?;
    daemon.signal(Signal::TERM)?;
    assert!(daemon.wait(PATIENCE)?.success());
    assert!(!bench.pins.exists(), "it tidied up");
    Ok(())
}

#[test]
#[cfg(debug_assertions)]
fn a_clock_that_jumps_ends_no_trial_and_moves_no_backend() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let jumps = bench.folder.path().join("faults");
    let notify = bench.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&notify)?;
    systemd.set_read_timeout(Some(PATIENCE))?;
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path");
    let (faults, notify) = (path(&jumps)?, path(&notify)?);
    let variables = [(fault::VARIABLE, faults.as_str()), ("NOTIFY_SOCKET", notify.as_str())];
    let daemon = bench.start_with(&variables, &["--ephemeral"])?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "10m"])?;
    let until = bench.status()?["daemon"]["trial"]["until"].clone();
    for jump in [3600, -3600] {
        fs::write(&jumps, format!("clock {jump}"))?;
        // A message for each round of the loop; some came before this.
        systemd.set_nonblocking(true)?;
        while systemd.recv(&mut [0; 64]).is_ok() {}
        systemd.set_nonblocking(false)?;
        for _ in 0..2 {
            systemd.recv(&mut [0; 64])?;
        }
        let status = bench.status()?;
        assert_eq!(status["daemon"]["trial"]["until"], until, "{jump}: {}", daemon.last_words());
        assert_eq!(status["backends"].as_array().map(Vec::len), Some(3), "{jump}");
    }
    // What was asked for in one time is undone in another.
    bench.json(&["undo"])?;
    Ok(())
}

#[test]
fn in_a_time_namespace_the_program_knows_that_the_daemon_answers() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let words = "unshare --time --monotonic 3600 --fork --kill-child";
    let daemon = bench.spawn_by(&words.split(' ').collect::<Vec<_>>(), &[])?;
    wait_until("it is ready", PATIENCE, || Ok(daemon.log().lines().any(|l| l.ends_with(" ready"))))
        .with_context(|| daemon.last_words())?;
    let map = Map::from_map_data(MapData::from_pin(bench.pins.join(name::SLOW_PATH))?)?;
    let slow_path = Array::<MapData, SlowPath>::try_from(map)?;
    let clock = Clock::open(&PinDir::new(&bench.pins))?;
    wait_until("the daemon gives a sign of life", PATIENCE, || {
        Ok(slow_path.get(&0, 0)?.answers_until > clock.read()?.nanoseconds)
    })?;
    const SECOND: u64 = 1_000_000_000;
    let until = slow_path.get(&0, 0)?.answers_until;
    assert!(
        until < clock.read()?.nanoseconds + 60 * SECOND,
        "it would be believed for an hour after its end"
    );
    assert!(monotonic().abs_diff(clock.read()?.nanoseconds) < 60 * SECOND);
    Ok(())
}
