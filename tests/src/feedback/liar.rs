//! The telemetry of a server: honest, late, lost, frozen, repeated, or a lie.

use super::VALID;
use crate::simulation::Random;
use lb_common::map::load::Load;
use sipsteer::{
    config::Backend,
    core::{
        controller::Trust,
        report::{Admits, Report, Sample},
    },
};
use std::{fmt, time::Duration};

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Honest,
    /// It comes some seconds late.
    Late,
    /// Every other sample is lost.
    Lossy,
    /// It says again and again what was true once.
    Frozen,
    /// It says nothing.
    Silent,
    /// It says that nobody is there.
    Low,
    /// It says that it is full.
    Full,
    /// It says something else every second.
    Raving,
}

const MODES: [Mode; 8] =
    [Mode::Honest, Mode::Late, Mode::Lossy, Mode::Frozen, Mode::Silent, Mode::Low, Mode::Full, Mode::Raving];

/// The telemetry of one server.
pub(super) struct Liar {
    pub(super) mode: Mode,
    /// Calls in progress there that are not ours.
    pub(super) others: u64,
    /// Its processors at its own `max_cps`.
    busy: f64,
    /// Part of its channels that it says it has.
    part: f64,
    since: u64,
    until: u64,
    last_said: u64,
    /// When it said last that it drains.
    pub(super) last_drain: Option<u64>,
    /// Samples on their way, and when they come.
    under_way: Vec<(u64, Sample)>,
    frozen: Option<Report>,
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Liar { mode, others, part, since, .. } = self;
        write!(f, "{mode:?} since {since}, {others} of others, {part} of its channels")
    }
}

impl Liar {
    pub(super) fn new(random: &mut Random) -> Liar {
        Liar {
            mode: Mode::Silent,
            others: 0,
            busy: 0.3 + random.unit(),
            part: 1.0,
            since: 0,
            until: 5 + random.below(30),
            last_said: 0,
            last_drain: None,
            under_way: Vec::new(),
            frozen: None,
        }
    }

    /// Another second: perhaps something else is true, or wrong.
    pub(super) fn live(&mut self, second: u64, backend: &Backend, random: &mut Random) {
        if second >= self.until {
            // As often honest as all else together.
            let mode = MODES[random.below(MODES.len() as u64) as usize];
            self.mode = if random.below(2) == 0 { Mode::Honest } else { mode };
            self.others = random.below(u64::from(backend.max_channels.unwrap_or(0)) / 3);
            self.part = [1.0, 1.0, 0.8, 0.8, 0.5, 0.5, 0.2, 0.02][random.below(8) as usize];
            (self.since, self.until) = (second, second + 40 + random.below(160));
            self.frozen = None;
        }
    }

    /// Whether others, and what is said of them, have been the same for a while, and nothing is wrong.
    pub(super) fn is_settled(&self, second: u64) -> bool {
        self.mode == Mode::Honest && second > self.since + 30 && second <= self.last_said + 2
    }

    /// Whether it says, or said once, that there is little room.
    pub(super) fn is_filled(&self, backend: &Backend) -> bool {
        let limit = f64::from(backend.max_channels.unwrap_or(0));
        matches!(self.mode, Mode::Full | Mode::Frozen | Mode::Raving)
            || limit * self.part - (self.others as f64) < limit * 0.3
    }

    /// For how long nobody said anything.
    pub(super) fn quiet_for(&self, second: u64) -> u64 {
        second.saturating_sub(self.last_said)
    }

    /// For how long the same is true and wrong.
    pub(super) fn steady_for(&self, second: u64) -> u64 {
        second.saturating_sub(self.since)
    }

    /// Whether what it says of calls is true, though perhaps late, and has been for so long.
    pub(super) fn is_true_for(&self, seconds: u64, second: u64) -> bool {
        matches!(self.mode, Mode::Honest | Mode::Late)
            && self.steady_for(second) > seconds
            && self.quiet_for(second) <= 2
    }

    /// What comes in this second; `now` is what the daemon's clock says.
    pub(super) fn says(
        &mut self,
        second: u64,
        now: Duration,
        load: &Load,
        backend: &Backend,
        random: &mut Random,
    ) -> Vec<(&'static str, Trust, Sample)> {
        let report = self.report(load, backend, random);
        let sample = Sample { taken: now, valid: VALID, report };
        let late = match self.mode {
            Mode::Silent => None,
            Mode::Lossy => (random.below(2) == 0).then_some(0),
            Mode::Late => Some(1 + random.below(5)),
            _ => Some(0),
        };
        self.under_way.extend(late.map(|late| (second + late, sample)));
        let mut come: Vec<Sample> =
            self.under_way.iter().filter(|(at, _)| *at <= second).map(|(_, sample)| *sample).collect();
        self.under_way.retain(|(at, _)| *at > second);
        // Some come twice, and not in order.
        if random.below(4) == 0 {
            come.extend(come.clone());
            come.reverse();
        }
        if !come.is_empty() {
            self.last_said = second;
        }
        if come.iter().any(|sample| sample.report.admits == Some(Admits::Drain)) {
            self.last_drain = Some(second);
        }
        let asks = self.mode == Mode::Raving;
        let (source, trust) = if asks { ("agent", Trust::Asks) } else { ("metrics", Trust::Measures) };
        come.into_iter().map(|sample| (source, trust, sample)).collect()
    }

    fn report(&mut self, load: &Load, backend: &Backend, random: &mut Random) -> Report {
        let own = load.in_progress();
        let limit = f64::from(backend.max_channels.unwrap_or(0));
        let rate = lb_common::map::load::Rate::from_word(load.rate);
        let cps = f64::from(rate.value) / 1024.0;
        let noise = 1.0 + (random.unit() - 0.5) / 20.0;
        let honest = Report {
            channels: Some((own + self.others) as u32),
            // It counts what it has left, so that this is never quite the same.
            max_channels: Some((limit * self.part * (1.0 + (random.unit() - 0.5) / 33.0)) as u32),
            cpu: Some((self.busy * noise * cps / f64::from(backend.max_cps.unwrap_or(1))).min(1.0)),
            ..Report::default()
        };
        match self.mode {
            Mode::Frozen => *self.frozen.get_or_insert(honest),
            Mode::Low => Report { channels: Some(0), cpu: Some(0.0), ..Report::default() },
            Mode::Full => Report { channels: Some(u32::MAX / 8), cpu: Some(1.0), ..honest },
            Mode::Raving => Report {
                share: Some(random.unit().min(1.0)),
                max_cps: Some(random.below(1000) as u32),
                admits: [None, Some(Admits::Calls), Some(Admits::Drain)][random.below(3) as usize],
                ..Report::default()
            },
            _ => honest,
        }
    }
}
