//! `sipsteer backend show`.

use super::{
    Context,
    output::{Output, grouped, table},
    zone::{limit, utilisation},
};
use crate::{
    control::client,
    core::controller::Line,
    dataplane::maps::Maps,
    failure::{Failure, Kind},
    view::{
        backend::BackendDetail,
        backends::{BackendView, backend},
        health::HealthView,
    },
};

/// Show one backend: how it is and why, and what it may carry.
///
/// FILE is what the configuration says, OPERATOR what was set by `sipsteer backend limit` or `weight`, NOW what holds.
/// BECAUSE-OF is what came in, from telemetry, probes and our own calls, and EFFECT what that did.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipsteer backend show sw1
  sipsteer backend show sw1 --json | jq .health.reason

Asks the daemon; without one, as root, it shows what the pinned maps tell, which is not why a backend is down.

Exit status: 0 shown, 1 there is no such backend.")]
pub(super) struct Arguments {
    /// The backend.
    name: String,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<Output, Failure> {
    let name = &arguments.name;
    let path = format!("/v1/backends/{}", client::encoded(name));
    let detail = match client::glance::<BackendDetail>(&context.way, &path) {
        Ok(detail) => detail,
        Err(failure) if failure.code == "backend_not_found" || context.elsewhere().is_some() => {
            return Err(failure);
        }
        Err(asked) => from_maps(name, context)
            .map_err(|read| if asked.kind == Kind::NotRunning { read } else { asked })?,
    };
    let text = text(&detail);
    let mut output = Output::new("backend", &detail.backend, text)?;
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&detail) {
        output.document.extend(fields);
    }
    Ok(output)
}

fn from_maps(name: &str, context: &Context) -> Result<BackendDetail, Failure> {
    let maps = Maps::open(&context.places.pins)?;
    Ok(BackendDetail::from_maps(backend(&maps, name, &super::status::interface_names()?)?))
}

fn text(detail: &BackendDetail) -> String {
    let BackendDetail { backend, health, unresolved, .. } = detail;
    let zone = backend.zone.as_deref().unwrap_or("-");
    let mut text = format!("{}  {}, zone {zone}\n", backend.name, backend.address);
    text.push_str(&format!("WILL      {}\n", backend.will));
    match health {
        Some(health) => text.push_str(&observed(health)),
        None => text.push_str(&format!("HEALTH    {}\n", backend.health)),
    }
    if let Some(full) = &backend.full {
        text.push_str(&format!("FULL      because of {full}\n"));
    }
    let next_hop = match &backend.next_hop {
        Some(hop) => format!("{} on {}, packets of {} bytes at most", hop.mac, hop.interface, hop.mtu),
        None => format!("unresolved{}", unresolved.iter().map(|why| format!(": {why}")).collect::<String>()),
    };
    text.push_str(&format!("NEXT-HOP  {next_hop}\n\n"));
    text.push_str(&figures(detail));
    text.push_str(&why(detail));
    text.push('\n');
    text.push_str(&carried(backend));
    text
}

fn observed(health: &HealthView) -> String {
    let HealthView { reason, since, since_seconds, .. } = health;
    let mut text =
        format!("HEALTH    {}, since {since} ({}): {reason}\n", health.word(), length(*since_seconds));
    if let Some(left) = health.held_seconds {
        text.push_str(&format!(
            "HELD      gets no new calls for another {left} s, however well it answers\n"
        ));
    }
    let seconds = |seconds: f64| format!("{seconds} s");
    text.push_str(&format!(
        "PROBES    {} every {}, timeout {}, rise {}, fall {}: {} sent, {} lost\n",
        health.probe,
        seconds(health.interval_seconds),
        seconds(health.timeout_seconds),
        health.rise,
        health.fall,
        grouped(health.probes),
        grouped(health.probes_lost)
    ));
    if let (Some(outcome), Some(at)) = (&health.last_outcome, &health.last_at) {
        let rtt =
            health.last_rtt_seconds.map(|rtt| format!("; the latest answer took {:.1} ms", rtt * 1000.0));
        text.push_str(&format!("LAST      {outcome}, at {at}{}\n", rtt.unwrap_or_default()));
    }
    text
}

/// What made the limits and the weight what they are.
fn why(detail: &BackendDetail) -> String {
    let Some(explanation) = &detail.explanation else { return String::new() };
    let row = |line: &Line| [line.input.clone(), line.effect.clone()];
    let rows: Vec<[String; 2]> = explanation.0.iter().map(row).collect();
    format!("\n{}", table(["BECAUSE-OF", "EFFECT"], &rows))
}

/// Limits and weight by who says so.
fn figures(detail: &BackendDetail) -> String {
    let BackendDetail { backend, file, operator, .. } = detail;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let wish = operator.unwrap_or_default();
    let rows = [
        [
            "max_channels".to_owned(),
            or_dash(file.map(|f| limit(f.max_channels))),
            or_dash(wish.max_channels.map(limit)),
            limit(backend.max_channels),
        ],
        [
            "max_cps".to_owned(),
            or_dash(file.map(|f| limit(f.max_cps))),
            or_dash(wish.max_cps.map(limit)),
            limit(backend.max_cps),
        ],
        [
            "weight".to_owned(),
            or_dash(file.map(|f| f.weight.to_string())),
            or_dash(wish.weight.map(|w| w.to_string())),
            backend.weight.to_string(),
        ],
    ];
    table(["LIMIT", "FILE", "OPERATOR", "NOW"], &rows)
}

fn carried(backend: &BackendView) -> String {
    let row = [
        grouped(backend.load.channels),
        format!("{:.0}", backend.load.cps),
        utilisation(backend.load.utilisation),
        grouped(backend.calls),
        grouped(backend.refusals),
        grouped(backend.over_channels),
        grouped(backend.over_cps),
        grouped(backend.packets),
        grouped(backend.reply_packets),
    ];
    let headings =
        ["CHANNELS", "CPS", "UTIL", "CALLS", "REFUSALS", "OVER-CHANNELS", "OVER-CPS", "PACKETS", "REPLIES"];
    table(headings, &[row])
}

/// A length of time in its largest unit or two.
fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_two_units_at_most() {
        let told: Vec<String> = [0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(length).into();
        assert_eq!(
            told,
            ["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "23 h 59 min", "1 d 0 h", "2 d 7 h"]
        );
    }
}
