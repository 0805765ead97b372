//! What the maps do not say, left in the run directory by the daemon.

use crate::{
    core::wishes::Difference,
    fault::{self, Point},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the CLI wants to know with or without a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Name of the balancer.
    pub node: String,
    /// Its configuration file.
    pub config: PathBuf,
    /// What is not as that file says.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

impl Facts {
    /// What the latest daemon left; without it only the host's name.
    pub fn read(path: &Path) -> Facts {
        let left = fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        left.unwrap_or_else(|| Facts { node: host_name(), ..Facts::default() })
    }

    /// Leaves them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fault::pass(Point::FactsWritten);
        fs::rename(&new, path)
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_and_their_absence_is_no_error() {
        let path = std::env::temp_dir().join(format!("sipsteer-facts-{}.json", std::process::id()));
        assert_eq!(Facts::read(&path), Facts { node: host_name(), ..Facts::default() });
        let facts = Facts { node: "lb1".to_owned(), config: "/etc/x.toml".into(), differences: Vec::new() };
        facts.write(&path).unwrap();
        assert_eq!(Facts::read(&path), facts);
        fs::write(&path, "{").unwrap();
        assert_eq!(Facts::read(&path).node, host_name());
        fs::remove_file(&path).unwrap();
    }
}
