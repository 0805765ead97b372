//! What the daemon does once it is up: follows the network, the configuration and the clock.

use super::{lock::Lock, run, start::Options};
use crate::{
    config::Config,
    core::model::{Circumstances, Model},
    dataplane::{
        attach::{self, Attachment},
        clock::Clock,
        load::Programs,
        neighbours::Neighbours,
        tables::Tables,
        tend,
    },
    failure::{Failure, chain},
    slowpath::serve::SlowPath,
    view::{
        self,
        facts::Facts,
        status::{DaemonView, Status},
    },
};
use jiff::Timestamp;
use lb_common::{
    decide::expiry,
    map::{
        backend::{name_of, will},
        dialog::{Phase, State},
        settings::Settings,
    },
};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two looks at the whole dialog table.
const SWEEP: Duration = Duration::from_secs(600);
/// The same after dialogs were found overdue: they are dead now, and can be deleted when [`BURIAL_SECONDS`] and the
/// rounding of ticks are over.
///
/// [`BURIAL_SECONDS`]: lb_common::limits::BURIAL_SECONDS
const SWEEP_AGAIN: Duration = Duration::from_secs(6);
/// The same while removed backends wait for their last dialog to end.
const SWEEP_REMOVED: Duration = Duration::from_secs(15);

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    /// The daemon started.
    pub(super) started: Timestamp,
    /// The configuration was taken.
    pub(super) configured: Timestamp,
}

impl Since {
    pub(super) fn now() -> Since {
        let now = Timestamp::now();
        Since { started: now, configured: now }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    pub(super) since: Since,
    pub(super) options: Options,
    pub(super) _lock: Lock,
    pub(super) config: Config,
    pub(super) programs: Programs,
    pub(super) tables: Tables,
    pub(super) neighbours: Neighbours,
    pub(super) model: Model,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) hz: u32,
    pub(super) attachments: Vec<Attachment>,
    pub(super) slow_path: SlowPath,
    pub(super) sweep_due: Instant,
    pub(super) reload_refused: Option<String>,
}

impl Daemon {
    /// Takes the program off interfaces that the configuration no longer names.
    pub(super) fn drop_other_links(&self) {
        let pins = &self.options.places.pins;
        let linked = match pins.linked_interfaces() {
            Ok(linked) => linked,
            Err(failure) => return tracing::error!("{failure}"),
        };
        for interface in linked.iter().filter(|i| !self.config.node.interfaces.contains(i)) {
            match attach::detach(pins, interface) {
                Ok(_) => tracing::warn!("{interface}: detached, because node.interfaces no longer names it"),
                Err(failure) => tracing::error!("{interface}: {failure}"),
            }
        }
    }

    pub(super) fn backend_name(&self, id: u16) -> String {
        self.model.backends.get(&id).map_or_else(|| format!("number {id}"), |b| name_of(&b.name).to_owned())
    }

    /// Once a second: has the kernel bury what is due, and looks at the whole table now and then.
    pub(super) async fn tick(&mut self) {
        if let Err(failure) = tend::push(&self.programs) {
            tracing::error!("{failure}");
        }
        self.settle().await;
        run::notify(&[NotifyState::Watchdog]);
        if Instant::now() >= self.sweep_due {
            let overdue = self.sweep().unwrap_or_else(|failure| {
                tracing::error!("{failure}");
                0
            });
            let pause = if overdue > 0 { SWEEP_AGAIN } else { self.sweep_interval() };
            self.sweep_due = Instant::now() + pause;
        }
    }

    pub(super) fn sweep_interval(&self) -> Duration {
        let removed = self.model.backends.values().any(|b| b.will == will::REMOVED);
        if removed { SWEEP_REMOVED } else { SWEEP }
    }

    /// Looks at all dialogs: hands those that are overdue to the kernel and releases removed backends that have none.
    /// Returns how many were overdue.
    fn sweep(&mut self) -> Result<u64, Failure> {
        let now = self.clock.read()?.jiffies >> self.settings.tick_shift;
        let settings = self.settings;
        let swept =
            tend::sweep(&self.tables.maps, &self.programs, |state| overdue(state, now as u32, &settings))?;
        if swept.overdue > 0 {
            tracing::info!("{} of {} dialogs were overdue", swept.overdue, swept.entries);
        }
        let busy = swept.dialogs.keys().copied().collect();
        let circumstances = Circumstances { busy: Some(busy), ..Circumstances::default() };
        let model = self
            .model
            .next(&self.config, &circumstances)
            .map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;
        let summary = self.change_to(model)?;
        if !summary.is_empty() {
            tracing::info!("after a look at all dialogs: {summary}");
            self.watch_backends()?;
        }
        Ok(swept.overdue)
    }

    /// Leaves what the maps do not say where the CLI finds it, also when the daemon is gone.
    pub(super) fn write_facts(&self) {
        let facts = Facts {
            node: self.config.node.name.clone(),
            config: self.options.config.clone(),
            zones: self.config.zone_names().into_iter().map(str::to_owned).collect(),
        };
        if let Err(e) = facts.write(&self.options.places.facts()) {
            tracing::warn!("cannot write {}: {e}", self.options.places.facts().display());
        }
    }

    /// The state of the balancer.
    pub(super) fn status(&self) -> Result<Status, Failure> {
        let zones: Vec<String> = self.config.zone_names().into_iter().map(str::to_owned).collect();
        let pins = &self.options.places.pins;
        let mut status = view::status::from_maps(pins, &self.tables.maps, &self.neighbours.links(), &zones)?;
        let unresolved = self.model.backends.keys().filter_map(|id| {
            let reason = self.neighbours.reason(*id)?;
            Some((self.backend_name(*id), reason.to_string()))
        });
        status.daemon = Some(DaemonView {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.since.started.to_string(),
            config: self.options.config.display().to_string(),
            configured: self.since.configured.to_string(),
            reload_refused: self.reload_refused.clone(),
            unresolved: unresolved.collect(),
            slow_path: self.slow_path_view(),
        });
        status.judge();
        Ok(status)
    }

    /// Ends the daemon. The data plane stays unless this was an ephemeral run.
    pub(super) fn stop(self) -> Result<(), Failure> {
        let places = self.options.places.clone();
        let ephemeral = self.options.ephemeral;
        // First, so that the program hands over nothing that nobody takes.
        drop(self.slow_path);
        if let Err(e) = std::fs::remove_file(places.socket()) {
            tracing::debug!("cannot remove {}: {}", places.socket().display(), chain(&e));
        }
        if ephemeral {
            let (interfaces, maps) = crate::dataplane::remove(&places.pins)?;
            let _ = std::fs::remove_file(places.facts());
            tracing::info!("detached from {} and removed {maps} maps", interfaces.join(", "));
        } else {
            let names: Vec<&str> = self.attachments.iter().map(|a| a.interface.as_str()).collect();
            tracing::info!(
                "stopped; the data plane goes on steering on {} without the daemon; `sipsteer run` takes it over, \
                 `sipsteer detach` takes it off",
                names.join(", ")
            );
        }
        Ok(())
    }
}

/// Whether a dialog looks past its lifetime. Only a hint: the kernel looks again before it buries.
fn overdue(state: State, now: u32, settings: &Settings) -> bool {
    if state.is_live() {
        return state.age(now) > expiry::lifetime(settings, state.phase);
    }
    // One that nobody buried: its place in the queue was lost, or it never had one.
    state.phase == Phase::Dead as u8 && state.age(now) >= settings.burial_ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_is_overdue_after_its_lifetime() {
        let settings = Settings {
            unanswered_ticks: 200,
            answered_ticks: 40_000,
            burial_ticks: 3,
            ..Settings::default()
        };
        for (phase, lifetime) in [(Phase::Unanswered, 200), (Phase::Answered, 40_000), (Phase::Dead, 2)] {
            // Seen shortly before the 16 bits wrap.
            let state = State { phase: phase as u8, seen: 0xfff0, ..State::default() };
            assert!(!overdue(state, 0x1_fff0 + lifetime, &settings), "{phase:?}");
            assert!(overdue(state, 0x1_fff0 + lifetime + 1, &settings), "{phase:?}");
        }
        assert!(!overdue(State { phase: Phase::Buried as u8, ..State::default() }, 60_000, &settings));
        assert!(!overdue(State::default(), 60_000, &settings));
    }
}
