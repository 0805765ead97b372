//! What the sources say about a backend, all together, compared with our own calls.
//!
//! The newest count of calls counts, the lowest limit, the lowest share, the busiest processor and the strictest word.

use super::{
    explain::{Explanation, seconds},
    history::History,
    pace::FLOOR,
    readings::{Reading, Trust},
};
use crate::{
    config,
    core::report::{Admits, Report, Sample},
};
use std::{collections::BTreeMap, time::Duration};

/// Time for which a source must report fewer calls than we have there before it is no longer believed.
const CONTRADICTED: Duration = Duration::from_secs(30);
/// Fewer by this part of ours, or by [`SLACK_CALLS`], are the moment and what a server counts.
const SLACK: f64 = 0.1;
const SLACK_CALLS: f64 = 5.0;
/// Longest time over which our own calls per second are compared with reported ones.
const COMPARED: Duration = Duration::from_secs(30);
/// Weight of the newest comparison of calls per second: a count of one second is noise.
const NEWEST: f64 = 0.3;

/// A source that was not asked yet.
pub(super) const AWAITED: &str = "awaited";
/// A source that counts.
pub(super) const BELIEVED: &str = "believed";

/// What all sources together want.
#[derive(Clone, Debug)]
pub(super) struct Opinion {
    /// Part of its own share that it asks for.
    pub(super) share: f64,
    /// How busy its processors are, and when that was.
    pub(super) busy: Option<(f64, Duration)>,
    /// Most calls in progress.
    pub(super) max_channels: Option<u32>,
    /// Most new calls per second.
    pub(super) max_cps: Option<u32>,
    /// Calls in progress there that are not ours.
    pub(super) other_channels: f64,
    /// New calls per second there that are not ours.
    pub(super) other_cps: f64,
    /// Whether it asks for no new calls.
    pub(super) drains: bool,
    /// How each source stands, for the log.
    pub(super) states: Vec<(String, &'static str)>,
}

/// What is remembered of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// When the last sample that was looked at was taken.
    taken: Option<Duration>,
    other_channels: f64,
    other_cps: f64,
    /// Since when it reports fewer calls than we have there.
    fewer_since: Option<Duration>,
}

/// What is remembered of all sources of a backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(BTreeMap<String, Memory>);

impl Sources {
    /// What they say now.
    pub(super) fn opinion<'r>(
        &mut self,
        now: Duration,
        readings: impl Iterator<Item = (&'r str, &'r Reading)>,
        backend: &config::Backend,
        own: &History,
        explanation: &mut Explanation,
    ) -> Opinion {
        let mut opinion = Opinion {
            share: 1.0,
            busy: None,
            max_channels: None,
            max_cps: None,
            other_channels: 0.0,
            other_cps: 0.0,
            drains: false,
            states: Vec::new(),
        };
        let mut newest = [None; 2];
        let mut known = Vec::new();
        for (source, reading) in readings {
            known.push(source);
            let state = match reading.sample {
                Some(sample) if sample.holds(now) => {
                    let memory = self.0.entry(source.to_owned()).or_default();
                    memory.compare(&sample, own);
                    opinion.hear(source, reading.trust, &sample, now, backend, explanation);
                    memory.tell(source, &sample, own, &mut newest, &mut opinion, explanation)
                }
                _ => stale(source, reading, now, explanation),
            };
            opinion.states.push((source.to_owned(), state));
        }
        self.0.retain(|source, _| known.contains(&source.as_str()));
        opinion
    }
}

fn stale(source: &str, reading: &Reading, now: Duration, explanation: &mut Explanation) -> &'static str {
    let trouble = reading.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
    match &reading.sample {
        Some(sample) => {
            let age = seconds(now.saturating_sub(sample.taken));
            let input =
                format!("{source}: stale, {age} old and believed for {}{trouble}", seconds(sample.valid));
            explanation.add(input, "fell back to own counts");
        }
        None => {
            explanation.add(format!("{source}: no sample yet{trouble}"), "own counts");
            return if trouble.is_empty() { AWAITED } else { "silent" };
        }
    }
    "stale"
}

impl Opinion {
    /// Takes what a sample says besides counts of calls.
    fn hear(
        &mut self,
        source: &str,
        trust: Trust,
        sample: &Sample,
        now: Duration,
        backend: &config::Backend,
        explanation: &mut Explanation,
    ) {
        let Report { share, admits, cpu, max_channels, max_cps, .. } = sample.report;
        let age = seconds(now.saturating_sub(sample.taken));
        let mut tell = |what: String, effect: String| {
            explanation.add(format!("{source}: {what} ({age} old)"), effect);
        };
        if let Some(share) = share {
            let part = share.clamp(FLOOR, 1.0);
            self.share = self.share.min(part);
            tell(format!("share {share:.2}"), format!("weight and max_cps x {part:.2}"));
        }
        if let Some(busy) = cpu {
            if self.busy.is_none_or(|(most, _)| most <= busy) {
                self.busy = Some((busy, sample.taken));
            }
            tell(format!("cpu {busy:.2}"), "see cpu below".to_owned());
        }
        for (name, said, own, all) in [
            ("max_channels", max_channels, backend.max_channels, &mut self.max_channels),
            ("max_cps", max_cps, backend.max_cps, &mut self.max_cps),
        ] {
            let Some(said) = said else { continue };
            let least = match (trust, own) {
                (Trust::Asks, Some(own)) => (f64::from(own) * FLOOR).ceil() as u32,
                _ => 1,
            };
            let limit = said.max(least);
            *all = Some(all.map_or(limit, |all| all.min(limit)));
            let effect = match own {
                Some(own) if own <= limit => format!("none: {own} is configured"),
                _ => format!("{name} at most {limit}"),
            };
            tell(format!("{name} {said}"), effect);
        }
        if let Some(word) = match admits {
            Some(Admits::Drain) => Some("it drains"),
            Some(Admits::Nothing) => Some("it goes down"),
            Some(Admits::Calls) | None => None,
        } {
            self.drains = true;
            tell(word.to_owned(), "no new calls; those it has stay".to_owned());
        }
    }
}

impl Memory {
    /// Compares the counts of a sample with what was ours at its moment; once for each sample.
    fn compare(&mut self, sample: &Sample, own: &History) {
        let Sample { taken, report, .. } = sample;
        let before = self.taken.replace(*taken);
        if before == Some(*taken) {
            return;
        }
        if let Some(channels) = report.channels.map(f64::from) {
            let ours = own.channels_at(*taken);
            self.other_channels = (channels - ours).max(0.0);
            let fewer = channels + (ours * SLACK).max(SLACK_CALLS) < ours;
            self.fewer_since = fewer.then(|| self.fewer_since.unwrap_or(*taken));
        }
        if let Some(cps) = report.cps {
            let second = Duration::from_secs(1);
            let span = before.map_or(second, |before| taken.saturating_sub(before)).clamp(second, COMPARED);
            let ours = own.calls_between(taken.saturating_sub(span), *taken) / span.as_secs_f64();
            self.other_cps += (cps - ours - self.other_cps) * NEWEST;
        }
    }

    /// Adds the counts to the opinion, where this is the newest sample that has them. The word for how the source stands.
    fn tell(
        &self,
        source: &str,
        sample: &Sample,
        own: &History,
        newest: &mut [Option<Duration>; 2],
        opinion: &mut Opinion,
        explanation: &mut Explanation,
    ) -> &'static str {
        let Sample { taken, report, .. } = sample;
        let (ours, since) = (own.channels_at(*taken), own.calls_since(*taken));
        let contradicted = self.fewer_since.is_some_and(|since| taken.saturating_sub(since) >= CONTRADICTED);
        if let (true, Some(channels)) = (contradicted, report.channels) {
            explanation.add(
                format!("{source}: contradictory, {channels} channels where {ours:.0} of ours were"),
                "fell back to own counts",
            );
            return "contradictory";
        }
        let mut is_newest = |count: usize| {
            let newer = newest[count].is_none_or(|last| last < *taken);
            if newer {
                newest[count] = Some(*taken);
            }
            newer
        };
        if let Some(channels) = report.channels.filter(|_| is_newest(0)) {
            opinion.other_channels = self.other_channels;
            let input =
                format!("{source}: {channels} channels, {ours:.0} of them ours, {since} calls begun since");
            explanation.add(input, format!("{:.0} channels of others", self.other_channels));
        }
        if let Some(cps) = report.cps.filter(|_| is_newest(1)) {
            opinion.other_cps = self.other_cps.max(0.0);
            let effect = format!("{:.1} of others, smoothed", opinion.other_cps);
            explanation.add(format!("{source}: {cps:.1} cps"), effect);
        }
        BELIEVED
    }
}
