//! `sipsteer dialog`.

use super::{
    Context,
    output::{Output, printable, table},
};
use crate::{
    control::client,
    dataplane::{clock::Clock, tables::Tables},
    failure::Failure,
    view::{dialogs::DialogView, lists::DialogList},
};
use hyper::Method;

/// Look at calls.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Show(ShowArguments),
}

/// Show where a call is pinned, or where its next request would go.
///
/// A call is known by its Call-ID, at each service apart. The table holds no Call-IDs but keyed hashes of them, so it
/// can answer for one that you name, and cannot list them.
///
/// PHASE: unanswered, answered, cancelled, ended (retransmissions still follow it), transaction (a request outside a
/// call), subscribed; `-` means that the table does not know the call, and BACKEND is the ring's first choice for its
/// Call-ID, where a request of an earlier call would go. A new call may go elsewhere: `hash_by` may ask the ring with
/// something else, and the policy looks for room.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer dialog show 'a84b4c76e66710@pc33.atlanta.example.com'
  sipsteer dialog show 3848276298220188511@atlanta.example.com --service trunks --json

Exit status: 0 known, 1 not in the table.")]
pub(super) struct ShowArguments {
    /// The value of the Call-ID header, without spaces around it.
    #[arg(value_name = "CALL-ID")]
    call_id: String,
    /// Only at this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
}

pub(super) fn show(arguments: &ShowArguments, context: &Context) -> Result<Output, Failure> {
    let call_id = arguments.call_id.as_str();
    let mut views = match context.elsewhere() {
        Some(way) => {
            let path = format!("/v1/dialogs/{}", client::encoded(call_id));
            client::call::<DialogList>(way, Method::GET, &path)?.dialogs
        }
        None => from_maps(call_id, context)?.dialogs,
    };
    if let Some(name) = &arguments.service {
        views.retain(|view| view.service == *name);
        if views.is_empty() {
            return Err(Failure::bad("service_not_found", format!("there is no service {name:?}"))
                .remedy("`sipsteer service list` lists them"));
        }
    }
    let known = views.iter().any(|v| v.known);
    let mut text = table(
        ["SERVICE", "BACKEND", "PHASE", "SEEN", "LISTENER"],
        &views.iter().map(row).collect::<Vec<_>>(),
    );
    if !known {
        text.push_str(&format!(
            "{} is not in the table; BACKEND is where a request of an earlier call would go, a new one goes where there is \
             room\n",
            printable(call_id)
        ));
    }
    let mut output =
        Output::new("known", &known, text)?.with("call_id", &call_id)?.with("dialogs", &views)?;
    output.status = u8::from(!known);
    Ok(output)
}

fn from_maps(call_id: &str, context: &Context) -> Result<DialogList, Failure> {
    let pins = &context.places.pins;
    // Without the clock the age is left out.
    let now = Clock::open(pins).and_then(|clock| clock.now()).ok();
    DialogList::from_maps(&Tables::open(pins)?, call_id, now)
}

fn row(view: &DialogView) -> [String; 5] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        view.service.clone(),
        or_dash(&view.backend),
        or_dash(&view.phase),
        view.seen_seconds_ago.map_or_else(|| "-".to_owned(), |s| format!("{s:.0} s ago")),
        or_dash(&view.listener),
    ]
}
