//! The example configurations: `sipsteer check` accepts them, and each steers calls in a lab that fits it.

use anyhow::{Context, Result};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        server::{Habits, Server},
    },
    command::output,
    daemon::{Node, binary},
    examples::{ALL, Example},
    needs_bpf,
};
use std::{fs, path::Path, process::Command};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-userspace/examples");

#[test]
fn every_example_is_accepted_without_a_complaint() -> Result<()> {
    let sipsteer = binary()?;
    let mut files = Vec::new();
    for entry in fs::read_dir(FOLDER)? {
        let file = entry?.path();
        let checked = output(Command::new(&sipsteer).arg("check").arg(&file).arg("--json"))?;
        let text = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{}: {text}", file.display());
        let document: serde_json::Value = serde_json::from_str(&text)?;
        assert_eq!(document["warnings"], 0, "{}: {text}", file.display());
        files.push(file.file_stem().context("a file without a name")?.to_string_lossy().into_owned());
    }
    files.sort_unstable();
    let mut known: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(files, known);
    Ok(())
}

#[test]
fn every_example_says_how_it_is_tried() -> Result<()> {
    for (name, text) in ALL {
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.iter().any(|line| line.ends_with(&format!("scripts/demo --stage {name}"))), "{name}");
        let file = Path::new(FOLDER).join(format!("{name}.toml"));
        assert_eq!(fs::read_to_string(&file)?, text, "{}", file.display());
    }
    Ok(())
}

#[test]
fn every_example_steers_calls() -> Result<()> {
    needs_bpf!();
    for (name, _) in ALL {
        let example = Example::named(name)?;
        let lab = example.lab()?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::with_text(&lab, &example.text(&lab))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let calls = Caller::start(&lab, &Plan::calls(name, 20, 20))?.wait()?;
        assert_eq!(calls.count(&Outcome::Completed), 20, "{name}: {:?}", calls.outcomes());
        let seen: usize = Server::stop_all(servers)?.iter().map(|record| record.calls.len()).sum();
        assert_eq!(seen, 20, "{name}");
    }
    Ok(())
}
