//! `sipsteer init`.

use super::{default_config, output::Output};
use crate::{config, failure::Failure};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Write a first configuration, with comments.
///
/// Attaches nothing. An existing file is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer init --interface eth0 --listen 203.0.113.10:5060/udp --backend 10.0.0.11:5060 --backend 10.0.0.12:5060
  sipsteer init --interface eth0 --interface eth1 --listen 203.0.113.10:5060/udp --backend 10.0.0.11:5060 \\
      --forwarding l2 --output -          prints it instead

Next: `sipsteer check --host`, then `sipsteer run`.")]
pub(super) struct Arguments {
    /// An interface that calls arrive at or leave by; may be repeated.
    #[arg(long, value_name = "NAME", required = true)]
    interface: Vec<String>,
    /// The address callers send to, with port and transport; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT/udp", required = true)]
    listen: Vec<String>,
    /// A SIP server; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    backend: Vec<String>,
    /// nat: replies come back through this host. l2: servers in the same LAN answer callers themselves.
    #[arg(long, value_name = "WAY", default_value = "nat", value_parser = ["nat", "l2"])]
    forwarding: String,
    /// Where to write it; `-` is stdout.
    #[arg(long, short, value_name = "FILE", default_value_os_t = default_config())]
    output: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let text = config::template(&answers(arguments)).map_err(|complaints| {
        Failure::bad(
            "config_refused",
            format!("this would not be a good configuration:\n\n{}", complaints.render(false).trim_end()),
        )
        .remedy("mend the arguments; nothing was written")
    })?;
    if arguments.output == Path::new("-") {
        return Output::new("config", &text, text.clone());
    }
    write(&arguments.output, &text)?;
    let file = arguments.output.display();
    let told =
        format!("wrote {file}\nnext: `sipsteer check --host {file}`, then `sipsteer run --config {file}`");
    Output::new("file", &arguments.output, told)
}

fn answers(arguments: &Arguments) -> config::Answers {
    config::Answers {
        node: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        interfaces: arguments.interface.clone(),
        listen: arguments.listen.clone(),
        backends: arguments.backend.clone(),
        forwarding: arguments.forwarding.clone(),
        zone: String::new(),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let cannot = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::bad("file_exists", format!("{} exists and was left alone", path.display()))
                .remedy("edit it, or choose another with --output")
        }
        io::ErrorKind::PermissionDenied => Failure::new(
            crate::failure::Kind::Permission,
            "permission",
            format!("cannot write {}: {e}", path.display()),
        )
        .remedy("run this as root, or choose another file with --output"),
        _ => Failure::bad("file_unwritable", format!("cannot write {}: {e}", path.display())),
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(cannot)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)
}
