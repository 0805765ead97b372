//! What backends, zones and services may carry, as the maps hold it.

use super::standing::Capacity;
use crate::config::{self, FullAfterRefusal, HashBy, Overflow, Policy as Choice};
use lb_common::map::{
    backend::{Backend, Limits, UNLIMITED, takes_dialogs},
    zone::{Policy, Zone, choice, hash_by},
};
use std::time::Duration;

/// Channels that count as utilisation 1 for a backend without a limit and with the usual weight of 100, as a tenth of a weight.
const NOMINAL_CHANNELS: u32 = 10;
/// The same for calls per second.
const NOMINAL_CPS: u32 = 1;
/// How long a backend counts as full if its own word counts and it said none.
const WITHOUT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The limits of a backend: those of the configuration, or what it may carry at the moment, whichever is less.
pub(super) fn limits(backend: &config::Backend, capacity: Option<Capacity>) -> Limits {
    let weight = u32::from(capacity.map_or(backend.weight, |c| c.weight));
    let less = |own: Option<u32>, now: Option<u32>| match (own, now) {
        (Some(own), Some(now)) => Some(own.min(now)),
        (own, now) => own.or(now),
    };
    let backend = &config::Backend {
        max_cps: less(backend.max_cps, capacity.and_then(|c| c.max_cps)),
        max_channels: less(backend.max_channels, capacity.and_then(|c| c.max_channels)),
        ..backend.clone()
    };
    let interval = |cps: u32| Duration::from_secs(1).as_nanos().div_ceil(cps.into());
    let usual_burst = |cps: u32| (cps / 10).max(1);
    let pace = backend.max_cps.filter(|cps| *cps > 0);
    Limits {
        max_channels: backend.max_channels.unwrap_or(UNLIMITED),
        max_cps: backend.max_cps.unwrap_or(UNLIMITED),
        // Rounded up, so that the pace is never exceeded.
        interval_ns: pace.map(|cps| interval(cps) as u32).unwrap_or_default(),
        burst: pace.map(|cps| backend.cps_burst.unwrap_or(usual_burst(cps))).unwrap_or_default(),
        capacity_channels: backend.max_channels.unwrap_or(weight * NOMINAL_CHANNELS),
        capacity_cps: backend.max_cps.unwrap_or(weight * NOMINAL_CPS),
        other_channels: capacity.map_or(0, |c| c.other_channels),
        other_cps: capacity.map_or(0, |c| c.other_cps),
    }
}

/// Whether new calls may come to a backend.
pub(super) const fn takes_calls(backend: &Backend) -> bool {
    takes_dialogs(backend.will, backend.health)
        && backend.limits.max_channels > 0
        && backend.limits.max_cps > 0
}

/// A zone whose backends these are that take new calls. One without, but with an address that redirects name, is elsewhere:
/// what it carries is not known, so it has room.
pub(super) fn zone<'b>(takers: impl Iterator<Item = &'b Backend>, elsewhere: bool, zone: Zone) -> Zone {
    if elsewhere {
        return Zone { remote: 1, takers: 1, capacity_channels: UNLIMITED, capacity_cps: UNLIMITED, ..zone };
    }
    takers.fold(zone, |zone, backend| Zone {
        takers: zone.takers + 1,
        capacity_channels: zone.capacity_channels.saturating_add(backend.limits.capacity_channels),
        capacity_cps: zone.capacity_cps.saturating_add(backend.limits.capacity_cps),
        ..zone
    })
}

/// How a service chooses; `number` gives a zone's number.
pub(super) fn policy(service: &config::Service, number: impl Fn(&str) -> u16) -> Policy {
    let nat = service.forwarding == config::Forwarding::Nat;
    let (choice, bound) = match service.policy {
        Choice::Consistent { bound } => (choice::CONSISTENT, bound.unwrap_or_default()),
        Choice::LeastLoaded => (choice::LEAST_LOADED, 0),
        Choice::PrimarySecondary => (choice::PRIMARY_SECONDARY, 0),
    };
    let mut policy = Policy {
        choice,
        hash_by: match service.hash_by {
            HashBy::CallId => hash_by::CALL_ID,
            HashBy::FromUser => hash_by::FROM_USER,
            HashBy::ToUser => hash_by::TO_USER,
            HashBy::RequestUser => hash_by::REQUEST_USER,
            HashBy::Source => hash_by::SOURCE,
        },
        tiers: service.tiers.len() as u8,
        answers_options: u8::from(service.answers_options),
        retries_refused: u8::from(service.retries_refused && nat),
        bound,
        target: service.target,
        believes_retry_after: u8::from(nat && service.full_after_refusal == FullAfterRefusal::RetryAfter),
        full_after_refusal_ms: match service.full_after_refusal {
            FullAfterRefusal::For(time) if nat => time.as_millis() as u32,
            FullAfterRefusal::RetryAfter if nat => WITHOUT_RETRY_AFTER.as_millis() as u32,
            _ => 0,
        },
        ..Policy::default()
    };
    for (number_of_tier, tier) in service.tiers.iter().enumerate().take(policy.zones.len()) {
        policy.zones[number_of_tier] = number(&tier.zone);
        policy.redirects |= u8::from(tier.overflow == Overflow::Redirect) << number_of_tier;
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Forwarding, Tier},
        core::examples::{backend, service},
    };

    #[test]
    fn the_pace_is_never_faster_than_the_limit_and_bursts_are_a_tenth_of_it() {
        for cps in [1, 2, 3, 7, 9, 10, 19, 20, 100, 333, 999_999, config::MAX_LIMIT] {
            let limits = limits(&config::Backend { max_cps: Some(cps), ..backend("sw1", 1, "uk") }, None);
            assert!(u64::from(limits.interval_ns) * u64::from(cps) >= 1_000_000_000, "{cps}");
            assert!(u64::from(limits.interval_ns - 1) * u64::from(cps) < 1_000_000_000, "{cps}");
            assert_eq!((limits.max_cps, limits.capacity_cps), (cps, cps));
            assert_eq!(limits.burst, (cps / 10).max(1));
        }
    }

    #[test]
    fn limits_that_are_none_or_zero_have_no_pace() {
        let with = |max_cps, max_channels, weight| {
            limits(
                &config::Backend {
                    max_cps,
                    max_channels,
                    weight,
                    cps_burst: Some(5),
                    ..backend("sw1", 1, "uk")
                },
                None,
            )
        };
        let free = with(None, None, 250);
        assert_eq!(
            (free.max_cps, free.max_channels, free.interval_ns, free.burst),
            (UNLIMITED, UNLIMITED, 0, 0)
        );
        assert_eq!((free.capacity_channels, free.capacity_cps), (2500, 250));
        let closed = with(Some(0), Some(0), 100);
        assert_eq!((closed.max_cps, closed.max_channels, closed.interval_ns, closed.burst), (0, 0, 0, 0));
        assert_eq!((closed.capacity_channels, closed.capacity_cps), (0, 0));
        assert_eq!(with(Some(100), Some(1000), 100).burst, 5);
    }

    #[test]
    fn what_a_backend_may_carry_at_the_moment_only_lowers_its_limits() {
        let own = config::Backend { max_cps: Some(100), max_channels: None, ..backend("sw1", 1, "uk") };
        let with = |max_cps, max_channels| {
            let capacity = Capacity { max_cps, max_channels, weight: 50, other_channels: 7, other_cps: 3 };
            limits(&own, Some(capacity))
        };
        let less = with(Some(40), Some(300));
        assert_eq!((less.max_cps, less.burst, less.interval_ns), (40, 4, 25_000_000));
        assert_eq!((less.max_channels, less.capacity_channels), (300, 300));
        assert_eq!((less.other_channels, less.other_cps), (7, 3));
        let more = with(Some(400), None);
        assert_eq!((more.max_cps, more.max_channels), (100, UNLIMITED));
        assert_eq!(more.capacity_channels, 500, "the nominal capacity of its weight at the moment");
    }

    #[test]
    fn a_zone_is_the_sum_of_those_that_take_calls() {
        let taker = |channels| Backend {
            limits: Limits { capacity_channels: channels, capacity_cps: 100, ..Limits::default() },
            ..Backend::default()
        };
        let two = zone([taker(1000), taker(500)].iter(), false, Zone::default());
        assert_eq!((two.takers, two.capacity_channels, two.capacity_cps), (2, 1500, 200));
        assert_eq!(zone([].iter(), false, Zone::default()), Zone::default());
        assert_eq!(zone([].iter(), true, Zone::default()).takers, 1);
    }

    #[test]
    fn a_policy_says_how_and_where() {
        let mut service = service("trunks", &[10], Forwarding::Nat, &["uk", "germany", "singapore"]);
        service.tiers[2].overflow = Overflow::Redirect;
        service.full_after_refusal = FullAfterRefusal::For(Duration::from_secs(3));
        let number = |zone: &str| zone.len() as u16;
        let nat = policy(&service, number);
        assert_eq!((nat.tiers, nat.redirects, nat.zones[..4].to_vec()), (3, 0b100, vec![2, 7, 9, 0]));
        assert_eq!((nat.choice, nat.bound, nat.target), (choice::CONSISTENT, 1280, 512));
        assert_eq!((nat.retries_refused, nat.full_after_refusal_ms, nat.answers_options), (1, 3000, 1));

        assert_eq!(nat.believes_retry_after, 0);
        service.full_after_refusal = FullAfterRefusal::RetryAfter;
        let nat = policy(&service, number);
        assert_eq!((nat.believes_retry_after, nat.full_after_refusal_ms), (1, 1000));

        service.forwarding = Forwarding::L2;
        (service.policy, service.hash_by) = (Choice::PrimarySecondary, HashBy::Source);
        service.tiers = vec![Tier { zone: "uk".to_owned(), overflow: Overflow::Forward }];
        let l2 = policy(&service, number);
        assert_eq!(
            (l2.tiers, l2.redirects, l2.choice, l2.hash_by),
            (1, 0, choice::PRIMARY_SECONDARY, hash_by::SOURCE)
        );
        assert_eq!(
            (l2.bound, l2.retries_refused, l2.believes_retry_after, l2.full_after_refusal_ms),
            (0, 0, 0, 0),
            "answers are not seen"
        );
        service.policy = Choice::Consistent { bound: None };
        assert_eq!(policy(&service, number).bound, 0);
    }
}
