//! `sipsteer reload`, `confirm` and `undo`.

use super::{Context, output::Output};
use crate::{
    control::{
        api::ConfirmBody,
        client,
        reload::{ReloadBody, ReloadRequest},
    },
    failure::Failure,
};
use hyper::Method;
use std::time::Duration;

/// Have the daemon take its configuration file anew.
///
/// A file with mistakes is refused with all of them at once, and everything stays as it was. No call that is in
/// progress moves, except those of a backend that becomes disabled.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer reload --dry-run               what would change, and how many new calls would move
  sipsteer reload --confirm-within 5m     undone in five minutes, unless `sipsteer confirm` comes
  sipsteer reload --json | jq .plan

To undo a reload put the earlier file back and reload again; one that awaits confirmation: sipsteer undo.")]
pub(super) struct Arguments {
    /// Only tell what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Undo it after this time (90s, 5m, 2h; at most 24h) unless `sipsteer confirm` comes.
    #[arg(long, value_name = "TIME", value_parser = super::time, conflicts_with = "dry_run")]
    confirm_within: Option<Duration>,
}

/// Keep the configuration of a `reload --confirm-within`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer confirm
  sipsteer confirm --json")]
pub(super) struct ConfirmArguments {}

/// Go back from a `reload --confirm-within` at once.
///
/// The configuration file stays as it is and does not hold, also after a restart, until somebody changes it or reloads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer undo
  sipsteer undo --json | jq .changes")]
pub(super) struct UndoArguments {}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let seconds = arguments.confirm_within.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let request = ReloadRequest { dry_run: arguments.dry_run, confirm_within_seconds: seconds };
    let body: ReloadBody = client::call_with(&context.way, Method::POST, "/v1/reload", &request)?;
    let end = match &body.undone_at {
        _ if body.dry_run => "nothing was changed".to_owned(),
        Some(until) => {
            format!("undone at {until} unless you run: sipsteer confirm\nto undo now: sipsteer undo")
        }
        None => "to undo: put the earlier file back and run `sipsteer reload` again".to_owned(),
    };
    let what = if body.dry_run { "would be reloaded" } else { "reloaded" };
    output(what, &body, &end)
}

pub(super) fn confirm(context: &Context) -> Result<Output, Failure> {
    let body: ConfirmBody = client::call(&context.way, Method::POST, "/v1/confirm")?;
    Output::new("confirmed", &body.confirmed, "the configuration is confirmed and stays".to_owned())
}

pub(super) fn undo(context: &Context) -> Result<Output, Failure> {
    let body: ReloadBody = client::call(&context.way, Method::POST, "/v1/undo")?;
    let end = "the configuration file stays as it is and does not hold: mend it, or `sipsteer reload` takes it as it is";
    output("undone", &body, end)
}

fn output(what: &str, body: &ReloadBody, end: &str) -> Result<Output, Failure> {
    let details: String = body.details.iter().map(|line| format!("  {line}\n")).collect();
    let text = format!("{what}: {}\n{details}{end}", body.changes);
    Output::new("changes", &body.changes, text)?
        .with("details", &body.details)?
        .with("plan", &body.plan)?
        .with("dry_run", &body.dry_run)?
        .with("undone_at", &body.undone_at)
}
