//! The configuration file, for the daemon and the CLI: a refused one becomes a [`Failure`] that holds all complaints.

use crate::{
    config::{self, Access, Complaints, Loaded},
    failure::Failure,
    wall,
};
use std::path::Path;

/// Loads a file. Warnings are told through `warn`.
///
/// # Errors
/// All complaints at once, as text and as data.
pub fn load(path: &Path, warn: impl FnOnce(&Complaints)) -> Result<Loaded, Failure> {
    told(config::load(path), path, warn)
}

/// Takes a text that was this file's once.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, warn: impl FnOnce(&Complaints)) -> Result<Loaded, Failure> {
    told(config::parse(text, &path.to_string_lossy()), path, warn)
}

/// Reads the files that `[api]` names; `None`: there is no `[api]`. Warnings are told through `warn`.
///
/// # Errors
/// Every file that cannot be used, as [`load`].
pub fn access(
    loaded: &Loaded,
    path: &Path,
    warn: impl FnOnce(&Complaints),
) -> Result<Option<Access>, Failure> {
    let read = config::access(loaded, &path.to_string_lossy(), wall::now());
    let (access, warnings) = read.map_err(|complaints| refused(path, &complaints))?;
    if !warnings.is_empty() {
        warn(&warnings);
    }
    Ok(access)
}

fn told(
    read: Result<Loaded, Complaints>,
    path: &Path,
    warn: impl FnOnce(&Complaints),
) -> Result<Loaded, Failure> {
    match read {
        Ok(loaded) => {
            if !loaded.warnings.is_empty() {
                warn(&loaded.warnings);
            }
            Ok(loaded)
        }
        Err(complaints) => Err(refused(path, &complaints)),
    }
}

fn refused(path: &Path, complaints: &Complaints) -> Failure {
    let count = match complaints.len() {
        1 => "1 complaint".to_owned(),
        n => format!("{n} complaints"),
    };
    let message =
        format!("{} is refused, with {count}:\n\n{}", path.display(), complaints.render(false).trim_end());
    let mut failure = Failure::bad("config_refused", message)
        .remedy(format!("mend the file; `sipsteer check {}` looks at it again", path.display()));
    failure.details = serde_json::to_value(complaints).ok();
    failure
}
