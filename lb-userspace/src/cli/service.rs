//! `sipsteer service`.

use super::{
    Context,
    output::{Output, grouped, table},
};
use crate::{
    control::client,
    dataplane::maps::Maps,
    failure::Failure,
    view::{
        lists::ServiceList,
        services::{ServiceView, TierView},
    },
};
use hyper::Method;

/// Look at the addresses that callers send to.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArguments),
}

/// List services with their addresses and what they carry.
///
/// ZONES stand in order of preference; `>` marks one that calls get to by redirect (302). Of new calls, since the maps were
/// made: SPILLED went to another backend of the first zone than the first choice, OVERFLOWED to a further zone, REDIRECTED
/// got a 302; FULL were refused because every backend in reach was full, DOWN because none takes calls. PACKETS are those
/// from callers; INVITES counts every INVITE request, retransmissions and re-INVITEs included.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer service list
  sipsteer service list --json | jq '.services[] | {name, requests}'

With bpftool alone:
  bpftool map dump pinned /sys/fs/bpf/sipsteer/LISTENERS")]
pub(super) struct ListArguments {}

pub(super) fn list(context: &Context) -> Result<Output, Failure> {
    let ServiceList { services } = match context.elsewhere() {
        Some(way) => client::call(way, Method::GET, "/v1/services")?,
        None => ServiceList::from_maps(&Maps::open(&context.places.pins)?)?,
    };
    Output::new("services", &services, text(&services))
}

/// Services as a table.
pub(super) fn text(views: &[ServiceView]) -> String {
    let rows: Vec<[String; 12]> = views.iter().map(row).collect();
    let headings = [
        "NAME",
        "LISTEN",
        "FORWARDING",
        "POLICY",
        "ZONES",
        "PACKETS",
        "INVITES",
        "SPILLED",
        "OVERFLOWED",
        "REDIRECTED",
        "FULL",
        "DOWN",
    ];
    table(headings, &rows)
}

fn row(view: &ServiceView) -> [String; 12] {
    let zone = |tier: &TierView| match tier.overflow.as_str() {
        "redirect" => format!(">{}", tier.zone),
        _ => tier.zone.clone(),
    };
    let calls = &view.calls;
    [
        view.name.clone(),
        view.listen.join(" "),
        view.forwarding.clone(),
        view.policy.clone(),
        view.zones.iter().map(zone).collect::<Vec<_>>().join(" "),
        grouped(view.packets),
        grouped(view.requests.get("INVITE").copied().unwrap_or_default()),
        grouped(calls.spilled),
        grouped(calls.overflowed),
        grouped(calls.redirected),
        grouped(calls.refused_full),
        grouped(calls.refused_down),
    ]
}
