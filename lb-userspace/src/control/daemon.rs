//! What the daemon does once it is up: follows the network, the configuration and the clock.

use super::{
    ended::Ended, health::Wards, listener::Watching, lock::Lock, measure::Measures, recent::Recent,
    recount::Recounting, remote::Remote, start::Options, telemetry::Feeding, trial::Trial,
};
use crate::{
    config::Config,
    core::{
        model::{Circumstances, Model},
        standings::Standings,
        wishes::Wishes,
    },
    dataplane::{
        attach::{self, Attachment},
        clock::{Clock, Now},
        load::Programs,
        neighbours::Neighbours,
        tables::Tables,
        tend,
    },
    failure::{Failure, chain},
    fault::{self, Point},
    slowpath::serve::SlowPath,
    view::{
        self,
        backend::BackendDetail,
        facts::Facts,
        lists::{BackendList, DialogList},
        services::RecentView,
        status::{DaemonView, Status},
    },
    wall,
};
use jiff::Timestamp;
use lb_common::map::{
    backend::{name_of, will},
    settings::Settings,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// Time between two looks at the whole dialog table while removed backends wait for their last dialog to end.
const CENSUS: Duration = Duration::from_secs(15);

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
        let now = wall::now();
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
    /// What the configuration was read from.
    pub(super) text: String,
    /// A configuration that is undone unless it is confirmed, or that was.
    pub(super) trial: Option<Trial>,
    /// What operators want beyond it.
    pub(super) wishes: Wishes,
    /// The part of that which a restart finds again.
    pub(super) kept: Wishes,
    /// What was observed of backends.
    pub(super) standings: Standings,
    /// Whether the maps do not follow that yet.
    pub(super) standings_due: bool,
    /// Who is probed.
    pub(super) wards: Wards,
    /// Names of the backends all of whose answers pass us.
    pub(super) visible_backends: BTreeSet<String>,
    /// What they are fed by.
    pub(super) feeding: Feeding,
    pub(super) programs: Programs,
    pub(super) tables: Tables,
    pub(super) neighbours: Neighbours,
    pub(super) model: Model,
    pub(super) settings: Settings,
    pub(super) hz: u32,
    pub(super) attachments: Vec<Attachment>,
    /// Something happened to one of their interfaces, or may have.
    pub(super) interfaces_changed: bool,
    pub(super) slow_path: SlowPath,
    pub(super) census_due: Instant,
    pub(super) recounting: Recounting,
    /// Buckets that had been looked at for old dialogs a second ago.
    pub(super) swept: u64,
    pub(super) recent: Recent,
    pub(super) reload_refused: Option<String>,
    pub(super) measures: Measures,
    pub(super) ended: Ended,
    /// What systemd was told last that it does.
    pub(super) announced: String,
    pub(super) watching: Watching,
    pub(super) remote: Remote,
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
                Ok(_) => {
                    fault::pass(Point::OtherLinkDropped);
                    tracing::warn!("{interface}: detached, because node.interfaces no longer names it");
                }
                Err(failure) => tracing::error!("{interface}: {failure}"),
            }
        }
    }

    pub(super) fn backend_name(&self, id: u16) -> String {
        self.model.backends.get(&id).map_or_else(|| format!("number {id}"), |b| name_of(&b.name).to_owned())
    }

    /// Once a second: has the kernel look for old dialogs, and sees whether removed backends are free.
    pub(super) async fn tick(&mut self) {
        let start = Instant::now();
        if let Err(failure) = self.tend() {
            tracing::error!("{failure}");
        }
        self.settle().await;
        self.look_at_traffic();
        self.feed();
        self.follow_standings();
        if let Err(failure) = self.note_recent().and_then(|()| self.note_ended()) {
            tracing::error!("{failure}");
        }
        self.end_trial().await;
        self.serve_metrics();
        self.serve_api();
        self.announce();
        if let Err(failure) = self.recount() {
            tracing::error!("{failure}");
        }
        let removed = self.model.backends.values().any(|b| b.will == will::REMOVED);
        if removed && Instant::now() >= self.census_due {
            if let Err(failure) = self.release_removed() {
                tracing::error!("{failure}");
            }
            self.census_due = Instant::now() + CENSUS;
        }
        self.measures.loop_duration.observe(start.elapsed().as_secs_f64());
    }

    /// Has the kernel look at the buckets that packets have not looked at in the last second.
    fn tend(&mut self) -> Result<(), Failure> {
        let due = self.settings.sweep_buckets.saturating_mul(self.hz).min(self.tables.maps.buckets());
        let hand = self.tables.maps.sweep()?.hand;
        let seen = u32::try_from(hand.saturating_sub(self.swept)).unwrap_or(u32::MAX);
        let buckets = due.saturating_sub(seen);
        tend::push(&self.programs, buckets)?;
        self.swept = hand + u64::from(buckets);
        Ok(())
    }

    /// Looks at all dialogs, and releases removed backends that have none.
    fn release_removed(&mut self) -> Result<(), Failure> {
        let census = tend::census(&self.tables.maps)?;
        tracing::debug!("counted all dialogs in {} us", census.microseconds);
        let busy = census.dialogs.keys().copied().collect();
        let model = self.model_in(&Circumstances { busy: Some(busy), ..self.circumstances() })?;
        let summary = self.change_to(model)?;
        if !summary.is_empty() {
            tracing::info!("after a look at all dialogs: {summary}");
            self.watch_backends()?;
        }
        self.correct_zone_loads()
    }

    /// Notes what became of calls that found no room.
    fn note_recent(&mut self) -> Result<(), Failure> {
        let mut sample = BTreeMap::new();
        for service in self.model.policies.keys() {
            sample.insert(*service, (&self.tables.maps.service_counter(*service)?).into());
        }
        self.recent.note(Instant::now(), sample);
        Ok(())
    }

    /// What the maps do not say.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            node: self.config.node.name.clone(),
            config: self.options.config.clone(),
            differences: self.wishes.differences(&self.config, &self.kept),
        }
    }

    /// Leaves that where the CLI finds it, also when the daemon is gone.
    pub(super) fn write_facts(&self) {
        let path = self.options.places.facts();
        if let Err(e) = self.facts().write(&path) {
            tracing::warn!("cannot write {}: {e}", path.display());
        }
    }

    /// The state of the balancer.
    pub(super) fn status(&self) -> Result<Status, Failure> {
        let pins = &self.options.places.pins;
        let mut status = view::status::from_maps(pins, &self.tables.maps, &self.neighbours.links())?;
        let unresolved = self.model.backends.keys().filter_map(|id| {
            let reason = self.neighbours.reason(*id)?;
            Some((self.backend_name(*id), reason.to_string()))
        });
        status.differences = self.wishes.differences(&self.config, &self.kept);
        for service in &mut status.services {
            service.recent = self.recent.of(service.id).map(|(length, calls)| RecentView::new(length, calls));
        }
        status.daemon = Some(DaemonView {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.since.started.to_string(),
            config: self.options.config.display().to_string(),
            configured: self.since.configured.to_string(),
            reload_refused: self.reload_refused.clone(),
            trial: self.trial.as_ref().map(Trial::view),
            metrics: self.watching.view(),
            api: self.remote.view(),
            unresolved: unresolved.collect(),
            health: self.health(),
            doubts: self.wards.doubts.clone(),
            slow_path: self.slow_path_view(),
        });
        status.judge();
        Ok(status)
    }

    /// One backend, with all that is known of it.
    pub(super) fn backend_detail(&self, name: &str) -> Result<BackendDetail, Failure> {
        let names = self.neighbours.links().into_iter().map(|l| (l.ifindex, l.name)).collect();
        let view = view::backends::backend(&self.tables.maps, name, &names)?;
        let unresolved = self.neighbours.reason(view.id).map(ToString::to_string);
        let detail = BackendDetail { unresolved, ..BackendDetail::from_maps(view) };
        let detail = detail.with(&self.config, &self.wishes);
        Ok(BackendDetail { health: self.health_of(name), explanation: self.explanation(name), ..detail })
    }

    /// All backends, without their dialogs.
    pub(super) fn backend_list(&self) -> Result<BackendList, Failure> {
        let names = self.neighbours.links().into_iter().map(|l| (l.ifindex, l.name)).collect();
        Ok(BackendList {
            backends: view::backends::backends(&self.tables.maps, &names)?,
            health: self.health(),
            differences: self.facts().differences,
        })
    }

    /// What is known of a Call-ID.
    pub(super) fn dialogs_of(&self, call_id: &str) -> Result<DialogList, Failure> {
        let reading = Clock::open(&self.options.places.pins).and_then(|clock| clock.read());
        let now = reading.ok().map(|reading| Now { jiffies: reading.jiffies, hz: self.hz });
        DialogList::from_maps(&self.tables, call_id, now)
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
