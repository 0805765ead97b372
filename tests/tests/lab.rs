//! The lab itself, without a balancer: calls go straight from the client to one backend, so what fails here is the lab.

use anyhow::{Context, Result};
use lb_tests::{
    kamailio::{Kamailio, Role},
    needs_bpf,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{CLIENT, Forwarding, Lab, SIP_PORT},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddrV4,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const LIFETIME: Duration = Duration::from_secs(60);

/// Calls to the first backend's own address.
fn call_directly(forwarding: Forwarding, load: &Load) -> Result<()> {
    let lab = Lab::new(forwarding, 2)?;
    let backend = &lab.backends[0];
    let server =
        Server::start_at(&lab, &backend.namespace, "server", backend.address, load.scenario, LIFETIME)?;
    let target = SocketAddrV4::new(backend.address, SIP_PORT);
    let caller = Caller::start_to(&lab, &lab.client, SocketAddrV4::new(CLIENT, 0), target, load)?;
    let (made, seen) = (caller.wait()?, server.stop()?);
    let calls = u64::from(load.calls);
    assert_eq!((made.calls, made.ok, made.failed), (calls, calls, 0), "{:?}", load.scenario);
    assert_eq!((seen.calls, seen.failed), (calls, 0), "{:?}", load.scenario);
    Ok(())
}

#[test]
fn calls_cross_the_nat_topology() -> Result<()> {
    needs_bpf!();
    call_directly(Forwarding::Nat, &Load::calls(200, 200))
}

#[test]
fn calls_cross_the_l2_topology() -> Result<()> {
    needs_bpf!();
    call_directly(Forwarding::L2, &Load::calls(200, 200))
}

#[test]
fn the_two_halves_of_every_scenario_understand_each_other() -> Result<()> {
    needs_bpf!();
    for scenario in [
        Scenario::StrictCall,
        Scenario::Register,
        Scenario::Cancel,
        Scenario::Refused,
        Scenario::Authenticated,
    ] {
        call_directly(Forwarding::Nat, &Load::calls(20, 100).of(scenario))?;
    }
    Ok(())
}

#[test]
fn kamailio_and_sipp_understand_each_other() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let backend = &lab.backends[0];
    let _kamailio = Kamailio::start(&lab, backend, Role::Busy)?;
    let target = SocketAddrV4::new(backend.address, SIP_PORT);
    for scenario in [Scenario::Register, Scenario::Refused] {
        let load = Load::calls(20, 100).of(scenario);
        let made =
            Caller::start_to(&lab, &lab.client, SocketAddrV4::new(CLIENT, 0), target, &load)?.wait()?;
        assert_eq!((made.ok, made.failed), (20, 0), "{scenario:?}");
    }
    Ok(())
}

#[test]
fn calls_that_do_not_go_as_the_scenario_says_count_as_failed() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::L2, 1)?;
    let backend = &lab.backends[0];
    let _busy =
        Server::start_at(&lab, &backend.namespace, "busy", backend.address, Scenario::Refused, LIFETIME)?;
    let target = SocketAddrV4::new(backend.address, SIP_PORT);
    let made =
        Caller::start_to(&lab, &lab.client, SocketAddrV4::new(CLIENT, 0), target, &Load::calls(5, 10))?
            .wait()?;
    assert_eq!((made.ok, made.failed), (0, 5));
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let server = Server::start(&lab, &lab.backends[0], Scenario::Call, LIFETIME)?;
    let files: Vec<_> = [&lab.client, &lab.balancer, &lab.backends[0].namespace].map(|n| n.path()).into();
    let (folder, process) = (lab.folder().to_owned(), Path::new("/proc").join(server.pid().to_string()));
    for there in files.iter().chain([&folder, &process]) {
        assert!(there.exists(), "{}", there.display());
    }
    drop((server, lab));
    for gone in files.iter().chain([&folder, &process]) {
        assert!(!gone.exists(), "{}", gone.display());
    }
    Ok(())
}

/// Ctrl-C in the middle: this test runs itself once more in another process, and interrupts that one.
#[test]
fn nothing_is_left_behind_after_an_interrupt() -> Result<()> {
    const ROLE: &str = "SIPSTEER_TEST_VICTIM";
    needs_bpf!();
    if env::var_os(ROLE).is_some() {
        let lab = Lab::new(Forwarding::L2, 1)?;
        let server = Server::start(&lab, &lab.backends[0], Scenario::Call, LIFETIME)?;
        println!("\n/proc/{}", server.pid());
        println!("{}", lab.client.path().display());
        println!("{}", lab.folder().display());
        println!("ready");
        thread::sleep(LIFETIME);
        return Ok(());
    }
    let name = thread::current().name().unwrap_or_default().to_owned();
    let mut victim = Command::new(env::current_exe()?)
        .args(["--exact", &name, "--nocapture"])
        .env(ROLE, "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let out = BufReader::new(victim.stdout.take().context("no pipe")?);
    let lines: Vec<String> = out.lines().map_while(Result::ok).take_while(|line| line != "ready").collect();
    let things: Vec<&Path> = lines.iter().filter(|l| l.starts_with('/')).map(Path::new).collect();
    assert_eq!(things.len(), 3, "{lines:?}");
    assert!(things.iter().all(|thing| thing.exists()), "{things:?}");
    kill_process(Pid::from_child(&victim), Signal::INT)?;
    assert_eq!(victim.wait()?.code(), Some(130));
    for thing in things {
        assert!(!thing.exists(), "{} is left behind", thing.display());
    }
    Ok(())
}
