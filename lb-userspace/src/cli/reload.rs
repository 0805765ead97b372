//! `sipsteer reload`.

use super::{Context, output::Output};
use crate::{
    control::{api::ReloadBody, client},
    failure::Failure,
};
use hyper::Method;

/// Have the daemon take its configuration file anew.
///
/// A file with mistakes is refused with all of them at once, and everything stays as it was. No call that is in
/// progress moves, except those of a backend that becomes disabled.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer check && sipsteer reload
  sipsteer reload --json | jq .plan

To undo a reload put the earlier file back and reload again.")]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context) -> Result<Output, Failure> {
    let body: ReloadBody = client::call(&context.places.socket(), Method::POST, "/v1/reload")?;
    let text = format!(
        "reloaded: {}\nto undo: put the earlier file back and run `sipsteer reload` again",
        body.changes
    );
    Output::new("changes", &body.changes, text)?.with("plan", &body.plan)
}
