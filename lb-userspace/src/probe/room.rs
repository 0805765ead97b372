//! How many sockets probes may have: open files are few, and the daemon needs some itself, for every ring it makes for instance.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fewest sockets for a moment.
const LEAST: usize = 16;

/// The sockets of all probes together.
#[derive(Clone, Debug)]
pub struct Room {
    kept: Arc<Semaphore>,
    brief: Arc<Semaphore>,
}

/// The right to one socket, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// It may stay open from one probe to the next.
    pub(super) keeps: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Room among so many files that may be open: half of them for sockets that stay, an eighth for some that come and go.
    pub fn of(files: u64) -> Room {
        let files = usize::try_from(files).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Room { kept: semaphore(files / 2), brief: semaphore((files / 8).max(LEAST)) }
    }

    /// A place, for long if there is one, or else as soon as there is one for a moment.
    pub(super) async fn place(&self) -> Place {
        match self.kept.clone().try_acquire_owned() {
            Ok(permit) => Place { keeps: true, _permit: Some(permit) },
            Err(_) => self.moment().await,
        }
    }

    /// A place for a moment.
    pub(super) async fn moment(&self) -> Place {
        // Nobody closes the semaphore.
        Place { keeps: false, _permit: self.brief.clone().acquire_owned().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn half_the_files_stay_open_and_the_rest_takes_turns() {
        let room = Room::of(100);
        let mut places = Vec::new();
        for _ in 0..50 {
            places.push(room.place().await);
        }
        assert!(places.iter().all(|place| place.keeps));
        let moments: Vec<Place> = futures_util::future::join_all((0..16).map(|_| room.place())).await;
        assert!(moments.iter().all(|place| !place.keeps));
        assert!(room.place().now_or_never().is_none(), "the next one has to wait");
        drop(moments);
        assert!(room.place().now_or_never().is_some_and(|place| !place.keeps));
        places.pop();
        assert!(room.place().now_or_never().is_some_and(|place| place.keeps));
    }
}
