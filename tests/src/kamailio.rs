//! Kamailio: a SIP server that is not ours, as a backend.

use crate::{
    process::{Process, wait_until},
    topology::{Backend, Lab, SIP_PORT, VIP},
};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{fs, time::Duration};

/// What every role needs.
const COMMON: &str = r#"
debug=1
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "textops.so"
"#;

/// What a Kamailio does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts registrations, is busy for calls, and answers everything else with 200.
    Busy,
    /// Answers calls and everything else with 200, and remembers nothing.
    Answers,
}

impl Role {
    /// The route of requests.
    fn route(self) -> String {
        let invite = match self {
            Role::Busy => "sl_send_reply(\"486\", \"Busy Here\");".to_owned(),
            // The balancer's address, so that later requests of the call go through it too.
            Role::Answers => format!(
                "append_to_reply(\"Contact: <sip:{VIP}:{SIP_PORT}>\\r\\n\");\n        sl_send_reply(\"200\", \"OK\");"
            ),
        };
        format!(
            "request_route {{\n    if (is_method(\"ACK\")) exit;\n    if (is_method(\"INVITE\")) {{\n        {invite}\n        \
             exit;\n    }}\n    sl_send_reply(\"200\", \"OK\");\n}}\n"
        )
    }
}

/// A running Kamailio.
pub struct Kamailio {
    process: Process,
}

impl Kamailio {
    /// Starts one on a backend and waits until its port is open.
    ///
    /// # Errors
    /// When it is missing or does not start; the error holds its last words.
    pub fn start(lab: &Lab, backend: &Backend, role: Role) -> Result<Kamailio> {
        let file = |extension: &str| lab.folder().join(format!("kamailio-{}.{extension}", backend.name));
        let run = file("run");
        fs::create_dir_all(&run)?;
        fs::write(file("cfg"), COMMON.to_owned() + &role.route())?;
        let listen = format!("udp:{}:{SIP_PORT}", backend.listens_on);
        let path = |p: std::path::PathBuf| p.display().to_string();
        let config = path(file("cfg"));
        let run = path(run);
        let arguments =
            ["-DD", "-E", "-f", &config, "-l", &listen, "-m", "32", "-M", "4", "-Y", &run, "-w", &run];
        let process = Process::start(&backend.namespace, "kamailio", arguments, &file("log"))?;
        wait_until("Kamailio listens", Duration::from_secs(20), || {
            ensure!(process.status()?.is_none(), "Kamailio does not run; {}", process.last_words());
            Ok(backend.namespace.udp_ports()?.contains(&SIP_PORT))
        })?;
        Ok(Kamailio { process })
    }

    /// Sends a signal to all its processes.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let group =
            i32::try_from(self.process.pid()).ok().and_then(Pid::from_raw).context("no such process")?;
        Ok(kill_process_group(group, signal)?)
    }

    /// Kills it with all its processes: none of them has a chance to say anything.
    ///
    /// # Errors
    /// When it is no longer there.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.process.wait(Duration::from_secs(5)).map(drop)
    }

    /// One on each backend of the lab.
    ///
    /// # Errors
    /// As [`Kamailio::start`].
    pub fn start_all(lab: &Lab, role: Role) -> Result<Vec<Kamailio>> {
        lab.backends.iter().map(|backend| Kamailio::start(lab, backend, role)).collect()
    }
}
