//! The second witness: what the traffic that passes us shows of a backend.
//!
//! A backend that gets new calls and answers none of them is dead or a black hole, whatever it answers to probes, and whatever
//! becomes of calls that are up. One that sends packets is alive, whatever it does not answer to probes. Nobody can tell from one
//! backend alone whether the calls are to blame, which a stranger may have sent to be dropped: that its neighbours answer
//! theirs says so, see [`Voices`].

use std::time::Duration;

/// How long new calls may be without any answer before that is odd: RFC 3261 section 17.1.1.2 has the INVITE repeated after
/// 0.5 s, and section 17.2.1 wants a 100 after 0.2 s.
pub const ODD: Duration = Duration::from_secs(1);
/// After this time and [`CALLS`] it is more than odd.
pub const MUTE: Duration = Duration::from_secs(3);
/// So many calls without any answer are more than odd.
pub const CALLS: u64 = 5;
/// An INVITE is given up after 64*T1 (RFC 3261 section 17.1.1.2), and what it says of its backend is forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(32);

/// Counters of a backend, which only grow, unless the backend is new in the maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Calls opened on it and pinned.
    pub calls: u64,
    /// Packets that came from it and were sent on.
    pub replies: u64,
    /// Signs that it answered new calls.
    pub answered: u64,
}

/// What tells that a backend answered a new call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hearing {
    /// Its answers, all of which pass us (`nat`).
    #[default]
    Answers,
    /// The caller's ACK of a final one, which itself may pass elsewhere (`l2`). It may ring for long before that.
    Acks,
}

/// What the latest look showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// It sent packets since the look before.
    pub sends: bool,
    /// It answered new calls since then.
    pub answers: bool,
    /// New calls since it answered the last one.
    pub calls: u64,
    /// How long ago the first of them was there.
    pub mute_for: Duration,
    /// How long ago there were [`CALLS`] of them; zero: there are fewer.
    pub enough_for: Duration,
    /// It has sent packets since the first of them.
    pub lives: bool,
    /// What would tell that it answers.
    pub hearing: Hearing,
}

/// What a backend is to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It answered a new call lately.
    Answers,
    /// Its new calls get nothing.
    Mute,
    /// It has no calls to speak of.
    Unknown,
}

/// Looks at the counters of one backend from time to time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    hearing: Hearing,
    before: Option<Traffic>,
    calls: u64,
    /// When the first of these calls, the last of them, and enough of them were noticed.
    first: Duration,
    last: Duration,
    enough: Duration,
    lives: bool,
    answered: Option<Duration>,
    mute: bool,
}

impl Witness {
    /// What it listens for from now on. If that is something else than before, it begins anew.
    pub fn set_hearing(&mut self, hearing: Hearing) {
        if hearing != self.hearing {
            *self = Witness { hearing, ..Witness::default() };
        }
    }

    /// A look at `now`, of a clock that never goes back.
    pub fn look(&mut self, traffic: Traffic, now: Duration) -> Sight {
        let hearing = self.hearing;
        let Some(before) = self.before.replace(traffic) else { return Sight { hearing, ..Sight::default() } };
        let sends = traffic.replies != before.replies;
        let answers = traffic.answered != before.answered;
        if answers {
            self.answered = Some(now);
        }
        if answers || traffic.calls < before.calls || now.saturating_sub(self.last) > FORGOTTEN {
            self.forget();
        }
        self.lives |= sends && self.calls > 0;
        // Calls that came in the same time as answers may be younger than those.
        let more = if answers { 0 } else { traffic.calls.saturating_sub(before.calls) };
        if more > 0 {
            if self.calls == 0 {
                self.first = now;
            }
            if self.calls < CALLS && self.calls + more >= CALLS {
                self.enough = now;
            }
            (self.calls, self.last) = (self.calls + more, now);
        }
        let since =
            |least, moment| if self.calls < least { Duration::ZERO } else { now.saturating_sub(moment) };
        let (mute_for, enough_for) = (since(1, self.first), since(CALLS, self.enough));
        let sight =
            Sight { sends, answers, calls: self.calls, mute_for, enough_for, lives: self.lives, hearing };
        self.mute = sight.is_mute();
        sight
    }

    /// Forgets the calls that got nothing: the backend gets another chance.
    pub fn forget(&mut self) {
        (self.calls, self.lives, self.mute) = (0, false, false);
    }

    /// What it is to its neighbours at `now`, of the same clock.
    pub fn voice(&self, now: Duration) -> Voice {
        let lately = |answered: Duration| now.saturating_sub(answered) <= self.hearing.patience();
        match self.answered {
            _ if self.mute => Voice::Mute,
            Some(answered) if lately(answered) => Voice::Answers,
            _ => Voice::Unknown,
        }
    }
}

impl Hearing {
    /// How long enough new calls may get nothing.
    fn patience(self) -> Duration {
        match self {
            Hearing::Answers => MUTE,
            Hearing::Acks => FORGOTTEN,
        }
    }
}

impl Sight {
    /// Whether something seems to be wrong.
    pub fn is_odd(&self) -> bool {
        match self.hearing {
            Hearing::Answers => self.calls > 0 && self.mute_for >= ODD,
            Hearing::Acks => self.is_mute(),
        }
    }

    /// Whether something is wrong, if others answer. A call that came late need not have had the time for an ACK, so it takes
    /// enough that had.
    pub fn is_mute(&self) -> bool {
        let long = match self.hearing {
            Hearing::Answers => self.mute_for,
            Hearing::Acks => self.enough_for,
        };
        self.calls >= CALLS && long >= self.hearing.patience()
    }

    /// Whether it seems to be dead: it would be heard, but has sent no packet of any kind since calls got nothing.
    pub fn is_lifeless(&self) -> bool {
        self.is_odd() && !self.lives && self.hearing == Hearing::Answers
    }
}

/// All backends that are heard alike, as neighbours of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Voices {
    answering: usize,
    mute: usize,
}

impl FromIterator<Voice> for Voices {
    fn from_iter<I: IntoIterator<Item = Voice>>(voices: I) -> Voices {
        let add = |sum: Voices, voice| match voice {
            Voice::Answers => Voices { answering: sum.answering + 1, ..sum },
            Voice::Mute => Voices { mute: sum.mute + 1, ..sum },
            Voice::Unknown => sum,
        };
        voices.into_iter().fold(Voices::default(), add)
    }
}

impl Voices {
    /// Whether the others than the one that is `own` answer their new calls, so that its own calls are not to blame. Where more
    /// of them are mute than answer, calls that deserve no answer have come to many: those of a scanner, for instance.
    pub fn others_answer(&self, own: Voice) -> bool {
        let others = |of: usize, voice| of.saturating_sub(usize::from(own == voice));
        let answering = others(self.answering, Voice::Answers);
        answering > 0 && answering >= others(self.mute, Voice::Mute)
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
