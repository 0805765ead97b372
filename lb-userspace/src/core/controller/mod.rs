//! The controller: what each backend may carry, from what is configured, what its sources say, how it is and what it carries
//! of our own calls. Pure: time is handed in, and every decision says what made it so.
//!
//! * `readings`: the last sample of every source. * `history`: our own calls, to compare with the moment of a sample.
//! * `opinion`: what all sources say together. * `processor`: what a busy processor means. * `pace`: how fast things move.
//! * `explain`: why.
//!
//! Nothing here raises what is configured, cuts a backend off, or moves a call: words make it drain, numbers give it less.

mod explain;
mod history;
mod opinion;
mod pace;
mod processor;
mod readings;

pub use explain::{Explanation, Line};
pub use history::Own;
pub use pace::{DOWN, DRAINED, FLOOR, LONGEST_STEP, Pace, UP, WORTH};
pub use readings::{Reading, Readings, Trust};

use super::standing::{Capacity, Health, Standing};
use crate::config;
use explain::seconds;
use history::History;
use opinion::{AWAITED, BELIEVED, Opinion, Sources};
use pace::{Care, Free, Part, warmth};
use processor::Processor;
use std::{collections::BTreeMap, time::Duration};

/// Others' calls in progress that come or go without being worth a change, as a part of the limit.
const OTHERS_WORTH: f64 = 0.02;

/// How the controller is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Time in which a backend that came up gets from a tenth of its share to the whole.
    pub warm_up: Duration,
    /// How busy processors may be before their server gets less, 0 to 1.
    pub cpu_target: f64,
    /// How fast things move.
    pub pace: Pace,
}

/// What is known of a backend besides what its sources say.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its configuration, with the limits and the weight that operators want.
    pub backend: &'a config::Backend,
    /// How probes find it.
    pub health: Health,
    /// What it carries of our calls now.
    pub own: Own,
}

/// What was decided about a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How it is and what it may carry.
    pub standing: Standing,
    /// Why.
    pub explanation: Explanation,
    /// What is worth a line in the log.
    pub news: Option<String>,
}

/// What a backend may carry, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decided {
    max_channels: Option<u32>,
    max_cps: Option<u32>,
    weight: u16,
    other_channels: u32,
    other_cps: u32,
}

/// All backends.
#[derive(Clone, Debug)]
pub struct Controller {
    tuning: Tuning,
    backends: BTreeMap<String, State>,
}

/// What is remembered of a backend.
#[derive(Clone, Debug, Default)]
struct State {
    last: Option<Duration>,
    own: History,
    sources: Sources,
    processor: Processor,
    weight: Part,
    channels: Part,
    cps: Part,
    free_channels: Free,
    free_cps: Free,
    others: f64,
    /// Whether it took no new calls at the last look.
    out: bool,
    /// For how long it has taken them again, as far as we looked; `None`: it always did.
    up_for: Option<Duration>,
    /// Until when it counts as draining by its own word.
    drains_until: Option<Duration>,
    told: Option<Told>,
}

/// What the log was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    /// Twentieths of weight, channels and calls per second that it is to get.
    aims: [i64; 3],
    drains: bool,
    states: Vec<(String, &'static str)>,
}

impl Controller {
    /// Nothing is known of any backend.
    pub fn new(tuning: Tuning) -> Controller {
        Controller { tuning, backends: BTreeMap::new() }
    }

    /// Sets it otherwise; what is known stays.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// Forgets backends that are not `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.backends.retain(|name, _| wanted(name));
    }

    /// Decides about one backend. To be called about once a second; a clock that stands still or leaps moves nothing far.
    pub fn decide(&mut self, now: Duration, input: &Input<'_>, readings: &Readings) -> Decision {
        let Input { backend, health, own } = *input;
        let state = self.backends.entry(backend.name.clone()).or_default();
        let time = state.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let (tuning, time) = (self.tuning, time.min(self.tuning.pace.longest_step));
        state.last = Some(now);
        state.own.note(now, own);
        let mut explanation = Explanation::configured(backend);
        let opinion =
            state.sources.opinion(now, readings.of(&backend.name), backend, &state.own, &mut explanation);
        let drains = state.drains(now, &opinion, tuning.pace.drained, &mut explanation);
        state.come_up(time, Standing { health, drains, capacity: None }, &mut explanation);
        let warm = state.warm(tuning.warm_up, &mut explanation);
        let busy = state.processor.step(opinion.busy, tuning.cpu_target, now, time);
        if busy < 1.0 {
            let target = tuning.cpu_target;
            explanation.add(
                format!("cpu, which should be {target:.2} at most"),
                format!("weight and max_cps x {busy:.2}"),
            );
        }
        let decided = state.limits(backend, &opinion, [busy, warm], time, &tuning.pace, &mut explanation);
        explanation.conclude(&decided);
        let configured = Decided {
            max_channels: backend.max_channels,
            max_cps: backend.max_cps,
            weight: backend.weight,
            other_channels: 0,
            other_cps: 0,
        };
        let capacity = (decided != configured).then_some(Capacity {
            max_channels: decided.max_channels,
            max_cps: decided.max_cps,
            weight: decided.weight,
            other_channels: decided.other_channels,
            other_cps: decided.other_cps,
        });
        let news = state.news(&opinion);
        Decision { standing: Standing { health, drains, capacity }, explanation, news }
    }
}

impl State {
    /// Whether it asks for no new calls, or did a moment ago.
    fn drains(
        &mut self,
        now: Duration,
        opinion: &Opinion,
        hold: Duration,
        explanation: &mut Explanation,
    ) -> bool {
        if opinion.drains {
            self.drains_until = Some(now + hold);
        }
        let held = self.drains_until.is_some_and(|until| now < until);
        let drains = opinion.drains || held;
        if drains && !opinion.drains {
            let input = format!("it drained until less than {} ago", seconds(hold));
            explanation.add(input, "no new calls yet");
        }
        drains
    }

    /// Notes for how long it has taken new calls again. Time in which nobody looked is not all of it: it got nothing new then.
    fn come_up(&mut self, time: Duration, standing: Standing, explanation: &mut Explanation) {
        match standing.health {
            Health::Up => {}
            Health::Draining => explanation.add("probes: it asks for no new calls", "no new calls"),
            Health::Down => explanation.add("probes: down", "no calls"),
        }
        let out = standing.seen() != Health::Up;
        if out || self.out {
            self.up_for = Some(Duration::ZERO);
        } else {
            self.up_for = self.up_for.map(|up_for| up_for + time);
        }
        self.out = out;
    }

    /// The part that it gets for having come up lately.
    fn warm(&self, warm_up: Duration, explanation: &mut Explanation) -> f64 {
        if self.out {
            // Already now, so that the first call after it came up finds it so.
            return warmth(Duration::ZERO, warm_up);
        }
        let Some(up_for) = self.up_for else { return 1.0 };
        let warm = warmth(up_for, warm_up);
        if warm < 1.0 {
            let input = format!("up for {} of a warm-up of {}", seconds(up_for), seconds(warm_up));
            explanation.add(input, format!("at most {warm:.2} of weight and max_cps"));
        }
        warm
    }

    fn limits(
        &mut self,
        backend: &config::Backend,
        opinion: &Opinion,
        [busy, warm]: [f64; 2],
        time: Duration,
        pace: &Pace,
        explanation: &mut Explanation,
    ) -> Decided {
        let part_of = |said: Option<u32>, own: Option<u32>| match (said, own) {
            (Some(said), Some(own)) if own > 0 => (f64::from(said) / f64::from(own)).min(1.0),
            _ => 1.0,
        };
        let share = opinion.share.min(busy);
        let channels = part_of(opinion.max_channels, backend.max_channels);
        let cps = part_of(opinion.max_cps, backend.max_cps);
        let others = backend.max_cps.map_or(0.0, |own| (opinion.other_cps / f64::from(own.max(1))).min(1.0));
        let weight = share.min(channels).min(cps).max(pace.floor);
        let weight = self.weight.step(weight, time, Care::Steady, pace).min(warm);
        let channels = self.channels.step(channels, time, Care::Exact, pace);
        // What others begin there comes off the pace, but never takes the last tenth of it.
        let own = share.min(cps);
        let cps = (own - others).max(own.min(pace.floor));
        let cps = self.cps.step(cps, time, Care::Steady, pace).min(warm);
        if self.weight.moves() || self.channels.moves() || self.cps.moves() {
            let input =
                format!("in a second it falls by {:.2} and rises by {:.2} at most", pace.down, pace.up);
            let effect =
                format!("now weight x {weight:.2}, max_channels x {channels:.2}, max_cps x {cps:.2}");
            explanation.add(input, effect);
        }
        let of = |own: u32, part: f64| (f64::from(own) * part).round().max(f64::from(own.min(1))) as u32;
        let free_channels = self.free_channels.step(opinion.max_channels, time, pace);
        let free_cps = self.free_cps.step(opinion.max_cps, time, pace);
        Decided {
            max_channels: backend.max_channels.map(|own| of(own, channels)).or(free_channels),
            max_cps: backend.max_cps.map(|own| of(own, cps)).or(free_cps),
            weight: of(backend.weight.into(), weight).max(1) as u16,
            other_channels: self.other_channels(opinion.other_channels, backend.max_channels, time),
            other_cps: opinion.other_cps.round() as u32,
        }
    }

    /// Calls of others: more count at once, fewer as fast as limits rise.
    fn other_channels(&mut self, said: f64, limit: Option<u32>, time: Duration) -> u32 {
        let full = f64::from(limit.unwrap_or(u32::MAX));
        let said = said.min(full);
        if said >= self.others {
            self.others = said;
        } else if said == 0.0 || self.others - said > full * OTHERS_WORTH {
            self.others = said.max(self.others - full * UP * time.as_secs_f64());
        }
        self.others.round() as u32
    }

    /// What the log has not been told yet: another aim, a word, a source that came or went.
    fn news(&mut self, opinion: &Opinion) -> Option<String> {
        let twentieth = |part: Part| (part.aim() * 20.0).round() as i64;
        let aims = [self.weight, self.channels, self.cps].map(twentieth);
        let told = Told { aims, drains: opinion.drains, states: opinion.states.clone() };
        let before = self.told.replace(told.clone());
        let before = before.unwrap_or(Told { aims: [20; 3], drains: false, states: Vec::new() });
        let mut news = Vec::new();
        for (source, state) in &told.states {
            let known = before.states.iter().find(|(name, _)| name == source).map(|(_, state)| *state);
            match *state {
                state if known.unwrap_or(AWAITED) == state => {}
                AWAITED => {}
                BELIEVED => news.push(format!("{source} is {BELIEVED}")),
                state => news.push(format!("{source} is {state}: own counts")),
            }
        }
        if told.drains != before.drains {
            let word = if told.drains { "asks for no new calls" } else { "no longer asks for no new calls" };
            news.push(word.to_owned());
        }
        if told.aims != before.aims {
            let [weight, channels, cps] = told.aims.map(|twentieths| twentieths as f64 / 20.0);
            news.push(format!(
                "is to get weight x {weight:.2}, max_channels x {channels:.2}, max_cps x {cps:.2}"
            ));
        }
        (!news.is_empty()).then(|| news.join("; "))
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
