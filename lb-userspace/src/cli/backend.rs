//! `sipsteer backend`.

use super::{
    Context,
    output::{Output, grouped, table},
};
use crate::{
    dataplane::maps::Maps,
    failure::Failure,
    view::backends::{BackendView, backends, count_dialogs},
};

/// Look at the SIP servers behind the services.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArguments),
}

/// List backends with what is wanted of them, how they are, and what they carry.
///
/// WILL is what you configured, HEALTH what was observed. DIALOGS are pinned to it now: calls, and for half a minute what
/// is over. CALLS counts calls opened since the backend came into the maps. NEXT-HOP is where its packets go: the MAC
/// address and the interface.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend list
  sipsteer backend list --zone uk
  sipsteer backend list --json | jq '.backends[] | select(.next_hop == null) | .name'

Without a daemon, as root: the same. With bpftool alone:
  bpftool map dump pinned /sys/fs/bpf/sipsteer/BACKENDS")]
pub(super) struct ListArguments {
    /// Only backends of this zone.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

pub(super) fn list(arguments: &ListArguments, context: &Context) -> Result<Output, Failure> {
    let maps = Maps::open(&context.places.pins)?;
    let names = super::status::interface_names()?;
    let mut views = backends(&maps, &names)?;
    if let Some(zone) = &arguments.zone {
        views.retain(|v| v.zone.as_ref() == Some(zone));
        if views.is_empty() {
            return Err(Failure::bad("zone_not_found", format!("no backend is in a zone {zone:?}"))
                .remedy("`sipsteer backend list` lists all backends with their zones"));
        }
    }
    count_dialogs(&maps, &mut views)?;
    let text = text(&views);
    Output::new("backends", &views, text)
}

/// Backends as a table.
pub(super) fn text(views: &[BackendView]) -> String {
    let rows: Vec<[String; 10]> = views.iter().map(row).collect();
    let headings =
        ["ZONE", "NAME", "ADDRESS", "WILL", "HEALTH", "WEIGHT", "DIALOGS", "PACKETS", "CALLS", "NEXT-HOP"];
    table(headings, &rows)
}

fn row(view: &BackendView) -> [String; 10] {
    let next_hop = match &view.next_hop {
        Some(hop) => format!("{}@{}", hop.mac, hop.interface),
        None => "unresolved".to_owned(),
    };
    [
        view.zone.clone().unwrap_or_else(|| "-".to_owned()),
        view.name.clone(),
        view.address.clone(),
        view.will.clone(),
        view.health.clone(),
        view.weight.to_string(),
        view.dialogs.map_or_else(|| "-".to_owned(), grouped),
        grouped(view.packets),
        grouped(view.calls),
        next_hop,
    ]
}
