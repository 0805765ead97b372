//! Another configuration while calls go on.

use super::{
    daemon::Daemon,
    file, hash_key, health,
    start::{self, check_settings},
};
use crate::{
    config::Config,
    core::{
        lifetimes,
        model::{Circumstances, Model},
        plan::Plan,
        summary::Summary,
    },
    dataplane::attach,
    failure::Failure,
};
use jiff::Timestamp;
use lb_common::map::{backend::Backend, dialog::buckets_for};
use tokio::time::Instant;

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
        let interfaces = self.wanted_interfaces(&config);
        start::check_host(&config, &interfaces, &self.options.places.pins, &self.neighbours).await?;
        self.check_fixed(&config)?;
        let hash_key = hash_key::read_or_make(&config.node.hash_key_file)?;
        let settings = lifetimes::settings(&config, hash_key, self.hz);
        check_settings(&self.settings, &settings, &self.options)?;
        let standings = self.standings.after(&self.config, &config);
        let circumstances = Circumstances { standings: standings.by_name().clone(), ..self.circumstances() };
        let model = self
            .model
            .next(&config, &circumstances)
            .map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;

        if config.node.interfaces != self.config.node.interfaces {
            self.attach_all(&config, &interfaces)?;
        }
        let summary = self.change_to(model)?;
        (self.standings, self.standings_due) = (standings, false);
        self.tables.maps.set_settings(&settings)?;
        self.settings = settings;
        self.visible_backends = health::visible_backends(&config);
        let before = std::mem::replace(&mut self.config, config);
        self.since.configured = Timestamp::now();
        self.listen_slowly();
        self.write_facts();
        self.drop_other_links();
        self.set_ports()?;
        self.watch_backends()?;
        self.follow_probing();
        self.follow_telemetry(Some(&before));
        self.settle().await;
        self.refresh_neighbours().await;
        self.census_due = Instant::now();
        Ok(summary)
    }

    /// Refuses what only a new start can change.
    fn check_fixed(&self, config: &Config) -> Result<(), Failure> {
        if buckets_for(config.dialogs.max) == self.tables.maps.buckets() {
            return Ok(());
        }
        let present = self.tables.maps.dialogs_capacity();
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
    pub(super) fn change_to(&mut self, model: Model) -> Result<Summary, Failure> {
        let plan = Plan::between(&self.model, &model);
        if let Err(failure) = self.tables.apply(&plan.writes) {
            // What was written stays usable; the next plan starts from what really stands there.
            self.model = Model::adopted(self.tables.found()?);
            return Err(failure);
        }
        let moved = |(id, backend): (&u16, &Backend)| {
            self.model.backends.get(id).is_some_and(|before| before.zone != backend.zone)
        };
        let moved = model.backends.iter().any(moved);
        self.model = model;
        if moved {
            self.correct_zone_loads()?;
        }
        Ok(plan.summary)
    }

    /// The interfaces of a configuration, but not those that were attached and are gone: they need not come back before
    /// anything else may change.
    fn wanted_interfaces(&self, config: &Config) -> Vec<String> {
        let gone = |name: &String| {
            self.neighbours.link(name).is_none() && self.attachments.iter().any(|a| a.interface == *name)
        };
        config.node.interfaces.iter().filter(|name| !gone(name)).cloned().collect()
    }

    fn attach_all(&mut self, config: &Config, interfaces: &[String]) -> Result<(), Failure> {
        let links = self.neighbours.links();
        let pins = &self.options.places.pins;
        let made = attach::attach(pins, &self.programs, interfaces, config.node.xdp_mode, &links)?;
        start::tell(&made, &self.programs);
        // Those that are gone keep their old number, so that their return is noticed.
        self.attachments
            .retain(|a| config.node.interfaces.contains(&a.interface) && !interfaces.contains(&a.interface));
        self.attachments.extend(made);
        Ok(())
    }
}
