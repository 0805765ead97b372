//! Probes that are not believed. A firewall that eats OPTIONS makes every backend of a service look dead at the same moment,
//! while calls go on: what so many probes say at once says more about the way to the backends than about them.
//!
//! | probes of a service | its calls | what is believed |
//! |---|---|---|
//! | as many answered as the threshold wants | | the probes |
//! | fewer | the backend answers calls | the calls |
//! | all fell silent at the same moment | nobody has shown yet | that they live, until a call shows otherwise |
//! | fewer, or all, but one after the other | nobody has shown yet | the probes |
//! | any | new calls got no answer either | the probes, until one is answered |
//!
//! Where nobody else can take a call, sending it to a backend that may be dead costs its caller no more than sending it
//! nowhere, and if it is dead, the first calls tell. One backend alone has nobody to fall silent with.

use super::{
    watched::Watched,
    witness::{CALLS, FORGOTTEN, Sight, Traffic, Witness},
};
use std::time::Duration;

/// For so long an answer says that somebody is there.
const LATELY: Duration = Duration::from_secs(3);

/// What calls say of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calls {
    /// It answers them.
    Answered,
    /// New ones get nothing.
    Unanswered,
    /// There are none, or their answers pass elsewhere.
    #[default]
    Unknown,
}

/// What is believed of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Belief {
    /// Its probes.
    #[default]
    Probes,
    /// That it lives, whatever becomes of its probes.
    Lives,
    /// Its probes, because its calls say so too.
    Confirmed,
}

/// One backend of a service, as far as this matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Since when its probes get no answer; `None`: they do.
    pub quiet_since: Option<Duration>,
    /// Whether the latest was answered, but too few in a row.
    pub recovers: bool,
    /// Whether somebody said that nobody listens there: that is no silence.
    pub refused: bool,
    /// How long after its death a backend is found out at most.
    pub detection: Duration,
    /// What its calls say.
    pub calls: Calls,
    /// What was believed before.
    pub belief: Belief,
}

/// The ACKs of a service's callers, where the answers pass elsewhere: an ACK follows a final answer (RFC 3261 section 13.2.2.4
/// and 17.1.1.3), so somebody gave one. It may ring for long before that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Acks {
    before: Option<Requests>,
    watched: Watched,
    witness: Witness,
    sum: Traffic,
    sight: Sight,
    last: Option<Duration>,
}

/// Counters of the requests that came to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// INVITEs.
    pub invites: u64,
    /// ACKs.
    pub acks: u64,
    /// INVITEs that the balancer answered itself: each has an ACK at most.
    pub refused: u64,
}

impl Acks {
    /// A look at `now`.
    pub fn look(&mut self, requests: Requests, now: Duration) {
        let watched = self.watched.look(now, Duration::ZERO);
        let Some(before) = self.before.replace(requests) else { return };
        let more = |of: fn(&Requests) -> u64| of(&requests).saturating_sub(of(&before));
        let refused = more(|r| r.refused);
        self.sum.calls += more(|r| r.invites).saturating_sub(refused);
        self.sum.answered += more(|r| r.acks).saturating_sub(refused);
        self.sight = self.witness.look(self.sum, watched);
        if self.sight.answers {
            self.last = Some(now);
        }
    }

    /// What they say at `now`.
    pub fn say(&self, now: Duration) -> Calls {
        let mute = self.sight.calls >= CALLS && self.sight.mute_for >= FORGOTTEN;
        say(self.last, mute, now)
    }
}

/// What the packets of a backend say, the last of which came at a moment, and whether new calls get none.
pub fn say(last: Option<Duration>, mute: bool, now: Duration) -> Calls {
    match last {
        _ if mute => Calls::Unanswered,
        Some(last) if now.saturating_sub(last) <= LATELY => Calls::Answered,
        _ => Calls::Unknown,
    }
}

/// What is to be believed of each backend of a service. `acks`: what the ACKs of its callers say of all of them together,
/// where answers pass elsewhere. `threshold`: the part of them that has to answer probes for the others to be taken for dead.
pub fn weigh(members: &[Member], acks: Calls, threshold: f64) -> Vec<Belief> {
    let quiet = members.iter().filter(|m| m.quiet_since.is_some()).count();
    let crowd = ((members.len() - quiet) as f64) < threshold * members.len() as f64;
    let all = quiet == members.len();
    // What calls say of all together says it of each only if there is no other that it might be true of.
    let said = |m: &Member| match (m.calls, all) {
        (Calls::Unknown, true) => acks,
        (calls, _) => calls,
    };
    let dead = |m: &Member| said(m) == Calls::Unanswered || m.belief == Belief::Confirmed;
    let benefit = all && members.len() > 1 && fell_together(members) && !members.iter().any(dead);
    let belief = |m: &Member| {
        if m.quiet_since.is_none() {
            return Belief::Probes;
        }
        match said(m) {
            _ if dead(m) => Belief::Confirmed,
            // Others may have answered their probes a moment earlier.
            Calls::Answered if crowd || m.belief == Belief::Lives => Belief::Lives,
            Calls::Unknown if m.recovers && m.belief == Belief::Lives => Belief::Lives,
            // Calls may stop for a while, at night for instance.
            Calls::Unknown if crowd && !m.refused && (benefit || m.belief == Belief::Lives) => Belief::Lives,
            _ => Belief::Probes,
        }
    };
    members.iter().map(belief).collect()
}

/// Whether one cause may have silenced all of them: the last not later after the first than probes take to notice.
fn fell_together(members: &[Member]) -> bool {
    let moments = || members.iter().filter_map(|m| m.quiet_since);
    let detection = members.iter().map(|m| m.detection).max().unwrap_or_default();
    match (moments().min(), moments().max()) {
        (Some(first), Some(last)) => last - first <= detection && members.iter().all(|m| !m.refused),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Belief::*, Calls::*, *};
    use proptest::prelude::*;

    /// Members by a letter each: `y` answers probes; `a`, `u` and `k` do not since second 10, and their calls are answered,
    /// unanswered, not known; `K` is as `k`, but refused; `L` is as `k`, but was found alive, `A` and `R` likewise, with
    /// answered calls and with a last probe that was answered; `C` is as `k`, but confirmed.
    fn members(letters: &str) -> Vec<Member> {
        let member = |letter| Member {
            quiet_since: (letter != 'y').then_some(Duration::from_secs(10)),
            recovers: letter == 'R',
            refused: letter == 'K',
            detection: Duration::from_millis(2700),
            calls: match letter {
                'a' | 'A' => Answered,
                'u' => Unanswered,
                _ => Unknown,
            },
            belief: match letter {
                'L' | 'A' | 'R' => Lives,
                'C' => Confirmed,
                _ => Probes,
            },
        };
        letters.chars().map(member).collect()
    }

    fn beliefs(letters: &str) -> String {
        let word = |belief| match belief {
            Probes => 'p',
            Lives => 'l',
            Confirmed => 'c',
        };
        weigh(&members(letters), Unknown, 0.5).into_iter().map(word).collect()
    }

    #[test]
    fn who_is_silent_while_enough_others_answer_is_taken_for_dead() {
        for (letters, believed) in [
            ("yyyy", "pppp"),
            ("yyya", "pppp"),
            ("yyaa", "pppp"),
            ("yaaa", "plll"),
            ("aaaa", "llll"),
            ("a", "l"),
            ("ya", "pp"),
            ("yyakk", "pplpp"),
        ] {
            assert_eq!(beliefs(letters), believed, "{letters}");
        }
    }

    #[test]
    fn all_that_fall_silent_at_once_get_the_benefit_of_the_doubt_until_calls_tell() {
        for (letters, believed) in [
            ("kkkk", "llll"),
            ("k", "p"),
            ("kkkK", "pppp"),
            ("ykkk", "pppp"),
            ("kkku", "pppc"),
            ("LLLu", "lllc"),
            ("kkkC", "pppc"),
            ("uuuu", "cccc"),
            ("CCCC", "cccc"),
            ("akkk", "llll"),
            ("yLLL", "plll"),
            ("yyLL", "pppp"),
            ("yyLA", "pppl"),
            ("yyLR", "pppl"),
        ] {
            assert_eq!(beliefs(letters), believed, "{letters}");
        }
    }

    #[test]
    fn at_once_is_as_long_as_probes_take_to_notice() {
        for (later, believed) in [(2700, Lives), (2701, Probes)] {
            let mut members = members("kkk");
            members[1].quiet_since = Some(Duration::from_millis(10_000 + later));
            assert_eq!(weigh(&members, Unknown, 0.5), [believed; 3], "{later}");
        }
    }

    #[test]
    fn acks_tell_of_all_together_where_nobody_else_can_be_meant() {
        assert_eq!(weigh(&members("k"), Answered, 0.5), [Lives]);
        assert_eq!(weigh(&members("kkk"), Unanswered, 0.5), [Confirmed; 3]);
        assert_eq!(weigh(&members("CCC"), Answered, 0.5), [Confirmed; 3]);
        assert_eq!(weigh(&members("ykk"), Answered, 0.5), [Probes; 3]);
        assert_eq!(weigh(&members("ykk"), Unanswered, 0.5), [Probes; 3]);
    }

    #[test]
    fn the_threshold_has_two_ends() {
        assert_eq!(weigh(&members("aaaa"), Unknown, 0.0), [Probes; 4]);
        assert_eq!(weigh(&members("yyya"), Unknown, 1.0), [Probes, Probes, Probes, Lives]);
        assert_eq!(weigh(&members("yyaaa"), Unknown, 0.4), [Probes; 5]);
        assert_eq!(weigh(&members("yyaaa"), Unknown, 0.41)[2..], [Lives; 3]);
        assert_eq!(weigh(&[], Unknown, 0.5), []);
    }

    #[test]
    fn acks_beyond_those_of_our_own_answers_are_a_sign_of_life() {
        let seconds = Duration::from_secs;
        let mut acks = Acks::default();
        let look = |acks: &mut Acks, second, [invites, ack, refused]: [u64; 3]| {
            acks.look(Requests { invites, acks: ack, refused }, seconds(second));
            acks.say(seconds(second))
        };
        assert_eq!(look(&mut acks, 0, [900, 900, 0]), Unknown, "what stood there before");
        assert_eq!(look(&mut acks, 1, [905, 905, 5]), Unknown, "our own refusals have ACKs too");
        assert_eq!(look(&mut acks, 2, [906, 906, 5]), Answered);
        assert_eq!([acks.say(seconds(5)), acks.say(seconds(6))], [Answered, Unknown]);
        let mut said = Vec::new();
        for second in 3..=40 {
            said.push(look(&mut acks, second, [904 + second, 906, 5]));
        }
        assert_eq!((said[31], said[32]), (Unknown, Unanswered), "longer than it rings");
        assert_eq!(look(&mut acks, 41, [944, 907, 5]), Answered);
    }

    #[test]
    fn a_packet_says_something_for_a_while() {
        let seconds = Duration::from_secs;
        for (now, said) in [(10, Answered), (13, Answered), (14, Unknown)] {
            assert_eq!(say(Some(seconds(10)), false, seconds(now)), said, "{now}");
            assert_eq!(say(Some(seconds(10)), true, seconds(now)), Unanswered, "{now}");
        }
        assert_eq!(say(None, false, seconds(10)), Unknown);
    }

    proptest! {
        #[test]
        fn nobody_lives_against_his_calls_and_probes_that_are_answered_are_believed(
            letters in "[yaukKLARC]{1,8}", threshold in 0.0..=1.0_f64
        ) {
            let members = members(&letters);
            for (member, belief) in members.iter().zip(weigh(&members, Unknown, threshold)) {
                prop_assert!(belief != Lives || member.calls != Unanswered);
                prop_assert!(belief == Probes || member.quiet_since.is_some());
                prop_assert!(belief != Lives || threshold > 0.0);
            }
        }
    }
}
