//! What `sipsteer run` refuses, in words that say what to do, and without touching anything.

use anyhow::{Context, Result};
use lb_tests::{
    daemon::{Config, Node},
    needs_bpf,
    process::Process,
    program::{PassProgram, attached},
    topology::{BACK, FRONT, Forwarding, Lab},
};
use std::{fs, os::unix::process::ExitStatusExt, time::Duration};

/// Runs the daemon, which must end by itself with this status, and returns what it printed.
fn refused(node: &Node<'_>, status: i32) -> Result<String> {
    let process: Process = node.spawn(&["--ephemeral"])?;
    let ended = process.wait(Duration::from_secs(20))?;
    assert_eq!(ended.code(), Some(status), "signal {:?}; {}", ended.signal(), process.last_words());
    Ok(process.log())
}

#[test]
fn an_interface_that_does_not_exist() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let config = fs::read_to_string(&node.config)?;
    fs::write(&node.config, config.replace(BACK, "nowhere0"))?;
    let words = refused(&node, 1)?;
    assert!(words.contains("nowhere0"), "{words}");
    assert_eq!(attached(&lab.balancer, FRONT)?, None, "the other interface is left alone");
    assert!(!node.pins.exists(), "no pins are left");
    Ok(())
}

#[test]
fn an_interface_that_carries_another_program() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let _other = PassProgram::attach(&lab.balancer, BACK)?;
    let theirs = attached(&lab.balancer, BACK)?.context("the other program is attached")?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let words = refused(&node, 1)?;
    assert!(words.contains(BACK) && words.contains("XDP"), "{words}");
    assert_eq!(attached(&lab.balancer, BACK)?, Some(theirs), "the other program stays");
    assert_eq!(attached(&lab.balancer, FRONT)?, None);
    Ok(())
}

#[test]
fn a_second_daemon() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let first = node.start(&["--ephemeral"])?;
    let program = attached(&lab.balancer, FRONT)?;
    let words = refused(&node, 1)?;
    assert!(words.contains(&first.pid().to_string()), "it names the first one: {words}");
    assert_eq!(attached(&lab.balancer, FRONT)?, program, "the first one goes on");
    assert!(node.ask(&["status"])?.status.success());
    Ok(())
}

#[test]
fn a_service_address_that_is_not_on_the_host() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    lab.balancer.ip(&format!("addr del {}/32 dev {FRONT}", lab.service().ip()))?;
    let words = refused(&node, 1)?;
    assert!(words.contains(&lab.service().ip().to_string()), "{words}");
    assert_eq!(attached(&lab.balancer, FRONT)?, None);
    Ok(())
}

#[test]
fn a_bad_file_at_a_reload_changes_nothing_and_every_mistake_is_told() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let before = node.json(&["backend", "list"])?["backends"].clone();
    let good = fs::read_to_string(&node.config)?;
    let bad = good
        .replace("10.0.0.12:5060", "10.0.0.11:5060")
        .replace("forwarding = \"nat\"", "forwarding = \"magic\"");
    fs::write(&node.config, bad)?;
    let answer = node.ask(&["reload"])?;
    let words = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert_eq!(answer.status.code(), Some(1), "{words}");
    assert!(words.contains("magic") && words.contains("10.0.0.11:5060"), "{words}");
    assert_eq!(node.json(&["backend", "list"])?["backends"], before);
    Ok(())
}
