//! The whole loop on a clock of its own: servers, probes, telemetry with every fault it can have, health, the controller, the
//! model and the decision core that the kernel runs. Everything follows from the seed, and what must never happen stops the run.
//!
//! * [`calls`]: what callers do. * [`life`]: what is the matter with servers. * [`liar`]: what is wrong with what they say.
//!   [`clock`]: and with the daemon's clock. The wall clock is not in here, since nothing of the loop reads it.
//! * [`promises`]: what must hold. * [`protection`]: what makes it hold, and can be left out to see that the promises notice.
//! * [`scale`]: how large a run is.

mod calls;
mod clock;
mod liar;
mod life;
mod promises;
mod protection;
mod scale;

pub use protection::{PROTECTIONS, Protection};

use crate::{simulation::Random, story::Story};
use calls::Plans;
use clock::Clock;
use lb_common::{
    decide::expiry,
    limits::MAX_SWEEP,
    map::{settings::Settings, zone::Policy, zone::choice},
};
use liar::Liar;
use life::{Life, State};
use promises::Record;
use scale::Scale;
use sipsteer::{
    config::{self, Config},
    core::{
        controller::{Controller, Decision, Input, Own, Readings},
        health::{
            Patient,
            doubt::{self, Belief, Calls, Member, weigh},
            witness::{Traffic, Voices},
        },
        model::{Circumstances, Model},
        standing::{Health, Standing},
        wishes::{Will, Wishes},
    },
};
use std::{collections::BTreeMap, time::Duration};

const SECOND: u64 = 1_000_000_000;
/// Ticks per second.
const TICKS: u64 = 8;
/// Time for which a sample may be believed.
const VALID: Duration = Duration::from_secs(8);
/// Seconds in which a server that came up gets from a tenth to the whole.
const WARM_UP: u64 = 15;
/// Part of the servers that have to answer probes for silence to be believed.
const PANIC_THRESHOLD: f64 = 0.5;

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Servers.
    pub servers: u64,
    /// New calls.
    pub calls: u64,
    /// Those of them that nobody took.
    pub refused: u64,
    /// Decisions of the controller that changed something.
    pub changes: u64,
    /// Times that a server was taken out.
    pub falls: u64,
    /// Samples that were handed in.
    pub samples: u64,
}

/// One server as it is, and what is known of it.
struct Server {
    name: String,
    life: Life,
    liar: Liar,
    patient: Patient,
    belief: Belief,
    /// Packets of its calls so far, those at the latest look, and when there were more than before.
    replies: u64,
    looked: Option<u64>,
    replied: Option<Duration>,
    /// New calls that it answered so far, and the last second in which it did.
    answered: u64,
    answers: Option<u64>,
    record: Record,
}

impl Server {
    /// Whether packets of its calls came in so many seconds before this moment.
    fn sends(&self, now: Duration, seconds: u64) -> bool {
        self.replied.is_some_and(|last| now.saturating_sub(last).as_secs() <= seconds)
    }

    /// How it is, as far as its probes are believed.
    fn health(&self) -> Health {
        match self.belief {
            Belief::Lives => self.patient.health_but_for_silence(),
            Belief::Probes | Belief::Confirmed => self.patient.health(),
        }
    }
}

/// A run.
struct World {
    random: Random,
    scale: Scale,
    without: Option<Protection>,
    story: Story,
    config: Config,
    model: Model,
    controller: Controller,
    readings: Readings,
    servers: Vec<Server>,
    standings: BTreeMap<String, Standing>,
    wishes: Wishes,
    /// Whether the tables are not those of the latest decisions.
    due: bool,
    plans: Plans,
    outcome: Outcome,
    clock: Clock,
    /// What it said at the latest decision.
    decided: Duration,
    /// Until when the daemon is stopped, no probe comes through, and no telemetry.
    asleep: u64,
    probes_cut: u64,
    sources_cut: u64,
}

/// Plays a seed, whose small runs last so many seconds.
///
/// # Errors
/// What happened that must not happen, with the second.
pub fn run(seed: u64, seconds: u64) -> Result<Outcome, String> {
    play(seed, seconds, None)
}

/// The same without one of the things that make the promises hold.
///
/// # Errors
/// What happened for that reason, it is hoped.
pub fn run_without(protection: Protection, seed: u64, seconds: u64) -> Result<Outcome, String> {
    play(seed, seconds, Some(protection))
}

fn play(seed: u64, seconds: u64, without: Option<Protection>) -> Result<Outcome, String> {
    let mut world = World::new(seed, seconds, without);
    let (mut now, mut second) = (SECOND, 1);
    let cps = world.scale.calls_per_second();
    while second < world.scale.seconds {
        now += (world.random.exponential() / cps * SECOND as f64) as u64;
        while second < now / SECOND {
            second += 1;
            world.go_on(second * SECOND).map_err(|what| format!("second {second}: {what}"))?;
            world.pass(second).map_err(|what| format!("second {second}: {what}"))?;
        }
        world.go_on(now).map_err(|what| format!("second {second}: {what}"))?;
        world.call(now).map_err(|what| format!("second {second}: {what}"))?;
    }
    world.close().map_err(|what| format!("at the end: {what}"))?;
    Ok(world.outcome)
}

fn config(random: &mut Random, servers: u64) -> Config {
    let mut text = String::from(
        "[node]\nname = 'lb1'\ninterfaces = ['eth0']\n[[service]]\nname = 'trunks'\n\
         listen = ['203.0.113.10:5060/udp']\nforwarding = 'nat'\nzones = ['uk']\n",
    );
    for number in 1..=servers {
        let (cps, channels) = (20 + random.below(40), 150 + random.below(300));
        let (high, low) = (number / 250, number % 250 + 1);
        text.push_str(&format!(
            "[[backend]]\nname = 'sw{number}'\nzone = 'uk'\naddress = '10.0.{high}.{low}:5060'\nmax_cps = {cps}\n\
             max_channels = {channels}\nweight = {}\n",
            50 + random.below(150)
        ));
    }
    config::parse(&text, "simulation").expect("a configuration").config
}

impl World {
    fn new(seed: u64, seconds: u64, without: Option<Protection>) -> World {
        let mut random = Random::new(seed);
        let scale = Scale::of(seed, seconds, &mut random);
        let config = config(&mut random, scale.servers);
        let settings = Settings {
            unconfirmed_limit: scale.dialogs,
            unanswered_ticks: 32 * TICKS as u32,
            answered_ticks: 40_000,
            ended_ticks: 32 * TICKS as u32,
            subscribed_ticks: 40_000,
            ..Settings::default()
        };
        let mut story = Story { sees_answers: true, ..Story::with(settings, scale.dialogs) };
        story.tables.settings_mut().sweep_buckets = 1;
        let model = Model::from_config(&config, &Circumstances::default()).expect("there are ids");
        let limits: Vec<_> = model.backends.iter().map(|(id, b)| (*id, b.limits)).collect();
        story.tables.add_zone(0, &limits);
        let choice = [choice::CONSISTENT, choice::LEAST_LOADED][random.below(2) as usize];
        let bound = if choice == choice::CONSISTENT { 1280 } else { 0 };
        story.tables.set_policy(0, Policy { tiers: 1, choice, bound, target: 512, ..Policy::default() });
        let clock = Clock::new(without);
        let server = |b: &config::Backend| Server {
            name: b.name.clone(),
            life: Life::new(&mut random),
            liar: Liar::new(&mut random),
            patient: Patient::new(protection::probing(without), Health::Up, clock.now()),
            belief: Belief::Probes,
            replies: 0,
            looked: None,
            replied: None,
            answered: 0,
            answers: None,
            record: Record::default(),
        };
        let servers = config.backends.iter().map(server).collect();
        let mut world = World {
            random,
            scale,
            without,
            story,
            model,
            config,
            controller: Controller::new(protection::tuning(without)),
            readings: Readings::default(),
            servers,
            standings: BTreeMap::new(),
            wishes: Wishes::default(),
            due: true,
            plans: Plans::new(),
            outcome: Outcome { servers: scale.servers, ..Outcome::default() },
            decided: clock.now(),
            clock,
            asleep: 0,
            probes_cut: 0,
            sources_cut: 0,
        };
        world.publish();
        world
    }

    fn set_clock(&self, nanoseconds: u64) {
        self.story.tables.set_nanoseconds(nanoseconds);
        self.story.tables.set_now((nanoseconds / (SECOND / TICKS)) as u32);
    }

    /// A second passes: servers die and return, say what they say, and the daemon decides, unless it is stopped.
    fn pass(&mut self, second: u64) -> Result<(), String> {
        self.set_clock(second * SECOND);
        self.sweep(16);
        self.clock.pass(second, &mut self.random);
        if self.random.below(400) == 0 {
            self.probes_cut = second + 5 + self.random.below(30);
        }
        if self.random.below(300) == 0 {
            self.sources_cut = second + 5 + self.random.below(100);
        }
        for id in 0..self.servers.len() {
            self.live(id, second);
        }
        if self.random.below(300) == 0 {
            self.asleep = second + self.random.below(25);
        }
        if second <= self.asleep {
            self.servers.iter_mut().for_each(|server| server.record.is_unseen());
        }
        if second < self.asleep {
            return Ok(());
        }
        self.want();
        self.observe(second)?;
        for _ in 0..1 + self.random.below(20) / 19 {
            self.decide();
        }
        if std::mem::take(&mut self.due) {
            self.publish();
        }
        for id in 0..self.servers.len() {
            self.keeps_promises_of_server(id, second)?;
        }
        self.decided = self.clock.now();
        Ok(())
    }

    /// Looks for expired dialogs in one of so many parts of the table.
    fn sweep(&self, parts: u32) {
        for _ in 0..=self.scale.dialogs / 2 / parts / MAX_SWEEP {
            expiry::sweep(&&self.story.tables, MAX_SWEEP);
        }
    }

    fn live(&mut self, id: usize, second: u64) {
        let load = self.story.tables.load_of(id as u16);
        let now = self.clock.now();
        let (server, random) = (&mut self.servers[id], &mut self.random);
        let backend = &self.config.backends[id];
        server.record.lives(server.life.pass(second, random));
        if !server.life.is_alive(second) {
            // Nobody finds out at once that it is back, either.
            server.record.died = Some(second + 1);
        }
        server.liar.live(second, backend, random);
        if !server.life.is_alive(second) || second < self.sources_cut {
            return;
        }
        for (source, trust, mut sample) in server.liar.says(second, now, &load, backend, random) {
            match self.without {
                Some(Protection::AgeLimit) => sample.valid = Duration::from_secs(3600),
                Some(Protection::Moment) => sample.taken = now,
                Some(Protection::Order) => {
                    self.readings.retain(|name, s| (name, s) != (&server.name, source));
                }
                _ => {}
            }
            server.record.hears(source, sample.taken);
            self.readings.take(&server.name, source, trust, sample);
            self.outcome.samples += 1;
        }
    }

    /// Operators change their minds.
    fn want(&mut self) {
        if self.random.below(40) != 0 {
            return;
        }
        let id = self.random.below(self.servers.len() as u64) as usize;
        let will = if self.random.below(3) == 0 { Will::Draining } else { Will::Enabled };
        self.wishes.change(&self.servers[id].name, |wish| wish.will = will);
        self.due = true;
    }

    /// Probes and traffic are looked at, and their health follows.
    fn observe(&mut self, second: u64) -> Result<(), String> {
        let now = self.clock.now();
        let voices: Voices = self.servers.iter().map(|server| server.patient.voice(now)).collect();
        for (id, server) in self.servers.iter_mut().enumerate() {
            let before = server.patient.health();
            let replies = (self.without != Some(Protection::SignOfLife)).then_some(server.replies);
            for outcome in server.life.probed(second, second < self.probes_cut, &mut self.random) {
                server.patient.note(&outcome, replies, now);
            }
            let sent = server.looked.replace(server.replies).is_some_and(|before| before != server.replies);
            if sent {
                server.replied = Some(now);
            }
            server.record.looks(sent);
            if self.without != Some(Protection::SecondWitness) {
                let calls = self.story.tables.load_of(id as u16).calls;
                let traffic = Traffic { calls, replies: server.replies, answered: server.answered };
                server.patient.look(traffic, voices.others_answer(server.patient.voice(now)), now);
            }
            let rises = before != Health::Up && server.patient.health() == Health::Up;
            if rises && self.without == Some(Protection::FlapDamping) {
                server.patient = Patient::new(protection::probing(self.without), Health::Up, now);
            }
        }
        let member = |server: &Server| Member {
            quiet_since: server.patient.quiet_since(),
            recovers: server.patient.recovers(),
            refused: server.patient.is_refused(),
            detection: server.patient.probing().detection(),
            calls: doubt::say(server.replied, server.patient.is_suspected(), now),
            belief: server.belief,
        };
        let members: Vec<Member> = self.servers.iter().map(member).collect();
        let threshold = if self.without == Some(Protection::Doubt) { 0.0 } else { PANIC_THRESHOLD };
        for (id, belief) in weigh(&members, Calls::Unknown, threshold).into_iter().enumerate() {
            let server = &mut self.servers[id];
            server.belief = belief;
            if belief == Belief::Lives && server.patient.recovers() {
                server.patient.pardon();
                server.record.is_pardoned();
            }
            self.keeps_promises_of_health(id, second)?;
        }
        Ok(())
    }

    fn decide(&mut self) {
        for (id, server) in self.servers.iter_mut().enumerate() {
            let load = self.story.tables.load_of(id as u16);
            let backend = &self.config.backends[id];
            let channels = if self.without == Some(Protection::OwnCalls) { 0 } else { load.in_progress() };
            let own = Own { channels, calls: load.calls };
            let input = Input { backend, health: server.health(), own };
            let decision: Decision = self.controller.decide(self.clock.now(), &input, &self.readings);
            let before = self.standings.insert(server.name.clone(), decision.standing);
            let changed = before.unwrap_or_default() != decision.standing;
            self.outcome.changes += u64::from(changed);
            self.due |= changed;
        }
    }

    /// Makes the tables those of the model.
    fn publish(&mut self) {
        let mut standings = self.standings.clone();
        let mut wishes = self.wishes.clone();
        match self.without {
            Some(Protection::Limits) => standings.values_mut().for_each(|s| s.capacity = None),
            Some(Protection::OperatorDrain) => wishes = Wishes::default(),
            _ => {}
        }
        let circumstances = Circumstances { standings, wishes, ..Circumstances::default() };
        self.model = self.model.next(&self.config, &circumstances).expect("there are ids");
        let tables = &self.story.tables;
        for (id, backend) in &self.model.backends {
            tables.set_backend(*id, backend.will, backend.health);
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
}
