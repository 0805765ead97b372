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
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = render(arguments, &node);
    if let Err(complaints) = config::parse(&text, "the new configuration") {
        return Err(Failure::bad(
            "config_refused",
            format!("this would not be a good configuration:\n\n{}", complaints.render(false).trim_end()),
        )
        .remedy("mend the arguments; nothing was written"));
    }
    if arguments.output == Path::new("-") {
        return Output::new("config", &text, text.clone());
    }
    write(&arguments.output, &text)?;
    let file = arguments.output.display();
    let told =
        format!("wrote {file}\nnext: `sipsteer check --host {file}`, then `sipsteer run --config {file}`");
    Output::new("file", &arguments.output, told)
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

fn render(arguments: &Arguments, node: &str) -> String {
    let list = |items: &[String]| items.iter().map(|i| quoted(i)).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "# sipsteer: which calls go where. `sipsteer check` looks at this file, `sipsteer reload` takes it.\n\n\
         [node]\n\
         name = {}\n\
         # Interfaces that calls arrive at and leave by.\n\
         interfaces = [{}]\n\
         # auto: in the driver, or slower in the network stack with a warning. native: in the driver or not at all.\n\
         xdp_mode = \"auto\"\n\n\
         [[service]]\n\
         name = \"trunks\"\n\
         # What callers send to. The address must be on this host.\n\
         listen = [{}]\n\
         # nat: servers have this host as their default route. l2: servers are in the same LAN, have the service's\n\
         # address on their loopback and answer callers themselves.\n\
         forwarding = {}\n\
         # Groups of servers in order of preference.\n\
         zones = [\"main\"]\n",
        quoted(node),
        list(&arguments.interface),
        list(&arguments.listen),
        quoted(&arguments.forwarding),
    );
    for (number, address) in (1..).zip(&arguments.backend) {
        text.push_str(&format!(
            "\n[[backend]]\nname = \"sw{number}\"\nzone = \"main\"\naddress = {}\n",
            quoted(address)
        ));
    }
    text
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            interface: vec!["eth0".to_owned()],
            listen: vec!["203.0.113.10:5060/udp".to_owned()],
            backend: vec!["10.0.0.11:5060".to_owned(), "10.0.0.12:5060".to_owned()],
            forwarding: "l2".to_owned(),
            output: "-".into(),
        }
    }

    #[test]
    fn what_is_written_is_a_good_configuration() {
        let config = config::parse(&render(&arguments(), "lb1"), "test").unwrap().config;
        assert_eq!(config.node.interfaces, ["eth0"]);
        assert_eq!(config.services[0].listen, ["203.0.113.10:5060".parse().unwrap()]);
        assert_eq!(config.backends.len(), 2);
        assert_eq!(config.services[0].forwarding, config::Forwarding::L2);
    }

    #[test]
    fn arguments_cannot_write_tables_of_their_own() {
        let hostile =
            Arguments { interface: vec!["eth0\"]\n[[backend]]\nname = \"x".to_owned()], ..arguments() };
        assert!(config::parse(&render(&hostile, "lb1"), "test").is_err());
        assert_eq!(quoted("a\"b\\\n"), "\"a\\\"b\\\\\\u000A\"");
    }
}
