//! An operator follows the README to the letter: its very commands, with their default paths, up to real calls. The
//! balancer has its own `/etc`, `/run` and `/sys/fs/bpf` for that.

use anyhow::{Context, Result, ensure};
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{self, server::Habits},
    command::{output, run},
    daemon::{Config, Node, binary},
    docs::{MANUAL, README, commands, read},
    needs_bpf,
    netns::Namespace,
    process::{Process, wait_until},
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{BACK, FRONT, Forwarding, Lab},
};
use std::{fs, process::Output, time::Duration};

const LIFETIME: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(30);
const CALLS: u32 = 50;

/// The README's names for the balancer's two interfaces.
const NAMES: [(&str, &str); 2] = [(FRONT, "eth0"), (BACK, "eth1")];

/// The balancer of a lab as its operator finds it: cabled and addressed, and nothing of ours.
struct Host<'a> {
    lab: &'a Lab,
    mounts: Process,
}

impl<'a> Host<'a> {
    fn new(lab: &'a Lab) -> Result<Host<'a>> {
        for (lab_name, name) in NAMES {
            lab.balancer.ip(&format!("link set {lab_name} down"))?;
            lab.balancer.ip(&format!("link set {lab_name} name {name}"))?;
            lab.balancer.ip(&format!("link set {name} up"))?;
        }
        lab.balancer.ip(&format!("addr del {}/32 dev eth0", lab.service().ip()))?;
        lab.balancer.sysctl(&[("ipv4/ip_forward", "0"), ("ipv4/conf/eth1/accept_local", "0")])?;
        let script = "for folder in /etc /run /var/lib; do mount -t tmpfs tmpfs $folder || exit 1; done && \
                      mount -t bpf bpf /sys/fs/bpf && echo mounted && exec sleep 600";
        let log = lab.folder().join("mounts.log");
        let arguments = ["--mount", "--propagation", "private", "--", "sh", "-c", script];
        let mounts = Process::start(&lab.balancer, "unshare", arguments, &log)?;
        wait_until("the balancer has its own mounts", PATIENCE, || {
            Ok(fs::read_to_string(&log)? == "mounted\n")
        })
        .with_context(|| mounts.last_words())?;
        Ok(Host { lab, mounts })
    }

    /// Options of `nsenter` that lead to the balancer's mounts.
    fn there(&self) -> [String; 3] {
        [format!("--target={}", self.mounts.pid()), "--mount".to_owned(), "--".to_owned()]
    }

    /// A line of the documentation, typed into the balancer's shell.
    fn types(&self, line: &str) -> Result<Output> {
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = binary()?.parent().context("the binary lies nowhere")?.display().to_string();
        let mut command = self.lab.balancer.command("nsenter");
        command
            .args(self.there())
            .args(["sh", "-c", line])
            .env("PATH", format!("{folder}:{path}:/usr/sbin:/sbin"));
        output(&mut command)
    }

    /// The same, and it works. Returns what it printed.
    fn does(&self, line: &str) -> Result<String> {
        let out = self.types(line)?;
        let words = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "{line} ended with {}: {words}", out.status);
        Ok(String::from_utf8(out.stdout)?)
    }

    /// `sipsteer run` in a terminal of its own.
    fn runs(&self) -> Result<Process> {
        let arguments = self.there().into_iter().chain([binary()?.display().to_string(), "run".to_owned()]);
        let log = self.lab.folder().join("sipsteer.log");
        let daemon = Process::start(&self.lab.balancer, "nsenter", arguments, &log)?;
        wait_until("sipsteer steers", PATIENCE, || {
            ensure!(daemon.status()?.is_none(), "sipsteer does not run; {}", daemon.last_words());
            Ok(self.types("sipsteer status --brief")?.status.success())
        })
        .with_context(|| daemon.last_words())?;
        Ok(daemon)
    }
}

/// A block of the README, typed into a backend's shell.
fn backend_does(namespace: &Namespace, block: &[String]) -> Result<()> {
    ensure!(!block.is_empty(), "the README has no such block");
    for line in block {
        run(namespace.command("sh").args(["-c", line])).with_context(|| line.clone())?;
    }
    Ok(())
}

fn makes_calls(lab: &Lab) -> Result<()> {
    let made = Caller::start(lab, &Load::calls(CALLS, 50))?.wait()?;
    assert_eq!((made.ok, made.failed), (u64::from(CALLS), 0));
    Ok(())
}

/// The lines that a script of the README prints for one map.
fn script<'a>(host: &Host<'_>, block: &'a [String], map: &str) -> Result<(&'a String, Vec<String>)> {
    let line = block.iter().find(|l| l.contains(&format!("/{map} | ")));
    let line = line.with_context(|| format!("the README has no script for {map}"))?;
    Ok((line, host.does(line)?.lines().map(str::to_owned).collect()))
}

#[test]
fn an_operator_who_follows_the_readme_gets_calls_through_nat() -> Result<()> {
    needs_bpf!();
    let (readme, manual) = (read(README)?, read(MANUAL)?);
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let host = Host::new(&lab)?;
    for backend in &lab.backends {
        backend.namespace.ip("route del default")?;
        backend_does(&backend.namespace, &commands(&readme, "backend-nat"))?;
    }
    // They answer probes too.
    let _servers = calls::server::Server::start_all(&lab, Habits::default())?;
    let mut daemon = None;
    for line in commands(&readme, "balancer") {
        match line.as_str() {
            "sipsteer run" => daemon = Some(host.runs()?),
            line => {
                host.does(line)?;
                if line.starts_with("sipsteer init") {
                    // A table that bpftool prints before the calls in it are forgotten.
                    host.does("printf '\n[dialogs]\nmax = 16384\n' >> /etc/sipsteer/sipsteer.toml")?;
                }
            }
        }
    }
    let daemon = daemon.context("the README never starts sipsteer")?;
    makes_calls(&lab)?;

    let block = commands(&readme, "bpftool");
    for line in &block {
        host.does(line)?;
    }
    let (line, backends) = script(&host, &block, lb_common::map::name::BACKENDS)?;
    let expected = ["0 sw1 10.0.0.11 5060 1 0 ", "1 sw2 10.0.0.12 5060 1 0 "];
    ensure!(
        backends.len() == 2 && expected.iter().zip(&backends).all(|(e, b)| b.starts_with(e)),
        "{line}: {backends:?}"
    );
    let (line, dialogs) = script(&host, &block, lb_common::map::name::DIALOGS)?;
    let count = dialogs.iter().filter_map(|l| l.rsplit_once(' ')?.1.parse::<u32>().ok()).sum::<u32>();
    ensure!(count == CALLS && dialogs[0].starts_with("backend 0 phase "), "{line}: {dialogs:?}");
    let (line, verdicts) = script(&host, &block, lb_common::map::name::VERDICTS)?;
    ensure!(verdicts.len() == Verdict::ALL.len(), "{line}: {verdicts:?}");
    ensure!(verdicts.contains(&format!("{} {CALLS}", Verdict::SteeredNew.index())), "{line}: {verdicts:?}");

    for line in commands(&manual, "sipsteer").iter().filter(|l| !l.starts_with("sipsteer detach")) {
        let code = host.types(line)?.status.code();
        // The Call-ID of the manual is nobody's.
        assert_eq!(code, Some(i32::from(line.starts_with("sipsteer dialog show"))), "{line}");
    }
    daemon.end();
    makes_calls(&lab)?;
    let told = host.does("sipsteer detach")?;
    assert!(told.contains("detached from eth0, eth1"), "{told}");
    assert_eq!(host.types("ls /sys/fs/bpf/sipsteer")?.status.code(), Some(2), "nothing is left");
    Ok(())
}

#[test]
fn an_operator_who_follows_the_readme_gets_calls_through_l2() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::L2, 2)?;
    for backend in &lab.backends {
        backend.namespace.ip(&format!("addr del {}/32 dev lo", lab.service().ip()))?;
        backend
            .namespace
            .sysctl(&[("ipv4/conf/all/arp_ignore", "0"), ("ipv4/conf/all/arp_announce", "0")])?;
        backend_does(&backend.namespace, &commands(&read(README)?, "backend-l2"))?;
    }
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    makes_calls(&lab)?;
    assert_eq!(node.packets(Verdict::SteeredNew)?, u64::from(CALLS));
    Ok(())
}

#[test]
fn without_forwarding_the_check_of_the_host_names_the_command() -> Result<()> {
    needs_bpf!();
    let readme = read(README)?;
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let host = Host::new(&lab)?;
    let lines = commands(&readme, "balancer");
    let init = lines.iter().find(|l| l.starts_with("sipsteer init ")).context("no init")?;
    host.does(init)?;
    let out = host.types("sipsteer check --host")?;
    assert_eq!(out.status.code(), Some(1));
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    for needed in ["sysctl -w net.ipv4.ip_forward=1", "ip addr add 203.0.113.10/32 dev eth0"] {
        ensure!(told.contains(needed), "{needed} is not proposed: {told}");
        ensure!(lines.iter().any(|l| l == needed), "the README does not say {needed}");
    }
    Ok(())
}
