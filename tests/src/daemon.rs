//! The `sipsteer` under test: its configuration, its life and what it says.

pub use crate::configuration::{Config, Limits};
use crate::{
    cleanup::Cleanup,
    command::{self, output},
    netns,
    process::{Process, wait_until},
    topology::Lab,
};
use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    limits,
    map::{
        backend::{Backend, name_of, will},
        dialog::Tally,
        load::Load,
        name,
    },
    verdict::Verdict,
};
use serde_json::Value;
use sipsteer::fault::{self, Point};
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long the daemon may take until it steers: some seconds where the kernel is emulated.
const START: Duration = Duration::from_secs(60);

/// Names the daemon's binary where there is no cargo to build it.
pub const BINARY: &str = "SIPSTEER_BINARY";

/// Builds the daemon in the profile of the program that asks, and returns the binary; or that which [`BINARY`] names.
///
/// # Errors
/// When it cannot be built, or the program does not lie in cargo's target folder.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn build() -> Result<PathBuf> {
    if let Some(built) = env::var_os(BINARY) {
        return Ok(built.into());
    }
    let own = env::current_exe()?;
    // target/<profile>/xtask, or target/<profile>/deps/<test>
    let folder =
        own.ancestors().skip(1).find(|f| !f.ends_with("deps")).context("this program lies nowhere")?;
    let mut cargo = command::cargo();
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--bin", "sipsteer"]);
    // The tests too, so that its dependencies have the features with which they are built already.
    cargo.args(["--package", "sipsteer", "--package", "lb-tests", "--target-dir"]);
    cargo.arg(folder.parent().context("this program lies in no target folder")?);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    // On stderr, since stdout may be somebody's JSON.
    let status = cargo.stdout(Stdio::null()).status().context("cannot run cargo")?;
    ensure!(status.success(), "sipsteer was not built");
    Ok(folder.join("sipsteer"))
}

/// Where one node keeps its things, so that several can run on one machine.
pub struct Node<'a> {
    lab: &'a Lab,
    /// The program.
    pub binary: PathBuf,
    /// Pinned maps and links.
    pub pins: PathBuf,
    /// Socket and locks.
    pub run: PathBuf,
    /// What operators want.
    pub state: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Where `sipsteer` is told to die, see [`fault`].
    faults: PathBuf,
    _cleanup: Cleanup,
}

impl<'a> Node<'a> {
    /// A node in the lab's balancer, with its configuration written and nothing started. When it is dropped, whatever it
    /// has pinned goes.
    ///
    /// # Errors
    /// When the daemon cannot be built or the lab's folder cannot be written.
    pub fn new(lab: &'a Lab, config: &Config) -> Result<Node<'a>> {
        Node::with_text(lab, &config.text())
    }

    /// The same with a configuration that somebody else wrote.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn with_text(lab: &'a Lab, config: &str) -> Result<Node<'a>> {
        let binary = binary()?;
        let pins = Path::new(netns::BPF).join(lab.balancer.name());
        let pinned = pins.clone();
        let folder = lab.folder();
        let node = Node {
            lab,
            binary,
            _cleanup: Cleanup::new(move || unpin(&pinned)),
            pins,
            run: folder.join("run"),
            state: folder.join("state"),
            config: folder.join("sipsteer.toml"),
            faults: folder.join("faults"),
        };
        fs::create_dir_all(&node.run)?;
        node.write(config)?;
        Ok(node)
    }

    /// Writes another configuration; the daemon learns of it by [`Node::succeed`] with `reload`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, config: &Config) -> Result<()> {
        self.write(&config.text())
    }

    fn write(&self, config: &str) -> Result<()> {
        fs::write(&self.config, config).with_context(|| format!("cannot write {}", self.config.display()))
    }

    /// Starts `run` with more arguments and waits until it steers.
    ///
    /// # Errors
    /// When it ends or does not steer in time; the error holds its last words.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        let process = self.spawn(arguments)?;
        wait_until("sipsteer steers", START, || {
            ensure!(process.status()?.is_none(), "sipsteer does not run; {}", process.last_words());
            // Looking at the log costs less than asking, which takes the processor from who is to start.
            let ready = process.log().lines().any(|line| line.ends_with(" ready"));
            let steers = |status: Value| status["daemon"].is_object() && status["state"] != "down";
            Ok(ready && self.status().is_ok_and(steers))
        })
        .with_context(|| {
            let status = self.status().unwrap_or_default();
            format!("{}; look at: {}", process.last_words(), status["attention"])
        })?;
        Ok(process)
    }

    /// Starts `run` with more arguments, whatever becomes of it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Process> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = self.lab.folder().join(format!("sipsteer-{number}.log"));
        let all = ["run"].iter().chain(arguments).map(|a| (*a).into()).chain(self.places(true));
        let all: Vec<_> = all.collect();
        let variables = [(fault::VARIABLE, self.faults.as_os_str())];
        Process::start_with(&self.lab.balancer, &self.binary, all, &variables, &log)
    }

    /// Has the next `sipsteer` die that passes a point, once others have passed it so often.
    ///
    /// # Errors
    /// When the lab's folder cannot be written.
    pub fn arm(&self, point: Point, passed_before: u32) -> Result<()> {
        self.tell_faults(&format!("{} {passed_before}", point.name()))
    }

    /// Writes what a `sipsteer` with debug assertions reads of [`fault`].
    ///
    /// # Errors
    /// As [`Node::arm`].
    pub fn tell_faults(&self, text: &str) -> Result<()> {
        Ok(fs::write(&self.faults, text)?)
    }

    /// Whether the point of [`Node::arm`] was not passed yet.
    pub fn is_armed(&self) -> bool {
        self.faults.exists()
    }

    /// Forgets the point.
    ///
    /// # Errors
    /// When it was passed already.
    pub fn disarm(&self) -> Result<()> {
        Ok(fs::remove_file(&self.faults)?)
    }

    /// Runs a subcommand to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        output(&mut self.command(arguments))
    }

    /// Runs a subcommand that must succeed and returns its stdout.
    ///
    /// # Errors
    /// When it fails; the error holds its stderr.
    pub fn succeed(&self, arguments: &[&str]) -> Result<String> {
        command::run(&mut self.command(arguments))
    }

    /// Runs a subcommand with `--json` and returns its document.
    ///
    /// # Errors
    /// When it fails or does not print JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.succeed(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("sipsteer {arguments:?} printed {text:?}"))
    }

    /// The document of `status`, whatever the state is.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn status(&self) -> Result<Value> {
        let text = self.ask(&["status", "--json"])?.stdout;
        serde_json::from_slice(&text).context("`status --json` printed no JSON")
    }

    /// Verdicts that occurred, with their packets, in the order of their numbers.
    ///
    /// # Errors
    /// When `counters` fails or its document is not as promised.
    pub fn verdicts(&self) -> Result<Vec<(String, u64)>> {
        let document = self.json(&["counters"])?;
        let rows = document["verdicts"].as_array().context("`counters --json` has no list `verdicts`")?;
        let pair = |row: &Value| Some((row["verdict"].as_str()?.to_owned(), row["packets"].as_u64()?));
        let pairs = rows.iter().map(|row| pair(row).with_context(|| format!("not a verdict: {row}")));
        Ok(pairs.collect::<Result<Vec<_>>>()?.into_iter().filter(|(_, packets)| *packets > 0).collect())
    }

    /// Packets of one verdict.
    ///
    /// # Errors
    /// As [`Node::verdicts`].
    pub fn packets(&self, verdict: Verdict) -> Result<u64> {
        Ok(self
            .verdicts()?
            .into_iter()
            .find(|(name, _)| name == verdict.name())
            .map_or(0, |(_, packets)| packets))
    }

    /// Dialogs in the table, the dead ones included; needs no daemon.
    ///
    /// # Errors
    /// When the maps are not there.
    pub fn dialogs(&self) -> Result<u64> {
        let map = MapData::from_pin(self.pins.join(name::DIALOG_TALLY))?;
        let tallies: Array<MapData, Tally> = Map::Array(map).try_into()?;
        Ok(tallies.get(&0, 0)?.entries)
    }

    /// What each backend carries, by its name, as the program counts it; needs no daemon.
    ///
    /// # Errors
    /// When the maps are not there.
    pub fn loads(&self) -> Result<BTreeMap<String, Load>> {
        let pin = |name| Ok::<_, anyhow::Error>(Map::Array(MapData::from_pin(self.pins.join(name))?));
        let backends: Array<MapData, Backend> = pin(name::BACKENDS)?.try_into()?;
        let loads: Array<MapData, Load> = pin(name::BACKEND_LOADS)?.try_into()?;
        let mut found = BTreeMap::new();
        for id in 0..limits::MAX_BACKENDS {
            let backend = backends.get(&id, 0)?;
            if backend.will != will::ABSENT {
                let name: Vec<u8> = backend.name.iter().copied().take_while(|byte| *byte != 0).collect();
                found.insert(String::from_utf8_lossy(&name).into_owned(), loads.get(&id, 0)?);
            }
        }
        Ok(found)
    }

    /// The health of a backend as the program knows it, see [`lb_common::map::backend::health`]; needs no daemon.
    ///
    /// # Errors
    /// When the maps are not there, or the backend.
    pub fn health(&self, name: &str) -> Result<u8> {
        let map = MapData::from_pin(self.pins.join(name::BACKENDS))?;
        let backends: Array<MapData, Backend> = Map::Array(map).try_into()?;
        for id in 0..limits::MAX_BACKENDS {
            let backend = backends.get(&id, 0)?;
            if backend.will != will::ABSENT && name_of(&backend.name) == name {
                return Ok(backend.health);
            }
        }
        Err(anyhow!("there is no backend {name} in the maps"))
    }

    /// Calls in progress on all backends together, as the program counts them.
    ///
    /// # Errors
    /// As [`Node::loads`].
    pub fn channels(&self) -> Result<u64> {
        Ok(self.loads()?.values().map(Load::in_progress).sum())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.balancer.command(&self.binary);
        command.args(arguments).args(self.places(false)).env(fault::VARIABLE, &self.faults);
        command
    }

    fn places(&self, config: bool) -> Vec<std::ffi::OsString> {
        let mut places =
            vec!["--pin-dir".into(), (&self.pins).into(), "--run-dir".into(), (&self.run).into()];
        places.extend(["--state-dir".into(), (&self.state).into()]);
        if config {
            places.extend(["--config".into(), (&self.config).into()]);
        }
        places
    }
}

/// Removes a pin directory. The programs and maps go when nothing else holds them.
fn unpin(pins: &Path) {
    // It is gone already after `run --ephemeral`.
    let _ = fs::remove_dir_all(pins);
}
