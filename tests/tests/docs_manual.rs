//! The manual says what the code says: the table of maps, every key of the configuration with its default, exit statuses.

use anyhow::{Context, Result, ensure};
use lb_common::{abi::ABI, map::TABLE};
use lb_tests::docs::{CHANGELOG, MANUAL, read, table, written};
use sipsteer::{
    config::{Code, Complaints, Loaded, parse},
    failure::Kind,
    view::metrics::{self, METRICS},
};

const MAP_HEADINGS: [&str; 7] = ["map", "kind", "key", "value", "entries", "written by", "read by"];
/// A last column says in words what a map holds.
const WORDS: usize = MAP_HEADINGS.len();

#[test]
fn the_table_of_maps_is_that_of_the_code() -> Result<()> {
    let party = |party| format!("{party:?}").to_lowercase();
    let rows: Vec<Vec<String>> = TABLE
        .iter()
        .map(|map| {
            vec![
                map.name.to_owned(),
                format!("{:?}", map.kind),
                map.key_size.to_string(),
                map.value_size.to_string(),
                map.max_entries.to_string(),
                party(map.writer),
                party(map.reader),
            ]
        })
        .collect();
    let mut shown = table(&read(MANUAL)?, "maps").unwrap_or_default();
    for row in &mut shown {
        ensure!(row.len() == WORDS + 1 && !row[WORDS].is_empty(), "no words: {row:?}");
        row.truncate(WORDS);
    }
    ensure!(
        shown == rows,
        "make this the table between the markers in {MANUAL}, with a column of words:\n\n{}",
        written(&MAP_HEADINGS, &rows)
    );
    Ok(())
}

#[test]
fn the_table_of_metrics_is_that_of_the_daemon() -> Result<()> {
    let rows: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let (kind, end) = match metric.kind {
                metrics::Kind::Counter => ("counter", "_total"),
                metrics::Kind::Gauge => ("gauge", ""),
                metrics::Kind::Info => ("info", "_info"),
            };
            let labels = if metric.labels.is_empty() { "none".to_owned() } else { metric.labels.join(", ") };
            vec![format!("`{}{end}`", metric.name), kind.to_owned(), labels, metric.help.to_owned()]
        })
        .collect();
    let shown = table(&read(MANUAL)?, "metrics").unwrap_or_default();
    ensure!(
        shown == rows,
        "make this the table between the markers in {MANUAL}:\n\n{}",
        written(&["metric", "kind", "labels", "what"], &rows)
    );
    Ok(())
}

/// Every metric that an alert or a board asks for is one that the daemon has.
#[test]
fn alerts_and_boards_ask_for_metrics_that_exist() -> Result<()> {
    let mut known: Vec<String> = Vec::new();
    for metric in METRICS {
        let end = match metric.kind {
            metrics::Kind::Counter => "_total",
            metrics::Kind::Gauge => "",
            metrics::Kind::Info => "_info",
        };
        known.push(format!("{}{end}", metric.name));
    }
    for histogram in ["control_loop", "map_write"] {
        known.push(format!("sipsteer_{histogram}_duration_seconds_bucket"));
    }
    for file in ["prometheus/sipsteer-alerts.yaml", "grafana/sipsteer.json"] {
        let text = read(&format!("lb-userspace/package/{file}"))?;
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: Vec<&str> = words.filter(|word| word.starts_with("sipsteer_")).collect();
        ensure!(asked.len() > 8, "{file} asks for {asked:?}");
        for name in asked {
            ensure!(known.iter().any(|known| known == name), "{file} asks for {name}");
        }
    }
    Ok(())
}

/// A key of the table, `node.name` for instance, with its default.
struct Key {
    section: String,
    name: String,
    default: String,
}

fn keys() -> Result<Vec<Key>> {
    let rows = table(&read(MANUAL)?, "keys")?;
    let key = |row: &Vec<String>| {
        let (section, name) = row.first()?.trim_matches('`').split_once('.')?;
        let default = row.get(1)?.trim_matches('`').to_owned();
        Some(Key { section: section.to_owned(), name: name.to_owned(), default })
    };
    rows.iter().map(|row| key(row).with_context(|| format!("not a row of a key: {row:?}"))).collect()
}

/// What must be there, by section: the least configuration.
const LEAST: [(&str, &[(&str, &str)]); 11] = [
    ("node", &[("name", "\"lb1\""), ("interfaces", "[\"eth0\"]")]),
    ("dialogs", &[]),
    ("answers", &[]),
    ("metrics", &[("listen", "\"127.0.0.1:9464\"")]),
    ("api", &[("listen", "\"127.0.0.1:9443\""), ("token_file", "\"/etc/sipsteer/api.token\"")]),
    ("health", &[]),
    ("controller", &[]),
    (
        "telemetry",
        &[
            ("name", "\"metrics\""),
            ("type", "\"prometheus\""),
            ("zone", "\"uk\""),
            ("url", "\"http://{host}/metrics\""),
            ("profile", "\"kamailio\""),
        ],
    ),
    ("service", &[("name", "\"sip\""), ("listen", "[\"203.0.113.10:5060/udp\"]"), ("zones", "[\"uk\"]")]),
    ("zone", &[("name", "\"uk\"")]),
    ("backend", &[("name", "\"sw1\""), ("zone", "\"uk\""), ("address", "\"10.0.0.11:5060\"")]),
];

/// The least configuration without one key, and with another line at the end of one section.
fn least(without: Option<&Key>, with: Option<(&str, &str)>) -> String {
    let mut text = String::new();
    for (section, keys) in LEAST {
        let once = ["node", "dialogs", "answers", "metrics", "api", "health", "controller"];
        let header = if once.contains(&section) { format!("[{section}]") } else { format!("[[{section}]]") };
        text.push_str(&format!("{header}\n"));
        for (key, value) in
            keys.iter().filter(|(k, _)| without.is_none_or(|w| w.section != section || w.name != *k))
        {
            text.push_str(&format!("{key} = {value}\n"));
        }
        if let Some((_, line)) = with.filter(|(s, _)| *s == section) {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

fn taken(text: &str) -> Result<Loaded> {
    parse(text, "a test").map_err(|complaints| anyhow::anyhow!("{complaints}"))
}

fn refused(text: &str) -> Result<Complaints> {
    match parse(text, "a test") {
        Ok(_) => anyhow::bail!("this was taken:\n{text}"),
        Err(complaints) => Ok(complaints),
    }
}

#[test]
fn the_keys_are_those_that_the_reader_knows() -> Result<()> {
    const UNKNOWN: &str = "qqqqqqqqqqqq = 1";
    for (section, _) in LEAST {
        let complaints = refused(&least(None, Some((section, UNKNOWN))))?;
        let complaint = complaints.complaints.iter().find(|c| c.code == Code::UnknownKey);
        let remedy = &complaint.context("an unknown key was not complained about")?.remedy;
        let (_, known) =
            remedy.split_once("the keys are ").with_context(|| format!("no keys in {remedy:?}"))?;
        let shown: Vec<String> =
            keys()?.into_iter().filter(|k| k.section == section).map(|k| k.name).collect();
        assert_eq!(shown, known.split(", ").collect::<Vec<_>>(), "keys of {section}");
    }
    Ok(())
}

#[test]
fn the_defaults_are_those_of_the_reader() -> Result<()> {
    let default = taken(&least(None, None))?.config;
    for key in keys()? {
        let Key { section, name, default: value } = &key;
        match value.as_str() {
            "required" => {
                let complaints = refused(&least(Some(&key), None))?;
                let missing = complaints
                    .complaints
                    .iter()
                    .any(|c| c.code == Code::MissingKey && c.message.contains(name.as_str()));
                ensure!(missing, "{section}.{name} is not required");
            }
            "none" => {
                let present =
                    |(s, keys): &(&str, &[(&str, &str)])| s == section && keys.iter().any(|(k, _)| k == name);
                ensure!(!LEAST.iter().any(present), "{section}.{name} is not optional");
            }
            value => {
                let written = taken(&least(None, Some((section, &format!("{name} = {value}")))))?.config;
                assert_eq!(written, default, "{section}.{name} = {value} is not the default");
            }
        }
    }
    Ok(())
}

#[test]
fn the_example_has_every_key_and_is_taken() -> Result<()> {
    let manual = read(MANUAL)?;
    let example = manual.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let example = example.context("the manual has no example")?;
    taken(example)?;
    for Key { section, name, .. } in keys()? {
        let tables = example
            .split("\n[")
            .map(|t| t.trim_start_matches('['))
            .filter(|t| t.starts_with(&format!("{section}]")));
        let shown = tables.flat_map(str::lines).any(|line| line.starts_with(&format!("{name} = ")));
        ensure!(shown, "the example does not show {section}.{name}");
    }
    Ok(())
}

#[test]
fn exit_statuses_are_those_of_failures() -> Result<()> {
    let manual = read(MANUAL)?;
    for (kind, words) in [
        (Kind::Bad, "what was asked about is bad"),
        (Kind::Usage, "wrong usage"),
        (Kind::NotRunning, "not running"),
        (Kind::Permission, "not allowed"),
        (Kind::TimedOut, "timed out"),
    ] {
        let row = format!("| {} | {words}", kind.exit_status());
        ensure!(manual.lines().any(|l| l.starts_with(&row)), "the manual has no row {row:?}");
    }
    Ok(())
}

#[test]
fn the_change_log_begins_with_this_version() -> Result<()> {
    let changes = read(CHANGELOG)?;
    let newest = changes.lines().find(|l| l.starts_with("## ")).context("no version")?;
    ensure!(newest.contains(&format!("{} (ABI {ABI})", env!("CARGO_PKG_VERSION"))), "{newest}");
    Ok(())
}
