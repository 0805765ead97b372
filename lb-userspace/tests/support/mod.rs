//! A balancer and one neighbour, each in its own namespace, and the `sipsteer` binary between them.
#![allow(dead_code, reason = "every test binary uses its own part")]

use anyhow::{Context, Result, ensure};
use lb_tests::{
    cleanup::Cleanup,
    command::output,
    netns::Namespace,
    process::{Process, wait_until},
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_sipsteer");
/// How long anything may take that should take no time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The service's address, on the balancer's `front`.
pub(crate) const SERVICE: &str = "203.0.113.10";
/// Backends' addresses, on the neighbour's `eth0`.
pub(crate) const BACKENDS: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];

/// Two namespaces, joined by `front`, and by `back` when a test adds it.
pub(crate) struct Bench {
    pub(crate) balancer: Namespace,
    pub(crate) far: Namespace,
    pub(crate) folder: TempDir,
    pub(crate) pins: PathBuf,
    _cleanup: Cleanup,
}

/// What a command printed and how it ended.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Result<Bench> {
        let balancer = Namespace::new("balancer")?;
        let far = Namespace::new("far")?;
        let pins = Path::new("/sys/fs/bpf").join(balancer.name());
        let removed = pins.clone();
        // Pins outlive everything; a test that fails half way must not leave them.
        let cleanup = Cleanup::new(move || drop(fs::remove_dir_all(removed)));
        let folder = tempfile::Builder::new().prefix("sipsteer-bench-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let bench = Bench { balancer, far, folder, pins, _cleanup: cleanup };
        bench.plug()?;
        bench.balancer.ip(&format!("addr add {SERVICE}/32 dev lo"))?;
        bench.balancer.sysctl(&[("ipv4/ip_forward", "1")])?;
        bench.configure(&bench.config(&["front"], &BACKENDS[..2]))?;
        Ok(bench)
    }

    /// Joins the namespaces by `front`.
    pub(crate) fn plug(&self) -> Result<()> {
        self.balancer.connect("front", &self.far, "eth0")?;
        self.balancer.ip("addr add 10.0.0.1/24 dev front")?;
        // Tells its neighbours when its MAC address changes.
        self.far.sysctl(&[("ipv4/conf/eth0/arp_notify", "1")])?;
        BACKENDS.iter().try_for_each(|a| self.far.ip(&format!("addr add {a}/24 dev eth0")).map(drop))
    }

    /// A configuration with these interfaces and backends `sw1`, `sw2`, ...
    pub(crate) fn config(&self, interfaces: &[&str], backends: &[&str]) -> String {
        let key = self.folder.path().join("hash.key");
        let mut text = format!(
            "[node]\nname = \"lb1\"\ninterfaces = {interfaces:?}\nhash_key_file = {key:?}\n\
             [dialogs]\nmax = 4096\n\
             [[service]]\nname = \"trunks\"\nlisten = [\"{SERVICE}:5060/udp\"]\nforwarding = \"nat\"\n\
             zones = [\"here\"]\n"
        );
        for (number, address) in (1..).zip(backends) {
            text.push_str(&format!(
                "[[backend]]\nname = \"sw{number}\"\nzone = \"here\"\naddress = \"{address}:5060\"\n"
            ));
        }
        text
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("sipsteer.toml")
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    pub(crate) fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.config_file(), text)?)
    }

    /// What operators want is kept there.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn places(&self, command: &mut Command) {
        command.arg("--pin-dir").arg(&self.pins).arg("--run-dir").arg(self.run_dir());
        command.arg("--state-dir").arg(self.state_dir());
    }

    /// Runs `sipsteer` to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Result<Said> {
        self.ask_by(self.balancer.command(BINARY), arguments)
    }

    /// Runs the command, which is `sipsteer` in some way, to its end.
    pub(crate) fn ask_by(&self, mut command: Command, arguments: &[&str]) -> Result<Said> {
        command.args(arguments);
        self.places(&mut command);
        if matches!(arguments.first(), Some(&"run")) {
            command.arg("--config").arg(self.config_file());
        }
        Ok(output(&mut command)?.into())
    }

    /// Runs `sipsteer` with `--json`; it must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let said = self.ask(&[arguments, &["--json"]].concat())?;
        ensure!(said.status == 0, "{arguments:?} ended with {}: {}{}", said.status, said.stdout, said.stderr);
        Ok(serde_json::from_str(&said.stdout)?)
    }

    /// The status document, whatever the state is.
    pub(crate) fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.ask(&["status", "--json"])?.stdout).context("status is no JSON")
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Process> {
        self.start_with(&[], arguments)
    }

    /// The same with environment variables.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Process> {
        let variables: Vec<String> =
            variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let process = self.spawn_by(&variables.iter().map(String::as_str).collect::<Vec<_>>(), arguments)?;
        wait_until("the daemon is ready", PATIENCE, || {
            ensure!(process.status()?.is_none(), "the daemon ended; {}", process.last_words());
            Ok(process.log().lines().any(|l| l.ends_with(" ready")))
        })
        .with_context(|| process.last_words())?;
        Ok(process)
    }

    /// Starts the daemon by `env` with these words before it, variables or another program, whatever becomes of it.
    pub(crate) fn spawn_by(&self, before: &[&str], arguments: &[&str]) -> Result<Process> {
        let mut all: Vec<std::ffi::OsString> = before.iter().map(|word| (*word).into()).collect();
        all.extend([BINARY.into(), "run".into()]);
        all.extend(arguments.iter().map(|a| (*a).into()));
        all.extend(["--config".into(), self.config_file().into(), "--pin-dir".into(), (&self.pins).into()]);
        all.extend(["--run-dir".into(), self.run_dir().into()]);
        all.extend(["--state-dir".into(), self.state_dir().into()]);
        Process::start(&self.balancer, "env", all, &self.folder.path().join("log"))
    }

    /// The XDP program on an interface of the balancer, as the kernel's tools see it.
    pub(crate) fn program_on(&self, interface: &str) -> Result<Option<u64>> {
        let links: Value = serde_json::from_str(&self.balancer.ip(&format!("-j -d link show {interface}"))?)?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64())
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Asserts that it failed with this status and said all of these words on stderr and nothing on stdout.
    #[track_caller]
    pub(crate) fn refused(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert_eq!(self.stdout, "");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
    }
}
