//! `sipsteer check`.

use super::{
    Context, default_config,
    output::{Output, grouped},
};
use crate::{
    config::{Complaints, Config, Loaded, Severity},
    control::{file, start},
    dataplane::{adopt, attach, host, neighbours::Neighbours, pins::PinDir},
    failure::{Failure, Kind},
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Look at a configuration, and at the host with --host; changes nothing.
///
/// All mistakes of the file are told at once, each with its place, its reason and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer check                          /etc/sipsteer/sipsteer.toml
  sipsteer check new.toml --json
  sipsteer check --host                   would `sipsteer run` start here?

Exit status: 0 good, 1 bad.")]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(value_name = "FILE", default_value_os_t = default_config())]
    file: PathBuf,
    /// Also look whether this host can run it: privileges, kernel, interfaces, addresses, sysctls.
    #[arg(long)]
    host: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    /// What a start will do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(flatten)]
    failure: Option<FailureView>,
}

#[derive(Debug, Serialize)]
struct FailureView {
    code: String,
    message: String,
    remedy: Option<String>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let mut warnings = None;
    let loaded = file::load(&arguments.file, |w| warnings = Some(w.clone()))?;
    let config = &loaded.config;
    let mut warnings = vec![warnings.unwrap_or_default()];
    let findings = if arguments.host {
        look_at_host(&loaded, &arguments.file, context, |more| warnings.push(more.clone()))?
    } else {
        Vec::new()
    };
    let shown = warnings.iter().filter(|some| !some.is_empty()).map(|some| some.render(false));
    let mut text = shown.collect::<Vec<_>>().join("\n");
    for finding in &findings {
        match &finding.failure {
            None => match &finding.note {
                Some(note) => text.push_str(&format!("ok   {}: {note}\n", finding.what)),
                None => text.push_str(&format!("ok   {}\n", finding.what)),
            },
            Some(failure) => {
                text.push_str(&format!("BAD  {}: {}\n", finding.what, failure.message));
                if let Some(remedy) = &failure.remedy {
                    text.push_str(&format!("     what to do: {remedy}\n"));
                }
            }
        }
    }
    let good = findings.iter().all(|f| f.ok);
    if good {
        text.push_str(&format!("{}: {}\n", arguments.file.display(), summary(config)));
    }
    let complaints: Vec<_> = warnings.iter().flat_map(|some| &some.complaints).collect();
    let warned = complaints.iter().filter(|c| c.severity == Severity::Warning).count();
    let mut output = Output::new("ok", &good, text)?
        .with("file", &arguments.file)?
        .with("complaints", &complaints)?
        .with("warnings", &warned)?
        .with("host", &findings)?;
    output.status = if good { 0 } else { Kind::Bad.exit_status() };
    Ok(output)
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "good: {}, {}, {}",
        count(config.services.len(), "service"),
        count(config.zone_names().len(), "zone"),
        count(config.backends.len(), "backend")
    )
}

fn look_at_host(
    loaded: &Loaded,
    path: &Path,
    context: &Context,
    warn: impl FnOnce(&Complaints),
) -> Result<Vec<Finding>, Failure> {
    let config = &loaded.config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::bad("runtime", format!("cannot start: {e}")))?;
    let pins = &context.places.pins;
    Ok(runtime.block_on(async {
        let mut findings = vec![
            finding("privileges", host::check_capabilities()),
            finding("kernel types (BTF)", host::check_btf()),
            finding("bpf file system", bpffs(pins)),
            earlier_run(pins, config.dialogs.max),
            finding("IP forwarding", host::check_forwarding(config)),
            finding("files of the API", file::access(loaded, path, warn).map(drop)),
        ];
        match Neighbours::connect().await {
            Ok((neighbours, _)) => {
                let addresses = host::check_addresses(neighbours.netlink(), config).await;
                findings.push(finding("service addresses", addresses));
                let interfaces = attach::check(pins, &config.node.interfaces, &neighbours.links());
                findings.push(finding("interfaces", interfaces));
            }
            Err(e) => findings.push(finding("network", Err(start::netlink_failure(&e)))),
        }
        findings
    }))
}

/// `run` mounts one if it may.
fn bpffs(pins: &PinDir) -> Result<(), Failure> {
    host::check_bpffs(pins).or_else(|failure| {
        let mountable = pins.path().starts_with("/sys/fs/bpf") && host::check_capabilities().is_ok();
        if mountable { Ok(()) } else { Err(failure) }
    })
}

fn finding(what: &'static str, result: Result<(), Failure>) -> Finding {
    let failure =
        result.err().map(|f| FailureView { code: f.code.into_owned(), message: f.message, remedy: f.remedy });
    Finding { what, ok: failure.is_none(), note: None, failure }
}

/// What an earlier run left, and what a start would do about it.
fn earlier_run(pins: &PinDir, max_dialogs: u32) -> Finding {
    let found = adopt::inspect(pins, max_dialogs);
    let note = match &found {
        Ok(adopt::Found::Other(other)) => Some(format!(
            "a table for {} dialogs, of layout {}; a start makes one for {} and brings all calls over",
            grouped(other.capacity.into()),
            other.layout.abi,
            grouped(max_dialogs.into())
        )),
        _ => None,
    };
    Finding { note, ..finding("maps of an earlier run", found.map(drop)) }
}
