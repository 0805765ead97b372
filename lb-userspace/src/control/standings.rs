//! What was observed of backends, as part of the daemon: whoever observes hands it over here, and the maps follow.

use super::daemon::Daemon;
use crate::{
    core::{
        model::{Circumstances, Model},
        standings::Observation,
        summary::Summary,
    },
    failure::Failure,
};

impl Daemon {
    /// What the model depends on besides the configuration, as far as the daemon knows it.
    pub(super) fn circumstances(&self) -> Circumstances {
        Circumstances { wishes: self.wishes.clone(), standings: self.standings.by_name().clone(), busy: None }
    }

    /// Takes what was observed, tells what is new of it, and makes the maps follow. Rings change in one piece, whatever
    /// number of backends changed.
    pub(super) fn observe(&mut self, observations: impl IntoIterator<Item = Observation>) {
        for observation in observations {
            if let Some(change) = self.standings.note(&observation) {
                change.tell();
                self.standings_due = true;
            }
        }
        self.follow_standings();
    }

    /// Makes the maps follow what was observed, if they do not yet. What cannot be written is tried again at the next tick.
    pub(super) fn follow_standings(&mut self) {
        if !self.standings_due {
            return;
        }
        match self.apply_standings() {
            Ok(summary) => {
                self.standings_due = false;
                tracing::debug!("after what was observed: {summary}");
            }
            Err(failure) => tracing::error!("cannot follow what was observed of backends: {failure}"),
        }
    }

    fn apply_standings(&mut self) -> Result<Summary, Failure> {
        let model = self.model_in(&self.circumstances())?;
        let summary = self.change_to(model)?;
        self.watch_backends()?;
        Ok(summary)
    }

    /// The model of the present configuration in some circumstances.
    ///
    /// # Errors
    /// When the maps have no number left for something.
    pub(super) fn model_in(&self, circumstances: &Circumstances) -> Result<Model, Failure> {
        self.model.next(&self.config, circumstances).map_err(|e| Failure::bad("out_of_ids", e.to_string()))
    }
}
