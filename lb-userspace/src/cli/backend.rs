//! `sipsteer backend`.

use super::{
    Context, backend_show,
    change::{Care, make},
    output::{Output, grouped, table},
    wait::until_empty,
    zone::{limit, utilisation},
};
use crate::{
    control::client,
    core::{
        change::{Change, Wanted},
        wishes::{Difference, Limit, Will},
    },
    dataplane::maps::Maps,
    failure::{Failure, Kind},
    view::{
        backends::{BackendView, backends, count_dialogs},
        health::HealthView,
        lists::BackendList,
    },
};
use hyper::Method;
use std::{collections::BTreeMap, time::Duration};

/// Look at the SIP servers behind the services; drain them, limit them, weight them.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArguments),
    Show(backend_show::Arguments),
    Drain(DrainArguments),
    #[command(alias = "ready")]
    Enable(EnableArguments),
    #[command(alias = "maint")]
    Disable(DisableArguments),
    Limit(LimitArguments),
    Weight(WeightArguments),
}

/// List backends with what is wanted of them, how they are, and what they carry.
///
/// WILL is what you want, HEALTH what was observed: down is not full, and full is not down; draining gets no new calls and
/// keeps those it has; suspected got new calls and answered none since. `sipsteer backend show NAME` says why.
/// CHANNELS are calls in progress, CPS new calls per second, each of its limit; UTIL is the greater of the two, 1.00 is full.
/// DIALOGS are pinned to it now: calls, and for half a minute what is over. CALLS counts calls opened since the backend came
/// into the maps. NEXT-HOP is where its packets go: the MAC address and the interface.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend list
  sipsteer backend list --zone uk
  sipsteer backend list --json | jq '.backends[] | select(.full != null) | .name'

Without a daemon, as root: the same. With bpftool alone:
  bpftool map dump pinned /sys/fs/bpf/sipsteer/BACKENDS
  bpftool map dump pinned /sys/fs/bpf/sipsteer/BACKEND_LOADS")]
pub(super) struct ListArguments {
    /// Only backends of this zone.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// Give a backend no new calls; those in progress stay until they end.
///
/// It stays so across reloads and restarts. With --wait it ends when no call is left, and tells on stderr how many there are;
/// exit status 5 when the timeout comes first: then it stays drained.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend drain sw1 --dry-run
  sipsteer backend drain sw1
  sipsteer backend drain sw1 --wait --timeout 2h --json

To undo: sipsteer backend enable NAME.")]
pub(super) struct DrainArguments {
    /// The backend.
    name: String,
    /// Wait until no call is in progress on it.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Longest time to wait: 90s, 5m, 2h.
    #[arg(long, value_name = "TIME", value_parser = super::time, requires = "wait")]
    timeout: Option<Duration>,
    #[command(flatten)]
    care: Care,
}

/// Give a backend new calls again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend enable sw1
  sipsteer backend enable sw1 --json

To undo: sipsteer backend drain NAME.")]
pub(super) struct EnableArguments {
    /// The backend.
    name: String,
    #[command(flatten)]
    care: Care,
}

/// Give a backend nothing: its calls in progress move to others.
///
/// Those do not know these calls, so most of them end. To take a backend out without losing calls, drain it first. It stays
/// so across reloads and restarts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend disable sw1 --dry-run
  sipsteer backend disable sw1 --json

To undo: sipsteer backend enable NAME.")]
pub(super) struct DisableArguments {
    /// The backend.
    name: String,
    #[command(flatten)]
    care: Care,
}

/// Change a backend's limits; calls in progress stay.
///
/// A limit is a whole number, `unlimited`, or `file`: what the configuration says; 0: no new calls. It stays so across
/// reloads and restarts. With another max_cps the burst is a tenth of that, unless the configuration sets cps_burst.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend limit sw1 max_cps=80 max_channels=800
  sipsteer backend limit sw1 max_channels=unlimited --dry-run
  sipsteer backend limit sw1 max_cps=file max_channels=file --json     back to the configuration")]
pub(super) struct LimitArguments {
    /// The backend.
    name: String,
    /// max_cps=N or max_channels=N, or both.
    #[arg(value_name = "KEY=LIMIT", required = true, num_args = 1..=2, value_parser = limit_argument)]
    limits: Vec<(Key, Wanted<Limit>)>,
    #[command(flatten)]
    care: Care,
}

/// Change a backend's share of new calls.
///
/// It is relative to the others of its zone, and calls in progress stay. It stays so across reloads and restarts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend weight sw1 50
  sipsteer backend weight sw1 200 --dry-run
  sipsteer backend weight sw1 file --json     back to the configuration")]
pub(super) struct WeightArguments {
    /// The backend.
    name: String,
    /// 1 to 1,000, or `file`: what the configuration says.
    weight: Wanted<u16>,
    #[command(flatten)]
    care: Care,
}

/// A limit's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    MaxCps,
    MaxChannels,
}

fn limit_argument(text: &str) -> Result<(Key, Wanted<Limit>), String> {
    let (key, limit) = match text.split_once('=') {
        Some(("max_cps", limit)) => (Key::MaxCps, limit),
        Some(("max_channels", limit)) => (Key::MaxChannels, limit),
        _ => return Err("write max_cps=N or max_channels=N".to_owned()),
    };
    Ok((key, limit.parse()?))
}

/// What `backend` was told to do.
pub(super) fn run(command: Command, context: &Context) -> Result<Output, Failure> {
    let will = |name, will| Change::BackendWill { name, will };
    match command {
        Command::List(arguments) => list(&arguments, context),
        Command::Show(arguments) => backend_show::run(&arguments, context),
        Command::Drain(arguments) => drain(arguments, context),
        Command::Enable(EnableArguments { name, care }) => make(will(name, Will::Enabled), care, context),
        Command::Disable(DisableArguments { name, care }) => make(will(name, Will::Disabled), care, context),
        Command::Limit(LimitArguments { name, limits, care }) => {
            make(limit_change(name, &limits)?, care, context)
        }
        Command::Weight(WeightArguments { name, weight, care }) => {
            make(Change::BackendWeight { name, weight }, care, context)
        }
    }
}

fn drain(arguments: DrainArguments, context: &Context) -> Result<Output, Failure> {
    let DrainArguments { name, wait, timeout, care } = arguments;
    let change = Change::BackendWill { name: name.clone(), will: Will::Draining };
    let mut output = make(change, care, context)?;
    if wait {
        let waited = until_empty(&name, timeout, context)?;
        output.text.push_str(&format!("\nno call is left on it, after {} s", waited.as_secs()));
        return output.with("channels", &0)?.with("waited_seconds", &waited.as_secs());
    }
    Ok(output)
}

fn limit_change(name: String, limits: &[(Key, Wanted<Limit>)]) -> Result<Change, Failure> {
    if let [(one, _), (other, _)] = limits
        && one == other
    {
        return Err(Failure::new(Kind::Usage, "usage", "the same limit is given twice")
            .remedy("give max_cps and max_channels once each"));
    }
    let wanted = |key| limits.iter().find(|(k, _)| *k == key).map(|(_, wanted)| *wanted);
    Ok(Change::BackendLimit { name, max_cps: wanted(Key::MaxCps), max_channels: wanted(Key::MaxChannels) })
}

fn list(arguments: &ListArguments, context: &Context) -> Result<Output, Failure> {
    let mut list = match context.elsewhere() {
        Some(way) => client::call(way, Method::GET, "/v1/backends")?,
        None => from_maps(context)?,
    };
    if let Some(zone) = &arguments.zone {
        list.backends.retain(|v| v.zone.as_ref() == Some(zone));
        if list.backends.is_empty() {
            return Err(Failure::bad("zone_not_found", format!("no backend is in a zone {zone:?}"))
                .remedy("`sipsteer backend list` lists all backends with their zones"));
        }
    }
    let BackendList { backends, mut health, mut differences } = list;
    let shown = |name: &String| backends.iter().any(|view| view.name == *name);
    differences.retain(|d| d.what == "backend" && shown(&d.name));
    health.retain(|name, _| shown(name));
    let text = text(&backends, &health) + &told(&differences);
    Output::new("backends", &backends, text)?.with("health", &health)?.with("differences", &differences)
}

fn from_maps(context: &Context) -> Result<BackendList, Failure> {
    let maps = Maps::open(&context.places.pins)?;
    let mut backends = backends(&maps, &super::status::interface_names()?)?;
    count_dialogs(&maps, &mut backends)?;
    Ok(BackendList {
        backends,
        // Nobody knows without the daemon.
        health: client::glance(&context.way, "/v1/health").unwrap_or_default(),
        differences: context.facts().differences.clone(),
    })
}

/// Backends as a table.
pub(super) fn text(views: &[BackendView], health: &BTreeMap<String, HealthView>) -> String {
    let rows: Vec<[String; 12]> = views.iter().map(|view| row(view, health.get(&view.name))).collect();
    let headings = [
        "ZONE", "NAME", "ADDRESS", "WILL", "HEALTH", "CHANNELS", "CPS", "UTIL", "WEIGHT", "DIALOGS", "CALLS",
        "NEXT-HOP",
    ];
    table(headings, &rows)
}

/// What is not as the configuration says, a line each.
pub(super) fn told(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("Not as the file says: {difference}\n")).collect()
}

fn row(view: &BackendView, health: Option<&HealthView>) -> [String; 12] {
    let next_hop = match &view.next_hop {
        Some(hop) => format!("{}@{}", hop.mac, hop.interface),
        None => "unresolved".to_owned(),
    };
    let suspected = if health.is_some_and(HealthView::is_suspected) { ", suspected" } else { "" };
    let full = if view.full.is_some() && view.health == "up" { ", full" } else { "" };
    [
        view.zone.clone().unwrap_or_else(|| "-".to_owned()),
        view.name.clone(),
        view.address.clone(),
        view.will.clone(),
        format!("{}{suspected}{full}", view.health),
        format!("{}/{}", grouped(view.load.channels), limit(view.max_channels)),
        format!("{:.0}/{}", view.load.cps, limit(view.max_cps)),
        utilisation(view.load.utilisation),
        view.weight.to_string(),
        view.dialogs.map_or_else(|| "-".to_owned(), grouped),
        grouped(view.calls),
        next_hop,
    ]
}
