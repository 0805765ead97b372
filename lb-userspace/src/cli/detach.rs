//! `sipsteer detach`.

use super::{Context, output::Output};
use crate::{control::lock, dataplane, failure::Failure};

/// Take the program off all interfaces and remove its maps.
///
/// Works without a daemon and as often as you like. Touches only what sipsteer pinned. Calls in progress are no longer
/// steered, and where they were pinned is forgotten unless the maps are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  systemctl stop sipsteer && sipsteer detach
  sipsteer detach --keep-maps             and `sipsteer run` later finds the calls where they were

Some network cards blink off for a second or two when XDP goes.")]
pub(super) struct Arguments {
    /// Keep the maps, and with them where calls are pinned.
    #[arg(long)]
    keep_maps: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let places = &context.places;
    if let Some(pid) = lock::holder(places)? {
        return Err(Failure::bad(
            "daemon_running",
            format!("the daemon runs (process {pid}) and would go on with maps that nobody uses"),
        )
        .remedy(format!("stop it first: `systemctl stop sipsteer` or `kill {pid}`; then detach")));
    }
    let (interfaces, maps) = if arguments.keep_maps {
        (dataplane::remove_links(&places.pins)?, 0)
    } else {
        let removed = dataplane::remove(&places.pins)?;
        // Of no use without the maps; none there is fine.
        let _ = std::fs::remove_file(places.facts());
        removed
    };
    let text = match (interfaces.as_slice(), maps) {
        ([], 0) => "nothing to do: sipsteer is not attached".to_owned(),
        (names, maps) => format!(
            "detached from {}, removed {maps} maps; `sipsteer run` attaches again",
            if names.is_empty() { "no interface".to_owned() } else { names.join(", ") }
        ),
    };
    Output::new("interfaces", &interfaces, text)?.with("maps_removed", &maps)
}
