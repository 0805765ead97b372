//! A reload on trial: it is undone unless somebody confirms it in time.
//!
//! What was confirmed last is kept in a file beside the configuration on trial, so that a restart of the daemon or of the
//! host neither confirms nor forgets it: a start whose configuration file is the one on trial goes on with the trial, or,
//! when its time is over or it was undone, takes what held before. A configuration file that somebody changed meanwhile is
//! neither, and ends the trial.

use super::{daemon::Daemon, file, start, start::Options, state};
use crate::{
    config::{Access, Loaded},
    core::summary::Summary,
    failure::Failure,
    view::status::TrialView,
    wall,
};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path, time::Duration};
use tokio::time::Instant;

/// What the file calls itself.
const SCHEMA: &str = "sipsteer/trial/1";
/// Longest trial: a working day, after which nobody remembers it.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// When an undoing that did not work is tried again.
const AGAIN: Duration = Duration::from_secs(15);

/// A configuration on trial, or one that was undone.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    kept: Kept,
    /// When it is undone; `None`: it was.
    due: Option<Instant>,
}

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    schema: String,
    /// When it is undone; `None`: it was.
    until: Option<Timestamp>,
    /// The configuration on trial.
    text: String,
    /// The configuration before, which nobody undoes.
    earlier: String,
}

/// What a start does about a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The configuration file is another one since.
    Void,
    /// There is time left.
    GoesOn(Duration),
    /// What held before holds.
    Undone,
}

impl Trial {
    pub(super) fn view(&self) -> TrialView {
        TrialView { until: self.kept.until.filter(|_| self.due.is_some()).map(|until| until.to_string()) }
    }

    fn pending(&self) -> bool {
        self.due.is_some()
    }
}

impl Kept {
    fn fate(&self, text: &str, now: Timestamp) -> Fate {
        if self.text != text {
            return Fate::Void;
        }
        let left: Option<Duration> = self.until.and_then(|until| until.duration_since(now).try_into().ok());
        match left {
            // A clock that was set back must not make the trial longer than anybody asked for.
            Some(left) if left > Duration::ZERO => Fate::GoesOn(left.min(LONGEST)),
            _ => Fate::Undone,
        }
    }

    fn read(path: &Path) -> Result<Option<Kept>, Failure> {
        let broken = |why: &str| {
            Failure::bad(
                "trial_broken",
                format!(
                    "cannot use {}, which holds the configuration before an unconfirmed one: {why}",
                    path.display()
                ),
            )
            .remedy("move it away; then the configuration file holds as it is")
        };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(broken(&e.to_string())),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| broken(&e.to_string()))?;
        if kept.schema == SCHEMA {
            Ok(Some(kept))
        } else {
            Err(broken(&format!("its schema is {:?}", kept.schema)))
        }
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        state::replace(path, self).map_err(|e| state::unwritable(path, &e))
    }
}

/// Which configuration a start takes: that of its file, unless it is one that was undone or should have been.
///
/// # Errors
/// When what is kept cannot be read.
pub(super) fn at_start(loaded: Loaded, options: &Options) -> Result<(Loaded, Option<Trial>), Failure> {
    let path = options.places.trial();
    let Some(kept) = Kept::read(&path)? else { return Ok((loaded, None)) };
    let file = options.config.display();
    match kept.fate(&loaded.text, wall::now()) {
        Fate::Void => {
            tracing::warn!(
                "{file} is neither the configuration on trial nor an undone one: it holds as it is"
            );
            remove(&path)?;
            Ok((loaded, None))
        }
        Fate::GoesOn(left) => {
            tracing::warn!("{file} is undone in {} s unless you run `sipsteer confirm`", left.as_secs());
            Ok((loaded, Some(Trial { kept, due: Some(Instant::now() + left) })))
        }
        Fate::Undone => {
            tracing::error!(
                "{file} was not confirmed in time or was undone: what held before it holds; mend it, or `sipsteer reload` \
                 takes it as it is"
            );
            let earlier = file::parse(&kept.earlier, &options.config, start::warn)?;
            Ok((earlier, Some(Trial { kept, due: None })))
        }
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(state::unwritable(path, &e)),
        _ => Ok(()),
    }
}

fn nothing_on_trial() -> Failure {
    Failure::bad("no_trial", "no reload awaits confirmation")
        .remedy("`sipsteer reload --confirm-within 5m` makes one that does")
}

impl Daemon {
    /// Refuses a reload that would end a trial by the way.
    pub(super) fn check_trial(&self) -> Result<(), Failure> {
        let Some(trial) = self.trial.as_ref().filter(|t| t.pending()) else { return Ok(()) };
        let until = trial.view().until.unwrap_or_default();
        Err(Failure::bad("trial_pending", format!("a reload awaits confirmation until {until}"))
            .remedy("run `sipsteer confirm` or `sipsteer undo` first, or reload with --confirm-within again"))
    }

    /// Begins a trial of `text`, in the file only. What is undone later is what was confirmed last.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub(super) fn prepare_trial(&self, text: &str, length: Duration) -> Result<Trial, Failure> {
        let length = length.min(LONGEST);
        let until = wall::now() + i64::try_from(length.as_secs()).unwrap_or(i64::MAX).seconds();
        let before = self.trial.as_ref().filter(|t| t.pending());
        let earlier = before.map_or(&self.text, |t| &t.kept.earlier).clone();
        let kept = Kept { schema: SCHEMA.to_owned(), until: Some(until), text: text.to_owned(), earlier };
        kept.write(&self.options.places.trial())?;
        Ok(Trial { kept, due: Some(Instant::now() + length) })
    }

    /// Makes the file say what the daemon does.
    pub(super) fn keep_trial(&self) {
        let path = self.options.places.trial();
        let done = match &self.trial {
            Some(trial) => trial.kept.write(&path),
            None => remove(&path),
        };
        if let Err(failure) = done {
            tracing::error!("a restart may find another configuration than that which holds: {failure}");
        }
    }

    /// Ends the trial: the configuration stays.
    ///
    /// # Errors
    /// When there is none, or the file of what held before cannot be removed.
    pub(super) fn confirm(&mut self) -> Result<(), Failure> {
        if !self.trial.as_ref().is_some_and(Trial::pending) {
            return Err(nothing_on_trial());
        }
        remove(&self.options.places.trial())?;
        self.trial = None;
        tracing::info!("the configuration is confirmed");
        Ok(())
    }

    /// Ends the trial: what held before holds again.
    ///
    /// # Errors
    /// When there is none, or what held before cannot be taken: then the trial goes on.
    pub(super) async fn undo(&mut self) -> Result<Summary, Failure> {
        let Some(trial) = self.trial.clone().filter(Trial::pending) else { return Err(nothing_on_trial()) };
        let earlier = file::parse(&trial.kept.earlier, &self.options.config, start::warn)?;
        let kept = Kept { until: None, ..trial.kept.clone() };
        // Before it is done: a daemon that ends in between must not go on with the trial. A full disk hinders nothing.
        self.trial = Some(Trial { kept, due: None });
        self.keep_trial();
        let access = self.access_again(&earlier);
        let summary = match self.take(earlier, access).await {
            Ok(summary) => summary,
            Err(failure) => {
                self.trial = Some(trial);
                self.keep_trial();
                return Err(failure);
            }
        };
        tracing::warn!(
            "undid the reload: {summary}; {} stays as it is and does not hold: mend it, or `sipsteer reload` takes it",
            self.options.config.display()
        );
        Ok(summary)
    }

    /// What opens the API of what held before. Files that cannot be used any more close it, and hinder nothing else.
    fn access_again(&self, earlier: &Loaded) -> Option<Access> {
        file::access(earlier, &self.options.config, start::warn).unwrap_or_else(|failure| {
            tracing::error!("there is no API over TCP until the next reload: {failure}");
            None
        })
    }

    /// Undoes the reload on trial if nobody confirmed it in time.
    pub(super) async fn end_trial(&mut self) {
        let over = |t: &Trial| t.due.is_some_and(|due| Instant::now() >= due);
        if !self.trial.as_ref().is_some_and(over) {
            return;
        }
        tracing::warn!("nobody confirmed the reload in time");
        if let Err(failure) = self.undo().await {
            tracing::error!("cannot undo the reload, trying again in {} s: {failure}", AGAIN.as_secs());
            if let Some(trial) = &mut self.trial {
                trial.due = Some(Instant::now() + AGAIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(until: Option<i64>) -> Kept {
        let until = until.map(|seconds| Timestamp::from_second(seconds).unwrap());
        Kept { schema: SCHEMA.to_owned(), until, text: "new".to_owned(), earlier: "old".to_owned() }
    }

    #[test]
    fn a_start_goes_on_undoes_or_forgets() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let fate = |until, text: &str, now| kept(until).fate(text, at(now));
        assert_eq!(fate(Some(100), "new", 99), Fate::GoesOn(Duration::from_secs(1)));
        assert_eq!(fate(Some(100), "new", 100), Fate::Undone);
        assert_eq!(fate(Some(100), "new", 5000), Fate::Undone);
        assert_eq!(fate(None, "new", 0), Fate::Undone);
        assert_eq!(fate(Some(100), "newer", 99), Fate::Void);
        assert_eq!(fate(None, "newer", 99), Fate::Void);
        assert_eq!(fate(Some(10_000_000), "new", 0), Fate::GoesOn(LONGEST), "a clock that was set back");
    }

    #[test]
    fn what_is_kept_comes_back_and_a_broken_file_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trial.json");
        assert_eq!(Kept::read(&path), Ok(None));
        kept(Some(7)).write(&path).unwrap();
        assert_eq!(Kept::read(&path), Ok(Some(kept(Some(7)))));
        for text in ["", "{}", r#"{"schema":"x","until":null,"text":"","earlier":""}"#] {
            fs::write(&path, text).unwrap();
            let failure = Kept::read(&path).unwrap_err();
            assert!(failure.message.contains("trial.json") && failure.remedy.is_some(), "{failure}");
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
