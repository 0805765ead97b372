//! Every command of the documentation is one that works: each shell block is marked with how it is looked at.

use anyhow::{Context, Result, ensure};
use lb_common::map::{TABLE, name};
use lb_tests::{
    command::output,
    daemon::binary,
    docs::{MANUAL, README, ShellBlock, commands, read, root, shell_blocks},
};
use std::process::Command;

/// Where the maps are, for bpftool.
const PINS: &str = "/sys/fs/bpf/sipsteer/";

fn all_blocks() -> Result<Vec<ShellBlock>> {
    Ok([shell_blocks(&read(README)?), shell_blocks(&read(MANUAL)?)].concat())
}

/// The words of a command line; quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap_or(&mut String::new()).push(c),
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

#[test]
fn every_block_says_who_runs_it() -> Result<()> {
    const MARKS: [&str; 9] = [
        "scripts",
        "install",
        "balancer",
        "backend-nat",
        "backend-l2",
        "bpftool",
        "sipsteer",
        "package",
        "api",
    ];
    for block in all_blocks()? {
        ensure!(MARKS.contains(&block.mark.as_str()), "{:?} is no mark that a test knows", block.mark);
        ensure!(!block.commands.is_empty(), "an empty block is marked {}", block.mark);
    }
    Ok(())
}

/// `--help` at the end makes the command line be read but not obeyed.
#[test]
fn the_command_line_takes_every_command() -> Result<()> {
    let sipsteer = binary()?;
    let lines: Vec<String> = all_blocks()?.into_iter().flat_map(|b| b.commands).collect();
    let ours: Vec<&String> = lines.iter().filter(|l| l.starts_with("sipsteer ")).collect();
    ensure!(ours.len() > 8, "only {ours:?} were found");
    for line in ours {
        let out = output(Command::new(&sipsteer).args(&words(line)[1..]).arg("--help"))?;
        ensure!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(())
}

#[test]
fn the_manual_lists_every_command_and_no_other() -> Result<()> {
    let manual = read(MANUAL)?;
    let rows = manual.lines().filter_map(|l| l.strip_prefix("| `sipsteer ")?.split('`').next());
    let listed: Vec<&str> = rows.collect();
    let subcommands = |of: &[&str]| -> Result<Vec<String>> {
        let out = output(Command::new(binary()?).args(of).arg("--help"))?;
        let help = String::from_utf8(out.stdout)?;
        let after = help
            .split("Commands:\n")
            .nth(1)
            .map(|rest| rest.split("\n\n").next().unwrap_or_default().to_owned());
        let names = after.unwrap_or_default();
        Ok(names
            .lines()
            .filter_map(|l| l.strip_prefix("  ")?.split_whitespace().next())
            .map(str::to_owned)
            .filter(|w| !w.is_empty())
            .collect())
    };
    let mut expected = Vec::new();
    for command in subcommands(&[])? {
        let below = subcommands(&[&command])?;
        let full = below.iter().map(|b| format!("{command} {b}"));
        if below.is_empty() { expected.push(command.clone()) } else { expected.extend(full) }
    }
    let plain = |l: &&str| {
        l.split(' ').take_while(|w| w.chars().all(|c| c.is_lowercase())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed.iter().map(plain).collect::<Vec<_>>(), expected);
    Ok(())
}

#[test]
fn scripts_are_there_and_know_their_options() -> Result<()> {
    let lines: Vec<String> = all_blocks()?.into_iter().flat_map(|b| b.commands).collect();
    let scripts: Vec<Vec<String>> =
        lines.iter().filter(|l| l.starts_with("scripts/")).map(|l| words(l)).collect();
    ensure!(scripts.len() > 3, "only {scripts:?} were found");
    for line in scripts {
        let text = read(&line[0])?;
        let head: String =
            text.lines().take_while(|l| !l.starts_with("set ")).map(|l| format!("{l}\n")).collect();
        for option in line.iter().filter(|w| w.starts_with("--")) {
            ensure!(head.contains(option), "{} does not tell of {option}", line[0]);
        }
    }
    let manifest = read("Cargo.toml")?;
    ensure!(
        manifest.contains("default-members = [\"lb-userspace\"]"),
        "`cargo build` would build more than sipsteer"
    );
    ensure!(root().join("scripts/setup").is_file());
    Ok(())
}

#[test]
fn bpftool_is_shown_maps_that_exist() -> Result<()> {
    let shown = commands(&read(README)?, "bpftool");
    for line in &shown {
        let pin = line
            .split_whitespace()
            .find_map(|w| w.strip_prefix(PINS))
            .with_context(|| format!("{line} names no pin"))?;
        let exists = TABLE.iter().any(|m| m.name == pin) || pin.starts_with("link-");
        ensure!(line.starts_with("bpftool ") && exists, "{line}");
    }
    // What the scenario with real calls looks for: each as a command of its own, and taken apart by a script.
    for map in [name::BACKENDS, name::DIALOGS, name::VERDICTS] {
        let dump = format!("bpftool map dump pinned {PINS}{map}");
        let alone = match map {
            // A bucket: nobody wants to see all.
            name::DIALOGS => format!("bpftool map lookup pinned {PINS}{map} key 0 0 0 0"),
            _ => dump.clone(),
        };
        ensure!(shown.contains(&alone), "{README} does not show {alone}");
        ensure!(shown.iter().any(|l| l.starts_with(&format!("{dump} | python3 -c "))), "no script for {map}");
    }
    Ok(())
}

/// The files that the package installs, with the names they get.
const PACKAGE: &str = "lb-userspace/package";

#[test]
fn the_unit_runs_commands_that_exist() -> Result<()> {
    let unit = read(&format!("{PACKAGE}/sipsteer.service"))?;
    let lines = unit.lines().filter_map(|l| l.strip_prefix("Exec")?.split_once('=')).map(|(_, line)| line);
    let mut count = 0;
    for line in lines.filter(|line| !line.starts_with('+')) {
        let arguments =
            line.strip_prefix("/usr/sbin/sipsteer ").with_context(|| format!("{line} is not ours"))?;
        let out = output(Command::new(binary()?).args(arguments.split(' ')).arg("--help"))?;
        ensure!(out.status.success(), "{line}");
        count += 1;
    }
    ensure!(count == 3, "{count} commands in the unit");
    Ok(())
}

#[test]
fn what_the_manual_installs_is_there() -> Result<()> {
    let lines = commands(&read(MANUAL)?, "package");
    let installed: Vec<&str> =
        lines.iter().filter_map(|l| l.strip_prefix("install -D -m 0644 ")?.split(' ').next()).collect();
    for file in &installed {
        ensure!(root().join(PACKAGE).join(file).is_file(), "{file} is not in {PACKAGE}");
    }
    ensure!(installed.len() == 3, "{installed:?}");
    // The unit reads the folders' file where it is installed.
    let unit = read(&format!("{PACKAGE}/sipsteer.service"))?;
    ensure!(lines.iter().any(|l| l.ends_with(" /usr/lib/tmpfiles.d/sipsteer.conf")));
    ensure!(unit.contains("--create /usr/lib/tmpfiles.d/sipsteer.conf"));
    Ok(())
}
