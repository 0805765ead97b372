//! `sipsteer status`.

use super::{
    Context, backend,
    output::{Output, grouped, table},
    service, zone,
};
use crate::{
    control::{client, start},
    dataplane::{
        maps::Maps,
        netlink::{Link, Netlink},
    },
    failure::{Failure, Kind},
    view::{
        backends::{BackendView, InterfaceNames},
        health::HealthView,
        status::{InterfaceView, State, Status, from_maps},
    },
};
use hyper::Method;
use std::collections::BTreeMap;

/// Most backends that are shown.
const SHOWN: usize = 20;

/// Show how the balancer is, and what needs attention.
///
/// Asks the daemon; without one, as root, it reads the pinned maps. Of more than 20 backends it shows those that are down,
/// full, not enabled or without a next hop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer status
  sipsteer status --brief                 one line, for scripts
  sipsteer status --json | jq .state

Exit status: 0 ok, 1 degraded, 3 down or not attached.")]
pub(super) struct Arguments {
    /// One line.
    #[arg(long)]
    brief: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let status = match client::call::<Status>(&context.way, Method::GET, "/v1/status") {
        Ok(status) => status,
        Err(asked) if context.elsewhere().is_some() => return Err(asked),
        Err(asked) => without_daemon(context).map_err(|read| better(asked, read))?,
    };
    let first = first_line(&status, context.node().unwrap_or("-"));
    let text = if arguments.brief { first } else { format!("{first}\n{}", details(&status)) };
    let mut output = Output::new("state", &status.state, text)?;
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&status) {
        output.document.extend(fields);
    }
    output.status = match status.state {
        State::Ok => 0,
        State::Degraded => 1,
        State::Down => Kind::NotRunning.exit_status(),
    };
    Ok(output)
}

/// Which of two failures tells more: the one of the daemon's socket or the one of the maps.
fn better(asked: Failure, read: Failure) -> Failure {
    if asked.kind == Kind::NotRunning { read } else { asked }
}

fn without_daemon(context: &Context) -> Result<Status, Failure> {
    let pins = &context.places.pins;
    let maps = Maps::open(pins)?;
    let mut status = from_maps(pins, &maps, &links()?)?;
    status.differences = context.facts().differences.clone();
    Ok(status)
}

/// The interfaces of the host.
pub(super) fn links() -> Result<Vec<Link>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::bad("runtime", format!("cannot start: {e}")))?;
    runtime.block_on(async {
        let (netlink, _) = Netlink::connect().map_err(|e| start::netlink_failure(&e))?;
        netlink.links().await.map_err(|e| start::netlink_failure(&e))
    })
}

/// The names of the host's interfaces.
pub(super) fn interface_names() -> Result<InterfaceNames, Failure> {
    Ok(links()?.into_iter().map(|l| (l.ifindex, l.name)).collect())
}

fn first_line(status: &Status, node: &str) -> String {
    let state = match status.state {
        State::Ok => "OK",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
    };
    let version = status.daemon.as_ref().map_or(env!("CARGO_PKG_VERSION"), |d| &d.version);
    let why = match status.attention.as_slice() {
        [] => String::new(),
        [one] => format!("  ({one})"),
        [one, more @ ..] => format!("  ({one}, and {} more)", more.len()),
    };
    format!("sipsteer {version} on {node}: {state}{why}")
}

fn details(status: &Status) -> String {
    let mut text = String::new();
    if let Some(daemon) = &status.daemon {
        text.push_str(&format!(
            "DAEMON  process {}, started {}, {} taken {}\n",
            daemon.pid, daemon.started, daemon.config, daemon.configured
        ));
    }
    text.push_str(&slow_path(status));
    text.push('\n');
    let rows: Vec<[String; 4]> = status.interfaces.iter().map(interface_row).collect();
    text.push_str(&table(["INTERFACE", "MODE", "PROGRAM", "LINK"], &rows));
    text.push('\n');
    text.push_str(&service::text(&status.services));
    text.push('\n');
    text.push_str(&zone::text(&status.zones));
    text.push('\n');
    let health = status.daemon.as_ref().map(|d| d.health.clone()).unwrap_or_default();
    text.push_str(&backends(&status.backends, &health));
    let dialogs = &status.dialogs;
    text.push_str(&format!(
        "\nDIALOGS  {} of {} ({} %), unconfirmed {}\n",
        grouped(dialogs.entries),
        grouped(dialogs.max.into()),
        dialogs.percent(),
        grouped(dialogs.unconfirmed)
    ));
    text.push_str(&slow_path(status));
    text.push_str(&backend::told(&status.differences));
    for sentence in &status.attention {
        text.push_str(&format!("Look at: {sentence}\n"));
    }
    text
}

/// Backends as a table that fits a screen.
fn backends(views: &[BackendView], health: &BTreeMap<String, HealthView>) -> String {
    if views.len() <= SHOWN {
        return backend::text(views, health);
    }
    let odd = |view: &&BackendView| {
        view.will != "enabled" || view.health != "up" || view.full.is_some() || view.next_hop.is_none()
    };
    let odd: Vec<BackendView> = views.iter().filter(odd).take(SHOWN).cloned().collect();
    let shown = if odd.is_empty() { String::new() } else { backend::text(&odd, health) };
    format!("{shown}{} of {} backends; `sipsteer backend list` shows all\n", odd.len(), views.len())
}

/// What the daemon answered itself, if anything.
fn slow_path(status: &Status) -> String {
    let counts = |counts: &BTreeMap<String, u64>| {
        let words =
            counts.iter().map(|(name, count)| format!("{} {}", name.replace('_', " "), grouped(*count)));
        words.collect::<Vec<_>>().join(", ")
    };
    let Some(view) = status.daemon.as_ref().map(|d| &d.slow_path) else { return String::new() };
    let lines = [("ANSWERED", counts(&view.answered)), ("UNANSWERED", counts(&view.not_answered))];
    let told = lines.iter().filter(|(_, counts)| !counts.is_empty());
    told.map(|(title, counts)| format!("{title}  {counts}\n")).collect()
}

fn interface_row(view: &InterfaceView) -> [String; 4] {
    let mode = view.mode.clone().unwrap_or_else(|| "gone".to_owned());
    [view.name.clone(), mode, view.program.to_string(), view.link.to_string()]
}
