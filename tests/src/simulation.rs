//! Callers and servers on a clock of their own: what each policy makes of random traffic, told by the decision core that the
//! kernel runs.
//!
//! Calls arrive as a Poisson process and last as long as a lognormal distribution says, which is how telephone calls do.
//! Everything follows from the seed.

use crate::{
    memory::MemoryTables,
    story::{BRANCH, Story, message, request},
};
use lb_common::{
    decide::{Tables, expiry, select::ring_slot},
    map::{
        backend::Limits,
        settings::Settings,
        zone::{Policy, choice},
    },
    sip::{Kind, Method},
    verdict::Verdict,
};
use std::{cmp::Reverse, collections::BinaryHeap, f64::consts::TAU, fmt};

const SECOND: u64 = 1_000_000_000;
/// New calls per second, on the mean.
const CALLS_PER_SECOND: f64 = 400.0;
/// Seconds that a call lasts, on the mean.
const MEAN_SECONDS: f64 = 10.0;
/// Standard deviation of the logarithm of that.
const SIGMA: f64 = 1.5;
/// Seconds before anything is measured: as many calls must end as begin.
const WARM_UP: u64 = 60;
/// What all servers together may get, relative to what comes.
const SPARE: f64 = 1.25;
/// Ticks per second.
const TICKS: u64 = 8;

/// Which servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Eight alike.
    Alike,
    /// Eight, four of them with half of the capacity of the others.
    Mixed,
}

impl Servers {
    /// Capacities relative to the greatest.
    const fn shares(self) -> [f64; 8] {
        match self {
            Servers::Alike => [1.0; 8],
            Servers::Mixed => [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5],
        }
    }

    /// Their limits: together [`SPARE`] times what comes, with the burst of a tenth of a second that is usual.
    fn limits(self) -> [Limits; 8] {
        let shares = self.shares();
        let sum: f64 = shares.iter().sum();
        shares.map(|share| {
            let max_cps = (CALLS_PER_SECOND * SPARE * share / sum).ceil() as u32;
            let max_channels = (CALLS_PER_SECOND * MEAN_SECONDS * SPARE * share / sum).ceil() as u32;
            Limits {
                max_channels,
                max_cps,
                interval_ns: 1_000_000_000u32.div_ceil(max_cps),
                burst: (max_cps / 10).max(1),
                capacity_channels: max_channels,
                capacity_cps: max_cps,
                other_channels: 0,
                other_cps: 0,
            }
        })
    }
}

/// How a service of the simulation chooses.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What the table calls it.
    pub name: &'static str,
    choice: u8,
    bound: u16,
    target: u16,
}

/// The policies that are compared: first the ring alone, then those that a configuration offers, with its defaults.
pub const WAYS: [Way; 4] = [
    Way { name: "ring alone", choice: choice::CONSISTENT, bound: 0, target: u16::MAX },
    Way { name: "consistent", choice: choice::CONSISTENT, bound: 1280, target: 512 },
    Way { name: "least-loaded", choice: choice::LEAST_LOADED, bound: 0, target: 512 },
    Way { name: "primary-secondary", choice: choice::PRIMARY_SECONDARY, bound: 0, target: 512 },
];

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// New calls.
    pub calls: u64,
    /// Those of them that nobody took.
    pub refused: u64,
    /// Channels of the most utilised server relative to the mean utilisation, which 99 of 100 seconds do not exceed.
    pub channels: f64,
    /// The same of new calls per second.
    pub cps: f64,
    /// Channels of the most utilised server relative to its limit, at any second.
    pub fullest: f64,
    /// Calls that the ring's first choice got.
    pub first_choice: u64,
    /// Channels that were still taken when all calls had ended.
    pub left: u64,
}

/// Plays `calls` calls on eight servers.
pub fn run(servers: Servers, way: &Way, calls: u64, seed: u64) -> Outcome {
    let limits = servers.limits();
    let story = network(servers, way, &limits);
    let mut random = Random(seed);
    let mut ends: BinaryHeap<Reverse<(u64, u64, u16)>> = BinaryHeap::new();
    let (mut now, mut second) = (SECOND, 1);
    let mut measured = Measured::default();
    let (mut refused, mut first_choice) = (0, 0);
    let mut begun = [0; 8];
    for call in 0..calls {
        now += (random.exponential() / CALLS_PER_SECOND * SECOND as f64) as u64;
        while let Some(Reverse((at, key, backend))) = ends.peek().copied().filter(|end| end.0.0 <= now) {
            ends.pop();
            set_clock(&story.tables, at);
            hangs_up(&story, key, backend);
        }
        while second < now / SECOND {
            second += 1;
            if second > WARM_UP {
                measured.add(&story.tables, &limits, &begun);
            }
            begun = [0; 8];
        }
        set_clock(&story.tables, now);
        let key = random.next();
        let lasts = (random.lognormal() * SECOND as f64) as u64;
        let steering = story.arrives(request(Method::Invite, key));
        match steering.verdict {
            Verdict::SteeredNew => {
                begun[usize::from(steering.backend)] += 1;
                let first = (&story.tables).ring_backend(0, 0, ring_slot(key));
                first_choice += u64::from(first == Some(steering.backend));
                for code in [180, 200] {
                    story.leaves(steering.backend, &[0], message(Kind::Response(code), key).to_tag(1));
                }
                ends.push(Reverse((now + lasts, key, steering.backend)));
            }
            Verdict::RefusedFull => refused += 1,
            other => panic!("call {call}: {other:?}"),
        }
    }
    for Reverse((_, key, backend)) in ends {
        hangs_up(&story, key, backend);
    }
    Outcome {
        calls,
        refused,
        channels: measured.channels.percentile(99),
        cps: measured.cps.percentile(99),
        fullest: measured.fullest,
        first_choice,
        left: story.tables.load_of_zone(0).channels,
    }
}

fn network(servers: Servers, way: &Way, limits: &[Limits; 8]) -> Story {
    let settings = Settings {
        unconfirmed_limit: 1 << 16,
        unanswered_ticks: 180 * TICKS as u32,
        answered_ticks: 40_000,
        ended_ticks: 32 * TICKS as u32,
        subscribed_ticks: 40_000,
        ..Settings::default()
    };
    let mut story = Story { sees_answers: true, ..Story::with(settings, 1 << 16) };
    story.tables.settings_mut().sweep_buckets = 1 << 7;
    let backends: Vec<(u16, Limits)> = (0..).zip(*limits).collect();
    story.tables.add_zone(0, &backends);
    let Way { choice, bound, target, .. } = *way;
    story.tables.set_policy(0, Policy { tiers: 1, choice, bound, target, ..Policy::default() });
    // Slots by capacity.
    let slots = |id: u16| if servers.shares()[usize::from(id)] < 1.0 { 1 } else { 2 };
    let ring: Vec<u16> = (0..8).flat_map(|id| vec![id; slots(id)]).collect();
    story.tables.set_ring(0, 0, &ring);
    story
}

fn set_clock(tables: &MemoryTables, nanoseconds: u64) {
    tables.set_nanoseconds(nanoseconds);
    let tick = (nanoseconds / (SECOND / TICKS)) as u32;
    tables.set_now(tick);
    expiry::tend(&tables, u64::from(tick));
}

/// The caller's BYE, when a server has not ended the call before.
fn hangs_up(story: &Story, key: u64, backend: u16) {
    let bye = request(Method::Bye, key).branch(BRANCH + 1).to_tag(1);
    let steering = story.arrives(bye);
    assert_eq!((steering.verdict, steering.backend), (Verdict::SteeredPinned, backend));
}

/// What is measured, second by second.
#[derive(Default)]
struct Measured {
    channels: Samples,
    cps: Samples,
    fullest: f64,
}

impl Measured {
    fn add(&mut self, tables: &MemoryTables, limits: &[Limits; 8], begun: &[u64; 8]) {
        let mut channels = [0.0; 8];
        let mut cps = [0.0; 8];
        for (id, limits) in (0..8u16).zip(limits) {
            let at = usize::from(id);
            let load = tables.load_of(id);
            assert!(load.channels <= u64::from(limits.max_channels), "server {id} is over its limit");
            channels[at] = load.channels as f64 / f64::from(limits.max_channels);
            cps[at] = begun[at] as f64 / f64::from(limits.max_cps);
        }
        self.fullest = channels.iter().copied().fold(self.fullest, f64::max);
        self.channels.0.push(greatest_by_mean(&channels));
        self.cps.0.push(greatest_by_mean(&cps));
    }
}

fn greatest_by_mean(values: &[f64; 8]) -> f64 {
    let mean = values.iter().sum::<f64>() / 8.0;
    values.iter().copied().fold(0.0, f64::max) / mean
}

#[derive(Default)]
struct Samples(Vec<f64>);

impl Samples {
    /// The value that `percent` of them do not exceed; 0 if there are none.
    fn percentile(mut self, percent: usize) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    /// What follows from a seed.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Above 0, at most 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// With the mean of 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// A number less than `end`, or 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Seconds with the mean of [`MEAN_SECONDS`].
    fn lognormal(&mut self) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        (MEAN_SECONDS.ln() - SIGMA * SIGMA / 2.0 + SIGMA * normal).exp()
    }
}

/// The table of a comparison.
pub struct Comparison(Vec<(Servers, &'static str, Outcome)>);

/// Runs every policy on both sets of servers.
pub fn compare(calls: u64, seed: u64) -> Comparison {
    let runs = [Servers::Alike, Servers::Mixed].into_iter();
    let runs = runs.flat_map(|servers| WAYS.map(|way| (servers, way)));
    Comparison(runs.map(|(servers, way)| (servers, way.name, run(servers, &way, calls, seed))).collect())
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<8} {:<18} {:>13} {:>8} {:>8} {:>8} {:>8}",
            "SERVERS", "POLICY", "CHANNELS P99", "CPS P99", "FULLEST", "FIRST", "REFUSED"
        )?;
        for (servers, name, outcome) in &self.0 {
            let servers = match servers {
                Servers::Alike => "alike",
                Servers::Mixed => "mixed",
            };
            let Outcome { channels, cps, fullest, .. } = *outcome;
            let share = |calls: u64| 100.0 * calls as f64 / outcome.calls as f64;
            let (first, refused) = (share(outcome.first_choice), share(outcome.refused));
            writeln!(
                out,
                "{servers:<8} {name:<18} {channels:>13.2} {cps:>8.2} {:>7.0}% {first:>7.1}% {refused:>7.2}%",
                fullest * 100.0
            )?;
        }
        write!(
            out,
            "P99: the most utilised server relative to the mean of all, in 99 of 100 seconds.\n\
             FULLEST: the most channels of one relative to its limit. FIRST: calls that the ring's first choice got."
        )
    }
}
