//! The daemon: brings the data plane up, keeps its maps true, answers on its socket.
//!
//! * [`start`]: checks first, then maps, then programs, then interfaces.
//! * [`daemon`] and three files beside it: what it does afterwards.
//! * [`run`]: waits for signals, the clock, the network and the socket. * [`api`], [`client`]: both ends of the socket.
//!
//! Stopping it, in whatever way, leaves the data plane at work.

pub mod api;
pub mod client;
pub mod daemon;
pub mod file;
pub mod hash_key;
pub mod lock;
mod network;
mod reload;
pub mod run;
mod slow_path;
pub mod start;

use crate::dataplane::pins::PinDir;
use std::path::PathBuf;

/// Default of [`Places::run_dir`].
pub const RUN_DIR: &str = "/run/sipsteer";

/// Where a daemon keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Maps and links.
    pub pins: PinDir,
    /// Socket and lock.
    pub run_dir: PathBuf,
}

impl Places {
    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("api.sock")
    }

    /// What the maps do not say, for the CLI.
    pub fn facts(&self) -> PathBuf {
        self.run_dir.join("facts.json")
    }

    /// The file that is locked while a daemon runs.
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("lock")
    }
}
