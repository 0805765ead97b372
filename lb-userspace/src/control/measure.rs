//! How the daemon itself does: how long its work takes, and what it uses.

use super::{
    api::{Command, ConfirmBody},
    daemon::Daemon,
    reload::ReloadBody,
};
use crate::{
    failure::Failure,
    view::{
        counters::counters,
        lists::{ServiceList, ZoneList},
        metrics::{self, Own, Process, Snapshot},
    },
};
use prometheus_client::{
    metrics::{
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Histograms of the daemon's own work, in seconds.
#[derive(Clone, Debug)]
pub(super) struct Measures {
    /// One round of the control loop.
    pub(super) loop_duration: Histogram,
    /// All map writes of one change.
    pub(super) map_write_duration: Histogram,
    /// From the first request of a probe to its answer, by backend.
    probe_duration: Family<OfBackend, Histogram>,
}

/// The label of a backend.
type OfBackend = [(&'static str, String); 1];

fn of(backend: &str) -> OfBackend {
    [("backend", backend.to_owned())]
}

impl Default for Measures {
    fn default() -> Measures {
        // 64 us to 2 s: a round is some milliseconds, a ring of a thousand backends one, a probe takes as long as the network,
        // and beyond a second people notice.
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(64e-6, 2.0, 16));
        Measures {
            loop_duration: buckets(),
            map_write_duration: buckets(),
            probe_duration: Family::new_with_constructor(buckets),
        }
    }
}

impl Measures {
    /// A probe was answered.
    pub(super) fn answered(&self, backend: &str, rtt: Duration) {
        self.probe_duration.get_or_create(&of(backend)).observe(rtt.as_secs_f64());
    }

    /// A backend is not probed any more.
    pub(super) fn forget(&self, backend: &str) {
        self.probe_duration.remove(&of(backend));
    }

    /// The histograms by name. The collector of metrics adds what the maps count.
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register(
            "sipsteer_control_loop_duration_seconds",
            "Time of one round of the daemon's loop, by the clock",
            self.loop_duration.clone(),
        );
        registry.register(
            "sipsteer_map_write_duration_seconds",
            "Time that all map writes of one change took",
            self.map_write_duration.clone(),
        );
        registry.register(
            "sipsteer_backend_probe_duration_seconds",
            "Time from the first request of a probe to its answer",
            self.probe_duration.clone(),
        );
        registry
    }
}

impl Daemon {
    /// Everything that is counted, as text.
    pub(super) fn metrics(&self) -> Result<String, Failure> {
        let own = Own {
            reload_successful: self.reload_refused.is_none(),
            configured: self.since.configured.as_second(),
            started: self.since.started.as_second(),
            process: process(),
            sources: self.telemetry_ages(),
            calls_ended: self.ended.count(),
            corrected: self.recounting.corrected().clone(),
        };
        let snapshot = Snapshot::of(&self.status()?, &counters(&self.tables.maps)?, &own);
        metrics::text(snapshot, self.measures.registry())
            .map_err(|e| Failure::bad("internal", format!("cannot write the metrics: {e}")))
    }

    /// Does what somebody asks for; whoever asked may be gone.
    pub(super) async fn obey(&mut self, command: Command) {
        let start = Instant::now();
        match command {
            Command::Reload(request, answer) => drop(answer.send(self.reload(&request).await)),
            Command::Confirm(answer) => {
                drop(answer.send(self.confirm().map(|()| ConfirmBody { confirmed: true })));
            }
            Command::Undo(answer) => drop(answer.send(self.undo().await.map(ReloadBody::undone))),
            Command::Change(request, answer) => drop(answer.send(self.change(&request))),
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Counters(answer) => drop(answer.send(counters(&self.tables.maps))),
            Command::Metrics(answer) => drop(answer.send(self.metrics())),
            Command::Health(answer) => drop(answer.send(Ok(self.health()))),
            Command::Backend(name, answer) => drop(answer.send(self.backend_detail(&name))),
            Command::Backends(answer) => drop(answer.send(self.backend_list())),
            Command::Zones(answer) => drop(answer.send(ZoneList::from_maps(&self.tables.maps))),
            Command::Services(answer) => drop(answer.send(ServiceList::from_maps(&self.tables.maps))),
            Command::Dialog(call_id, answer) => drop(answer.send(self.dialogs_of(&call_id))),
            Command::Facts(answer) => drop(answer.send(Ok(self.facts()))),
            Command::Push(pushed, answer) => drop(answer.send(self.push(&pushed))),
            Command::Alive(answer) => drop(answer.send(Ok(()))),
        }
        self.measures.loop_duration.observe(start.elapsed().as_secs_f64());
    }
}

/// What this process uses, from /proc (proc_pid_stat(5)).
fn process() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let max =
        limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks as f64,
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        max_fds: max.parse().unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_uses() {
        let process = process().expect("this is Linux");
        assert!(process.resident_bytes > 1 << 20 && process.open_fds > 2, "{process:?}");
        assert!(process.max_fds >= process.open_fds, "{process:?}");
    }
}
