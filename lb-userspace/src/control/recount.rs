//! Calls in progress as the program counts them, held against the dialogs themselves from time to time and set right: see
//! [`crate::core::recount`]. The look at all dialogs runs beside the daemon's loop.

use super::daemon::Daemon;
use crate::{
    core::recount::{ADDED, Counted, Look, Owner, Recounts, TAKEN_OFF},
    dataplane::{maps::Maps, pins::PinDir, tend},
    failure::Failure,
    fault::{self, Point},
};
use futures_util::FutureExt;
use lb_common::map::{
    backend::name_of,
    recount::{NONE, Recount},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

/// Time between two looks, each of which costs a quarter of a second of one CPU for a million dialogs.
const RARELY: Duration = Duration::from_secs(60);
/// Time to the next look after the start, or after one that found something wrong.
const SOON: Duration = Duration::from_secs(7);

/// Zones by backend id.
type Zones = BTreeMap<u16, u16>;

/// A look at all dialogs that is under way.
#[derive(Debug)]
struct Running {
    /// What it is about.
    zones: Zones,
    looks: JoinHandle<Result<BTreeMap<Owner, Look>, Failure>>,
}

/// The looks and what came of them.
#[derive(Debug)]
pub(super) struct Recounting {
    due: Instant,
    running: Option<Running>,
    recounts: Recounts,
    /// See [`Recounting::corrected`].
    corrected: BTreeMap<u16, u64>,
}

impl Recounting {
    /// The first look comes soon: an earlier daemon may have left something.
    pub(super) fn new() -> Recounting {
        Recounting {
            due: Instant::now() + SOON,
            running: None,
            recounts: Recounts::default(),
            corrected: BTreeMap::new(),
        }
    }

    /// Calls that were added to or taken off the calls in progress of backends, by id, since the daemon started.
    pub(super) const fn corrected(&self) -> &BTreeMap<u16, u64> {
        &self.corrected
    }
}

impl Daemon {
    /// Begins a look at all dialogs when one is due, and sets right what an earlier one found.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn recount(&mut self) -> Result<(), Failure> {
        match self.recounting.running.take() {
            Some(running) if running.looks.is_finished() => self.conclude(running),
            None if Instant::now() >= self.recounting.due => {
                let (pins, zones) = (self.options.places.pins.clone(), self.zones());
                let asked = zones.clone();
                let looks = spawn_blocking(move || look(&pins, &asked));
                self.recounting.running = Some(Running { zones, looks });
                Ok(())
            }
            running => {
                self.recounting.running = running;
                Ok(())
            }
        }
    }

    /// The zones of all backends, those that are no longer configured too.
    fn zones(&self) -> Zones {
        self.model.backends.iter().map(|(id, backend)| (*id, backend.zone)).collect()
    }

    fn conclude(&mut self, Running { zones, looks }: Running) -> Result<(), Failure> {
        self.recounting.due = Instant::now() + RARELY;
        let looks = looks.now_or_never().and_then(Result::ok).unwrap_or_else(|| {
            Err(Failure::bad("internal", "the look at all dialogs came to no end".to_owned()))
        })?;
        if zones != self.zones() {
            // Whoever came, went or changed zones meanwhile was counted here or there.
            self.recounting.due = Instant::now() + SOON;
            return Ok(());
        }
        self.recounting.corrected.retain(|id, _| zones.contains_key(id));
        let corrections = self.recounting.recounts.note(&looks);
        if self.recounting.recounts.suspects() {
            self.recounting.due = Instant::now() + SOON;
        }
        for (owner, by) in corrections {
            self.correct_channels(owner, by)?;
            let name = match owner {
                Owner::Backend(id) => format!("backend {}", self.backend_name(id)),
                Owner::Zone(zone) => format!("zone {}", self.zone_name(zone)),
            };
            let calls = by.unsigned_abs();
            let what = if by < 0 { TAKEN_OFF } else { ADDED };
            tracing::warn!("{name}: {calls}{what}");
            if let Owner::Backend(id) = owner {
                *self.recounting.corrected.entry(id).or_default() += calls;
            }
        }
        Ok(())
    }

    /// Adds to what the program counts as calls in progress, while it counts.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn correct_channels(&self, owner: Owner, by: i64) -> Result<(), Failure> {
        let recount = match owner {
            Owner::Backend(id) => Recount { by, backend: id.into(), zone: NONE },
            Owner::Zone(zone) => Recount { by, backend: NONE, zone: zone.into() },
        };
        tend::correct(&self.programs, recount)?;
        fault::pass(Point::CountCorrected);
        Ok(())
    }

    fn zone_name(&self, number: u16) -> String {
        let zone = self.model.zones.get(&number);
        zone.map_or_else(|| format!("number {number}"), |zone| name_of(&zone.name).to_owned())
    }
}

/// Looks at all dialogs, and at the counters of these backends and their zones before and afterwards.
fn look(pins: &PinDir, zones: &Zones) -> Result<BTreeMap<Owner, Look>, Failure> {
    let maps = Maps::open(pins)?;
    let owners: BTreeSet<Owner> =
        zones.iter().flat_map(|(id, zone)| [Owner::Backend(*id), Owner::Zone(*zone)]).collect();
    let counted = |owner: &Owner| -> Result<Counted, Failure> {
        Ok(match *owner {
            Owner::Backend(id) => (&maps.backend_load(id)?).into(),
            Owner::Zone(zone) => (&maps.zone_load(zone)?).into(),
        })
    };
    let mut looks = BTreeMap::new();
    for owner in owners {
        looks.insert(owner, Look { before: counted(&owner)?, ..Look::default() });
    }
    let census = tend::census(&maps)?;
    tracing::debug!("counted all dialogs in {} us", census.microseconds);
    for (owner, look) in &mut looks {
        look.after = counted(owner)?;
    }
    for (id, zone) in zones {
        let held = census.channels.get(id).copied().unwrap_or_default();
        for owner in [Owner::Backend(*id), Owner::Zone(*zone)] {
            looks.entry(owner).or_default().held += held;
        }
    }
    Ok(looks)
}
