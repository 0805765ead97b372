//! bpftool alone shows backends, dialogs and verdicts: the commands of the README, run as they stand there.

use anyhow::{Context, Result};
use lb_common::{
    map::{
        dialog::{BUCKET_SLOTS, Phase},
        name,
    },
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

/// What the README's command for a map prints, the one that begins as `start` does.
fn printed(node: &Node<'_>, start: &str, map: &str, script: bool) -> Result<String> {
    let commands = readme_commands()?;
    let shown = commands.iter().find(|c| {
        c.starts_with(&format!("bpftool map {start} pinned {PINS}{map}")) && c.contains('|') == script
    });
    let command =
        shown.with_context(|| format!("the README shows no bpftool command for {map}: {commands:?}"))?;
    run(Command::new("sh").args(["-c", &command.replace(PINS, &format!("{}/", node.pins.display()))]))
}

/// The entries of a map, each with its named fields.
fn entries(node: &Node<'_>, map: &str) -> Result<Vec<Value>> {
    let text = printed(node, "dump", map, false)?;
    let document: Value = serde_json::from_str(&text).with_context(|| format!("{map}: {text}"))?;
    let list = document.as_array().cloned().with_context(|| format!("no list of {map}"))?;
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
    // A small table: bpftool prints every slot of it.
    let node = Node::new(&lab, &Config::of(&lab).with("[dialogs]\nmax = 1024"))?;
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

    // The calls went to both backends in turn, and are over.
    let by_backend = printed(&node, "dump", name::DIALOGS, true)?;
    let mut count = 0;
    for line in by_backend.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let ["backend", "0" | "1", "phase", phase, dialogs] = words[..] else { panic!("{by_backend}") };
        assert_eq!(phase, (Phase::Ended as u8).to_string(), "{by_backend}");
        count += dialogs.parse::<u32>()?;
    }
    assert_eq!(count, 100, "{by_backend}");
    let bucket: Value = serde_json::from_str(&printed(&node, "lookup", name::DIALOGS, false)?)?;
    let slots = bucket["value"]["slots"].as_array().context("no slots")?;
    assert_eq!(slots.len(), BUCKET_SLOTS as usize);
    for slot in slots {
        assert!(slot["call_key"].is_u64() && slot["state"]["phase"].is_u64(), "{slot}");
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
