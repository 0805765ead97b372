//! SIPp: real SIP callers and servers.
//!
//! Every run is bounded by its number of calls and by a timeout.

pub mod scenario;
pub mod stat;

use crate::{
    netns::Namespace,
    process::{Process, wait_until},
    topology::{Backend, CLIENT, Lab, SIP_PORT, VIP},
};
use anyhow::{Context, Result, ensure};
use scenario::Scenario;
use stat::Statistics;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Calls to make.
#[derive(Clone, Debug)]
pub struct Load {
    /// What a call consists of.
    pub scenario: Scenario,
    /// How many calls.
    pub calls: u32,
    /// New calls per second.
    pub rate: u32,
    /// How long an accepted call lasts, or with [`Load::spread`] on the mean.
    pub hold: Duration,
    /// Standard deviation of the logarithm of the calls' lengths, which then have a lognormal distribution, as those of telephone
    /// calls do; `None`: all last alike.
    pub spread: Option<f64>,
}

impl Load {
    /// Ordinary calls of 100 ms.
    pub fn calls(calls: u32, rate: u32) -> Load {
        Load { scenario: Scenario::Call, calls, rate, hold: Duration::from_millis(100), spread: None }
    }

    /// The same with another scenario.
    #[must_use]
    pub fn of(self, scenario: Scenario) -> Load {
        Load { scenario, ..self }
    }

    /// The same with calls of another length.
    #[must_use]
    pub fn holding(self, hold: Duration) -> Load {
        Load { hold, ..self }
    }

    /// The same with calls of very different lengths, which are as long as before on the mean.
    #[must_use]
    pub fn spread(self, sigma: f64) -> Load {
        Load { spread: Some(sigma), ..self }
    }

    /// The caller's half of the scenario.
    fn scenario(&self) -> String {
        let text = self.scenario.caller();
        let Some(sigma) = self.spread else { return text.to_owned() };
        // SIPp takes the mean of the logarithm of milliseconds.
        let mean = (self.hold.as_secs_f64() * 1e3).ln() - sigma * sigma / 2.0;
        let pause = format!("<pause distribution=\"lognormal\" mean=\"{mean:.4}\" stdev=\"{sigma}\"/>");
        text.replace("<pause/>", &pause)
    }

    /// When all calls are over if nothing goes wrong, and none lasts longer than the mean.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.calls) / f64::from(self.rate.max(1))) + self.hold
    }

    /// How long SIPp may try: SIP gives a request up after 32 s (64*T1, RFC 3261 17.1.1.2).
    fn patience(&self) -> Duration {
        self.duration() + Duration::from_secs(40)
    }
}

/// A SIPp that calls.
pub struct Caller {
    process: Process,
    statistics: PathBuf,
    patience: Duration,
}

impl Caller {
    /// Starts calling the lab's service from its client.
    ///
    /// # Errors
    /// When SIPp is missing.
    pub fn start(lab: &Lab, load: &Load) -> Result<Caller> {
        Caller::start_to(lab, &lab.client, SocketAddrV4::new(CLIENT, 0), lab.service(), load)
    }

    /// Starts calling `target` from `source`, an address of `namespace`; with port 0 from any port.
    ///
    /// # Errors
    /// When SIPp is missing.
    pub fn start_to(
        lab: &Lab,
        namespace: &Namespace,
        source: SocketAddrV4,
        target: SocketAddrV4,
        load: &Load,
    ) -> Result<Caller> {
        let files = Files::new(lab.folder(), "caller", &load.scenario())?;
        let patience = load.patience();
        let mut arguments = vec![target.to_string()];
        arguments.extend(common(&files, *source.ip(), patience));
        let own = [
            ("-r", load.rate.to_string()),
            ("-m", load.calls.to_string()),
            ("-l", "200000".to_owned()),
            ("-d", load.hold.as_millis().to_string()),
            ("-au", "alice".to_owned()),
            ("-ap", "secret".to_owned()),
        ];
        arguments.extend(own.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        if source.port() != 0 {
            arguments.extend(["-p".to_owned(), source.port().to_string()]);
        }
        let process = Process::start(namespace, "sipp", arguments, &files.log)?;
        Ok(Caller { process, statistics: files.statistics, patience })
    }

    /// What has happened so far.
    pub fn so_far(&self) -> Statistics {
        stat::read(&self.statistics).unwrap_or_default()
    }

    /// Whether it is still calling.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn is_running(&self) -> Result<bool> {
        Ok(self.process.status()?.is_none())
    }

    /// Waits for the last call and says what became of them all. Failed calls are no error here.
    ///
    /// # Errors
    /// When SIPp cannot call at all; the error holds its last words.
    pub fn wait(&self) -> Result<Statistics> {
        let status = self.process.wait(self.patience + Duration::from_secs(5))?;
        // 0: every call succeeded; 1: some failed; 97: the timeout ended it.
        ensure!(
            matches!(status.code(), Some(0 | 1 | 97)),
            "SIPp ended with {status}; {}",
            self.process.last_words()
        );
        stat::read(&self.statistics).with_context(|| self.process.last_words())
    }
}

/// A SIPp that answers.
pub struct Server {
    process: Process,
    statistics: PathBuf,
}

impl Server {
    /// Starts the answering side of a scenario on a backend and waits until its port is open. It ends by itself after
    /// `lifetime`.
    ///
    /// # Errors
    /// When SIPp is missing or the port is taken.
    pub fn start(lab: &Lab, backend: &Backend, scenario: Scenario, lifetime: Duration) -> Result<Server> {
        Server::start_at(lab, &backend.namespace, &backend.name, backend.listens_on, scenario, lifetime)
    }

    /// The same for an address of any namespace.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_at(
        lab: &Lab,
        namespace: &Namespace,
        name: &str,
        address: Ipv4Addr,
        scenario: Scenario,
        lifetime: Duration,
    ) -> Result<Server> {
        let files = Files::new(lab.folder(), name, scenario.server())?;
        let mut arguments = common(&files, address, lifetime);
        arguments.extend(["-p".to_owned(), SIP_PORT.to_string(), "-bind_local".to_owned()]);
        let process = Process::start(namespace, "sipp", arguments, &files.log)?;
        wait_until("SIPp listens", Duration::from_secs(10), || {
            ensure!(process.status()?.is_none(), "SIPp does not run; {}", process.last_words());
            Ok(namespace.udp_ports()?.contains(&SIP_PORT))
        })?;
        Ok(Server { process, statistics: files.statistics })
    }

    /// One server for each backend of the lab.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_all(lab: &Lab, scenario: Scenario, lifetime: Duration) -> Result<Vec<Server>> {
        lab.backends.iter().map(|b| Server::start(lab, b, scenario, lifetime)).collect()
    }

    /// What has happened so far.
    pub fn so_far(&self) -> Statistics {
        stat::read(&self.statistics).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it and says what it has seen.
    ///
    /// # Errors
    /// When it has not written its statistics; the error holds its last words.
    pub fn stop(&self) -> Result<Statistics> {
        self.process.end();
        stat::read(&self.statistics).with_context(|| self.process.last_words())
    }
}

struct Files {
    scenario: PathBuf,
    statistics: PathBuf,
    log: PathBuf,
}

impl Files {
    fn new(folder: &Path, name: &str, scenario: &str) -> Result<Files> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let stem = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = |extension| folder.join(format!("{stem}.{extension}"));
        let files = Files { scenario: file("xml"), statistics: file("csv"), log: file("log") };
        fs::write(&files.scenario, scenario)?;
        Ok(files)
    }
}

/// Options of both sides. `[vip]` in a scenario is the service's address, which Contact has to advertise.
fn common(files: &Files, address: Ipv4Addr, lifetime: Duration) -> Vec<String> {
    let path = |p: &Path| p.display().to_string();
    let options = [
        ("-sf", path(&files.scenario)),
        ("-stf", path(&files.statistics)),
        ("-fd", "1".to_owned()),
        ("-i", address.to_string()),
        ("-timeout", lifetime.as_secs().max(1).to_string()),
        ("-buff_size", "4000000".to_owned()),
        ("-timer_resol", "1".to_owned()),
        ("-max_recv_loops", "2000".to_owned()),
        ("-max_sched_loops", "2000".to_owned()),
        ("-deadcall_wait", "0".to_owned()),
    ];
    let mut arguments: Vec<String> = options.into_iter().flat_map(|(o, v)| [o.to_owned(), v]).collect();
    arguments.extend(["-trace_stat", "-nostdin", "-key", "vip"].map(str::to_owned));
    arguments.push(SocketAddrV4::new(VIP, SIP_PORT).to_string());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_spread_stand_in_the_scenario() {
        let load = Load::calls(1, 1).holding(Duration::from_millis(1000));
        assert!(load.scenario().contains("<pause/>"));
        // e^(6.9078 - 1/2 + 1/2) ms is 1 s.
        let text = load.spread(1.0).scenario();
        assert!(text.contains("<pause distribution=\"lognormal\" mean=\"6.4078\" stdev=\"1\"/>"), "{text}");
        assert!(!text.contains("<pause/>"));
    }
}
