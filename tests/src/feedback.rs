//! The whole loop on a clock of its own: servers, their telemetry with every fault it can have, the controller, the model and
//! the decision core that the kernel runs. Everything follows from the seed, and what must never happen stops the run.
//!
//! * A server never has more of our calls than it may have, nor more new ones in a second; together with those of others not
//!   more than it has channels, where its telemetry is honest and in time.
//! * A call that is up stays where it is, unless its server died.
//! * Weights rise no faster than they may, and those of honest servers do not swing.
//! * Who is well gets calls, and what a source said is forgotten in time.

mod liar;

use crate::{
    simulation::Random,
    story::{BRANCH, Story, message, request},
};
use lb_common::{
    decide::expiry,
    map::{backend::will, settings::Settings, zone::Policy, zone::choice},
    sip::{Kind, Method},
    verdict::Verdict,
};
use liar::{Liar, Mode};
use sipsteer::{
    config::{self, Config},
    core::{
        controller::{Controller, Decision, FLOOR, Input, Own, Readings, Tuning, UP},
        model::{Circumstances, Model},
        standing::{Health, Standing},
    },
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::Duration,
};

const SECOND: u64 = 1_000_000_000;
/// Ticks per second.
const TICKS: u64 = 8;
/// Time for which a sample may be believed.
const VALID: Duration = Duration::from_secs(8);
/// Time in which a dead server is found out.
const DETECTION: u64 = 2;
/// Seconds in which a server that came up gets from a tenth to the whole.
const WARM_UP: u64 = 15;
/// Seconds in which the rest comes back when a source is silent: from the floor, at the slowest.
const RECOVERY: u64 = 20 + WARM_UP;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// New calls.
    pub calls: u64,
    /// Those of them that nobody took.
    pub refused: u64,
    /// Decisions of the controller that changed something.
    pub changes: u64,
    /// Deaths of servers.
    pub deaths: u64,
    /// Samples that were handed in.
    pub samples: u64,
}

/// One server as it is, and what is known of its past.
struct Server {
    name: String,
    /// Since when it is dead.
    dead_since: Option<u64>,
    changes_at: u64,
    /// The last second in which its calls may have been taken away.
    died: Option<u64>,
    liar: Liar,
    /// Times of the new calls of the last second.
    lately: VecDeque<u64>,
    weights: Vec<u16>,
    /// New calls that found all of its channels taken.
    over: u64,
    /// Since when it has been well and had room.
    well_since: u64,
    calls: u64,
    offered: u64,
}

/// A run.
struct World {
    random: Random,
    story: Story,
    config: Config,
    model: Model,
    controller: Controller,
    readings: Readings,
    servers: Vec<Server>,
    standings: BTreeMap<String, Standing>,
    ends: BinaryHeap<Reverse<(u64, u64, u16, u64)>>,
    outcome: Outcome,
    /// Until when the daemon is stopped.
    asleep: u64,
}

/// Plays so many seconds.
///
/// # Errors
/// What happened that must not happen, with the second.
pub fn run(seed: u64, seconds: u64) -> Result<Outcome, String> {
    let mut world = World::new(seed);
    let (mut now, mut second) = (SECOND, 1);
    let cps = world.servers.len() as f64 * 12.0;
    while second < seconds {
        now += (world.random.exponential() / cps * SECOND as f64) as u64;
        while second < now / SECOND {
            second += 1;
            world.end_calls(second * SECOND).map_err(|what| format!("second {second}: {what}"))?;
            world.pass(second).map_err(|what| format!("second {second}: {what}"))?;
        }
        world.end_calls(now).map_err(|what| format!("second {second}: {what}"))?;
        world.call(now).map_err(|what| format!("second {second}: {what}"))?;
    }
    Ok(world.outcome)
}

fn config(random: &mut Random, servers: u64) -> Config {
    let mut text = String::from(
        "[node]\nname = 'lb1'\ninterfaces = ['eth0']\n[[service]]\nname = 'trunks'\n\
         listen = ['203.0.113.10:5060/udp']\nforwarding = 'nat'\nzones = ['uk']\n",
    );
    for number in 1..=servers {
        let (cps, channels) = (20 + random.below(40), 150 + random.below(300));
        text.push_str(&format!(
            "[[backend]]\nname = 'sw{number}'\nzone = 'uk'\naddress = '10.0.0.{number}:5060'\nmax_cps = {cps}\n\
             max_channels = {channels}\nweight = {}\n",
            50 + random.below(150)
        ));
    }
    config::parse(&text, "simulation").expect("a configuration").config
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let servers = 4 + random.below(8);
        let config = config(&mut random, servers);
        let settings = Settings {
            unconfirmed_limit: 1 << 16,
            unanswered_ticks: 32 * TICKS as u32,
            answered_ticks: 40_000,
            ended_ticks: 32 * TICKS as u32,
            subscribed_ticks: 40_000,
            ..Settings::default()
        };
        let mut story = Story { sees_answers: true, ..Story::with(settings, 1 << 16) };
        story.tables.settings_mut().sweep_buckets = 1 << 7;
        let model = Model::from_config(&config, &Circumstances::default()).expect("there are ids");
        let limits: Vec<_> = model.backends.iter().map(|(id, b)| (*id, b.limits)).collect();
        story.tables.add_zone(0, &limits);
        let choice = [choice::CONSISTENT, choice::LEAST_LOADED][random.below(2) as usize];
        let bound = if choice == choice::CONSISTENT { 1280 } else { 0 };
        story.tables.set_policy(0, Policy { tiers: 1, choice, bound, target: 512, ..Policy::default() });
        let server = |b: &config::Backend| Server {
            name: b.name.clone(),
            dead_since: None,
            changes_at: 20 + random.below(200),
            died: None,
            liar: Liar::new(&mut random),
            lately: VecDeque::new(),
            weights: Vec::new(),
            over: 0,
            well_since: 0,
            calls: 0,
            offered: 0,
        };
        let servers = config.backends.iter().map(server).collect();
        let tuning = Tuning { warm_up: Duration::from_secs(WARM_UP), cpu_target: 0.8 };
        let mut world = World {
            random,
            story,
            model,
            config,
            controller: Controller::new(tuning),
            readings: Readings::default(),
            servers,
            standings: BTreeMap::new(),
            ends: BinaryHeap::new(),
            outcome: Outcome::default(),
            asleep: 0,
        };
        world.publish();
        world
    }

    /// A call comes.
    fn call(&mut self, now: u64) -> Result<(), String> {
        self.set_clock(now);
        let key = self.random.next();
        let lasts = (self.random.exponential() * 10.0 * SECOND as f64) as u64;
        let steering = self.story.arrives(request(Method::Invite, key));
        self.outcome.calls += 1;
        let weights: u64 = self.config.backends.iter().map(|b| u64::from(b.weight)).sum();
        for (server, backend) in self.servers.iter_mut().zip(&self.config.backends) {
            // Its own share, in thousandths of a call.
            server.offered += 1000 * u64::from(backend.weight) / weights;
        }
        match steering.verdict {
            Verdict::SteeredNew => {}
            Verdict::RefusedFull | Verdict::RefusedDown => {
                self.outcome.refused += 1;
                return Ok(());
            }
            other => return Err(format!("a new call was {other:?}")),
        }
        let id = steering.backend;
        let (server, backend) = (&mut self.servers[usize::from(id)], &self.config.backends[usize::from(id)]);
        server.calls += 1;
        let load = self.story.tables.load_of(id);
        let (channels, cps) = (backend.max_channels.unwrap_or(0), backend.max_cps.unwrap_or(0));
        if load.channels > channels.into() {
            return Err(format!("{} has {} calls of {channels}", server.name, load.channels));
        }
        if server.liar.is_settled(now / SECOND) && load.channels + server.liar.others > channels.into() {
            let others = server.liar.others;
            return Err(format!(
                "{} has {} calls and {others} of others, of {channels}",
                server.name, load.channels
            ));
        }
        server.lately.push_back(now);
        while server.lately.front().is_some_and(|first| first + SECOND < now) {
            server.lately.pop_front();
        }
        if server.lately.len() as u64 > u64::from(cps + (cps / 10).max(1) + 1) {
            return Err(format!("{} got {} calls in a second of {cps}", server.name, server.lately.len()));
        }
        if server.dead_since.is_none() {
            for code in [180, 200] {
                self.story.leaves(id, &[0], message(Kind::Response(code), key).to_tag(1));
            }
            self.ends.push(Reverse((now + lasts, key, id, now / SECOND)));
        }
        Ok(())
    }

    /// Calls that are over by now are ended by their callers.
    fn end_calls(&mut self, now: u64) -> Result<(), String> {
        while let Some(Reverse((at, key, id, begun))) = self.ends.peek().copied().filter(|end| end.0.0 <= now)
        {
            self.ends.pop();
            self.set_clock(at);
            let steering = self.story.arrives(request(Method::Bye, key).branch(BRANCH + 1).to_tag(1));
            let server = &self.servers[usize::from(id)];
            let died = server.died.is_some_and(|second| second >= begun);
            if !died && (steering.verdict, steering.backend) != (Verdict::SteeredPinned, id) {
                let (name, second) = (&server.name, at / SECOND);
                return Err(format!("a call of {name} moved in second {second}: {steering:?}"));
            }
        }
        Ok(())
    }

    fn set_clock(&self, nanoseconds: u64) {
        self.story.tables.set_nanoseconds(nanoseconds);
        let tick = (nanoseconds / (SECOND / TICKS)) as u32;
        self.story.tables.set_now(tick);
        expiry::tend(&&self.story.tables, u64::from(tick));
    }

    /// A second passes: servers die and return, say what they say, and the daemon decides, unless it is stopped.
    fn pass(&mut self, second: u64) -> Result<(), String> {
        self.set_clock(second * SECOND);
        for id in 0..self.servers.len() {
            self.live(id, second);
        }
        if self.random.below(300) == 0 {
            self.asleep = second + self.random.below(25);
        }
        if second < self.asleep {
            // Nobody can find anybody out meanwhile.
            self.servers.iter_mut().for_each(|server| server.well_since = second);
            return Ok(());
        }
        for _ in 0..1 + self.random.below(20) / 19 {
            self.decide(second)?;
        }
        self.publish();
        for id in 0..self.servers.len() {
            self.check(id, second)?;
        }
        Ok(())
    }

    fn live(&mut self, id: usize, second: u64) {
        let load = self.story.tables.load_of(id as u16);
        let (server, random) = (&mut self.servers[id], &mut self.random);
        let backend = &self.config.backends[id];
        if second >= server.changes_at {
            let returns = server.dead_since.is_some();
            server.changes_at = second + if returns { 60 + random.below(300) } else { 3 + random.below(30) };
            server.dead_since = (!returns).then_some(second);
            self.outcome.deaths += u64::from(!returns);
        }
        if server.dead_since.is_some() {
            // Nobody finds out at once that it is back, either.
            server.died = Some(second + 1);
            server.well_since = second;
        }
        server.liar.live(second, backend, random);
        if server.dead_since.is_none() {
            for (source, trust, sample) in server.liar.says(second, &load, backend, random) {
                self.readings.take(&server.name, source, trust, sample);
                self.outcome.samples += 1;
            }
        }
    }

    fn decide(&mut self, second: u64) -> Result<(), String> {
        for (id, server) in self.servers.iter_mut().enumerate() {
            let load = self.story.tables.load_of(id as u16);
            let down = server.dead_since.is_some_and(|since| second >= since + DETECTION);
            let health = if down { Health::Down } else { Health::Up };
            let backend = &self.config.backends[id];
            let own = Own { channels: load.in_progress(), calls: load.calls };
            let input = Input { backend, health, own };
            let decision: Decision =
                self.controller.decide(Duration::from_secs(second), &input, &self.readings);
            let before = self.standings.insert(server.name.clone(), decision.standing);
            self.outcome.changes += u64::from(before.unwrap_or_default() != decision.standing);
            if decision.standing.health != health {
                return Err(format!("{}: the controller says {:?}", server.name, decision.standing.health));
            }
            server.weights.push(decision.standing.capacity.map_or(backend.weight, |c| c.weight));
        }
        Ok(())
    }

    /// Makes the tables those of the model.
    fn publish(&mut self) {
        let circumstances = Circumstances { standings: self.standings.clone(), ..Circumstances::default() };
        self.model = self.model.next(&self.config, &circumstances).expect("there are ids");
        let tables = &self.story.tables;
        for (id, backend) in &self.model.backends {
            tables.set_backend(*id, will::ENABLED, backend.health);
            tables.set_limits(*id, backend.limits);
        }
        let ring = self.model.rings.values().next();
        tables.set_ring(
            0,
            0,
            &ring.map_or_else(Vec::new, |ring| ring.slots.iter().map(|id| *id as u16).collect()),
        );
        tables.publish_members(0);
    }

    /// What must hold of a server after every decision.
    fn check(&mut self, id: usize, second: u64) -> Result<(), String> {
        let (server, backend) = (&mut self.servers[id], &self.config.backends[id]);
        let own = f64::from(backend.weight);
        let standing = self.standings.get(&server.name).copied().unwrap_or_default();
        let now = standing.capacity.map_or(own, |c| f64::from(c.weight)) / own;
        if now < FLOOR - 1.0 / own {
            return Err(format!("{} is at {now} of its weight", server.name));
        }
        let quiet = server.liar.quiet_for(second);
        let well = second - server.well_since.min(second);
        if let &[.., before, last] = server.weights.as_slice() {
            let rise = f64::from(last.saturating_sub(before)) / own;
            // As fast as it may after some seconds asleep, or as it warms up, and what rounding makes of it.
            if rise > 5.0 * UP.max(1.0 / WARM_UP as f64) + 0.06 + 1.0 / own {
                return Err(format!("{} jumps by {rise} of its weight", server.name));
            }
        }
        if well > RECOVERY && quiet > VALID.as_secs() + RECOVERY && standing.capacity.is_some() {
            return Err(format!("{} is at {standing:?} although nobody says so for {quiet} s", server.name));
        }
        if server.liar.mode == Mode::Honest && server.liar.steady_for(second) > 60 && well > 60 {
            let swings = swings(&server.weights[server.weights.len().saturating_sub(25)..]);
            if swings > 6 {
                return Err(format!("{} swings {swings} times: {:?}", server.name, server.weights));
            }
        }
        // One that has as many calls as it says it can have does not starve.
        let full = self.story.tables.load_of(id as u16).over_channels;
        let filled = std::mem::replace(&mut server.over, full) != full;
        if standing.seen() != Health::Up || filled || server.liar.is_filled(backend) {
            server.well_since = second;
        }
        if well == 0 {
            (server.calls, server.offered) = (0, 0);
        } else if well.is_multiple_of(60) {
            // A tenth of its share is 60 to 120 calls in a minute of the smallest; a quarter of that is no chance.
            let least = (server.offered as f64 / 1000.0 * FLOOR / 4.0) as u64;
            if server.calls < least {
                let (name, calls) = (&server.name, server.calls);
                return Err(format!(
                    "{name} starves: {calls} calls where {least} are a quarter of a tenth; {standing:?}; {}; {:?}",
                    server.liar,
                    self.story.tables.load_of(id as u16)
                ));
            }
            (server.calls, server.offered) = (0, 0);
        }
        Ok(())
    }
}

/// How often a weight turns round.
fn swings(weights: &[u16]) -> usize {
    let moves: Vec<bool> = weights.windows(2).filter(|w| w[0] != w[1]).map(|w| w[0] < w[1]).collect();
    moves.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
