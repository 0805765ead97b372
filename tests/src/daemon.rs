//! The `sipsteer` under test: its configuration, its life and what it says.

use crate::{
    command::output,
    process::{Process, wait_until},
    topology::{Backend, Lab},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// How long the daemon may take until it steers.
const START: Duration = Duration::from_secs(20);

/// A configuration for a lab: one service `trunks`, one zone.
pub struct Config {
    head: String,
    backends: Vec<String>,
}

impl Config {
    /// Every backend of the lab.
    pub fn of(lab: &Lab) -> Config {
        let interfaces = lab.interfaces();
        let key = lab.folder().join("hash.key");
        let head = format!(
            "[node]\nname = \"lb1\"\ninterfaces = {interfaces:?}\nhash_key_file = {key:?}\n\n\
             [[service]]\nname = \"trunks\"\nlisten = [\"{}/udp\"]\nforwarding = \"{}\"\nzones = [\"here\"]\n\n",
            lab.service(),
            lab.forwarding,
        );
        Config { head, backends: lab.backends.iter().map(table_of).collect() }
    }

    /// The same without one backend.
    #[must_use]
    pub fn without(mut self, name: &str) -> Config {
        self.backends.retain(|table| !table.contains(&format!("name = {name:?}")));
        self
    }

    /// The same with more lines, a table of its own.
    #[must_use]
    pub fn with(mut self, table: &str) -> Config {
        self.head.push_str(table);
        self.head.push_str("\n\n");
        self
    }

    /// The TOML text.
    pub fn text(&self) -> String {
        format!("{}{}", self.head, self.backends.concat())
    }
}

fn table_of(backend: &Backend) -> String {
    format!(
        "[[backend]]\nname = {:?}\nzone = \"here\"\naddress = \"{}:5060\"\nmax_cps = \"unlimited\"\n\
         max_channels = \"unlimited\"\n\n",
        backend.name, backend.address
    )
}

/// Where one node keeps its things, so that several can run on one machine.
pub struct Node<'a> {
    lab: &'a Lab,
    binary: PathBuf,
    /// Pinned maps and links.
    pub pins: PathBuf,
    /// Socket and locks.
    pub run: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
}

impl<'a> Node<'a> {
    /// A node in the lab's balancer, with its configuration written and nothing started.
    ///
    /// # Errors
    /// When the lab's folder cannot be written.
    pub fn new(lab: &'a Lab, binary: &Path, config: &Config) -> Result<Node<'a>> {
        let pins = Path::new("/sys/fs/bpf").join(lab.balancer.name());
        let folder = lab.folder();
        let node = Node {
            lab,
            binary: binary.to_owned(),
            pins,
            run: folder.join("run"),
            config: folder.join("sipsteer.toml"),
        };
        fs::create_dir_all(&node.run)?;
        node.configure(config)?;
        Ok(node)
    }

    /// Writes another configuration; the daemon learns of it by [`Node::succeed`] with `reload`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, config: &Config) -> Result<()> {
        fs::write(&self.config, config.text())
            .with_context(|| format!("cannot write {}", self.config.display()))
    }

    /// Starts `run` with more arguments and waits until it steers.
    ///
    /// # Errors
    /// When it ends or does not steer in time; the error holds its last words.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        let log = self.lab.folder().join("sipsteer.log");
        let all = ["run"].iter().chain(arguments).map(|a| (*a).into()).chain(self.places(true));
        let process = Process::start(&self.lab.balancer, &self.binary, all.collect::<Vec<_>>(), &log)?;
        wait_until("sipsteer steers", START, || {
            ensure!(process.status()?.is_none(), "sipsteer does not run; {}", process.last_words());
            Ok(self.command(&["status", "--json"]).output()?.status.success())
        })
        .with_context(|| process.last_words())?;
        Ok(process)
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
        crate::command::run(&mut self.command(arguments))
    }

    /// Runs a subcommand with `--json` and returns its document.
    ///
    /// # Errors
    /// When it fails or does not print JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.succeed(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("sipsteer {arguments:?} printed {text:?}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.balancer.command(&self.binary);
        command.args(arguments).args(self.places(false));
        command
    }

    fn places(&self, config: bool) -> Vec<std::ffi::OsString> {
        let mut places =
            vec!["--pin-dir".into(), (&self.pins).into(), "--run-dir".into(), (&self.run).into()];
        if config {
            places.extend(["--config".into(), (&self.config).into()]);
        }
        places
    }
}
