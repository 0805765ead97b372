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
    /// Answers calls and everything else with 200, keeps the dialogs, and tells of them at `/metrics` on [`METRICS_PORT`].
    /// What stands behind `/max/` there becomes the gauge `kamailio_max_channels`.
    Counts,
}

/// Port of the metrics.
pub const METRICS_PORT: u16 = 8080;

/// What it takes to count.
const COUNTING: &str = r#"
tcp_accept_no_cl=yes
http_reply_parse=yes
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "dialog.so"
loadmodule "xhttp.so"
loadmodule "xhttp_prom.so"
modparam("dialog", "enable_stats", 1)
modparam("xhttp_prom", "xhttp_prom_stats", "all")
modparam("xhttp_prom", "prom_gauge", "name=max_channels")
event_route[xhttp:request] {
    if ($hu =~ "^/max/") {
        prom_gauge_set("max_channels", "$(hu{s.select,2,/})");
        xhttp_reply("200", "OK", "text/plain", "");
        exit;
    }
    prom_dispatch();
}
"#;

impl Role {
    /// The route of requests.
    fn route(self) -> String {
        let invite = match self {
            Role::Counts => format!(
                "t_newtran();\n        dlg_manage();\n        \
                 append_to_reply(\"Contact: <sip:{VIP}:{SIP_PORT}>\\r\\n\");\n        t_reply(\"200\", \"OK\");"
            ),
            Role::Busy => "sl_send_reply(\"486\", \"Busy Here\");".to_owned(),
            // The balancer's address, so that later requests of the call go through it too.
            Role::Answers => format!(
                "append_to_reply(\"Contact: <sip:{VIP}:{SIP_PORT}>\\r\\n\");\n        sl_send_reply(\"200\", \"OK\");"
            ),
        };
        let (modules, within) = match self {
            Role::Counts => (COUNTING, "if (has_totag()) dlg_manage();"),
            Role::Busy | Role::Answers => ("disable_tcp=yes\n", ""),
        };
        format!(
            "{modules}request_route {{\n    {within}\n    if (is_method(\"ACK\")) exit;\n    \
             if (is_method(\"INVITE\")) {{\n        {invite}\n        exit;\n    }}\n    sl_send_reply(\"200\", \"OK\");\n}}\n"
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
        let metrics = format!("tcp:{}:{METRICS_PORT}", backend.listens_on);
        let mut arguments =
            vec!["-DD", "-E", "-f", &config, "-l", &listen, "-m", "32", "-M", "4", "-Y", &run, "-w", &run];
        if role == Role::Counts {
            arguments.extend(["-l", &metrics]);
        }
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
