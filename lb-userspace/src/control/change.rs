//! What operators change while calls go on, without touching the configuration file.

use super::{daemon::Daemon, state};
use crate::{
    core::{
        change::{Change, Outcome},
        model::{Circumstances, Model},
        plan::Plan,
        summary::Summary,
        wishes::Wishes,
    },
    failure::Failure,
};
use lb_common::map::backend::name_of;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};

/// Body of a request for a change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ChangeRequest {
    /// What to change.
    #[serde(flatten)]
    pub change: Change,
    /// Only tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Forget it when the daemon restarts.
    #[serde(default)]
    pub until_restart: bool,
}

/// Body of the answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangeBody {
    /// Name of the backend or zone.
    pub name: String,
    /// What is so now, or would be.
    pub done: String,
    /// Whether it was only asked about.
    pub dry_run: bool,
    /// Whether a restart of the daemon forgets it.
    pub until_restart: bool,
    /// Calls in progress there.
    pub channels: u64,
    /// The command that undoes it; `null`: nothing changed.
    pub undo: Option<String>,
    /// What to write in the configuration file to have it there too; `null`: there is no such key, or it says so.
    pub lasting: Option<String>,
    /// What changes, as a sentence.
    pub changes: String,
    /// What changes, by name.
    pub plan: Summary,
}

/// serde does not refuse unknown fields where it flattens, and a misspelt `dry_run` must not be done.
impl<'de> Deserialize<'de> for ChangeRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChangeRequest, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let mut flag = |name: &str| match fields.remove(name) {
            Some(value) => {
                value.as_bool().ok_or_else(|| D::Error::custom(format!("{name} is true or false")))
            }
            None => Ok(false),
        };
        let (dry_run, until_restart) = (flag("dry_run")?, flag("until_restart")?);
        let change = Change::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(ChangeRequest { change, dry_run, until_restart })
    }
}

impl Daemon {
    /// Does what an operator wants, and keeps it unless that is not wanted.
    ///
    /// # Errors
    /// When it makes no sense, cannot be kept or cannot be done; then everything stays as it was.
    pub(super) fn change(&mut self, request: &ChangeRequest) -> Result<ChangeBody, Failure> {
        let change = &request.change;
        let outcome = change.outcome(&self.wishes, &self.config)?;
        let channels = self.channels_of(change)?;
        let summary = match (request.dry_run, request.until_restart) {
            (true, _) => self.foresee(&outcome)?,
            (false, true) => self.carry_out(&outcome, None)?,
            (false, false) => {
                let kept = change.outcome(&self.kept, &self.config)?.wishes;
                self.carry_out(&outcome, Some(kept))?
            }
        };
        if !request.dry_run {
            tracing::info!("{}: {}: {summary}", change.name(), outcome.done);
        }
        Ok(ChangeBody {
            name: change.name().to_owned(),
            done: outcome.done,
            dry_run: request.dry_run,
            until_restart: request.until_restart,
            channels,
            undo: outcome
                .undo
                .map(|undo| if request.until_restart { undo + " --until-restart" } else { undo }),
            lasting: outcome.lasting,
            changes: summary.to_string(),
            plan: summary,
        })
    }

    fn foresee(&self, outcome: &Outcome) -> Result<Summary, Failure> {
        Ok(Plan::between(&self.model, &self.model_of(outcome)?).summary)
    }

    /// Does it; `kept` is what a restart finds, `None`: what it would find already.
    fn carry_out(&mut self, outcome: &Outcome, kept: Option<Wishes>) -> Result<Summary, Failure> {
        let model = self.model_of(outcome)?;
        let path = self.options.places.state();
        // First of all: what is done and not kept would be undone by the next start.
        if let Some(kept) = &kept {
            state::write(&path, kept)?;
        }
        match self.change_to(model) {
            Ok(summary) => {
                self.wishes = outcome.wishes.clone();
                self.kept = kept.unwrap_or_else(|| std::mem::take(&mut self.kept));
                self.write_facts();
                self.watch_backends()?;
                // Limits that operators set are what telemetry lowers.
                self.feed();
                Ok(summary)
            }
            Err(failure) => {
                if kept.is_some() {
                    state::write(&path, &self.kept)?;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_field_is_refused() {
        let read = |text: &str| serde_json::from_str::<ChangeRequest>(text);
        let drain = r#""change":"backend-will","name":"sw1","will":"draining""#;
        let request = read(&format!("{{{drain},\"dry_run\":true}}")).unwrap();
        assert_eq!((request.dry_run, request.until_restart, request.change.name()), (true, false, "sw1"));
        for more in ["\"dryrun\":true", "\"dry_run\":1", "\"until_restart\":null", "\"weight\":1"] {
            assert!(read(&format!("{{{drain},{more}}}")).is_err(), "{more}");
        }
        assert!(read("{}").is_err() && read("[]").is_err());
    }
}
