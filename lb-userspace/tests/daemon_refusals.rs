//! What `sipsteer run` refuses, and that it leaves everything as it was.

mod support;

use anyhow::Result;
use lb_tests::{needs_bpf, program::PassProgram};
use std::{fs, os::unix::fs::PermissionsExt};
use support::{BACKENDS, BINARY, Bench};

#[test]
fn without_privileges_the_missing_ones_are_named() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    // The build folder may be out of reach for nobody.
    let binary = bench.folder.path().join("sipsteer");
    fs::copy(BINARY, &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let mut nobody = bench.balancer.command("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
    bench.ask_by(nobody, &["run"])?.refused(4, &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "as root"]);
    Ok(())
}

#[test]
fn a_missing_interface_is_named_with_those_that_exist() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.configure(&bench.config(&["front", "eth9"], &BACKENDS))?;
    bench.ask(&["run"])?.refused(1, &["\"eth9\"", "lo, front"]);
    assert_eq!(bench.program_on("front")?, None);
    assert!(!bench.pins.exists());
    Ok(())
}

#[test]
fn another_program_is_named_and_left_alone() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.connect("back", &bench.far, "eth1")?;
    bench.configure(&bench.config(&["front", "back"], &BACKENDS))?;
    let _theirs = PassProgram::attach(&bench.balancer, "back")?;
    let theirs = bench.program_on("back")?.expect("attached above");
    bench
        .ask(&["run"])?
        .refused(1, &["back already carries", &format!("number {theirs} (pass)"), "bpftool net"]);
    assert_eq!(bench.program_on("back")?, Some(theirs));
    assert_eq!(bench.program_on("front")?, None, "all interfaces or none");
    assert!(!bench.pins.exists());
    Ok(())
}

#[test]
fn a_service_address_that_is_not_on_the_host_is_named() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.ip("addr del 203.0.113.10/32 dev lo")?;
    bench
        .ask(&["run"])?
        .refused(1, &["203.0.113.10 is not on this host", "ip addr add 203.0.113.10/32 dev front"]);
    assert_eq!(bench.program_on("front")?, None);
    assert!(!bench.pins.exists());
    Ok(())
}

#[test]
fn nat_without_ip_forwarding_is_refused() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.sysctl(&[("ipv4/ip_forward", "0")])?;
    bench.ask(&["run"])?.refused(1, &["net/ipv4/conf/front/forwarding", "sysctl -w net.ipv4.ip_forward=1"]);
    Ok(())
}

#[test]
fn a_second_daemon_is_told_who_is_first() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let first = bench.start(&["--ephemeral"])?;
    let program = bench.program_on("front")?;
    bench.ask(&["run"])?.refused(1, &[&format!("process {} holds", first.pid()), "sipsteer reload"]);
    bench.ask(&["detach"])?.refused(1, &[&format!("process {}", first.pid()), "stop it first"]);
    assert_eq!(bench.program_on("front")?, program);
    assert_eq!(bench.status()?["state"], "ok");
    Ok(())
}

#[test]
fn a_configuration_with_mistakes_is_refused_with_all_of_them() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let config = bench.config(&["front"], &BACKENDS[..1]);
    bench.configure(&format!("{config}colour = 1\n[[backend]]\nname = \"sw1\"\nzone = \"nowhere\"\n"))?;
    bench.ask(&["run"])?.refused(1, &["colour", "\"sw1\"", "nowhere", "address"]);
    let said = bench.ask(&["check", bench.config_file().to_str().unwrap(), "--json"])?;
    assert_eq!(said.status, 1);
    let document: serde_json::Value = serde_json::from_str(&said.stdout)?;
    assert_eq!(document["schema"], "sipsteer/check/1");
    assert_eq!(document["error"]["code"], "config_refused");
    assert!(document["error"]["details"]["complaints"].as_array().unwrap().len() >= 3, "{document}");
    Ok(())
}

#[test]
fn commands_say_what_to_do_when_nothing_is_attached() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    for command in [&["status"][..], &["backend", "list"], &["service", "list"], &["counters"]] {
        bench.ask(command)?.refused(3, &["not attached", "sipsteer run"]);
    }
    bench.ask(&["reload"])?.refused(3, &["no daemon answers", "sipsteer run"]);
    let said = bench.ask(&["status", "--json"])?;
    let document: serde_json::Value = serde_json::from_str(&said.stdout)?;
    assert_eq!((said.status, &document["error"]["code"]), (3, &"not_running".into()));
    Ok(())
}
