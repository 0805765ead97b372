//! The life of the daemon beside the data plane, which outlives it.

mod support;

use anyhow::Result;
use aya::maps::{Array, Map, MapData};
use lb_common::{
    abi::{ABI, READABLE_FROM},
    map::{
        dialog::{BUCKET_SLOTS, Bucket, Dialog, Phase, State, Tally},
        name,
        settings::Settings,
    },
};
use lb_tests::{needs_bpf, process::wait_until, version};
use rustix::process::Signal;
use serde_json::Value;
use sipsteer::dataplane::{clock::Clock, pins::PinDir};
use std::{
    ops::Range,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    time::Duration,
};
use support::{BACKENDS, Bench, PATIENCE};

fn settings(bench: &Bench) -> Result<Array<MapData, Settings>> {
    Ok(Map::from_map_data(MapData::from_pin(bench.pins.join(name::SETTINGS))?)?.try_into()?)
}

fn dialogs(bench: &Bench) -> Result<Array<MapData, Bucket>> {
    Ok(Map::from_map_data(MapData::from_pin(bench.pins.join(name::DIALOGS))?)?.try_into()?)
}

fn link(status: &Value) -> (u64, u64) {
    let interface = &status["interfaces"][0];
    (interface["link"].as_u64().unwrap(), interface["program"].as_u64().unwrap())
}

fn names(status: &Value, will: &str) -> Vec<String> {
    let backends = status["backends"].as_array().unwrap().iter();
    backends.filter(|b| b["will"] == will).map(|b| b["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn after_kill_9_the_data_plane_goes_on_and_the_next_start_takes_it_over() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let first = bench.start(&[])?;
    let before = link(&bench.status()?);
    let mut bucket = Bucket::default();
    bucket.slots[2] = Dialog { call_key: 7, peer: 8, ..Dialog::default() };
    dialogs(&bench)?.set(513, bucket, 0)?;
    first.kill()?;
    assert_eq!(bench.program_on("front")?, Some(before.1));
    let alone = bench.status()?;
    assert_eq!((&alone["daemon"], &alone["state"]), (&Value::Null, &"degraded".into()));

    let second = bench.start(&[])?;
    let after = link(&bench.status()?);
    assert_eq!(after.0, before.0, "the link stays");
    assert_ne!(after.1, before.1, "the program is another one");
    assert_eq!(bench.program_on("front")?, Some(after.1));
    assert_eq!(dialogs(&bench)?.get(&513, 0)?, bucket);
    assert_eq!(bench.status()?["state"], "ok");
    second.end();
    Ok(())
}

#[test]
fn stopping_leaves_it_and_detach_leaves_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    daemon.signal(Signal::TERM)?;
    assert!(daemon.wait(PATIENCE)?.success());
    let log = daemon.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("goes on steering on front") && last.contains("sipsteer detach"), "{last}");
    assert!(bench.program_on("front")?.is_some());

    let kept = bench.json(&["detach", "--keep-maps"])?;
    assert_eq!((&kept["interfaces"][0], &kept["maps_removed"]), (&"front".into(), &0.into()));
    assert_eq!(bench.program_on("front")?, None);
    assert!(bench.pins.join(name::DIALOGS).exists());
    let gone = bench.json(&["detach"])?;
    assert_eq!(gone["maps_removed"], lb_common::map::TABLE.len());
    assert!(!bench.pins.exists());
    let again = bench.ask(&["detach"])?;
    assert_eq!((again.status, again.stdout.contains("nothing to do")), (0, true));
    Ok(())
}

#[test]
fn an_ephemeral_run_leaves_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    assert!(bench.program_on("front")?.is_some());
    let socket = std::fs::metadata(bench.run_dir().join("api.sock"))?;
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
    daemon.signal(Signal::INT)?;
    assert!(daemon.wait(PATIENCE)?.success());
    assert_eq!(bench.program_on("front")?, None);
    assert!(!bench.pins.exists());
    assert!(!bench.run_dir().join("api.sock").exists());
    Ok(())
}

#[test]
fn maps_of_another_abi_are_left_alone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    let program = bench.program_on("front")?;
    let mut map = settings(&bench)?;
    let own = map.get(&0, 0)?;
    for (abi, readable_from, who) in [
        (999, ABI + 1, format!("versions of ABI {} or higher read them", ABI + 1)),
        (999, 0, "versions of ABI 999 alone read them".to_owned()),
        (READABLE_FROM - 1, 0, format!("reads layouts of ABI {READABLE_FROM} or higher")),
    ] {
        let foreign = Settings { abi, readable_from, ..own };
        map.set(0, foreign, 0)?;
        let found = format!("SETTINGS.abi is {abi}");
        bench.ask(&["run"])?.refused(1, &[&found, &who, "left alone", "sipsteer detach"]);
        assert_eq!(settings(&bench)?.get(&0, 0)?, foreign);
        assert_eq!(bench.program_on("front")?, program);
    }
    version::change_backends(&bench.pins, ABI + 1)?;
    bench.ask(&["run"])?.refused(1, &["left alone"]);
    assert!(bench.pins.join(version::NEWER_MAP).exists());
    assert_eq!(bench.ask(&["detach"])?.status, 0);
    assert!(!bench.pins.exists(), "with those of another version");
    bench.start(&["--ephemeral"])?.end();
    Ok(())
}

#[test]
fn maps_of_another_shape_are_left_alone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    let program = bench.program_on("front")?;
    let pin = bench.pins.join(name::DIALOG_TALLY);
    std::fs::remove_file(&pin)?;
    Array::<MapData, u32>::create(3, 0)?.pin(&pin)?;
    let words =
        ["DIALOG_TALLY has values of 4 bytes, not 16", "room for 3 entries, not 1", "sipsteer detach"];
    bench.ask(&["run"])?.refused(1, &words);
    assert_eq!(bench.program_on("front")?, program);
    bench.configure(&bench.config(&["front"], &BACKENDS).replace("max = 4096", "max = 8192"))?;
    bench.ask(&["run"])?.refused(1, &words);
    Ok(())
}

#[test]
fn a_reload_leaves_the_size_of_the_table_to_a_restart() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    // One that the table has room for is the table's: it has a power of two of buckets.
    let with = |max: u32| bench.config(&["front"], &BACKENDS).replace("max = 4096", &format!("max = {max}"));
    bench.configure(&with(2049))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.configure(&with(4095))?;
    bench.json(&["reload"])?;
    for max in [2048, 4097] {
        bench.configure(&with(max))?;
        let words = [format!("dialogs.max is {max} now"), "room for 4096 dialogs".to_owned()];
        for reload in [&["reload"][..], &["reload", "--dry-run"]] {
            bench.ask(reload)?.refused(1, &[&words[0], &words[1], "systemctl restart sipsteer"]);
        }
        let said = bench.ask(&["check", "--host", bench.config_file().to_str().unwrap()])?.stdout;
        let told = "a table for 4,096 dialogs, of layout";
        assert!(said.contains(told) && said.contains("a start makes one for"), "{said}");
    }
    Ok(())
}

#[test]
fn a_reload_changes_what_it_says_and_a_bad_file_changes_nothing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&["--ephemeral"])?;
    let good = bench.config(&["front"], &BACKENDS);
    bench.configure(&good)?;
    let plan = bench.json(&["reload"])?;
    assert_eq!(plan["plan"]["backends"]["added"], serde_json::json!(["sw3"]));
    assert_eq!(names(&bench.status()?, "enabled"), ["sw1", "sw2", "sw3"]);

    bench.configure(&format!("{good}zone = 7\n[[backend]]\nname = \"sw1\"\n"))?;
    bench.ask(&["reload"])?.refused(1, &["is refused", "zone", "\"sw1\"", "sipsteer.toml:"]);
    let status = bench.status()?;
    assert_eq!(names(&status, "enabled"), ["sw1", "sw2", "sw3"]);
    assert_eq!(status["state"], "degraded", "somebody should know");
    assert!(status["daemon"]["reload_refused"].as_str().unwrap().contains("is refused"));

    bench.configure(&bench.config(&["front"], &BACKENDS[..1]))?;
    daemon.signal(Signal::HUP)?;
    wait_until("SIGHUP was obeyed", PATIENCE, || Ok(names(&bench.status()?, "enabled") == ["sw1"]))?;
    assert_eq!(names(&bench.status()?, "removed"), ["sw2", "sw3"], "their calls go on");
    Ok(())
}

#[test]
fn a_reload_attaches_to_new_interfaces_and_leaves_old_ones() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.connect("back", &bench.far, "eth1")?;
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.configure(&bench.config(&["back"], &BACKENDS))?;
    bench.json(&["reload"])?;
    assert_eq!(bench.program_on("front")?, None);
    assert!(bench.program_on("back")?.is_some());
    bench.configure(&bench.config(&["back", "eth9"], &BACKENDS))?;
    bench.ask(&["reload"])?.refused(1, &["eth9"]);
    assert!(bench.program_on("back")?.is_some());
    Ok(())
}

#[test]
fn removed_backends_without_calls_are_released() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    bench.configure(&bench.config(&["front"], &BACKENDS[1..2]))?;
    // The next start finds them removed and looks at all dialogs at once.
    let _daemon = bench.start(&["--ephemeral"])?;
    wait_until("the removed backend is released", PATIENCE, || {
        Ok(bench.status()?["backends"].as_array().unwrap().len() == 1)
    })?;
    Ok(())
}

#[test]
fn systemd_learns_when_it_is_ready_and_when_it_stops() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let path = bench.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path)?;
    systemd.set_read_timeout(Some(Duration::from_secs(20)))?;
    let daemon = bench.start_with(&[("NOTIFY_SOCKET", path.to_str().unwrap())], &["--ephemeral"])?;
    let heard = || -> Result<String> {
        let mut buffer = [0; 512];
        let length = systemd.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    };
    assert_eq!(heard()?, "READY=1\nSTATUS=steering 1 service to 2 backends on front");
    assert_eq!(heard()?, "WATCHDOG=1", "from the loop that does the work");
    daemon.signal(Signal::TERM)?;
    while !heard()?.starts_with("STOPPING=1") {}
    Ok(())
}

#[test]
fn the_journal_learns_how_grave_a_line_is() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start_with(&[("JOURNAL_STREAM", "8:1")], &["--ephemeral"])?;
    bench.configure("[node]")?;
    bench.ask(&["reload"])?.refused(1, &["is refused"]);
    let log = daemon.log();
    let begins = |priority: &str, words: &str| {
        log.lines().any(|line| line.starts_with(priority) && line.contains(words))
    };
    assert!(begins("<6>", " ready") && begins("<3>", "reload refused"), "{log}");
    Ok(())
}

#[test]
fn a_reload_does_not_wait_for_an_interface_that_is_gone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.connect("back", &bench.far, "eth1")?;
    bench.configure(&bench.config(&["front", "back"], &BACKENDS[..1]))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    bench.balancer.ip("link del back")?;
    wait_until("its absence is told", PATIENCE, || Ok(bench.status()?["interfaces"][0]["ifindex"] == 0))?;
    bench.configure(&bench.config(&["front", "back"], &BACKENDS))?;
    bench.json(&["reload"])?;
    assert_eq!(names(&bench.status()?, "enabled"), ["sw1", "sw2", "sw3"]);
    bench.balancer.connect("back", &bench.far, "eth1")?;
    wait_until("it is attached again", PATIENCE, || Ok(bench.program_on("back")?.is_some()))
}

#[test]
fn without_any_packet_the_daemon_has_old_dialogs_forgotten() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    let settings = settings(&bench)?.get(&0, 0)?;
    let now = Clock::open(&PinDir::new(&bench.pins)).unwrap().now().unwrap();
    let seen = |ago: u32| ((now.jiffies >> settings.tick_shift) as u32).wrapping_sub(ago) as u16;
    let mut dialogs = dialogs(&bench)?;
    let mut add = |bucket: u32, slots: Range<u64>, phase: Phase, seen| {
        let mut value = Bucket::default();
        for (slot, call_key) in slots.enumerate() {
            let state = State { phase: phase as u8, seen, ..State::default() };
            value.slots[slot] = Dialog { call_key, state, ..Dialog::default() };
        }
        dialogs.set(bucket, value, 0)
    };
    // More buckets than one request looks at, over the whole table.
    let slots = u64::from(BUCKET_SLOTS);
    for n in 0..400 {
        let first = u64::from(n) * slots;
        add(n * 5, first..first + slots, Phase::Ended, seen(settings.ended_ticks + 100))?;
    }
    add(1, 9001..9002, Phase::Answered, seen(settings.ended_ticks + 100))?;
    add(2, 9002..9003, Phase::Ended, seen(0))?;
    let mut tally: Array<MapData, Tally> =
        Map::from_map_data(MapData::from_pin(bench.pins.join(name::DIALOG_TALLY))?)?.try_into()?;
    tally.set(0, Tally { entries: 400 * slots + 2, unconfirmed: 0 }, 0)?;

    let _daemon = bench.start(&["--ephemeral"])?;
    wait_until("the overdue ones are gone", PATIENCE, || Ok(tally.get(&0, 0)?.entries <= 2))?;
    let buckets: Vec<Bucket> = dialogs.iter().collect::<Result<_, _>>()?;
    let left = buckets.iter().flat_map(|b| &b.slots).filter(|d| d.state.is_live()).map(|d| d.call_key);
    let left: Vec<u64> = left.collect();
    // The call is young; the other one may have come to its end meanwhile.
    assert!(left == [9001, 9002] || left == [9001], "{left:?}");
    Ok(())
}
