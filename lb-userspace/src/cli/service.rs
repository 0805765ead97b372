//! `sipsteer service`.

use super::{
    Context,
    output::{Output, grouped, table},
};
use crate::{
    dataplane::maps::Maps,
    failure::Failure,
    view::services::{ServiceView, services},
};

/// Look at the addresses that callers send to.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArguments),
}

/// List services with their addresses and what they carry.
///
/// PACKETS are those from callers; INVITES counts every INVITE request, retransmissions and re-INVITEs included.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer service list
  sipsteer service list --json | jq '.services[] | {name, requests}'

With bpftool alone:
  bpftool map dump pinned /sys/fs/bpf/sipsteer/LISTENERS")]
pub(super) struct ListArguments {}

pub(super) fn list(context: &Context) -> Result<Output, Failure> {
    let views = services(&Maps::open(&context.places.pins)?)?;
    let text = text(&views);
    Output::new("services", &views, text)
}

/// Services as a table.
pub(super) fn text(views: &[ServiceView]) -> String {
    let rows: Vec<[String; 6]> = views.iter().map(row).collect();
    table(["NAME", "LISTEN", "FORWARDING", "TIERS", "PACKETS", "INVITES"], &rows)
}

fn row(view: &ServiceView) -> [String; 6] {
    [
        view.name.clone(),
        view.listen.join(" "),
        view.forwarding.clone(),
        view.tiers.to_string(),
        grouped(view.packets),
        grouped(view.requests.get("INVITE").copied().unwrap_or_default()),
    ]
}
