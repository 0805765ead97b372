//! What is asked of the world, and which kind of answer follows from it. Pure.

use lb_common::{
    map::{
        backend::{Limits, UNLIMITED},
        load::{Load, has_room},
    },
    sip::Method,
};
use std::net::SocketAddr;

/// Room that opened less than this ago does not yet count as such, in nanoseconds: the program may have seen none when it
/// handed the request over.
const RECENT_NS: u64 = 50_000_000;
/// Of this many channels one more has to be free for the same reason.
const CHANNELS_PER_SLACK: u32 = 64;
/// Most addresses that a 302 names for one zone.
pub const MAX_PER_ZONE: usize = 3;

/// How a tier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// A backend takes calls and has room for one.
    Room,
    /// Backends take calls, but all are at their limits.
    Full,
    /// No backend takes calls, because the operator wants it so.
    Draining,
    /// No backend takes calls, and some that should are down.
    Down,
}

/// Where a 302 leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The address of a zone: a host, maybe with a port.
    Host(String),
    /// A backend.
    Backend(SocketAddr),
}

/// A zone of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Whether calls get there by 302, not by forwarding.
    pub redirect: bool,
    /// How it stands.
    pub condition: Condition,
    /// Whether it has had room for a while: then the program forwards calls there again.
    pub settled: bool,
    /// What a 302 may name: the zone's address, or backends with room, in the order of the configuration.
    pub targets: Vec<Target>,
}

/// How a service stands, tier by tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Its tiers, in order of preference.
    pub tiers: Vec<Tier>,
    /// Whether backends are named in their order, not spread over the calls.
    pub in_order: bool,
}

/// What a 302 names, with its preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// Where it leads.
    pub target: &'a Target,
    /// q-value in thousandths (RFC 3261 section 20.10).
    pub q: u16,
}

/// The kind of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// 302, never empty.
    Redirect(Vec<Choice<'a>>),
    /// 503, and why.
    Refuse(Condition),
    /// 200.
    Alive,
    /// None: calls are forwarded again, so the sender's next attempt finds its way (RFC 3261 section 17.1.1.2).
    RoomAgain,
    /// None: nothing but INVITE and OPTIONS is answered.
    OtherMethod,
}

impl Outlook {
    /// What to answer. `call_key` spreads calls over the backends of a zone; a repeated request gets the same.
    pub fn decide(&self, method: Method, call_key: u64) -> Decision<'_> {
        match method {
            Method::Invite if self.forwards() => Decision::RoomAgain,
            Method::Invite => match self.choices(call_key) {
                choices if choices.is_empty() => Decision::Refuse(self.lack()),
                choices => Decision::Redirect(choices),
            },
            Method::Options if self.tiers.iter().any(|t| t.condition == Condition::Room) => Decision::Alive,
            Method::Options => Decision::Refuse(self.lack()),
            _ => Decision::OtherMethod,
        }
    }

    /// Whether the program forwards calls: it takes the tiers in order, and hands over what it would have redirected.
    pub fn forwards(&self) -> bool {
        let leads = |t: &&Tier| if t.redirect { t.condition == Condition::Room } else { t.settled };
        self.tiers.iter().find(leads).is_some_and(|t| !t.redirect)
    }

    /// The least bad condition of all tiers. A tier that has room is as good as full here: nothing leads there.
    fn lack(&self) -> Condition {
        self.tiers.iter().map(|t| t.condition.max(Condition::Full)).min().unwrap_or(Condition::Down)
    }

    fn choices(&self, call_key: u64) -> Vec<Choice<'_>> {
        let redirects = self.tiers.iter().filter(|t| t.redirect && t.condition == Condition::Room);
        let with_targets = redirects.filter(|t| !t.targets.is_empty());
        // Every one has a q of its own: a proxy would call those of the same q all at once (RFC 3261 section 16.6).
        let qs = (0..10).map(|tier| 1000 - 100 * tier);
        with_targets.zip(qs).flat_map(|(tier, q)| tier.choices(q, self.start(call_key, tier))).collect()
    }

    fn start(&self, call_key: u64, tier: &Tier) -> usize {
        if self.in_order { 0 } else { (call_key % tier.targets.len() as u64) as usize }
    }
}

impl Tier {
    fn choices(&self, q: u16, start: usize) -> impl Iterator<Item = Choice<'_>> {
        let round = self.targets[start..].iter().chain(&self.targets[..start]);
        (0..)
            .step_by(10)
            .zip(round.take(MAX_PER_ZONE))
            .map(move |(less, target)| Choice { target, q: q - less })
    }
}

/// Whether there has been room for a while, not only since a moment: see [`has_room`].
pub fn has_settled_room(load: &Load, limits: &Limits, now: u64) -> bool {
    let max_channels = match limits.max_channels {
        UNLIMITED => UNLIMITED,
        max => max.saturating_sub(1 + max / CHANNELS_PER_SLACK),
    };
    has_room(load, &Limits { max_channels, ..*limits }, now.saturating_sub(RECENT_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Target {
        Target::Host(name.to_owned())
    }

    fn backend(number: u8) -> Target {
        Target::Backend(SocketAddr::from(([10, 0, 0, number], 5060)))
    }

    fn tier(redirect: bool, condition: Condition, targets: Vec<Target>) -> Tier {
        Tier { redirect, condition, settled: condition == Condition::Room, targets }
    }

    fn outlook(tiers: Vec<Tier>) -> Outlook {
        Outlook { tiers, in_order: false }
    }

    fn named<'a>(decision: &Decision<'a>) -> Vec<(&'a Target, u16)> {
        match decision {
            Decision::Redirect(choices) => choices.iter().map(|c| (c.target, c.q)).collect(),
            other => panic!("{other:?} is no redirect"),
        }
    }

    #[test]
    fn an_invite_is_redirected_to_the_tiers_with_room_in_order() {
        let (far, farther) = (host("b.example.com"), host("c.example.com:5070"));
        let o = outlook(vec![
            tier(false, Condition::Full, vec![]),
            tier(true, Condition::Full, vec![host("a.example.com")]),
            tier(true, Condition::Room, vec![far.clone()]),
            tier(true, Condition::Room, vec![farther.clone()]),
        ]);
        assert_eq!(named(&o.decide(Method::Invite, 5)), [(&far, 1000), (&farther, 900)]);
    }

    #[test]
    fn calls_spread_over_the_backends_of_a_zone_unless_they_are_filled_in_order() {
        let all: Vec<Target> = (0..4).map(backend).collect();
        let mut o =
            outlook(vec![tier(false, Condition::Down, vec![]), tier(true, Condition::Room, all.clone())]);
        assert_eq!(named(&o.decide(Method::Invite, 7)), [(&all[3], 1000), (&all[0], 990), (&all[1], 980)]);
        assert_eq!(o.decide(Method::Invite, 7), o.decide(Method::Invite, 7));
        o.in_order = true;
        assert_eq!(named(&o.decide(Method::Invite, 7)), [(&all[0], 1000), (&all[1], 990), (&all[2], 980)]);
    }

    #[test]
    fn an_invite_gets_503_when_nobody_has_room() {
        for (first, second, lack) in [
            (Condition::Full, Condition::Full, Condition::Full),
            (Condition::Down, Condition::Full, Condition::Full),
            (Condition::Draining, Condition::Down, Condition::Draining),
            (Condition::Down, Condition::Down, Condition::Down),
        ] {
            let o = outlook(vec![tier(false, first, vec![]), tier(true, second, vec![backend(1)])]);
            assert_eq!(o.decide(Method::Invite, 0), Decision::Refuse(lack));
            assert_eq!(o.decide(Method::Options, 0), Decision::Refuse(lack));
        }
        assert_eq!(outlook(vec![]).decide(Method::Invite, 0), Decision::Refuse(Condition::Down));
        let nameless = outlook(vec![tier(true, Condition::Room, vec![])]);
        assert_eq!(nameless.decide(Method::Invite, 0), Decision::Refuse(Condition::Full));
    }

    #[test]
    fn an_invite_that_can_be_forwarded_again_gets_no_answer() {
        let mut o = outlook(vec![
            tier(false, Condition::Full, vec![]),
            tier(false, Condition::Room, vec![]),
            tier(true, Condition::Room, vec![backend(1)]),
        ]);
        assert_eq!(o.decide(Method::Invite, 0), Decision::RoomAgain);
        // Room that has just opened is none yet: the answer is what the program saw.
        o.tiers[1].settled = false;
        assert!(matches!(o.decide(Method::Invite, 0), Decision::Redirect(_)));
    }

    #[test]
    fn a_tier_that_is_forwarded_to_behind_one_that_is_redirected_to_gets_no_calls() {
        let mut o = outlook(vec![
            tier(false, Condition::Full, vec![]),
            tier(true, Condition::Room, vec![host("a.example.com")]),
            tier(false, Condition::Room, vec![]),
        ]);
        assert!(matches!(o.decide(Method::Invite, 0), Decision::Redirect(_)));
        o.tiers[1].condition = Condition::Full;
        assert_eq!(o.decide(Method::Invite, 0), Decision::RoomAgain);
    }

    #[test]
    fn options_are_answered_with_200_while_a_zone_in_reach_has_room() {
        for redirect in [false, true] {
            let o =
                outlook(vec![tier(false, Condition::Full, vec![]), tier(redirect, Condition::Room, vec![])]);
            assert_eq!(o.decide(Method::Options, 0), Decision::Alive);
        }
    }

    #[test]
    fn other_methods_get_no_answer() {
        let o = outlook(vec![tier(false, Condition::Full, vec![])]);
        for method in [Method::Ack, Method::Cancel, Method::Bye, Method::Register, Method::Other] {
            assert_eq!(o.decide(method, 0), Decision::OtherMethod);
        }
    }

    #[test]
    fn room_settles_in_a_while_and_with_more_than_one_channel() {
        const LIMITS: Limits = Limits {
            max_channels: 640,
            max_cps: 100,
            interval_ns: 10_000_000,
            burst: 10,
            capacity_channels: 640,
            capacity_cps: 100,
            other_channels: 0,
            other_cps: 0,
        };
        let now = 1_000_000_000;
        let load = |channels, next_arrival| Load { channels, next_arrival, ..Load::default() };
        assert!(has_settled_room(&load(628, 0), &LIMITS, now));
        assert!(!has_settled_room(&load(629, 0), &LIMITS, now));
        let latest = now + 100_000_000 - RECENT_NS;
        assert!(has_settled_room(&load(0, latest), &LIMITS, now));
        assert!(!has_settled_room(&load(0, latest + 1), &LIMITS, now));
        let unlimited = Limits { max_channels: UNLIMITED, ..LIMITS };
        assert!(has_settled_room(&load(1 << 33, 0), &unlimited, now));
    }
}
