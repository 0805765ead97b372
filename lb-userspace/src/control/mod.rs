//! The daemon: brings the data plane up, keeps its maps true, answers on its socket.
//!
//! * [`start`]: checks first, then maps, then programs, then interfaces. * `migrate`: maps of another layout or size.
//! * [`daemon`] and some files beside it: what it does afterwards; `health` and `doubt`: how backends are.
//! * [`state`]: what operators want, kept in a file. * [`trial`]: a reload that is undone unless somebody confirms it.
//! * [`run`]: waits for signals, the clock, the network and the socket. * [`api`], [`client`]: both ends of the socket;
//!   [`openapi`] describes it. * `remote`, `gate`, `guests`: the same over TCP, who may come in, and
//!   what is borne.
//!
//! Stopping it, in whatever way, leaves the data plane at work.

mod announce;
pub mod api;
pub mod change;
pub mod client;
pub mod daemon;
mod doubt;
mod ended;
pub mod file;
mod gate;
mod guests;
pub mod hash_key;
mod health;
mod listener;
pub mod lock;
mod measure;
mod migrate;
mod network;
pub mod openapi;
pub mod recent;
mod recount;
pub mod reload;
mod remote;
pub mod run;
mod slow_path;
mod standings;
pub mod start;
pub mod state;
pub mod telemetry;
pub mod trial;
mod zone_loads;

use crate::dataplane::pins::PinDir;
use std::path::PathBuf;

/// Default of [`Places::run_dir`].
pub const RUN_DIR: &str = "/run/sipsteer";

/// Default of [`Places::state_dir`].
pub const STATE_DIR: &str = "/var/lib/sipsteer";

/// Where a daemon keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Maps and links.
    pub pins: PinDir,
    /// Socket and lock.
    pub run_dir: PathBuf,
    /// What operators want, which outlives the host's restart.
    pub state_dir: PathBuf,
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

    /// What operators want beyond the configuration.
    pub fn state(&self) -> PathBuf {
        self.state_dir.join("state.json")
    }

    /// A reload that awaits confirmation, and what held before it.
    pub fn trial(&self) -> PathBuf {
        self.state_dir.join("trial.json")
    }

    /// The file that is locked while a daemon runs.
    pub fn lock(&self) -> PathBuf {
        self.run_dir.join("lock")
    }
}
