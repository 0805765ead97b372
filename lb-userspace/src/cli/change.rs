//! The commands that change what operators want: they all ask the daemon and tell what it did and how to undo it.

use super::{
    Context,
    output::{Output, grouped},
};
use crate::{
    control::{
        change::{ChangeBody, ChangeRequest},
        client,
    },
    core::change::Change,
    failure::Failure,
};
use hyper::Method;

/// What all these commands take.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Care {
    /// Only tell what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Forget it when the daemon restarts; without this it stays so.
    #[arg(long)]
    until_restart: bool,
}

/// Makes a change, or tells what it would do.
pub(super) fn make(change: Change, care: Care, context: &Context) -> Result<Output, Failure> {
    let what = match &change {
        Change::BackendWill { .. } | Change::BackendLimit { .. } | Change::BackendWeight { .. } => "backend",
        Change::ZoneWill { .. } => "zone",
    };
    let request = ChangeRequest { change, dry_run: care.dry_run, until_restart: care.until_restart };
    let body: ChangeBody = client::call_with(&context.way, Method::POST, "/v1/change", &request)?;
    Output::new(what, &body.name, text(what, &body))?
        .with("done", &body.done)?
        .with("dry_run", &body.dry_run)?
        .with("until_restart", &body.until_restart)?
        .with("channels", &body.channels)?
        .with("undo", &body.undo)?
        .with("lasting", &body.lasting)?
        .with("changes", &body.changes)?
        .with("plan", &body.plan)
}

fn text(what: &str, body: &ChangeBody) -> String {
    let ChangeBody { name, done, changes, .. } = body;
    let Some(undo) = &body.undo else {
        let kept = if body.until_restart || body.dry_run { "" } else { ", also not by a restart" };
        return format!("{what} {name} is so already: {done}; nothing changes{kept}");
    };
    let calls = match body.channels {
        1 => "1 call in progress".to_owned(),
        n => format!("{} calls in progress", grouped(n)),
    };
    if body.dry_run {
        return format!("{what} {name} would be: {done}; {calls}\n{changes}\nnothing was changed");
    }
    let lasting = match &body.lasting {
        Some(line) => format!("in the configuration file that would be: {line}\n"),
        None => String::new(),
    };
    let kept = if body.until_restart {
        "it stays so across reloads, until the daemon restarts"
    } else {
        "it stays so across reloads and restarts"
    };
    format!("{what} {name}: {done}; {calls}\n{changes}\n{kept}\n{lasting}to undo: {undo}")
}
