//! The unit for systemd: as closed as it claims to be, and open enough for the daemon to do its work without being root.

mod support;
mod systemd;

use anyhow::{Context, Result, ensure};
use lb_tests::{
    command::run,
    needs_bpf,
    process::{Process, wait_until},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::Command,
};
use support::{BACKENDS, BINARY, Bench, PATIENCE};
use systemd::Systemd;

/// Most exposure that we accept, in tenths, as `systemd-analyze security` counts it: 10.0 is everything.
const EXPOSURE: u32 = 25;
/// The user of these tests: nobody else's on the host.
const USER: u32 = 64_213;

fn package(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("package").join(file)
}

fn unit() -> Result<String> {
    Ok(fs::read_to_string(package("sipsteer.service"))?)
}

/// Values of a key of the unit, in their order.
fn values<'u>(unit: &'u str, key: &str) -> Vec<&'u str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_finds_it_closed_enough() -> Result<()> {
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE}")]);
    let told = run(analyze.arg(package("sipsteer.service")))?;
    let last =
        told.lines().rev().find(|line| line.contains("Overall exposure level")).context("no verdict")?;
    println!("{last}");
    Ok(())
}

#[test]
fn the_unit_says_what_the_daemon_relies_on() -> Result<()> {
    let unit = unit()?;
    for (key, value) in [
        ("Type", "notify"),
        ("User", "sipsteer"),
        ("WatchdogSec", "30"),
        ("NoNewPrivileges", "yes"),
        ("ExecReload", "/usr/sbin/sipsteer reload"),
        ("RuntimeDirectory", "sipsteer"),
        ("StateDirectory", "sipsteer"),
        // Without it the bpf file system would be read-only, like the rest of /sys.
        ("ReadWritePaths", "/sys/fs/bpf/sipsteer /etc/sipsteer"),
    ] {
        assert_eq!(values(&unit, key), [value], "{key}");
    }
    assert_eq!(values(&unit, "CapabilityBoundingSet"), values(&unit, "AmbientCapabilities"));
    ensure!(!unit.contains("ExecStop"), "stopping the daemon leaves the program at work");
    Ok(())
}

/// Groups of system calls by name, as systemd has them.
fn groups() -> Result<BTreeMap<String, Vec<String>>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut group = String::new();
    for line in run(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager"]))?.lines() {
        let word = line.trim();
        if line.starts_with('@') {
            word.clone_into(&mut group);
        } else if !word.is_empty() && !word.starts_with('#') {
            groups.entry(group.clone()).or_default().push(word.to_owned());
        }
    }
    Ok(groups)
}

fn expand(word: &str, groups: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    match groups.get(word) {
        Some(members) => members.iter().flat_map(|member| expand(member, groups)).collect(),
        None => [word.to_owned()].into(),
    }
}

/// The calls that the unit's filter allows: later lines add to or take from earlier ones, as systemd.exec(5) says.
fn allowed(unit: &str) -> Result<BTreeSet<String>> {
    let groups = groups()?;
    let mut allowed = BTreeSet::new();
    for line in values(unit, "SystemCallFilter") {
        let (takes, words) = line.strip_prefix('~').map_or((false, line), |words| (true, words));
        for call in words.split(' ').flat_map(|word| expand(word, &groups)) {
            if takes {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    Ok(allowed)
}

/// Starts the command, which is `sipsteer run` in the end, and waits until it is ready.
fn start(bench: &Bench, program: &str, arguments: &[&str], log: &str) -> Result<Process> {
    let mut all: Vec<OsString> = arguments.iter().map(Into::into).collect();
    all.extend(["run".into(), "--config".into(), bench.config_file().into()]);
    all.extend(["--pin-dir".into(), (&bench.pins).into(), "--run-dir".into(), bench.run_dir().into()]);
    all.extend(["--state-dir".into(), bench.state_dir().into()]);
    let process = Process::start(&bench.balancer, program, all, &bench.folder.path().join(log))?;
    wait_until("the daemon is ready", PATIENCE, || {
        ensure!(process.status()?.is_none(), "the daemon ended; {}", process.last_words());
        Ok(process.log().lines().any(|l| l.ends_with(" ready")))
    })
    .with_context(|| process.last_words())?;
    Ok(process)
}

#[test]
fn the_daemon_makes_no_system_call_that_the_unit_forbids() -> Result<()> {
    needs_bpf!();
    let allowed = allowed(&unit()?)?;
    ensure!(
        allowed.contains("bpf") && allowed.contains("sendmsg") && !allowed.contains("mount"),
        "{allowed:?}"
    );
    let bench = Bench::new()?;
    let trace = bench.folder.path().join("trace");
    let text = trace.to_str().context("a path of ours")?;
    let daemon = start(&bench, "strace", &["-f", "-qq", "-o", text, BINARY], "log")?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    bench.json(&["undo"])?;
    bench.json(&["backend", "drain", "sw1"])?;
    let status = bench.status()?;
    // strace, told to end, would leave it behind.
    let pid = status["daemon"]["pid"].as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    kill_process(pid.context("no pid")?, Signal::TERM)?;
    daemon.wait(PATIENCE)?;
    // As strace writes them: `PID name(arguments) = result`, with resumed ones in brackets.
    let made: BTreeSet<String> = fs::read_to_string(&trace)?
        .lines()
        .filter_map(|line| {
            line.split_once(' ')?.1.trim_start().split_once('(').map(|(name, _)| name.to_owned())
        })
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect();
    ensure!(made.contains("bpf") && made.len() > 20, "strace saw {made:?}");
    let forbidden: Vec<&String> = made.difference(&allowed).collect();
    ensure!(forbidden.is_empty(), "the unit's SystemCallFilter forbids {forbidden:?}");
    Ok(())
}

/// What systemd is told, until this comes: all of it, a message a line.
fn told_until(socket: &UnixDatagram, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut told = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let length = socket.recv(&mut bytes).with_context(|| format!("only {told:?}"))?;
        let message = std::str::from_utf8(&bytes[..length])?.trim_end().replace('\n', " ");
        told.push(message);
        if told.last().is_some_and(|message| wanted(message)) {
            return Ok(told);
        }
    }
}

#[test]
fn systemd_is_told_what_the_daemon_does() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let path = bench.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let path = path.to_str().context("a path of ours")?;
    let daemon = bench.start_with(&[("NOTIFY_SOCKET", path)], &[])?;
    let steering = "STATUS=steering 1 service to 2 backends on front";
    let told = told_until(&socket, |message| message.starts_with("READY=1"))?;
    assert_eq!(told, [format!("READY=1 {steering}")]);
    told_until(&socket, |message| message == "WATCHDOG=1")?;

    // Two of three answer no probe: nobody listens there, and the host says so.
    let probed = "health = { probe = \"tcp\" }\n";
    let config = bench.config(&["front"], &BACKENDS).replace("[[backend]]", &format!("{probed}[[backend]]"));
    let config = config.replacen(probed, "", 1);
    bench.configure(&(config + probed))?;
    let _listener = bench.far.enter(|| TcpListener::bind((BACKENDS[0], 5060)))??;
    bench.json(&["reload", "--dry-run"])?;
    bench.json(&["reload"])?;
    let steering = "STATUS=steering 1 service to 3 backends on front";
    let told = told_until(&socket, |message| message.starts_with("READY=1"))?;
    ensure!(told.last().is_some_and(|message| message.contains(steering)), "{told:?}");
    let reloading: Vec<&String> = told.iter().filter(|message| message.contains("RELOADING=1")).collect();
    ensure!(reloading.len() == 1, "a dry run is no reload: {told:?}");
    let time = reloading[0].strip_prefix("RELOADING=1 MONOTONIC_USEC=").context("no time")?;
    ensure!(time.parse::<u64>()? > 0, "{time}");
    told_until(&socket, |message| message.ends_with(&format!("{steering}; 2 down")))?;

    bench.configure("[node]")?;
    bench.ask(&["reload"])?.refused(1, &["is refused"]);
    drop(daemon);
    let told = told_until(&socket, |message| message.starts_with("STOPPING=1"))?;
    ensure!(
        !told.iter().any(|message| message.contains("RELOADING")),
        "what is refused is not begun: {told:?}"
    );
    let end = "STOPPING=1 STATUS=the program goes on steering on front without the daemon";
    assert_eq!(told.last().map(String::as_str), Some(end));
    Ok(())
}

/// Makes a folder as tmpfiles or systemd would.
fn own(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(chown(path, Some(USER), Some(USER))?)
}

/// The way into a process that may do what the unit's may.
fn as_unit(unit: &str, drop: Option<&str>) -> Result<Vec<String>> {
    let set = *values(unit, "CapabilityBoundingSet").first().context("no capabilities")?;
    let kept = set.split(' ').filter(|c| Some(*c) != drop);
    let names: Vec<String> = kept.map(|c| c.trim_start_matches("CAP_").to_lowercase()).collect();
    let list = names.iter().map(|name| format!(",+{name}")).collect::<String>();
    let mut words: Vec<String> =
        ["--reuid", "--regid"].iter().flat_map(|flag| [(*flag).to_owned(), USER.to_string()]).collect();
    words.extend(["--clear-groups".to_owned(), "--no-new-privs".to_owned()]);
    words.push(format!("--bounding-set=-all{list}"));
    words.push(format!("--inh-caps=-all{list}"));
    words.push(format!("--ambient-caps=-all{list}"));
    Ok(words)
}

/// The binary where its user may run it, and the folders that it gets.
fn install(bench: &Bench) -> Result<PathBuf> {
    // The build folder may be out of reach for others.
    let binary = bench.folder.path().join("sipsteer");
    fs::copy(BINARY, &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    for (path, mode) in [
        (bench.run_dir(), 0o750),
        (bench.state_dir(), 0o750),
        (bench.pins.clone(), 0o750),
        (bench.folder.path().join("etc"), 0o770),
    ] {
        own(&path, mode)?;
    }
    // tmpfiles.conf lets others pass where systemd did not.
    let mode = fs::metadata("/sys/fs/bpf")?.permissions().mode() & 0o7777;
    fs::set_permissions("/sys/fs/bpf", fs::Permissions::from_mode(mode | 0o011))?;
    Ok(binary)
}

#[test]
fn the_daemon_works_with_the_unit_s_capabilities_and_without_root() -> Result<()> {
    needs_bpf!();
    let unit = unit()?;
    let bench = Bench::new()?;
    let binary = install(&bench)?;
    let config = |backends: &[&str]| {
        bench
            .config(&["front"], backends)
            .replace("hash.key", "etc/hash.key")
            .replace(":5060/udp", ":960/udp")
    };
    bench.configure(&config(&BACKENDS[..2]))?;
    let words = as_unit(&unit, None)?;
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.extend(["--", binary.to_str().context("a path of ours")?]);

    let first = start(&bench, "setpriv", &words, "log-1")?;
    let status = bench.status()?;
    assert_eq!(status["state"], "ok", "{status}");
    assert_eq!(
        status["daemon"]["slow_path"]["listening"],
        json!(["203.0.113.10:960/udp"]),
        "a port below 1024"
    );
    let pid = status["daemon"]["pid"].as_u64().context("no pid")?;
    let proc = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = proc.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    // NET_BIND_SERVICE, NET_ADMIN, PERFMON, BPF: capabilities(7) with their numbers in linux/capability.h.
    let mask = format!("{:016x}", 1_u64 << 10 | 1 << 12 | 1 << 38 | 1 << 39);
    assert_eq!(
        (field("CapEff:"), field("CapBnd:"), field("NoNewPrivs:")),
        (vec![mask.clone()], vec![mask], vec!["1".into()])
    );
    assert_eq!(field("Uid:"), vec![USER.to_string(); 4]);
    let program = bench.program_on("front")?;
    ensure!(program.is_some());

    // It reloads, keeps what operators want, and the next one takes over what it left.
    bench.configure(&config(&BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    bench.json(&["confirm"])?;
    bench.json(&["backend", "drain", "sw1"])?;
    first.kill()?;
    assert_eq!(bench.program_on("front")?, program);
    let second = start(&bench, "setpriv", &words, "log-2")?;
    let status = bench.status()?;
    assert_eq!((&status["state"], &status["differences"][0]["now"]), (&json!("ok"), &json!("draining")));
    ensure!(bench.program_on("front")? != program, "the program is another one");
    ensure!(second.log().contains("took over the maps"), "{}", second.log());
    // So does one that needs maps of another size, which it reads and makes beside the old ones.
    let resized = config(&BACKENDS).replace("max = 4096", "max = 8192");
    bench.configure(&resized)?;
    second.kill()?;
    let third = start(&bench, "setpriv", &words, "log-3")?;
    ensure!(third.log().contains("the new maps are in use"), "{}", third.log());
    let status = bench.status()?;
    assert_eq!((&status["state"], &status["backends"][0]["will"]), (&json!("ok"), &json!("draining")));
    assert_eq!(status["dialogs"]["max"], 8192, "{status}");
    third.end();
    // Only root takes it off for good.
    assert_eq!(bench.ask(&["detach"])?.status, 0);
    assert_eq!(bench.program_on("front")?, None);
    Ok(())
}

/// The one word of a number that systemd tells.
fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text:?} is no number"))
}

/// SIPSTEER_WATCHDOG=1 adds a daemon that hangs, which takes its time.
#[test]
fn a_real_systemd_starts_reloads_restarts_and_stops_it() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let config = |backends: &[&str]| {
        let key = bench.folder.path().join("hash.key");
        bench.config(&["front"], backends).replace(key.to_str().unwrap_or_default(), "/etc/sipsteer/hash.key")
    };
    let long = std::env::var_os("SIPSTEER_WATCHDOG").is_some();
    let over = if long { "WatchdogSec=5\nTimeoutAbortSec=1\n" } else { "" };
    let over = format!("[Service]\nRestartSec=100ms\n{over}");
    let systemd = Systemd::boot(&bench, &config(&BACKENDS[..2]), &over)?;
    let property = |name: &str| systemd.property(name);
    let steers = || -> Result<bool> { Ok(bench.program_on("front")?.is_some()) };
    let status = || Ok::<_, anyhow::Error>((property("ActiveState")?, property("StatusText")?));
    let steering = |count: u32| format!("steering 1 service to {count} backends on front");
    assert_eq!(status()?, ("active".to_owned(), steering(2)));
    let first = property("MainPID")?;
    let owner = systemd.succeed(&["ps", "-o", "user=", "-p", &first])?;
    ensure!(owner == "sipsteer" && steers()?, "{owner}");
    // After the network is set up, which is what its interfaces are.
    let when = |unit: &str, property: &str| -> Result<u64> {
        let words = ["systemctl", "show", "--value", "--property", property, unit];
        number(&systemd.succeed(&words)?)
    };
    let network = when("network.target", "ActiveEnterTimestampMonotonic")?;
    ensure!(network > 0 && network <= when("sipsteer.service", "ExecMainStartTimestampMonotonic")?);

    // A reload is seen to succeed, or to fail; then what held holds.
    systemd.configure(&config(&BACKENDS))?;
    systemd.succeed(&["systemctl", "reload", "sipsteer"])?;
    assert_eq!(status()?, ("active".to_owned(), steering(3)));
    systemd.configure("[node]")?;
    ensure!(systemd.run(&["systemctl", "reload", "sipsteer"])?.status != 0, "a broken file was taken");
    assert_eq!(status()?, ("active".to_owned(), steering(3)));
    assert_eq!(property("MainPID")?, first);
    systemd.configure(&config(&BACKENDS))?;

    // Killed, it comes back, and the program was there all the time.
    let restarted = |times: u64| {
        wait_until("it is back", PATIENCE, || {
            ensure!(steers()?, "the program is gone");
            Ok(number(&property("NRestarts")?)? == times && property("ActiveState")? == "active")
        })
        .with_context(|| systemd.journal())
    };
    systemd.succeed(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "sipsteer"])?;
    restarted(1)?;
    let second = property("MainPID")?;
    assert_ne!(second, first);
    // So does one that hangs, which the watchdog finds: its loop feeds it.
    if long {
        systemd.succeed(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", "sipsteer"])?;
        restarted(2)?;
        ensure!(systemd.journal().contains("Watchdog timeout"), "{}", systemd.journal());
    }
    assert_eq!(status()?, ("active".to_owned(), steering(3)));
    let restarts = property("NRestarts")?;

    // Stopped, it leaves the program at work, and does not come back.
    systemd.succeed(&["systemctl", "stop", "sipsteer"])?;
    assert_eq!(
        (property("ActiveState")?, property("Result")?),
        ("inactive".to_owned(), "success".to_owned())
    );
    ensure!(steers()? && property("NRestarts")? == restarts);
    ensure!(systemd.journal().contains("the data plane goes on steering on front"), "{}", systemd.journal());
    systemd.succeed(&["sipsteer", "detach"])?;
    ensure!(!steers()?);
    Ok(())
}
