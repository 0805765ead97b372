//! Whether a backend is up: from what became of its probes, and from what its traffic shows. Pure: time is passed in.
//!
//! * [`Patient`]: the state of one backend. * [`flaps`]: whoever falls again and again stays down for longer.
//! * [`watched`]: what time counts. * [`witness`]: the traffic. * [`doubt`]: when probes are not believed.
//!
//! What is seen, and what follows:
//!
//! | seen | health |
//! |---|---|
//! | `rise` good answers in a row, and not held down | up |
//! | `fall` failures in a row that were answers (503, 5xx, 408) in part | draining |
//! | `fall` failures in a row without an answer | down |
//! | the same, but packets of its calls still come, or come again | draining |
//! | half of the last eight probes without an answer | draining |
//! | probes that cannot be sent, for want of a route or of sockets | as before |
//! | probes are answered, new calls are not, and those of other backends are | draining |
//!
//! What all backends of a service show together may outweigh that, see [`doubt`].
//!
//! Down moves the calls that are up, so it is for a server that shows no sign of life. New calls without any answer make a
//! backend suspected: it is asked at once, and if no packet of other calls comes either, the first probe without an answer is
//! enough, unless it has answered one after these calls.

pub mod doubt;
pub mod flaps;
mod watched;
pub mod witness;

use super::standing::Health;
use crate::config::Probing;
use flaps::Flaps;
use std::time::Duration;
use watched::Watched;
use witness::{Hearing, Sight, Traffic, Voice, Witness};

/// Probes that are looked back at.
const LOOK_BACK: u32 = 8;
/// So many of them without an answer are too many.
const UNSTEADY: u32 = LOOK_BACK / 2;
/// So many looks in a row with packets of its calls show that one that was found dead is not: of those that came before it fell,
/// the first may still tell.
const LIVELY: u32 = 2;
/// How long a backend that answers probes and no new calls gets none, unless a late answer to one shows that it does again: what
/// would show it are new calls.
const PAUSE: Duration = Duration::from_secs(30);

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A final answer came, perhaps late.
    Answered {
        /// Its status code.
        code: u16,
        /// Time from the first request to it.
        rtt: Duration,
    },
    /// The TCP connection stands.
    Connected {
        /// Time that took.
        rtt: Duration,
    },
    /// Nothing came in time.
    TimedOut,
    /// The host says that nobody listens there: an ICMP message, or a TCP reset.
    Refused,
    /// It could not be asked, for a reason that lies here.
    NotAsked(String),
}

/// A change of a backend's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What it is now.
    pub health: Health,
    /// Why.
    pub reason: String,
}

/// What a look at the traffic brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The health changed.
    pub turn: Option<Turn>,
    /// The backend is suspected, and was not before: it should be asked at once.
    pub newly_suspected: bool,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct Patient {
    probing: Probing,
    health: Health,
    since: Duration,
    reason: String,
    /// Good answers in a row, answers in a row, failures in a row, and failures without an answer in a row.
    good: u32,
    answered: u32,
    failed: u32,
    silent: u32,
    /// Of the latter, those in a row at which no packet of its calls had come since the one before.
    lifeless: u32,
    /// Packets of its calls at the latest failure.
    replies: Option<u64>,
    /// The latest probes, a bit each, the newest lowest: 1 is silence.
    recent: u32,
    /// Looks in a row that showed packets of its calls, since it fell.
    lively: u32,
    /// All times of falls and of traffic are those of this clock.
    watched: Watched,
    flaps: Flaps,
    held_until: Duration,
    /// Until then a mute one gets no new calls.
    paused_until: Duration,
    witness: Witness,
    suspected: bool,
    /// It is, and sent no packet of any kind since its calls got nothing.
    seems_dead: bool,
    /// New calls without an answer at the latest look, and those of them after which it answered a probe: with them alone, one
    /// lost probe is one lost probe.
    unanswered: u64,
    excused: u64,
    /// It answers probes, but not calls.
    mute: bool,
    /// Since when its probes are silent, and whether one of these was refused.
    quiet_since: Option<Duration>,
    refused: bool,
    /// What it was before it fell for silence; `None`: it did not.
    before_silence: Option<Health>,
    /// Its falls before that.
    flaps_before_silence: Option<Flaps>,
    /// It recovers from a silence that nobody believed.
    pardoned: bool,
}

impl Patient {
    /// A backend that nothing but this is known of.
    pub fn new(probing: Probing, health: Health, now: Duration) -> Patient {
        let reason = match health {
            Health::Up => "nothing says otherwise yet",
            Health::Draining | Health::Down => "an earlier daemon left it so",
        };
        Patient {
            probing,
            health,
            since: now,
            reason: reason.to_owned(),
            good: 0,
            answered: 0,
            failed: 0,
            silent: 0,
            lifeless: 0,
            lively: 0,
            replies: None,
            recent: 0,
            watched: Watched::default(),
            flaps: Flaps::default(),
            held_until: Duration::ZERO,
            paused_until: Duration::ZERO,
            witness: Witness::default(),
            suspected: false,
            seems_dead: false,
            unanswered: 0,
            excused: 0,
            mute: false,
            quiet_since: None,
            refused: false,
            before_silence: None,
            flaps_before_silence: None,
            pardoned: false,
        }
    }

    /// Goes on by other rules.
    pub fn set_probing(&mut self, probing: Probing) {
        self.probing = probing;
    }

    /// What tells from now on that it answers new calls.
    pub fn set_hearing(&mut self, hearing: Hearing) {
        self.witness.set_hearing(hearing);
    }

    /// What it is to its neighbours, by its traffic.
    pub fn voice(&self, now: Duration) -> Voice {
        match self.health {
            // Its probes tell why.
            Health::Down => Voice::Unknown,
            Health::Up | Health::Draining => {
                self.witness.voice(self.watched.time(now, self.probing.detection()))
            }
        }
    }

    /// How it is probed.
    pub fn probing(&self) -> &Probing {
        &self.probing
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Since when.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Why.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether its traffic makes it suspected.
    pub fn is_suspected(&self) -> bool {
        self.suspected
    }

    /// Since when its probes get no answer; of one that fell for that, until it is up again.
    pub fn quiet_since(&self) -> Option<Duration> {
        self.quiet_since
    }

    /// Whether its latest probe was answered well, but it is not up for that yet.
    pub fn recovers(&self) -> bool {
        self.good > 0 && self.health != Health::Up
    }

    /// It was silent for no fault of its own, and nobody believed it: that it fell does not count.
    pub fn pardon(&mut self) {
        self.pardoned = true;
        if let Some(flaps) = self.flaps_before_silence.take() {
            (self.flaps, self.held_until) = (flaps, Duration::ZERO);
        }
    }

    /// Whether one of these probes found that nobody listens.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// How it is if silence says nothing.
    pub fn health_but_for_silence(&self) -> Health {
        self.before_silence.unwrap_or(self.health)
    }

    /// How much longer good answers do not bring it up, because it fell too often or because it does not answer calls.
    pub fn held_for(&self, now: Duration) -> Option<Duration> {
        let now = self.watched.time(now, self.probing.detection());
        let left = self.held_until.max(self.paused_until).saturating_sub(now);
        (!left.is_zero() && self.health != Health::Up).then_some(left)
    }

    /// A probe is over. `replies`, for a failure: packets of its calls so far, if they pass us.
    pub fn note(&mut self, outcome: &Outcome, replies: Option<u64>, now: Duration) -> Option<Turn> {
        self.watch(now);
        let silence = match outcome {
            Outcome::Answered { code, rtt } => {
                let late = *rtt > self.probing.timeout;
                self.hears(late);
                if self.probing.accept.has(*code) {
                    return self.well(now);
                }
                if !late {
                    self.fails();
                }
                return self.unwell(*code, now);
            }
            Outcome::Connected { .. } => {
                self.hears(false);
                return self.well(now);
            }
            Outcome::TimedOut => format!("got no answer within {:?}", self.probing.timeout),
            Outcome::Refused => "found nobody listening".to_owned(),
            // Says something of this host, and nothing of the backend.
            Outcome::NotAsked(_) => return None,
        };
        self.fails();
        self.quiet_since.get_or_insert(now);
        self.refused |= *outcome == Outcome::Refused;
        self.recent = self.recent << 1 | 1;
        (self.answered, self.silent) = (0, self.silent + 1);
        let alive = self.replies.zip(replies).is_some_and(|(before, now)| before != now);
        self.lifeless = if alive { 0 } else { self.lifeless + 1 };
        self.replies = replies;
        self.silence(&silence, now)
    }

    /// A look at its traffic. `others_answer`: other backends answer their new calls.
    pub fn look(&mut self, traffic: Traffic, others_answer: bool, now: Duration) -> Look {
        self.watch(now);
        let sight = self.witness.look(traffic, self.watched.time(now, self.probing.detection()));
        if sight.answers && self.mute {
            // Whatever it was, it is over.
            self.paused_until = Duration::ZERO;
        }
        self.unanswered = sight.calls;
        self.excused = self.excused.min(sight.calls);
        let before = std::mem::replace(&mut self.suspected, sight.is_odd());
        let newly_suspected = self.suspected && !before;
        self.seems_dead = sight.is_lifeless();
        self.lively = if sight.sends { self.lively + 1 } else { 0 };
        let turn = if self.seems_dead && self.silent > 0 && self.health != Health::Down {
            self.silence("got no answer, and new calls got none either", now)
        } else if self.health == Health::Down && self.lively >= LIVELY {
            // Who was found dead was away only, or its probes are lost on the way.
            Some(self.falls_silent(Health::Draining, "packets of its calls come again".to_owned(), now))
        } else if sight.is_mute() && others_answer && self.health == Health::Up {
            Some(self.falls_mute(sight, now))
        } else {
            None
        };
        Look { turn, newly_suspected }
    }

    /// An answer came, and if it is late, the silence that was noted before was none.
    fn hears(&mut self, late: bool) {
        (self.answered, self.silent, self.lifeless, self.replies) = (self.answered + 1, 0, 0, None);
        self.excused = self.unanswered;
        self.recent = if late { self.recent & !1 } else { self.recent << 1 };
        if self.before_silence.is_none() {
            (self.quiet_since, self.refused) = (None, false);
        }
    }

    /// Somebody looks. If nobody did for a while, because the daemon was stopped, what was in a row before says nothing of now.
    /// (That a probe waited for its turn is no such while: traffic is looked at meanwhile.)
    fn watch(&mut self, now: Duration) {
        let usually = self.probing.detection();
        if self.watched.gap(now) > usually * 2 {
            (self.good, self.answered, self.failed, self.silent) = (0, 0, 0, 0);
            (self.lifeless, self.lively, self.recent, self.replies) = (0, 0, 0, None);
            // What became of its calls meanwhile, the next look at its traffic shows.
            (self.suspected, self.seems_dead, self.unanswered, self.excused) = (false, false, 0, 0);
        }
        self.watched.look(now, usually);
    }

    fn fails(&mut self) {
        (self.good, self.failed, self.pardoned) = (0, self.failed + 1, false);
    }

    fn well(&mut self, now: Duration) -> Option<Turn> {
        (self.good, self.failed) = (self.good + 1, 0);
        if self.health == Health::Up || self.good < self.probing.rise || self.held_for(now).is_some() {
            return None;
        }
        let again = if self.mute {
            "it answers probes, and gets new calls again to see whether it answers those".to_owned()
        } else {
            format!("{} answered well", probes(self.good))
        };
        Some(self.turn(Health::Up, again, now))
    }

    /// It answered, but not well.
    fn unwell(&mut self, code: u16, now: Duration) -> Option<Turn> {
        if self.answered >= self.probing.rise {
            // Now it says so itself.
            (self.before_silence, self.quiet_since, self.refused) = (None, None, false);
        }
        let due = match self.health {
            Health::Up => self.failed >= self.probing.fall,
            Health::Draining => false,
            Health::Down => self.answered >= self.probing.rise,
        };
        due.then(|| self.turn(Health::Draining, format!("it answers {code} to probes"), now))
    }

    /// It did not answer.
    fn silence(&mut self, how: &str, now: Duration) -> Option<Turn> {
        let fall = if self.seems_dead && self.unanswered > self.excused { 1 } else { self.probing.fall };
        if self.silent >= fall {
            let alive = self.lifeless < fall;
            let (health, but) = match alive {
                true => (Health::Draining, ", but it still answers calls"),
                false => (Health::Down, ""),
            };
            let due = health != self.health && (self.health == Health::Up || health == Health::Down);
            return due
                .then(|| self.falls_silent(health, format!("{} {how}{but}", probes(self.silent)), now));
        }
        let silent = (self.recent & ((1 << LOOK_BACK) - 1)).count_ones();
        let mixed = self.failed >= self.probing.fall;
        let due = self.health == Health::Up && (silent >= UNSTEADY || mixed);
        due.then(|| {
            let reason = match mixed {
                true => format!("{} failed, the last one {how}", probes(self.failed)),
                false => format!("{silent} of the last {LOOK_BACK} probes {how}"),
            };
            self.falls_silent(Health::Draining, reason, now)
        })
    }

    fn falls_silent(&mut self, health: Health, reason: String, now: Duration) -> Turn {
        let silence = (Some(self.health_but_for_silence()), self.quiet_since, self.refused);
        if self.health == Health::Up {
            self.flaps_before_silence = Some(self.flaps);
        }
        let turn = self.turn(health, reason, now);
        (self.before_silence, self.quiet_since, self.refused) = silence;
        turn
    }

    fn falls_mute(&mut self, sight: Sight, now: Duration) -> Turn {
        let (calls, seconds) = (sight.calls, sight.mute_for.as_secs());
        let missing = match sight.hearing {
            Hearing::Answers => "answered none of",
            Hearing::Acks => "its callers acknowledged no answer to",
        };
        let reason = format!(
            "it answers probes, but {missing} {calls} new calls in {seconds} s, while others answer theirs"
        );
        let turn = self.turn(Health::Draining, reason, now);
        (self.mute, self.paused_until) = (true, self.watched.time(now, self.probing.detection()) + PAUSE);
        turn
    }

    fn turn(&mut self, health: Health, reason: String, now: Duration) -> Turn {
        if self.health == Health::Up {
            let watched = self.watched.look(now, self.probing.detection());
            self.held_until = watched + self.flaps.fall(watched);
        }
        if health == Health::Up {
            self.flaps_before_silence = None;
            // Who was up all the time has got calls all the time.
            if !(self.pardoned && self.before_silence == Some(Health::Up)) {
                self.witness.forget();
                (self.suspected, self.seems_dead, self.mute) = (false, false, false);
            }
        }
        self.pardoned = false;
        (self.before_silence, self.quiet_since, self.refused) = (None, None, false);
        // What was seen before belongs to the state that is over.
        (self.health, self.since, self.recent, self.lively) = (health, now, 0, 0);
        self.reason.clone_from(&reason);
        Turn { health, reason }
    }
}

fn probes(count: u32) -> String {
    match count {
        1 => "a probe".to_owned(),
        count => format!("{count} probes in a row"),
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "health_traffic_tests.rs"]
mod traffic_tests;
