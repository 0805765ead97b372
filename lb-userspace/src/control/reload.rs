//! Another configuration while calls go on.

use super::{
    announce,
    daemon::Daemon,
    file, hash_key, health,
    start::{self, check_settings},
    trial::{self, Trial},
};
use crate::{
    config::{Access, Config, Loaded},
    core::{
        lifetimes,
        model::{Circumstances, Model},
        plan::Plan,
        standings::Standings,
        summary::Summary,
    },
    dataplane::attach::{self, Found},
    failure::Failure,
    wall,
};
use lb_common::{
    hash::HashKey,
    map::{backend::Backend, dialog::buckets_for, settings::Settings},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// Body of a request for a reload.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Only tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Undo it after so many seconds unless it is confirmed: 1 to 86,400; `null`: never.
    #[serde(default)]
    pub confirm_within_seconds: Option<u32>,
}

/// Body of the answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReloadBody {
    /// What changes, as a sentence.
    pub changes: String,
    /// What changes, by name, a line for each kind of thing.
    pub details: Vec<String>,
    /// What changes, for programs.
    pub plan: Summary,
    /// Whether it was only asked about.
    pub dry_run: bool,
    /// When it is undone unless it is confirmed, RFC 3339; `null`: it is not.
    pub undone_at: Option<String>,
}

impl ReloadBody {
    /// The answer to an undoing.
    pub(super) fn undone(plan: Summary) -> ReloadBody {
        ReloadBody {
            changes: plan.to_string(),
            details: plan.details(),
            plan,
            dry_run: false,
            undone_at: None,
        }
    }
}

/// A configuration that may be taken.
struct Candidate {
    loaded: Loaded,
    interfaces: Vec<String>,
    settings: Settings,
    standings: Standings,
    model: Model,
}

impl Daemon {
    /// Takes the configuration file anew, or tells what that would do. When anything is wrong with it, everything stays as
    /// it was.
    ///
    /// # Errors
    /// All complaints about the file, or the first thing that is wrong with the host.
    pub async fn reload(&mut self, request: &ReloadRequest) -> Result<ReloadBody, Failure> {
        let dry_run = request.dry_run;
        if let Err(failure) = self.check_request(request) {
            tracing::error!("reload refused, the configuration stays as it was: {failure}");
            return Err(failure);
        }
        let result = if dry_run { self.foresee_reload().await } else { self.try_reload(request).await };
        if !dry_run {
            self.reload_refused = result.as_ref().err().map(ToString::to_string);
            match &result {
                Ok(summary) => tracing::info!("reloaded {}: {summary}", self.options.config.display()),
                Err(failure) => {
                    tracing::error!("reload refused, the configuration stays as it was: {failure}");
                }
            }
        }
        let trial = self.trial.as_ref().filter(|_| !dry_run).map(Trial::view);
        result.map(|plan| ReloadBody {
            changes: plan.to_string(),
            details: plan.details(),
            plan,
            dry_run,
            undone_at: trial.and_then(|trial| trial.until),
        })
    }

    /// What is wrong about a reload whatever stands in the file.
    fn check_request(&self, request: &ReloadRequest) -> Result<(), Failure> {
        match request.confirm_within_seconds {
            None if request.dry_run => Ok(()),
            None => self.check_trial(),
            Some(seconds) if (1..=trial::LONGEST.as_secs()).contains(&seconds.into()) => Ok(()),
            Some(_) => {
                Err(Failure::bad("out_of_range", "the time to confirm a reload within is out of range")
                    .remedy(format!("it is from 1 to {} seconds", trial::LONGEST.as_secs())))
            }
        }
    }

    /// The file, and what opens the API by it.
    fn load(&self) -> Result<(Loaded, Option<Access>), Failure> {
        let path = &self.options.config;
        let loaded = file::load(path, start::warn)?;
        let access = file::access(&loaded, path, start::warn)?;
        Ok((loaded, access))
    }

    async fn foresee_reload(&mut self) -> Result<Summary, Failure> {
        let (loaded, _) = self.load()?;
        let candidate = self.candidate(loaded).await?;
        let summary = Plan::between(&self.model, &candidate.model).summary;
        Ok(summary.with_settings(&self.config.settings(), &candidate.loaded.config.settings()))
    }

    async fn try_reload(&mut self, request: &ReloadRequest) -> Result<Summary, Failure> {
        let Some(length) = request.confirm_within_seconds else {
            let (loaded, access) = self.load()?;
            let summary = self.take(loaded, access).await?;
            if self.trial.take().is_some() {
                self.keep_trial();
            }
            return Ok(summary);
        };
        let length = Duration::from_secs(length.into());
        let (loaded, access) = self.load()?;
        // Before it is taken: a daemon that ends in between must not have confirmed it.
        let trial = self.prepare_trial(&loaded.text, length)?;
        match self.take(loaded, access).await {
            Ok(summary) => {
                self.trial = Some(trial);
                Ok(summary)
            }
            Err(failure) => {
                self.keep_trial();
                Err(failure)
            }
        }
    }

    /// Looks whether a configuration can be taken; changes nothing.
    async fn candidate(&mut self, loaded: Loaded) -> Result<Candidate, Failure> {
        let config = &loaded.config;
        self.neighbours.read_links().await.map_err(|e| start::netlink_failure(&e))?;
        let interfaces = self.wanted_interfaces(config);
        start::check_host(config, &interfaces, &self.options.places.pins, &self.neighbours).await?;
        self.check_fixed(config)?;
        let hash_key = self.hash_key_of(config)?;
        let settings = lifetimes::settings(config, hash_key, self.hz);
        check_settings(&self.settings, &settings, &self.options)?;
        let standings = self.standings.after(&self.config, config);
        let circumstances = Circumstances { standings: standings.by_name().clone(), ..self.circumstances() };
        let model =
            self.model.next(config, &circumstances).map_err(|e| Failure::bad("out_of_ids", e.to_string()))?;
        Ok(Candidate { loaded, interfaces, settings, standings, model })
    }

    /// Makes a configuration hold, with what opens its API, and tells systemd of it.
    pub(super) async fn take(&mut self, loaded: Loaded, access: Option<Access>) -> Result<Summary, Failure> {
        announce::reloading();
        let result = self.take_quietly(loaded, access).await;
        self.announce_ready();
        result
    }

    async fn take_quietly(&mut self, loaded: Loaded, access: Option<Access>) -> Result<Summary, Failure> {
        let Candidate { loaded, interfaces, settings, standings, model } = self.candidate(loaded).await?;
        let config = loaded.config;
        let carriers = |config: &Config| (config.node.interfaces.clone(), config.node.xdp_mode);
        if carriers(&config) != carriers(&self.config) {
            self.attach_all(&config, &interfaces)?;
        }
        let summary = self.change_to(model)?;
        (self.standings, self.standings_due) = (standings, false);
        self.tables.maps.set_settings(&settings)?;
        self.settings = settings;
        self.visible_backends = health::visible_backends(&config);
        let before = std::mem::replace(&mut self.config, config);
        let summary = summary.with_settings(&before.settings(), &self.config.settings());
        self.text = loaded.text;
        self.since.configured = wall::now();
        self.listen_slowly();
        self.serve_metrics();
        self.remote.want(access);
        self.serve_api();
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

    /// The key in a configuration's file; a new one would be refused, so none is made.
    fn hash_key_of(&self, config: &Config) -> Result<HashKey, Failure> {
        let path = &config.node.hash_key_file;
        hash_key::read(path)?.ok_or_else(|| {
            Failure::bad("hash_key", format!("{} is not there", path.display())).remedy(
                "put the earlier path back into node.hash_key_file, or the earlier key into this file: without it the \
                 dialogs in the table could not be found",
            )
        })
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
            "restart the daemon (`systemctl restart sipsteer`), which makes a table of that size and brings all calls over, \
             or put the earlier number back",
        ))
    }

    /// Makes the maps those of a model.
    pub(super) fn change_to(&mut self, model: Model) -> Result<Summary, Failure> {
        let plan = Plan::between(&self.model, &model);
        let start = Instant::now();
        let applied = self.tables.apply(&plan.writes);
        if !plan.is_empty() {
            self.measures.map_write_duration.observe(start.elapsed().as_secs_f64());
        }
        if let Err(failure) = applied {
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
        let mode = config.node.xdp_mode;
        let found = if mode == self.config.node.xdp_mode { Found::Stays } else { Found::MayBeNative };
        let made = attach::attach(pins, &self.programs, interfaces, mode, found, &links)?;
        start::tell(&made, &self.programs);
        // Those that are gone keep their old number, so that their return is noticed.
        self.attachments
            .retain(|a| config.node.interfaces.contains(&a.interface) && !interfaces.contains(&a.interface));
        self.attachments.extend(made);
        Ok(())
    }
}
