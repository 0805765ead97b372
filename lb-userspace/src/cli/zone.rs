//! `sipsteer zone`.

use super::{
    Context,
    change::{Care, make},
    output::{Output, grouped, table},
};
use crate::{
    control::client,
    core::{change::Change, wishes::Limit},
    dataplane::maps::Maps,
    failure::Failure,
    view::{lists::ZoneList, zones::ZoneView},
};
use hyper::Method;

/// Look at groups of backends; take one out and put it back.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArguments),
    Disable(DisableArguments),
    Enable(EnableArguments),
}

/// List zones with what their backends carry together.
///
/// UP counts backends that answer, TAKING those that take new calls, full ones included. CHANNELS are calls in progress,
/// CPS new calls per second, each of what TAKING backends may carry. UTIL is the greater of the two, 1.00 is full; `hot`
/// marks a zone above its target. A zone without backends is elsewhere: only redirects lead there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer zone list
  sipsteer zone list --json | jq '.zones[] | select(.hot) | .name'

With bpftool alone:
  bpftool map dump pinned /sys/fs/bpf/sipsteer/ZONES")]
pub(super) struct ListArguments {}

/// Give a zone no new calls; those in progress stay.
///
/// New calls go to the next zone of each service that lists it. It stays so across reloads and restarts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer zone disable germany --dry-run
  sipsteer zone disable germany --json

To undo: sipsteer zone enable NAME.")]
pub(super) struct DisableArguments {
    /// The zone.
    name: String,
    #[command(flatten)]
    care: Care,
}

/// Give a zone new calls again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer zone enable germany
  sipsteer zone enable germany --json

To undo: sipsteer zone disable NAME.")]
pub(super) struct EnableArguments {
    /// The zone.
    name: String,
    #[command(flatten)]
    care: Care,
}

pub(super) fn list(context: &Context) -> Result<Output, Failure> {
    let ZoneList { zones } = match context.elsewhere() {
        Some(way) => client::call(way, Method::GET, "/v1/zones")?,
        None => ZoneList::from_maps(&Maps::open(&context.places.pins)?)?,
    };
    Output::new("zones", &zones, text(&zones))
}

pub(super) fn disable(arguments: DisableArguments, context: &Context) -> Result<Output, Failure> {
    make(Change::ZoneWill { name: arguments.name, enabled: false }, arguments.care, context)
}

pub(super) fn enable(arguments: EnableArguments, context: &Context) -> Result<Output, Failure> {
    make(Change::ZoneWill { name: arguments.name, enabled: true }, arguments.care, context)
}

/// Zones as a table.
pub(super) fn text(views: &[ZoneView]) -> String {
    let rows: Vec<[String; 8]> = views.iter().map(row).collect();
    table(["ZONE", "WILL", "UP", "TAKING", "CHANNELS", "CPS", "UTIL", "TARGET"], &rows)
}

fn row(view: &ZoneView) -> [String; 8] {
    let elsewhere = view.backends == 0 && view.will != "removed";
    let of = |count: u64| if elsewhere { "-".to_owned() } else { format!("{count}/{}", view.backends) };
    [
        view.name.clone(),
        view.will.clone(),
        of(view.up),
        of(view.takers),
        format!("{}/{}", grouped(view.load.channels), limit(view.capacity_channels)),
        format!("{:.0}/{}", view.load.cps, limit(view.capacity_cps)),
        utilisation(view.load.utilisation) + if view.hot { " hot" } else { "" },
        utilisation(view.target_utilisation),
    ]
}

/// A limit in a table.
pub(super) fn limit(limit: Limit) -> String {
    match limit {
        Limit::Calls(calls) => grouped(calls.into()),
        Limit::Unlimited => limit.to_string(),
    }
}

/// A ratio in a table.
pub(super) fn utilisation(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}
