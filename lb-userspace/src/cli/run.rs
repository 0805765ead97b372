//! `sipsteer run`.

use super::{Context, default_config, output::Output};
use crate::{
    control::{run, start::Options},
    failure::Failure,
};
use std::{fmt, io::IsTerminal, path::PathBuf};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Attach and steer calls until told to stop.
///
/// Looks at everything first: privileges, kernel, interfaces, service addresses, an earlier data plane. When all is
/// well it fills the maps, attaches the XDP program and follows the network. A data plane that is already at work is
/// taken over without losing a packet; one of another version, or with a dialog table of another size, is replaced
/// by a new one that knows its calls.
///
/// Stopping it leaves the data plane steering; `sipsteer detach` takes it off.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer run                            with /etc/sipsteer/sipsteer.toml, as systemd does
  sipsteer run --config test.toml --ephemeral
                                          for a try: the host is left as it was when you press Ctrl-C
  kill -HUP PID                           the same as `sipsteer reload`")]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value_os_t = default_config())]
    config: PathBuf,
    /// Detach and remove the maps at exit: for demonstrations and tests.
    #[arg(long)]
    ephemeral: bool,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<Output, Failure> {
    log_to_stderr();
    // The working directory may be another one when a reload comes.
    let config = std::path::absolute(&arguments.config).unwrap_or(arguments.config);
    let places = context.places.clone();
    run::run(Options { config, places, ephemeral: arguments.ephemeral })?;
    Ok(Output::default())
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("SIPSTEER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        // It would say on stderr that stderr is full, and panic over that.
        .log_internal_errors(false);
    // The journal stamps lines itself, and takes their priority from what they begin with.
    let result = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().map_event_format(ForJournal).try_init()
    } else {
        log.try_init()
    };
    if let Err(e) = result {
        eprintln!("sipsteer: cannot log: {e}");
    }
}

/// Puts the priority of syslog before each line, as sd-daemon(3) has it, so that `journalctl -p err` finds errors.
struct ForJournal<F>(F);

impl<S, N, F> FormatEvent<S, N> for ForJournal<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
