//! More than two hundred broken files, one after the other, given to a running daemon: each is refused with its place, the
//! reason and what to do, and nothing changes.

mod support;

use anyhow::{Context, Result, ensure};
use lb_tests::needs_bpf;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::Bench;

/// Fewest files.
const LEAST: usize = 200;

/// Every key there is but those of `[api]`, with values of which each can be made wrong. The interface and the addresses are the
/// bench's.
const WHOLE: &str = include_str!("whole.toml");
/// The key that it names, which is not the bench's.
const KEY: &str = "/etc/sipsteer/hash.key";

/// What values become. A few are right for some keys: see [`RIGHT`].
const VALUES: [&str; 9] =
    ["", "true", "-1", "1e99", "\"\"", "\"no such thing\"", "[]", "{ a = 1 }", "[\"unclosed\""];

/// Damages of a value that leave the file right, by key and value.
const RIGHT: [(&str, &str); 3] = [("trusted", "[]"), ("shortened", "true"), ("retry_refused", "true")];

/// Mistakes between keys, and beside them: what is replaced, and by what.
const BY_HAND: [(&str, &str); 24] = [
    ("[node]", "[nodes]"),
    ("[dialogs]", "[[dialogs]]\n[[dialogs]]"),
    ("[[service]]", "[service]"),
    ("[[backend]]\nname = \"sw1\"", "[backend]\nname = \"sw1\""),
    ("name = \"sw2\"", "name = \"sw1\""),
    ("10.0.0.12:5060", "10.0.0.11:5060"),
    ("10.0.0.12:5060", "203.0.113.10:5060"),
    ("10.0.0.12:5060", "10.0.0.12"),
    ("10.0.0.12:5060", "10.0.0.12:0"),
    ("10.0.0.12:5060", "10.0.0.12:65536"),
    ("10.0.0.12:5060", "[2001:db8::1]:5060"),
    ("10.0.0.12:5060", "sw2.example.com:5060"),
    ("10.0.0.12:5060", "224.0.0.1:5060"),
    ("5060/udp\"", "5060/tcp\""),
    ("5060/udp\"", "5060\""),
    ("203.0.113.11:5060/udp", "203.0.113.10:5060/udp"),
    ("\"front\"", "\"front\", \"front\""),
    ("\"front\"", "\"a name longer than fifteen\""),
    ("\"32s\"", "\"31s\""),
    ("\"12h\"", "\"12 hours\""),
    ("\"12h\"", "\"99999h\""),
    ("198.51.100.0/24", "198.51.100.1/24"),
    ("[1, 5]", "[5, 1]"),
    ("zone = \"germany\"\naddress = \"10.0.0.12:5060\"", "zone = \"nowhere\"\naddress = \"10.0.0.12:5060\""),
];

/// A broken file and what was done to it.
struct Broken {
    what: String,
    text: String,
}

/// Whole keys, not what stands within a table in braces.
fn lines(whole: &str) -> Vec<(usize, &str, &str)> {
    let keys = whole.lines().enumerate();
    keys.filter_map(|(at, line)| line.split_once(" = ").map(|(key, value)| (at, key, value))).collect()
}

fn with_line(whole: &str, at: usize, line: &str) -> String {
    let lines = whole.lines().enumerate().map(|(number, old)| if number == at { line } else { old });
    lines.map(|line| format!("{line}\n")).collect()
}

fn broken(whole: &str) -> Vec<Broken> {
    let mut files = Vec::new();
    let mut add = |what: String, text: String| files.push(Broken { what, text });
    for (at, key, value) in lines(whole) {
        for other in VALUES.iter().filter(|other| !RIGHT.contains(&(key, **other))) {
            add(
                format!("line {}: {key} = {other}", at + 1),
                with_line(whole, at, &format!("{key} = {other}")),
            );
        }
        add(format!("line {}: {key}y", at + 1), with_line(whole, at, &format!("{key}y = {value}")));
        add(
            format!("line {}: {key} twice", at + 1),
            with_line(whole, at, &format!("{key} = {value}\n{key} = {value}")),
        );
        add(format!("line {}: no =", at + 1), with_line(whole, at, &format!("{key} {value}")));
    }
    for (old, new) in BY_HAND {
        add(format!("{old:?} becomes {new:?}"), whole.replacen(old, new, 1));
    }
    for required in ["name = \"lb1\"\n", "interfaces = [\"front\"]\n", "address = \"10.0.0.12:5060\"\n"] {
        add(format!("without {required:?}"), whole.replacen(required, "", 1));
    }
    add("nothing at all".to_owned(), String::new());
    add("no text".to_owned(), "\u{0}\u{1}\u{2}".to_owned());
    add("half of it".to_owned(), whole.split_at(whole.len() / 2 - 7).0.to_owned());
    files
}

/// What must stay as it is.
fn state(bench: &Bench) -> Result<Value> {
    let status = bench.status()?;
    let named = |list: &str, keys: &[&str]| -> Vec<Value> {
        let rows = status[list].as_array().into_iter().flatten();
        rows.map(|row| keys.iter().map(|key| row[*key].clone()).collect::<Vec<_>>().into()).collect()
    };
    Ok(json!([
        named("backends", &["name", "address", "zone", "will", "max_cps", "max_channels", "weight"]),
        named("services", &["name", "listen", "policy", "bound", "hash_by", "zones"]),
        named("zones", &["name", "will"]),
        status["interfaces"],
        status["daemon"]["configured"],
        status["daemon"]["pid"],
        status["differences"],
    ]))
}

#[test]
fn every_broken_file_is_refused_with_place_reason_and_remedy() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let key = bench.folder.path().join("hash.key");
    let whole = WHOLE.replace(KEY, key.to_str().context("a path of ours")?);
    bench.balancer.ip("addr add 203.0.113.11/32 dev front")?;
    bench.configure(&whole)?;
    let daemon = bench.start(&["--ephemeral"])?;
    bench.json(&["backend", "drain", "sw2"])?;
    let mut before = state(&bench)?;
    let files = broken(&whole);
    let different: BTreeSet<&str> = files.iter().map(|file| file.text.as_str()).collect();
    ensure!(different.len() == files.len() && !different.contains(whole.as_str()), "two files are one");
    ensure!(files.len() >= LEAST, "only {} files", files.len());
    let mut taken = Vec::new();
    for (number, file) in files.iter().enumerate() {
        bench.configure(&file.text)?;
        let said = bench.ask(&["reload", "--json"])?;
        let document: Value = serde_json::from_str(&said.stdout)?;
        let error = &document["error"];
        if said.status != 1 || error["code"] != "config_refused" {
            let why = error["message"].as_str().unwrap_or("taken").to_owned();
            taken.push(format!("{}: {why}", file.what));
            before = state(&bench)?;
            continue;
        }
        ensure!(
            error["message"].as_str().is_some_and(|m| m.contains("sipsteer.toml")),
            "{}: {error}",
            file.what
        );
        let complaints = error["details"]["complaints"].as_array().context("no complaints")?;
        let errors: Vec<&Value> = complaints.iter().filter(|c| c["severity"] == "error").collect();
        ensure!(!errors.is_empty(), "{}: {error}", file.what);
        let count = file.text.lines().count().max(1) as u64;
        for complaint in errors {
            let told = |key: &str| complaint[key].as_str().is_some_and(|text| !text.trim().is_empty());
            ensure!(
                ["file", "message", "reason", "remedy", "code"].iter().all(|key| told(key)),
                "{}: {complaint}",
                file.what
            );
            let line = complaint["line"].as_u64().context("no line")?;
            ensure!((1..=count + 1).contains(&line), "{}: {complaint}", file.what);
        }
        if number % 10 == 0 {
            assert_eq!(state(&bench)?, before, "after {}", file.what);
        }
    }
    ensure!(taken.is_empty(), "taken, or refused for another reason: {taken:#?}");
    assert_eq!(state(&bench)?, before);
    ensure!(daemon.status()?.is_none() && !daemon.log().contains("panicked"), "{}", daemon.last_words());
    println!("{} broken files were refused", files.len());

    bench.configure(&whole)?;
    assert_eq!(bench.json(&["reload"])?["changes"], "nothing changes");
    Ok(())
}
