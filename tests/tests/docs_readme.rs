//! The README says what the code says: verdicts, numbers in the maps, files it points to.

use anyhow::{Result, ensure};
use lb_common::{
    map::{
        backend::{health, will},
        dialog::Phase,
    },
    verdict::{Fate, Verdict},
};
use lb_tests::docs::{CHANGELOG, MANUAL, README, read, root, table, written};
use sipsteer::view::{health_word, will_word};

const HEADINGS: [&str; 5] = ["#", "verdict", "packet", "expected", "meaning"];

fn row(verdict: &Verdict) -> Vec<String> {
    let fate = match verdict.fate() {
        Fate::Host => "left to the host",
        Fate::HostForwards => "forwarded by the host",
        Fate::Sent => "sent",
        Fate::Daemon => "left to the daemon",
        Fate::Dropped => "dropped",
    };
    let expected = if verdict.expected() { "yes" } else { "no" };
    let name = format!("`{}`", verdict.name());
    [&verdict.index().to_string(), &name, fate, expected, verdict.sentence().trim()]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn the_table_of_verdicts_is_that_of_the_code() -> Result<()> {
    let rows: Vec<Vec<String>> = Verdict::ALL.iter().map(row).collect();
    let shown = table(&read(README)?, "verdicts").unwrap_or_default();
    ensure!(
        shown == rows,
        "put this table between the markers in {README}:\n\n{}",
        written(&HEADINGS, &rows)
    );
    Ok(())
}

/// `1 first, 2 second`.
fn numbered(words: impl IntoIterator<Item = (u8, &'static str)>) -> String {
    words.into_iter().map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_numbers_in_the_maps_mean_what_is_said() -> Result<()> {
    let readme = read(README)?;
    let wills = [will::ABSENT, will::ENABLED, will::DRAINING, will::DISABLED, will::REMOVED];
    for (field, words) in [
        ("will", numbered(wills.map(|w| (w, will_word(w))))),
        ("health", numbered([health::UP, health::DOWN, health::DRAINING].map(|h| (h, health_word(h))))),
        ("phase", numbered(Phase::ALL.map(|p| (p as u8, p.name())))),
    ] {
        let line = format!("* `{field}`: {words}");
        ensure!(readme.lines().any(|l| l == line), "{README} has no line {line:?}");
    }
    Ok(())
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    for file in [README, MANUAL, CHANGELOG] {
        let text = read(file)?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let beside = root().join(file).with_file_name(path);
            let target = if path.is_empty() { root().join(file) } else { beside };
            ensure!(target.is_file(), "{file} links to {link}: there is no such file");
            let there = std::fs::read_to_string(&target)?;
            let found = there.lines().filter(|l| l.starts_with('#')).any(|l| anchor(l) == fragment);
            ensure!(fragment.is_empty() || found, "{file} links to {link}: there is no such heading");
        }
    }
    Ok(())
}

#[test]
fn the_code_map_names_files_that_exist() -> Result<()> {
    let readme = read(README)?;
    let paths = readme.split('`').filter(|word| {
        word.contains('/')
            && !word.contains(['*', ' ', '='])
            && ["lb-", "tests/", "xtask/", "scripts/"].iter().any(|p| word.starts_with(p))
    });
    let mut count = 0;
    for path in paths {
        ensure!(root().join(path).exists(), "{README} names {path}, which does not exist");
        count += 1;
    }
    ensure!(count > 8, "only {count} paths were found, so this test looks for the wrong thing");
    Ok(())
}
