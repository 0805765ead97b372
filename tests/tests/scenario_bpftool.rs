//! bpftool alone shows backends, dialogs and verdicts: the commands of the README, run as they stand there.

use anyhow::{Context, Result};
use lb_common::{
    map::{dialog::Phase, name},
    verdict::Verdict,
};
use lb_tests::{
    command::run,
    daemon::{Config, Node},
    needs_bpf,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{Forwarding, Lab},
};
use serde_json::Value;
use std::{fs, path::Path, process::Command, time::Duration};

/// Where the README says the maps are.
const PINS: &str = "/sys/fs/bpf/sipsteer/";

/// The README's commands that begin with `bpftool`, comments left out.
fn readme_commands() -> Result<Vec<String>> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let lines = readme.lines().map(|l| l.trim().trim_start_matches("# ").trim_start_matches("$ "));
    let commands = lines.filter(|l| l.starts_with("bpftool ") && l.contains(PINS));
    Ok(commands.map(|l| l.split(" #").next().unwrap_or(l).trim().to_owned()).collect())
}

/// The entries that the README's command for a map prints, each with its named fields.
fn entries(node: &Node<'_>, map: &str) -> Result<Vec<Value>> {
    let commands = readme_commands()?;
    let shown = commands.iter().find(|c| c.split_whitespace().any(|word| word == format!("{PINS}{map}")));
    let command =
        shown.with_context(|| format!("the README shows no bpftool command for {map}: {commands:?}"))?;
    let here = command.replace(PINS, &format!("{}/", node.pins.display()));
    let printed = run(Command::new("sh").args(["-c", &here]))?;
    let document: Value =
        serde_json::from_str(&printed).with_context(|| format!("{command} printed {printed}"))?;
    let list = document.as_array().cloned().with_context(|| format!("{command} printed no list"))?;
    // With -j or -p the raw bytes come first and the fields under `formatted`.
    Ok(list
        .into_iter()
        .map(|mut e| if e["formatted"].is_null() { e } else { e["formatted"].take() })
        .collect())
}

/// The text in a field of NUL-padded bytes, which bpftool prints as numbers or as characters.
fn text(field: &Value) -> String {
    let bytes = field.as_array().into_iter().flatten().filter_map(|b| match b {
        Value::Number(n) => u8::try_from(n.as_u64()?).ok(),
        Value::String(s) => s.bytes().next(),
        _ => None,
    });
    String::from_utf8_lossy(&bytes.take_while(|b| *b != 0).collect::<Vec<_>>()).into_owned()
}

#[test]
fn the_commands_of_the_readme_show_what_the_command_line_shows() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(&lab, Scenario::Call, Duration::from_secs(60))?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let made = Caller::start(&lab, &Load::calls(100, 100))?.wait()?;
    assert_eq!(made.ok, 100);

    let backends = entries(&node, name::BACKENDS)?;
    for backend in &lab.backends {
        let found = backends.iter().map(|e| &e["value"]).find(|value| text(&value["name"]) == backend.name);
        let value = found.with_context(|| format!("{} is not in BACKENDS", backend.name))?;
        assert_eq!(value["port"], 5060);
        assert!(value["next_hop"]["ifindex"].as_u64() > Some(0), "{value}");
    }

    let dialogs = entries(&node, name::DIALOGS)?;
    assert_eq!(dialogs.len(), 100);
    for dialog in &dialogs {
        assert!(dialog["key"]["call_key"].is_u64(), "{dialog}");
        assert_eq!(dialog["value"]["state"]["phase"], Phase::Ended as u8, "{dialog}");
    }

    let verdicts = entries(&node, name::VERDICTS)?;
    let new = verdicts
        .iter()
        .find(|e| e["key"] == Verdict::SteeredNew.index())
        .context("no entry for steered-new")?;
    let packets =
        new["values"].as_array().into_iter().flatten().filter_map(|v| v["value"]["packets"].as_u64());
    assert_eq!(packets.sum::<u64>(), 100, "{new}");
    Ok(())
}
