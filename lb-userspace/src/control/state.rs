//! The file that holds what operators want beyond the configuration, so that it outlives reloads, restarts and the host.

use crate::{
    core::wishes::Wishes,
    failure::{Failure, Kind},
    fault::{self, Point},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// What the file calls itself.
const SCHEMA: &str = "sipsteer/state/1";

/// The file's contents.
#[derive(Serialize, Deserialize)]
struct State {
    schema: String,
    #[serde(flatten)]
    wishes: Wishes,
}

/// Reads the file; one that is not there holds no wishes.
///
/// # Errors
/// When it cannot be read or holds something else: to go on without it would give calls to backends that somebody drained.
pub fn read(path: &Path) -> Result<Wishes, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Wishes::default()),
        Err(e) => return Err(broken(path, &e.to_string())),
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|e| broken(path, &e.to_string()))?;
    if state.schema != SCHEMA {
        return Err(broken(path, &format!("its schema is {:?}, not {SCHEMA}", state.schema)));
    }
    if !state.wishes.is_sane() {
        return Err(broken(path, "a limit or a weight is out of range"));
    }
    Ok(state.wishes)
}

/// Replaces the file as a whole: after a crash it is the old one or the new one.
///
/// # Errors
/// When it cannot be written; then it is as it was.
pub fn write(path: &Path, wishes: &Wishes) -> Result<(), Failure> {
    let state = State { schema: SCHEMA.to_owned(), wishes: wishes.clone() };
    replace(path, &state).map_err(|e| unwritable(path, &e))
}

/// Why a file of what must outlive the daemon was not written.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied { Kind::Permission } else { Kind::Bad };
    Failure::new(kind, "state_unwritable", format!("cannot write {}: {error}", path.display()))
        .remedy("nothing was changed; see that the daemon may write there and that the disk is not full")
}

/// Replaces a file as a whole by a document: after a crash it is the old one or the new one.
pub(super) fn replace(path: &Path, document: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    fault::pass(Point::DocumentMade);
    file.write_all(&serde_json::to_vec_pretty(document)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fault::pass(Point::DocumentWritten);
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()?;
    fault::pass(Point::DocumentKept);
    Ok(())
}

fn broken(path: &Path, why: &str) -> Failure {
    Failure::bad(
        "state_broken",
        format!(
            "cannot use {}, which holds what operators want of backends and zones: {why}",
            path.display()
        ),
    )
    .remedy("mend it; or move it away, and every backend is enabled with the limits of the configuration")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wishes::Will;

    #[test]
    fn wishes_come_back_and_a_broken_file_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper").join("state.json");
        assert_eq!(read(&path), Ok(Wishes::default()));
        let mut wishes = Wishes::default();
        wishes.change("sw1", |w| w.will = Will::Draining);
        write(&path, &wishes).unwrap();
        assert_eq!(read(&path), Ok(wishes.clone()));
        write(&path, &Wishes::default()).unwrap();
        assert_eq!(read(&path), Ok(Wishes::default()));
        let insane = r#"{"schema":"sipsteer/state/1","backends":{"sw1":{"weight":0}}}"#;
        let other = r#"{"schema":"sipsteer/state/2"}"#;
        for text in ["", "{}", insane, other] {
            fs::write(&path, text).unwrap();
            let failure = read(&path).unwrap_err();
            assert!(failure.to_string().contains("state.json") && failure.remedy.is_some(), "{failure}");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut wishes = Wishes::default();
        wishes.change("sw1", |w| w.will = Will::Draining);
        write(&path, &wishes).unwrap();
        // A folder stands where the new file would be written.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert_eq!(write(&path, &Wishes::default()).unwrap_err().code, "state_unwritable");
        assert_eq!(read(&path), Ok(wishes));
    }
}
