//! What became of the packets that reached the slow path, counted.

use super::{limiter::Excess, message::Unfit, room::Condition};

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+) => {
        /// What became of a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Outcome { $($(#[doc = $doc])+ $variant,)+ }

        impl Outcome {
            /// All of them.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant,)+];

            /// The name in JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)+ }
            }

            /// One sentence for humans.
            pub const fn sentence(self) -> &'static str {
                match self { $(Outcome::$variant => concat!($($doc),+),)+ }
            }
        }
    };
}

outcomes! {
    /// Answered 302: another zone has room.
    Redirected = "redirected";
    /// Answered 503: every backend in reach is at its limit.
    RefusedFull = "refused_full";
    /// Answered 503: no backend in reach takes calls, as the operator wants it.
    RefusedDraining = "refused_draining";
    /// Answered 503: no backend in reach takes calls, and some that should are down.
    RefusedDown = "refused_down";
    /// Answered 200 to OPTIONS.
    Alive = "alive";
    /// Not answered: there is room again, and the sender's next attempt will find it.
    RoomAgain = "room_again";
    /// Not answered: only INVITE and OPTIONS are.
    OtherMethod = "other_method";
    /// Not answered: it belongs to a dialog.
    InDialog = "in_dialog";
    /// Not answered: it is a response.
    Response = "response";
    /// Not answered: it is a keep-alive.
    KeepAlive = "keep_alive";
    /// Not answered: it is no SIP request that could be answered.
    Unfit = "unfit";
    /// Not answered: its source got as many answers as it may.
    OverSourceLimit = "over_source_limit";
    /// Not answered: all sources together got as many answers as they may.
    OverTotalLimit = "over_total_limit";
    /// Not answered: an answer would have been larger than the request.
    TooSmall = "too_small";
    /// Not answered: how the service stands could not be found out.
    NotKnown = "not_known";
    /// Not answered: the answer could not be sent.
    NotSent = "not_sent";
}

impl Outcome {
    /// Whether an answer went out.
    pub const fn answered(self) -> bool {
        matches!(
            self,
            Outcome::Redirected
                | Outcome::RefusedFull
                | Outcome::RefusedDraining
                | Outcome::RefusedDown
                | Outcome::Alive
        )
    }

    /// A refusal for this reason.
    pub const fn refused(lack: Condition) -> Outcome {
        match lack {
            Condition::Room | Condition::Full => Outcome::RefusedFull,
            Condition::Draining => Outcome::RefusedDraining,
            Condition::Down => Outcome::RefusedDown,
        }
    }
}

impl From<Unfit> for Outcome {
    fn from(unfit: Unfit) -> Outcome {
        match unfit {
            Unfit::Response => Outcome::Response,
            Unfit::KeepAlive => Outcome::KeepAlive,
            _ => Outcome::Unfit,
        }
    }
}

impl From<Excess> for Outcome {
    fn from(excess: Excess) -> Outcome {
        match excess {
            Excess::Source => Outcome::OverSourceLimit,
            Excess::Total => Outcome::OverTotalLimit,
        }
    }
}

/// How often each outcome came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Outcome::ALL.len()],
}

impl Tally {
    /// Counts one.
    pub fn count(&mut self, outcome: Outcome) {
        self.counts[outcome as usize] += 1;
    }

    /// How often this came about.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    /// What came about, with how often.
    pub fn seen(&self) -> impl Iterator<Item = (Outcome, u64)> + use<> {
        let counts = self.counts;
        Outcome::ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// What has been counted since an earlier state of this.
    pub fn since(&self, earlier: &Tally) -> Tally {
        let counts = std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i]));
        Tally { counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_indices_and_names_are_unique() {
        let names: BTreeSet<_> = Outcome::ALL.iter().map(|o| o.name()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
        for (i, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, i);
            let sentence = outcome.sentence().trim();
            assert!(sentence.ends_with('.'), "{sentence}");
            assert_eq!(outcome.answered(), sentence.starts_with("Answered"), "{sentence}");
        }
    }

    #[test]
    fn a_difference_tells_what_came_since() {
        let mut tally = Tally::default();
        tally.count(Outcome::Alive);
        let before = tally;
        tally.count(Outcome::Alive);
        tally.count(Outcome::Unfit);
        let since: Vec<_> = tally.since(&before).seen().collect();
        assert_eq!(since, [(Outcome::Alive, 1), (Outcome::Unfit, 1)]);
        assert_eq!(tally.of(Outcome::Alive), 2);
    }
}
