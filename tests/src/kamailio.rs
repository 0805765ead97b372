//! Kamailio: a SIP server that is not ours, as a backend.

use crate::{
    process::{Process, wait_until},
    topology::{Backend, Lab, SIP_PORT},
};
use anyhow::{Result, ensure};
use std::{fs, time::Duration};

/// Accepts registrations, is busy for calls, and answers everything else with 200.
const CONFIG: &str = r#"
debug=1
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/:/usr/lib/aarch64-linux-gnu/kamailio/modules/"
loadmodule "sl.so"
loadmodule "textops.so"
request_route {
    if (is_method("ACK")) exit;
    if (is_method("INVITE")) {
        sl_send_reply("486", "Busy Here");
        exit;
    }
    sl_send_reply("200", "OK");
}
"#;

/// A running Kamailio.
pub struct Kamailio {
    _process: Process,
}

impl Kamailio {
    /// Starts one on a backend and waits until its port is open.
    ///
    /// # Errors
    /// When it is missing or does not start; the error holds its last words.
    pub fn start(lab: &Lab, backend: &Backend) -> Result<Kamailio> {
        let file = |extension: &str| lab.folder().join(format!("kamailio-{}.{extension}", backend.name));
        let run = file("run");
        fs::create_dir_all(&run)?;
        fs::write(file("cfg"), CONFIG)?;
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
        Ok(Kamailio { _process: process })
    }

    /// One on each backend of the lab.
    ///
    /// # Errors
    /// As [`Kamailio::start`].
    pub fn start_all(lab: &Lab) -> Result<Vec<Kamailio>> {
        lab.backends.iter().map(|backend| Kamailio::start(lab, backend)).collect()
    }
}
