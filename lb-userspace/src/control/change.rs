//! What operators change while calls go on, without touching the configuration file.

use super::{daemon::Daemon, state};
use crate::{
    core::{
        change::{Change, Outcome},
        model::{Circumstances, Model},
        plan::Plan,
        summary::Summary,
    },
    failure::Failure,
};
use lb_common::map::backend::name_of;
use serde::{Deserialize, Serialize};

/// Body of a request for a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// What to change.
    #[serde(flatten)]
    pub change: Change,
    /// Only tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// Body of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeBody {
    /// Name of the backend or zone.
    pub name: String,
    /// What is so now, or would be.
    pub done: String,
    /// Whether it was only asked about.
    pub dry_run: bool,
    /// Calls in progress there.
    pub channels: u64,
    /// The command that undoes it; `null`: nothing changed.
    pub undo: Option<String>,
    /// What to write in the configuration file to have it there too; `null`: there is no such key, or it says so.
    pub lasting: Option<String>,
    /// What changes, as a sentence.
    pub changes: String,
    /// What changes, by name.
    pub plan: serde_json::Value,
}

impl Daemon {
    /// Does what an operator wants, and keeps it.
    ///
    /// # Errors
    /// When it makes no sense, cannot be kept or cannot be done; then everything stays as it was.
    pub(super) fn change(&mut self, request: &ChangeRequest) -> Result<ChangeBody, Failure> {
        let change = &request.change;
        let outcome = change.outcome(&self.wishes, &self.config)?;
        let channels = self.channels_of(change)?;
        let summary = if request.dry_run { self.foresee(&outcome)? } else { self.carry_out(&outcome)? };
        if !request.dry_run {
            tracing::info!("{}: {}: {summary}", change.name(), outcome.done);
        }
        Ok(ChangeBody {
            name: change.name().to_owned(),
            done: outcome.done,
            dry_run: request.dry_run,
            channels,
            undo: outcome.undo,
            lasting: outcome.lasting,
            changes: summary.to_string(),
            plan: serde_json::to_value(&summary).unwrap_or_default(),
        })
    }

    fn foresee(&self, outcome: &Outcome) -> Result<Summary, Failure> {
        Ok(Plan::between(&self.model, &self.model_of(outcome)?).summary)
    }

    fn carry_out(&mut self, outcome: &Outcome) -> Result<Summary, Failure> {
        let model = self.model_of(outcome)?;
        let path = self.options.places.state();
        // First of all: what is done and not kept would be undone by the next start.
        state::write(&path, &outcome.wishes)?;
        match self.change_to(model) {
            Ok(summary) => {
                self.wishes = outcome.wishes.clone();
                self.write_facts();
                self.watch_backends()?;
                // Limits that operators set are what telemetry lowers.
                self.feed();
                Ok(summary)
            }
            Err(failure) => {
                state::write(&path, &self.wishes)?;
                Err(failure)
            }
        }
    }

    fn model_of(&self, outcome: &Outcome) -> Result<Model, Failure> {
        self.model_in(&Circumstances { wishes: outcome.wishes.clone(), ..self.circumstances() })
    }

    /// Calls in progress on the backend or in the zone.
    fn channels_of(&self, change: &Change) -> Result<u64, Failure> {
        let (name, maps) = (change.name(), &self.tables.maps);
        let named = |bytes| name_of(bytes) == name;
        let load = if let Change::ZoneWill { .. } = change {
            let id = self.model.zones.iter().find(|(_, z)| named(&z.name)).map(|(id, _)| *id);
            id.map(|id| maps.zone_load(id)).transpose()?
        } else {
            let id = self.model.backends.iter().find(|(_, b)| named(&b.name)).map(|(id, _)| *id);
            id.map(|id| maps.backend_load(id)).transpose()?
        };
        Ok(load.map_or(0, |load| load.in_progress()))
    }
}
