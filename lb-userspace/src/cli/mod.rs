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
mod run;
mod schema;
mod service;
mod status;
mod wait;
mod zone;

use crate::{
    config,
    control::{self, Places},
    dataplane::pins::{self, PinDir},
    failure::{Failure, Kind},
};
use clap::{Parser, Subcommand};
use output::Output;
use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

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
    #[command(subcommand)]
    command: Command,
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
    let places = Places { pins: PinDir::new(cli.pin_dir), run_dir: cli.run_dir, state_dir: cli.state_dir };
    let context = Context { json: cli.json, places };
    let name = cli.command.name();
    let facts = crate::view::facts::Facts::read(&context.places.facts());
    match dispatch(cli.command, &context) {
        Ok(out) => output::print(name, context.json, &out, &facts.node),
        Err(failure) => output::fail(name, context.json, &failure, Some(&facts.node)),
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
