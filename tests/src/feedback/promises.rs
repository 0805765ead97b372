//! What must hold, whatever happens.
//!
//! * A server never has more of our calls than it may have at the moment, nor more new ones in a second; together with those of
//!   others not more than it has channels, where its telemetry is honest and in time. Nobody who drains gets a new one.
//! * A call that is up stays where it is, unless its server died. Whoever lives is not cut off, and who is well stays up.
//!   When all calls are over, none is counted any more.
//! * No call is turned away for want of servers while one is well and answers calls. A black hole is noticed.
//! * Weights fall and rise no faster than they may, those of whoever comes up start at a tenth, those of honest servers do
//!   not swing, and nobody falls again and again.
//! * Who is well gets calls, what is believed of calls of others is true, and what a source said is forgotten in time.

use super::{Health, SECOND, Server, State, VALID, WARM_UP, World, liar::Mode};
use sipsteer::core::{
    controller::{DOWN, FLOOR, LONGEST_STEP, UP},
    standing::Standing,
    wishes::Will,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Seconds in which the rest comes back when a source is silent: from the floor, at the slowest.
const RECOVERY: u64 = 20 + WARM_UP;
/// Most times that a server is taken out in [`FALLS_IN`] seconds.
const FALLS: usize = 12;
const FALLS_IN: u64 = 600;
/// Looks at weights in which those of an honest server turn round [`SWINGS`] times at most.
const LOOKS: usize = 25;
const SWINGS: usize = 6;
/// Seconds after its fifth lost call in which a black hole is noticed.
const HOLE: u64 = 6;

/// What is remembered of a server's past.
#[derive(Default)]
pub(super) struct Record {
    /// The last second in which its calls may have been taken away.
    pub(super) died: Option<u64>,
    /// Times of the new calls of the last second.
    lately: VecDeque<u64>,
    /// Weights at the latest looks.
    weights: VecDeque<u16>,
    /// Calls per second that it may get, before and now.
    paces: [u32; 2],
    /// For how long it has got new calls, by the daemon's clock; `None`: always.
    in_for: Option<f64>,
    was_out: bool,
    health: Health,
    falls: VecDeque<u64>,
    /// New calls that found all of its channels taken.
    over: u64,
    /// Since when it has been well and had room, its calls since then, and all calls before.
    well_since: u64,
    calls: u64,
    offered_before: u64,
    /// New calls since it became a black hole or got calls again as one, and when there were five.
    swallowed: u64,
    swallowed_five: Option<u64>,
    /// Whether an INVITE has come to it since something new was the matter with it.
    asked: bool,
    /// The last second in which its calls may have been to blame, as those of others got no answer either.
    to_blame: u64,
    /// When the newest sample of each source was taken.
    newest: BTreeMap<&'static str, Duration>,
    /// Since when its probes are silent, by the daemon's clock and in truth.
    quiet: Option<(Duration, u64)>,
    /// Whether it sent packets of calls at the latest two looks.
    sent: [bool; 2],
    awake_since: Option<u64>,
    looked: u64,
}

impl Record {
    /// A second of its life, in which something new may be the matter with it.
    pub(super) fn lives(&mut self, anew: bool) {
        if anew {
            (self.swallowed, self.swallowed_five, self.asked) = (0, None, false);
        }
    }

    /// An INVITE comes to it.
    pub(super) fn is_asked(&mut self) {
        self.asked = true;
    }

    /// Nobody looked since: what it swallowed can be told from what it answered before by nobody.
    pub(super) fn is_unseen(&mut self) {
        (self.swallowed, self.swallowed_five) = (0, None);
    }

    /// Its last fall was for a silence that all kept, and does not count.
    pub(super) fn is_pardoned(&mut self) {
        self.falls.pop_back();
    }

    /// A sample is handed in.
    pub(super) fn hears(&mut self, source: &'static str, taken: Duration) {
        let newest = self.newest.entry(source).or_default();
        *newest = taken.max(*newest);
    }

    /// Its probes have been silent since a moment, by the daemon's clock.
    fn is_quiet_since(&mut self, moment: Option<Duration>, second: u64) {
        if self.quiet.map(|(moment, _)| moment) != moment {
            self.quiet = moment.map(|moment| (moment, second));
        }
    }

    /// A look at its traffic, which showed packets of it or none.
    pub(super) fn looks(&mut self, sent: bool) {
        self.sent = [self.sent[1], sent];
    }
}

impl World {
    /// A call goes to a server.
    pub(super) fn keeps_promises_of_call(&mut self, id: u16, now: u64) -> Result<(), String> {
        let standing = self.standing(usize::from(id));
        let (server, backend) = (&mut self.servers[usize::from(id)], &self.config.backends[usize::from(id)]);
        let (name, record) = (&server.name, &mut server.record);
        record.calls += 1;
        record.swallowed += 1;
        if record.swallowed == 5 {
            record.swallowed_five = Some(now / SECOND);
        }
        let will = self.wishes.of(name).will;
        if will != Will::Enabled || standing.seen() != Health::Up {
            return Err(format!("{name} is {will:?} and {:?} and gets a new call", standing.seen()));
        }
        let load = self.story.tables.load_of(id);
        let own = backend.max_channels.unwrap_or(0);
        let limit = standing.capacity.and_then(|c| c.max_channels).unwrap_or(own);
        let others = standing.capacity.map_or(0, |c| c.other_channels);
        if load.channels + u64::from(others) > limit.into() {
            return Err(format!("{name} has {} calls and {others} of others, of {limit}", load.channels));
        }
        if server.liar.is_settled(now / SECOND)
            && self.clock.right_for(now / SECOND) > 30
            && record.awake_since.is_none_or(|since| now / SECOND > since + 30)
            && now / SECOND <= record.looked
            && now / SECOND > self.sources_cut + 10
            && load.channels + server.liar.others > own.into()
        {
            let others = server.liar.others;
            return Err(format!(
                "{name} has {} calls and in truth {others} of others, of {own}",
                load.channels
            ));
        }
        record.lately.push_back(now);
        while record.lately.front().is_some_and(|first| first + SECOND < now) {
            record.lately.pop_front();
        }
        let pace = record.paces[0].max(record.paces[1]).max(u32::from(record.looked == 0) * u32::MAX / 2);
        let burst = (backend.max_cps.unwrap_or(0) / 10).max(1);
        if record.lately.len() as u64 > u64::from(pace) + u64::from(burst) + 1 {
            return Err(format!("{name} got {} calls in a second of {pace}", record.lately.len()));
        }
        Ok(())
    }

    /// A call is turned away because nobody takes calls.
    pub(super) fn keeps_promises_of_service(&self, second: u64) -> Result<(), String> {
        let now = self.clock.now();
        let fit = |server: &&Server| {
            // Well since before it fell silent: nobody can tell that one is back whose probes do not come through.
            let quiet_for = server.record.quiet.map_or(0, |(_, since)| second - since);
            matches!(server.life.state, State::Well | State::Slow)
                && server.life.steady_for(second) > 10 + quiet_for
                // Its calls show that it lives.
                && server.sends(now, 2)
                && self.is_calm(server, 15, second)
                && self.wishes.of(&server.name).will == Will::Enabled
                && server.patient.health_but_for_silence() == Health::Up
                && server.liar.last_drain.is_none_or(|last| second > last + 15)
        };
        match self.servers.iter().find(fit) {
            Some(server) => Err(format!(
                "nobody takes calls, but {} is well: {:?}, {:?}, {}",
                server.name,
                server.health(),
                server.belief,
                server.patient.reason()
            )),
            None => Ok(()),
        }
    }

    /// Its health was looked at.
    pub(super) fn keeps_promises_of_health(&mut self, id: usize, second: u64) -> Result<(), String> {
        let others = || self.servers.iter().enumerate().filter(|(other, _)| *other != id).map(|(_, s)| s);
        let answering = others().filter(|s| s.answers.is_some_and(|last| second <= last + 1)).count();
        let silent = others().filter(|s| !s.life.answers_calls(second)).count();
        // Otherwise calls may be to blame.
        let to_blame = answering <= silent;
        let (now, cut) = (self.clock.now(), second < self.probes_cut + 15);
        let server = &mut self.servers[id];
        let (health, seen) = (server.health(), server.sends(now, 5));
        let reason = server.patient.reason().to_owned();
        let (name, record) = (&server.name, &mut server.record);
        record.is_quiet_since(server.patient.quiet_since(), second);
        let before = std::mem::replace(&mut record.health, health);
        if health == Health::Down {
            if before != Health::Down && record.sent == [true; 2] {
                return Err(format!("{name} answers calls and is down: {reason}"));
            }
            // Nothing shows that it lives, so its calls may move.
            record.died = record.died.max(Some(second));
        }
        if health != Health::Up && before == Health::Up {
            self.outcome.falls += 1;
            record.falls.push_back(second);
            while record.falls.front().is_some_and(|first| first + FALLS_IN < second) {
                record.falls.pop_front();
            }
            if record.falls.len() > FALLS {
                let (belief, state) = (server.belief, server.life.state);
                return Err(format!(
                    "{name} fell too often: {:?}, {belief:?}, {state:?}: {reason}",
                    record.falls
                ));
            }
            // Where no packet of its calls came since it was a black hole, nothing shows that it is none any more.
            // Nor has one that gets no new calls any way to show that it answers them again, and may be drained for the old ones.
            let mute = health == Health::Draining && server.patient.is_suspected();
            let shown = seen && (record.asked || !mute);
            if server.life.state == State::Well && server.life.steady_for(second) > 10 && !cut && shown {
                return Err(format!("{name} is well and {health:?}: {reason}"));
            }
        }
        if health != Health::Up {
            (record.swallowed, record.swallowed_five) = (0, None);
        }
        if to_blame {
            record.to_blame = second;
        }
        let noticed = record.swallowed_five.is_none_or(|five| second <= five.max(record.to_blame) + HOLE);
        let calm = self.clock.right_for(second) > HOLE + 10 && second > self.asleep + HOLE + 10;
        if server.life.state == State::Hole && !noticed && calm {
            return Err(format!("{name} swallowed {} calls and is still up", record.swallowed));
        }
        Ok(())
    }

    /// What must hold of a server after every decision.
    pub(super) fn keeps_promises_of_server(&mut self, id: usize, second: u64) -> Result<(), String> {
        let standing = self.standing(id);
        let own = f64::from(self.config.backends[id].weight);
        let weight = standing.capacity.map_or(self.config.backends[id].weight, |c| c.weight);
        self.moves(id, standing, weight).map_err(|what| format!("{what} of its weight, {standing:?}"))?;
        let all = self.outcome.calls;
        let full = self.story.tables.load_of(id as u16).over_channels;
        let backend = &self.config.backends[id];
        let server = &mut self.servers[id];
        let record = &mut server.record;
        if second > record.looked + 1 {
            record.awake_since = Some(second);
        }
        record.looked = second;
        let pace = standing.capacity.map_or(backend.max_cps, |c| c.max_cps).unwrap_or(u32::MAX / 2);
        record.paces = [record.paces[1], pace];
        // One that has as many calls as it says it can have does not starve.
        let filled = std::mem::replace(&mut record.over, full) != full;
        let out = standing.seen() != Health::Up || self.wishes.of(&server.name).will != Will::Enabled;
        if out
            || filled
            || server.liar.is_filled(backend)
            || record.looked == second && record.awake_since == Some(second)
        {
            record.well_since = second;
        }
        let well = second - record.well_since;
        if well == 0 {
            (record.calls, record.offered_before) = (0, all);
        }
        let server = &self.servers[id];
        let (name, quiet) = (&server.name, server.liar.quiet_for(second));
        if f64::from(weight) / own < FLOOR - 1.0 / own {
            return Err(format!("{name} is at {} of its weight", f64::from(weight) / own));
        }
        let forgotten = VALID.as_secs() + RECOVERY;
        if well > RECOVERY
            && quiet > forgotten
            && self.is_calm(server, forgotten, second)
            && standing.capacity.is_some()
        {
            return Err(format!("{name} is at {standing:?} although nobody says so for {quiet} s"));
        }
        self.is_true(server, standing, backend.max_channels, second)?;
        if server.liar.mode == Mode::Honest
            && server.liar.steady_for(second) > 60
            && server.record.in_for.is_none_or(|time| time > 60.0)
            && self.is_calm(server, 60, second)
            && swings(&server.record.weights) > SWINGS
        {
            return Err(format!("{name} swings: {:?}", server.record.weights));
        }
        if well > 0 && well.is_multiple_of(60) {
            let weights: u64 = self.config.backends.iter().map(|b| u64::from(b.weight)).sum();
            let offered = (all - server.record.offered_before) as f64 * own / weights as f64;
            // A tenth of its share is 60 to 120 calls in a minute of the smallest; a quarter of that is no chance.
            let least = (offered * FLOOR / 4.0) as u64;
            if server.record.calls < least && !self.carries_its_share(id) {
                let calls = server.record.calls;
                return Err(format!(
                    "{name} starves: {calls} calls where {least} are a quarter of a tenth; {standing:?}; {}; {:?}",
                    server.liar,
                    self.story.tables.load_of(id as u16)
                ));
            }
            let record = &mut self.servers[id].record;
            (record.calls, record.offered_before) = (0, all);
        }
        Ok(())
    }

    /// Whether a server has as many calls, for what it can have, as all of them on the mean: then others are asked first.
    fn carries_its_share(&self, id: usize) -> bool {
        let channels = |id: usize| self.story.tables.load_of(id as u16).channels as f64;
        let most = |id: usize| f64::from(self.config.backends[id].max_channels.unwrap_or(u32::MAX));
        let all = 0..self.config.backends.len();
        channels(id) / most(id) >= all.clone().map(channels).sum::<f64>() / all.map(most).sum::<f64>()
    }

    /// How far a weight moved, which says the error.
    fn moves(&mut self, id: usize, standing: Standing, weight: u16) -> Result<(), String> {
        let own = f64::from(self.config.backends[id].weight);
        let time = self.clock.now().saturating_sub(self.decided).min(LONGEST_STEP).as_secs_f64();
        let Server { name, record, .. } = &mut self.servers[id];
        let before = record.weights.back().copied().unwrap_or(weight);
        record.weights.push_back(weight);
        if record.weights.len() > LOOKS {
            record.weights.pop_front();
        }
        let out = standing.seen() != Health::Up;
        if out || record.was_out {
            record.in_for = Some(0.0);
        } else {
            record.in_for = record.in_for.map(|in_for| in_for + time);
        }
        let was_out = std::mem::replace(&mut record.was_out, out);
        let rounding = 1.0 / own + 1e-9;
        let rise = (f64::from(weight) - f64::from(before)) / own;
        let warmth = (1.0 - FLOOR) / WARM_UP as f64;
        // Warming up goes in steps of a twentieth.
        if rise > UP.max(warmth) * time + 0.05 + rounding {
            return Err(format!("{name} rises by {rise} in {time} s"));
        }
        if !out && !was_out && -rise > DOWN * time + rounding {
            return Err(format!("{name} falls by {} in {time} s", -rise));
        }
        let warm = record.in_for.map_or(1.0, |in_for| FLOOR + warmth * in_for);
        if !out && f64::from(weight) / own > warm + rounding {
            return Err(format!(
                "{name} came up {:?} s ago and has {}",
                record.in_for,
                f64::from(weight) / own
            ));
        }
        Ok(())
    }

    /// What is believed is what was said last, and true where the truth was told.
    fn is_true(
        &self,
        server: &Server,
        standing: Standing,
        limit: Option<u32>,
        second: u64,
    ) -> Result<(), String> {
        let name = &server.name;
        if self.clock.right_for(second) > 90 {
            for (source, reading) in self.readings.of(name) {
                let (is, newest) =
                    (reading.sample.map(|s| s.taken), server.record.newest.get(source).copied());
                if is != newest {
                    return Err(format!("{name}: {source} is at {is:?}, and said something at {newest:?}"));
                }
            }
        }
        let heard = server.liar.last_drain.is_some_and(|last| second <= last + 4);
        if heard && self.is_calm(server, 90, second) && !standing.drains && self.sources_cut + 10 < second {
            return Err(format!(
                "{name} said that it drains, {} s ago",
                second - server.liar.last_drain.unwrap_or(0)
            ));
        }
        let limit = f64::from(limit.unwrap_or(0));
        let believed = f64::from(standing.capacity.map_or(0, |c| c.other_channels));
        let truth = server.liar.others as f64;
        // Few that come or go are not worth a change.
        let off = (believed - truth).abs() > limit * 0.02 + 3.0;
        let told = server.liar.is_true_for(40, second) && self.sources_cut + 40 < second;
        if told
            && off
            && self.is_calm(server, 60, second)
            && server.record.died.is_none_or(|d| d + 40 < second)
        {
            return Err(format!("{name} is believed to have {believed} calls of others, and has {truth}"));
        }
        Ok(())
    }

    fn standing(&self, id: usize) -> Standing {
        self.standings.get(&self.servers[id].name).copied().unwrap_or_default()
    }

    /// Whether the daemon was awake and its clock went right for so many seconds.
    fn is_calm(&self, server: &Server, seconds: u64, second: u64) -> bool {
        self.clock.right_for(second) > seconds
            && second.saturating_sub(server.record.awake_since.unwrap_or(0)) > seconds
            && second <= server.record.looked + 1
    }
}

/// How often a weight turns round.
fn swings(weights: &VecDeque<u16>) -> usize {
    let pairs = weights.iter().zip(weights.iter().skip(1));
    let moves: Vec<bool> = pairs.filter(|(a, b)| a != b).map(|(a, b)| a < b).collect();
    moves.windows(2).filter(|pair| pair[0] != pair[1]).count()
}
