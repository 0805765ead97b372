//! The command line: one file per command. Data goes to stdout, talk to stderr.
//!
//! With `--json` every command prints exactly one document, also when it fails.

mod backend;
mod backend_show;
mod change;
mod check;
mod completions;
mod counters;
mod detach;
mod dialog;
mod init;
mod output;
mod reload;
mod routes;
mod run;
mod schema;
mod service;
mod status;
mod wait;
mod zone;

use crate::{
    config,
    control::{
        self, Places,
        client::{self, Remote, Way},
    },
    dataplane::pins::{self, PinDir},
    failure::{Failure, Kind},
    view::facts::Facts,
};
use clap::{Parser, Subcommand};
use output::Output;
use std::{cell::OnceCell, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

/// What `--help` ends with.
const AFTER_HELP: &str = "\
First steps:
  sipsteer init --interface eth0 --listen 203.0.113.10:5060/udp --backend 10.0.0.11:5060
  sipsteer check --host
  sipsteer run

Exit status: 0 done, healthy; 1 what was asked about is bad; 2 wrong usage; 3 not running; 4 not allowed; 5 timed out.
Environment: SIPSTEER_LOG sets what is logged (info, debug, sipsteer=trace), NO_COLOR turns colours off.";

/// Steers SIP calls to backends in the kernel, by Call-ID.
#[derive(Debug, Parser)]
#[command(name = "sipsteer", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Where maps and links are pinned.
    #[arg(long, global = true, hide = true, env = "SIPSTEER_PIN_DIR", default_value = pins::DEFAULT)]
    pin_dir: PathBuf,
    /// Where the socket and the lock are.
    #[arg(long, global = true, hide = true, env = "SIPSTEER_RUN_DIR", default_value = control::RUN_DIR)]
    run_dir: PathBuf,
    /// Where what operators want is kept.
    #[arg(long, global = true, hide = true, env = "SIPSTEER_STATE_DIR", default_value = control::STATE_DIR)]
    state_dir: PathBuf,
    /// Ask a daemon elsewhere: https://HOST:PORT, see `[api]`.
    #[arg(long, global = true, value_name = "URL")]
    api: Option<String>,
    /// The file with the token for it.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The file with the certificate of its authority; without it those of this host count.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// The way to the daemon that is meant.
    fn way(&self) -> Result<Way, Failure> {
        let usage =
            |message: &str, remedy: &str| Err(Failure::new(Kind::Usage, "usage", message).remedy(remedy));
        match (&self.api, &self.token_file, &self.ca) {
            (None, None, None) => Ok(Way::Socket(self.places().socket())),
            (None, ..) => {
                usage("--token-file and --ca say nothing without --api", "add --api https://HOST:PORT")
            }
            (Some(_), ..) if let Some(why) = routes::stays_here(self.command.name()) => {
                usage(&format!("this command works without a daemon elsewhere: {why}"), "remove --api")
            }
            (Some(_), None, _) => usage("the API is for those who show a token", "add --token-file FILE"),
            (Some(api), Some(token_file), ca) => Remote::new(api, token_file, ca.clone()).map(Way::Remote),
        }
    }

    fn places(&self) -> Places {
        let (pins, run_dir) = (PinDir::new(self.pin_dir.clone()), self.run_dir.clone());
        Places { pins, run_dir, state_dir: self.state_dir.clone() }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Init(init::Arguments),
    Check(check::Arguments),
    Reload(reload::Arguments),
    Confirm(reload::ConfirmArguments),
    Undo(reload::UndoArguments),
    Status(status::Arguments),
    #[command(subcommand)]
    Backend(backend::Command),
    #[command(subcommand)]
    Zone(zone::Command),
    #[command(subcommand)]
    Service(service::Command),
    #[command(subcommand)]
    Dialog(dialog::Command),
    Counters(counters::Arguments),
    Detach(detach::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Its name in `schema`.
    fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Init(_) => "init",
            Command::Check(_) => "check",
            Command::Reload(_) => "reload",
            Command::Confirm(_) => "confirm",
            Command::Undo(_) => "undo",
            Command::Status(_) => "status",
            Command::Backend(backend::Command::List(_)) => "backend-list",
            Command::Backend(backend::Command::Show(_)) => "backend-show",
            Command::Backend(backend::Command::Drain(_)) => "backend-drain",
            Command::Backend(backend::Command::Enable(_)) => "backend-enable",
            Command::Backend(backend::Command::Disable(_)) => "backend-disable",
            Command::Backend(backend::Command::Limit(_)) => "backend-limit",
            Command::Backend(backend::Command::Weight(_)) => "backend-weight",
            Command::Zone(zone::Command::List(_)) => "zone-list",
            Command::Zone(zone::Command::Disable(_)) => "zone-disable",
            Command::Zone(zone::Command::Enable(_)) => "zone-enable",
            Command::Service(service::Command::List(_)) => "service-list",
            Command::Dialog(dialog::Command::Show(_)) => "dialog-show",
            Command::Counters(_) => "counters",
            Command::Detach(_) => "detach",
            Command::Schema(_) => "schema",
            Command::Completions(_) => "completions",
        }
    }
}

/// What every command knows.
struct Context {
    json: bool,
    places: Places,
    /// The way to the daemon.
    way: Way,
    facts: OnceCell<Facts>,
}

impl Context {
    /// The way to a daemon elsewhere; `None`: it is on this host, and so are its maps.
    fn elsewhere(&self) -> Option<&Way> {
        matches!(self.way, Way::Remote(_)).then_some(&self.way)
    }

    /// What the maps do not say; little of it, when nobody answers.
    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| match self.elsewhere() {
            Some(way) => client::glance(way, "/v1/facts").unwrap_or_default(),
            None => Facts::read(&self.places.facts()),
        })
    }

    /// Name of the balancer; `None`: not known.
    fn node(&self) -> Option<&str> {
        Some(self.facts().node.as_str()).filter(|node| !node.is_empty())
    }
}

/// Runs the program with its arguments.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let wants_json = arguments.iter().any(|a| a == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) if wants_json && e.use_stderr() => {
            let failure = Failure::new(Kind::Usage, "usage", e.to_string().trim_end());
            return output::fail("usage", true, &failure, None);
        }
        Err(e) => {
            // Nothing can be done about a closed terminal.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let name = cli.command.name();
    let way = match cli.way() {
        Ok(way) => way,
        Err(failure) => return output::fail(name, cli.json, &failure, None),
    };
    let context = Context { json: cli.json, places: cli.places(), way, facts: OnceCell::new() };
    if context.elsewhere().is_none() {
        // Before `detach` removes them.
        context.facts();
    }
    match dispatch(cli.command, &context) {
        Ok(out) => output::print(name, context.json, &out, &context),
        Err(failure) => output::fail(name, context.json, &failure, Some(&context)),
    }
}

fn dispatch(command: Command, context: &Context) -> Result<Output, Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments, context),
        Command::Init(arguments) => init::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, context),
        Command::Reload(arguments) => reload::run(&arguments, context),
        Command::Confirm(_) => reload::confirm(context),
        Command::Undo(_) => reload::undo(context),
        Command::Status(arguments) => status::run(&arguments, context),
        Command::Backend(command) => backend::run(command, context),
        Command::Zone(zone::Command::List(_)) => zone::list(context),
        Command::Zone(zone::Command::Disable(arguments)) => zone::disable(arguments, context),
        Command::Zone(zone::Command::Enable(arguments)) => zone::enable(arguments, context),
        Command::Service(service::Command::List(_)) => service::list(context),
        Command::Dialog(dialog::Command::Show(arguments)) => dialog::show(&arguments, context),
        Command::Counters(arguments) => counters::run(&arguments, context),
        Command::Detach(arguments) => detach::run(&arguments, context),
        Command::Schema(_) => schema::run(),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// A time on the command line: `90s`, `5m`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write a whole number and s, m or h, as in 5m");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let seconds = u64::from(number) * unit;
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// The configuration file of commands that want one.
fn default_config() -> PathBuf {
    PathBuf::from(config::DEFAULT_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(time("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "5", "s", "-1s", "1.5h", "0s", "5d", "4294967296s", "5µ"] {
            assert!(time(wrong).unwrap_err().contains("as in 5m"), "{wrong}");
        }
    }
}
