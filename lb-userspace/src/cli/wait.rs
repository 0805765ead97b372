//! Waiting until a drained backend has no calls.

use super::{Context, output::grouped};
use crate::{
    control::client,
    failure::{Failure, Kind},
    view::status::Status,
};
use hyper::Method;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits until no call is in progress on a backend, and tells on stderr how many there are.
///
/// # Errors
/// [`Kind::TimedOut`] after `limit`; or when it is no longer drained, so that it may never be empty.
pub(super) fn until_empty(
    name: &str,
    limit: Option<Duration>,
    context: &Context,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut told = None;
    loop {
        let status: Status = client::call(&context.way, Method::GET, "/v1/status")?;
        let backend = status.backends.iter().find(|b| b.name == name);
        let channels = backend.map_or(0, |b| b.load.channels);
        if let Some(will) = backend.map(|b| &b.will).filter(|will| *will == "enabled") {
            return Err(Failure::bad(
                "no_longer_draining",
                format!("{name} is {will} again: somebody else changed it while this waited"),
            )
            .remedy(format!("`sipsteer backend drain {name} --wait` drains it again")));
        }
        if told != Some(channels) {
            eprintln!("{name}: draining, {} calls in progress", grouped(channels));
            told = Some(channels);
        }
        if channels == 0 {
            return Ok(start.elapsed());
        }
        if let Some(limit) = limit.filter(|limit| start.elapsed() >= *limit) {
            return Err(Failure::new(
                Kind::TimedOut,
                "not_empty",
                format!(
                    "{name} still has {} calls in progress after {} s",
                    grouped(channels),
                    limit.as_secs()
                ),
            )
            .remedy(format!(
                "it stays drained: wait again, `sipsteer backend disable {name}` moves its calls away, or \
                 `sipsteer backend enable {name}` takes it back"
            )));
        }
        thread::sleep(PAUSE);
    }
}
