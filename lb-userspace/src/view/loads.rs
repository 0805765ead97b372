//! Loads as people read them: calls in progress, new calls per second, utilisation, and whether there is room.

use lb_common::map::{
    backend::{Limits, UNLIMITED},
    load::{FULL, Load, Rate, utilisation},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is carried, of what may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadView {
    /// Calls in progress.
    pub channels: u64,
    /// New calls per second, over about the last second.
    pub cps: f64,
    /// The greater of the two relative to the capacity, 0 to 1 and sometimes more; `null`: there is no capacity.
    pub utilisation: Option<f64>,
}

impl LoadView {
    /// What a load is relative to these limits, `now` in monotonic nanoseconds.
    pub fn new(load: &Load, limits: &Limits, now: u64) -> LoadView {
        let capacity = limits.capacity_channels > 0 && limits.capacity_cps > 0;
        LoadView {
            channels: load.in_progress(),
            cps: rounded(Rate::from_word(load.rate).per_second(now) as f64 / 1024.0, 10.0),
            utilisation: capacity.then(|| ratio(utilisation(load, limits, now))),
        }
    }
}

/// Units of 1/1024 as a ratio of three decimals.
pub fn ratio(units: u32) -> f64 {
    rounded(f64::from(units) / f64::from(FULL), 1000.0)
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

/// Why no new call fits; `None`: one does.
pub fn full_because(load: &Load, limits: &Limits, now: u64) -> Option<&'static str> {
    let carried = load.in_progress() + u64::from(limits.other_channels);
    let early = u64::from(limits.burst) * u64::from(limits.interval_ns);
    if limits.max_channels != UNLIMITED && carried >= u64::from(limits.max_channels) {
        Some("max_channels")
    } else if limits.max_cps == 0
        || (limits.max_cps != UNLIMITED && load.next_arrival > now.saturating_add(early))
    {
        Some("max_cps")
    } else if load.full_until > now {
        Some("it refused calls itself")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 5_000_000_000;
    const LIMITS: Limits = Limits {
        max_channels: 10,
        max_cps: 100,
        interval_ns: 10_000_000,
        burst: 2,
        capacity_channels: 10,
        capacity_cps: 100,
        other_channels: 0,
        other_cps: 0,
    };

    #[test]
    fn full_begins_at_the_limit() {
        let because = |load: Load, limits: &Limits| full_because(&load, limits, NOW);
        let channels = |channels| Load { channels, ..Load::default() };
        assert_eq!(because(channels(9), &LIMITS), None);
        assert_eq!(because(channels(10), &LIMITS), Some("max_channels"));
        assert_eq!(because(channels(u64::MAX), &LIMITS), None, "below zero for a moment");
        assert_eq!(because(channels(9), &Limits { other_channels: 1, ..LIMITS }), Some("max_channels"));
        let arrival = |ahead| Load { next_arrival: NOW + ahead, ..Load::default() };
        assert_eq!(because(arrival(20_000_000), &LIMITS), None);
        assert_eq!(because(arrival(20_000_001), &LIMITS), Some("max_cps"));
        let refused = |until| Load { full_until: until, ..Load::default() };
        assert_eq!(because(refused(NOW), &LIMITS), None);
        assert_eq!(because(refused(NOW + 1), &LIMITS), Some("it refused calls itself"));
        let closed = Limits { max_cps: 0, interval_ns: 0, burst: 0, ..LIMITS };
        assert_eq!(because(Load::default(), &closed), Some("max_cps"));
        let free = Limits { max_channels: UNLIMITED, max_cps: UNLIMITED, interval_ns: 0, burst: 0, ..LIMITS };
        assert_eq!(
            because(Load { channels: 99_999, next_arrival: u64::MAX, ..Load::default() }, &free),
            None
        );
    }

    #[test]
    fn utilisation_is_unknown_without_capacity() {
        let load = Load { channels: 5, ..Load::default() };
        assert_eq!(LoadView::new(&load, &LIMITS, NOW).utilisation, Some(0.5));
        let none = Limits { capacity_channels: 0, ..LIMITS };
        assert_eq!(LoadView::new(&load, &none, NOW).utilisation, None);
        let rate = Rate::default().with_call(NOW).with_call(NOW).to_word();
        assert_eq!(LoadView::new(&Load { rate, ..load }, &LIMITS, NOW).cps, 1.9);
    }
}
