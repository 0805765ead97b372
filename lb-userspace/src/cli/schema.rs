//! `sipsteer schema`.

use super::output::Output;
use crate::{control::openapi, failure::Failure};

/// Print what the daemon's API takes and answers, as an OpenAPI document.
///
/// The daemon serves the same at /v1/openapi.json, over its socket. The documents that `--json` prints have these fields too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer schema > sipsteer-openapi.json
  sipsteer schema --json | jq .openapi.paths
  curl --unix-socket /run/sipsteer/api.sock http://sipsteer/v1/openapi.json")]
pub(super) struct Arguments {}

pub(super) fn run() -> Result<Output, Failure> {
    let document = openapi::document();
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    Output::new("openapi", &document, text)
}
