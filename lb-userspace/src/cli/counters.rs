//! `sipsteer counters`.

use super::{
    Context,
    output::{Output, grouped, table},
};
use crate::{
    control::client,
    dataplane::maps::Maps,
    failure::Failure,
    view::counters::{CountersView, counters},
};
use hyper::Method;

/// Show how packets left us, by verdict, and which map writes failed.
///
/// Every packet that reaches the program gets one verdict. Verdicts that were never given are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer counters
  sipsteer counters --all
  sipsteer counters --json | jq '.verdicts[] | select(.expected == false and .packets > 0)'

With bpftool alone (the index is the verdict's place in `sipsteer counters --all`):
  bpftool map dump pinned /sys/fs/bpf/sipsteer/VERDICTS")]
pub(super) struct Arguments {
    /// Also show verdicts that were never given.
    #[arg(long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let CountersView { verdicts: all, write_errors: errors } = match context.elsewhere() {
        Some(way) => client::call(way, Method::GET, "/v1/counters")?,
        None => counters(&Maps::open(&context.places.pins)?)?,
    };
    let rows: Vec<[String; 4]> = all
        .iter()
        .filter(|v| arguments.all || v.packets > 0)
        .map(|v| {
            let mark = if v.expected || v.packets == 0 { "" } else { " (unexpected)" };
            [format!("{}{mark}", v.verdict), grouped(v.packets), grouped(v.bytes), v.meaning.clone()]
        })
        .collect();
    let mut text = if rows.is_empty() {
        "no packet has reached the program yet\n".to_owned()
    } else {
        table(["VERDICT", "PACKETS", "BYTES", "MEANING"], &rows)
    };
    if !errors.is_empty() {
        let rows: Vec<[String; 3]> =
            errors.iter().map(|e| [e.errno.to_string(), grouped(e.count), e.meaning.clone()]).collect();
        text.push('\n');
        text.push_str(&table(["MAP-WRITE-ERROR", "COUNT", "MEANING"], &rows));
    }
    Output::new("verdicts", &all, text)?.with("write_errors", &errors)
}
