//! What the daemon does once it is up: follows the network, the configuration and the clock.

use super::{
    file, hash_key,
    lock::Lock,
    start::{self, Options, check_settings, netlink_failure},
};
use crate::{
    config::Config,
    core::{
        lifetimes,
        model::{Circumstances, Model},
        plan::Plan,
        summary::Summary,
    },
    dataplane::{
        attach::{self, Attachment},
        clock,
        load::Programs,
        neighbours::{Change, Neighbours},
        netlink::Event,
        tables::Tables,
        tend::{self, Swept},
    },
    failure::{Failure, chain},
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
        service::unmapped,
        settings::Settings,
    },
};
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

/// Time between two looks at the whole dialog table.
const SWEEP: Duration = Duration::from_secs(600);
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
    pub(super) hz: u32,
    pub(super) attachments: Vec<Attachment>,
    pub(super) swept: Option<Swept>,
    pub(super) sweep_due: Instant,
    pub(super) reload_refused: Option<String>,
}

impl Daemon {
    /// Takes the configuration file anew. When anything is wrong with it, everything stays as it was.
    ///
    /// # Errors
    /// All complaints about the file, or the first thing that is wrong with the host.
    pub async fn reload(&mut self) -> Result<Summary, Failure> {
        let result = self.try_reload().await;
        self.reload_refused = result.as_ref().err().map(ToString::to_string);
        match &result {
            Ok(summary) => tracing::info!("reloaded {}: {summary}", self.options.config.display()),
            Err(failure) => tracing::error!("reload refused, the configuration stays as it was: {failure}"),
        }
        result
    }

    async fn try_reload(&mut self) -> Result<Summary, Failure> {
        let config = file::load(&self.options.config, |warnings| {
            tracing::warn!("{}", warnings.render(false).trim_end());
        })?;
        start::check_host(&config, &self.options.places.pins, &self.neighbours).await?;
        self.check_fixed(&config)?;
        let hash_key = hash_key::read_or_make(&config.node.hash_key_file)?;
        let settings = lifetimes::settings(&config, hash_key, self.hz);
        check_settings(&self.settings, &settings, &self.options)?;
        let model = self
            .model
            .next(&config, &Circumstances::default())
            .map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;

        if config.node.interfaces != self.config.node.interfaces {
            self.attach_all(&config)?;
        }
        let summary = self.change_to(model)?;
        self.tables.maps.set_settings(&settings)?;
        self.settings = settings;
        self.config = config;
        self.since.configured = Timestamp::now();
        self.write_facts();
        self.drop_other_links();
        self.set_ports()?;
        self.watch_backends()?;
        self.settle().await;
        self.refresh_neighbours().await;
        self.sweep_due = Instant::now() + self.sweep_interval();
        Ok(summary)
    }

    /// Refuses what only a new start can change.
    fn check_fixed(&self, config: &Config) -> Result<(), Failure> {
        let present = self.tables.maps.dialogs_capacity();
        if config.dialogs.max == present {
            return Ok(());
        }
        Err(Failure::bad(
            "dialogs_max_changed",
            format!("dialogs.max is {} now, but the table has room for {present} dialogs", config.dialogs.max),
        )
        .remedy(
            "put the earlier number back, or run `sipsteer detach` and then `sipsteer run`, which forgets where the \
             calls in progress are pinned",
        ))
    }

    /// Makes the maps those of a model.
    fn change_to(&mut self, model: Model) -> Result<Summary, Failure> {
        let plan = Plan::between(&self.model, &model);
        if let Err(failure) = self.tables.apply(&plan.writes) {
            // What was written stays usable; the next plan starts from what really stands there.
            self.model = Model::adopted(self.tables.found()?);
            return Err(failure);
        }
        self.model = model;
        Ok(plan.summary)
    }

    fn attach_all(&mut self, config: &Config) -> Result<(), Failure> {
        let links = self.neighbours.links();
        let pins = &self.options.places.pins;
        let made =
            attach::attach(pins, &self.programs, &config.node.interfaces, config.node.xdp_mode, &links)?;
        start::tell(&made, &self.programs);
        self.attachments = made;
        Ok(())
    }

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

    /// Lets packets leave by all our interfaces.
    pub(super) fn set_ports(&mut self) -> Result<(), Failure> {
        let present: Vec<u32> = self
            .attachments
            .iter()
            .map(|a| a.ifindex)
            .filter(|ifindex| self.neighbours.link_by_index(*ifindex).is_some())
            .collect();
        self.tables.maps.set_ports(&present)
    }

    /// Follows the next hops of all backends of the model.
    pub(super) fn watch_backends(&mut self) -> Result<(), Failure> {
        let backends = self.tables.maps.backends()?;
        let targets: Vec<(u16, IpAddr, _)> = backends
            .iter()
            .filter(|(_, b)| b.will != will::DISABLED)
            .map(|(id, b)| (*id, unmapped(b.address), b.next_hop))
            .collect();
        self.neighbours.set_targets(targets, &self.config.node.interfaces);
        Ok(())
    }

    /// Something happened to the network.
    pub(super) fn on_event(&mut self, event: Event) {
        match &event {
            Event::Link(link) if self.config.node.interfaces.contains(&link.name) => {
                let held = self.attachments.iter().find(|a| a.interface == link.name);
                let another = held.is_some_and(|a| a.ifindex != link.ifindex);
                self.neighbours.note(event.clone());
                if another {
                    self.attach_again();
                }
            }
            Event::LinkGone(link) => {
                if self.attachments.iter().any(|a| a.ifindex == link.ifindex) {
                    tracing::error!(
                        "{}: the interface is gone; it will be attached when one of this name appears",
                        link.name
                    );
                }
                self.neighbours.note(event);
            }
            _ => self.neighbours.note(event),
        }
    }

    /// An interface that was gone is back, with another number.
    fn attach_again(&mut self) {
        let links = self.neighbours.links();
        let present: Vec<String> = self
            .config
            .node
            .interfaces
            .iter()
            .filter(|i| links.iter().any(|l| l.name == **i))
            .cloned()
            .collect();
        let pins = &self.options.places.pins;
        match attach::attach(pins, &self.programs, &present, self.config.node.xdp_mode, &links) {
            Ok(attachments) => {
                let anew: Vec<Attachment> = attachments
                    .iter()
                    .filter(|a| !self.attachments.iter().any(|b| b.ifindex == a.ifindex))
                    .cloned()
                    .collect();
                start::tell(&anew, &self.programs);
                // Those that are still gone keep their old number, so that their return is noticed.
                self.attachments.retain(|a| !present.contains(&a.interface));
                self.attachments.extend(attachments);
                if let Err(failure) = self.set_ports() {
                    tracing::error!("{failure}");
                }
            }
            Err(failure) => tracing::error!("cannot attach again: {failure}"),
        }
    }

    /// Draws the conclusions of what happened to the network.
    pub(super) async fn settle(&mut self) {
        let changes = self.neighbours.settle().await;
        self.write_next_hops(changes);
    }

    /// Reads the network anew and has the kernel confirm the neighbours.
    pub(super) async fn refresh_neighbours(&mut self) {
        match self.neighbours.refresh().await {
            Ok(changes) => self.write_next_hops(changes),
            Err(e) => tracing::error!("{}", netlink_failure(&e)),
        }
        // An event about an interface may have been lost.
        let links = self.neighbours.links();
        let returned = self
            .attachments
            .iter()
            .any(|a| links.iter().any(|l| l.name == a.interface && l.ifindex != a.ifindex));
        if returned {
            self.attach_again();
            self.settle().await;
        }
    }

    fn write_next_hops(&mut self, changes: Vec<Change>) {
        for change in changes {
            if let Err(failure) = self.tables.set_next_hop(change.backend, change.next_hop) {
                tracing::error!("{failure}");
                continue;
            }
            let name = self.backend_name(change.backend);
            if let Some(hop) = change.next_hop {
                let interface = self.neighbours.link_by_index(hop.ifindex).map_or("?", |l| l.name.as_str());
                let mac = view::mac(hop.destination_mac);
                tracing::info!("backend {name}: next hop {mac} on {interface}");
            }
        }
    }

    /// Says which backends have no next hop yet, and why.
    pub(super) fn tell_unresolved(&self) {
        for id in self.model.backends.keys() {
            if let Some(reason) = self.neighbours.reason(*id) {
                tracing::warn!("backend {} has no next hop: {reason}", self.backend_name(*id));
            }
        }
    }

    fn backend_name(&self, id: u16) -> String {
        self.model.backends.get(&id).map_or_else(|| format!("number {id}"), |b| name_of(&b.name).to_owned())
    }

    /// Once a second: has the kernel bury what is due, and looks at the whole table now and then.
    pub(super) async fn tick(&mut self) {
        if let Err(failure) = tend::push(&self.programs) {
            tracing::error!("{failure}");
        }
        self.settle().await;
        if Instant::now() >= self.sweep_due {
            if let Err(failure) = self.sweep() {
                tracing::error!("{failure}");
            }
            self.sweep_due = Instant::now() + self.sweep_interval();
        }
    }

    fn sweep_interval(&self) -> Duration {
        let removed = self.model.backends.values().any(|b| b.will == will::REMOVED);
        if removed { SWEEP_REMOVED } else { SWEEP }
    }

    /// Looks at all dialogs: hands those that are overdue to the kernel and releases removed backends that have none.
    fn sweep(&mut self) -> Result<(), Failure> {
        let now = clock::read(&self.programs)?.jiffies >> self.settings.tick_shift;
        let settings = self.settings;
        let swept =
            tend::sweep(&self.tables.maps, &self.programs, |state| overdue(state, now as u32, &settings))?;
        if swept.overdue > 0 {
            tracing::info!("{} of {} dialogs were overdue", swept.overdue, swept.entries);
        }
        let busy = swept.dialogs.keys().copied().collect();
        self.swept = Some(swept);
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
        Ok(())
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
        });
        status.judge();
        Ok(status)
    }

    /// Ends the daemon. The data plane stays unless this was an ephemeral run.
    pub(super) fn stop(self) -> Result<(), Failure> {
        let places = self.options.places.clone();
        let ephemeral = self.options.ephemeral;
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
    let lifetime = if state.is_live() {
        expiry::lifetime(settings, state.phase)
    } else if state.phase == Phase::Dead as u8 {
        // One that nobody buried: its place in the queue was lost.
        settings.burial_ticks
    } else {
        return false;
    };
    state.age(now) > lifetime
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
        for (phase, lifetime) in [(Phase::Unanswered, 200), (Phase::Answered, 40_000), (Phase::Dead, 3)] {
            // Seen shortly before the 16 bits wrap.
            let state = State { phase: phase as u8, seen: 0xfff0, ..State::default() };
            assert!(!overdue(state, 0x1_fff0 + lifetime, &settings), "{phase:?}");
            assert!(overdue(state, 0x1_fff0 + lifetime + 1, &settings), "{phase:?}");
        }
        assert!(!overdue(State { phase: Phase::Buried as u8, ..State::default() }, 60_000, &settings));
        assert!(!overdue(State::default(), 60_000, &settings));
    }
}
