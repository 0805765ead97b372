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

    let _daemon = bench.start(&["--ephemeral"])?;
    for command in [&["status"][..], &["reload"], &["backend", "list"], &["detach"]] {
        let mut nobody = bench.balancer.command("setpriv");
        nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
        let said = bench.ask_by(nobody, command)?;
        // Whoever may not stop the daemon learns from `detach` that it runs.
        assert_eq!(said.status, if command == ["detach"] { 1 } else { 4 }, "{command:?}: {}", said.stderr);
    }
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
    assert_eq!(bench.program_on("front")?, None);
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

/// Runs `sipsteer run` where `before` has changed the mounts.
fn run_after(bench: &Bench, before: &str, arguments: &[&str]) -> Result<support::Said> {
    let mut command = bench.balancer.command("unshare");
    command.args(["--mount", "--", "sh", "-c", &format!("{before} && exec timeout 5 {BINARY} \"$@\""), "sh"]);
    bench.ask_by(command, arguments)
}

#[test]
fn a_kernel_without_btf_is_told() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let said = run_after(&bench, "mount -t tmpfs none /sys/kernel/btf", &["run"])?;
    said.refused(1, &["/sys/kernel/btf/vmlinux does not exist", "CONFIG_DEBUG_INFO_BTF=y"]);
    Ok(())
}

#[test]
fn bpffs_is_mounted_when_it_is_missing() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let unmount = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/bpf";
    let said = run_after(&bench, unmount, &["run", "--ephemeral"])?;
    assert!(said.stderr.contains("mounted a bpf file system at /sys/fs/bpf"), "{}", said.stderr);
    assert!(said.stderr.contains(" ready"), "{}", said.stderr);
    Ok(())
}

#[test]
fn a_driver_without_xdp_falls_back_with_its_reason_or_is_refused() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.balancer.ip("link add bare type bridge")?;
    bench.balancer.ip("link set bare up")?;
    let auto = bench.config(&["front", "bare"], &BACKENDS);
    let native = auto.replace("[dialogs]", "xdp_mode = \"native\"\n[dialogs]");

    bench.configure(&native)?;
    bench.ask(&["run"])?.refused(1, &["bare in native mode", "xdp_mode = \"generic\""]);
    assert_eq!(bench.program_on("front")?, None);
    assert!(!bench.pins.exists());

    bench.configure(&auto)?;
    let daemon = bench.start(&[])?;
    assert!(daemon.log().contains("bare: its driver does not take XDP ("), "{}", daemon.last_words());
    let modes: Vec<String> = bench.status()?["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| format!("{} {}", i["name"].as_str().unwrap(), i["mode"].as_str().unwrap()))
        .collect();
    assert_eq!(modes, ["bare generic", "front native"]);
    daemon.end();
    Ok(())
}

#[test]
fn an_adopted_interface_keeps_its_program_when_another_fails() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    bench.start(&[])?.end();
    let before = bench.program_on("front")?;
    bench.balancer.ip("link add bare type bridge")?;
    let config =
        bench.config(&["front", "bare"], &BACKENDS).replace("[dialogs]", "xdp_mode = \"native\"\n[dialogs]");
    bench.configure(&config)?;
    bench.ask(&["run"])?.refused(1, &["bare in native mode"]);
    assert_eq!(bench.program_on("front")?, before);
    Ok(())
}
