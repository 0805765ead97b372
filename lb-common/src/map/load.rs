//! BACKEND_LOADS and ZONE_LOADS: what backends and zones carry now, counted by the program, call by call.

use super::backend::{Limits, UNLIMITED};
use core::mem::size_of;

/// Value of BACKEND_LOADS, by backend id, and of ZONE_LOADS, by zone. The program alone writes it, field by field and
/// atomically, on any CPU; a zone uses `channels`, `rate` and `calls` only. One cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Calls in progress; what is below zero for a moment counts as zero.
    pub channels: u64,
    /// Theoretical arrival time of the next call (GCRA, ITU-T I.371), in monotonic nanoseconds.
    pub next_arrival: u64,
    /// New calls lately, see [`Rate`].
    pub rate: u64,
    /// New calls since the id was given to this backend.
    pub calls: u64,
    /// New calls it was passed over for because it was at its channels.
    pub over_channels: u64,
    /// New calls it was passed over for because it was at its calls per second.
    pub over_cps: u64,
    /// Until then it counts as full, because it refused a call itself (RFC 3261 section 21.5.4); monotonic nanoseconds.
    pub full_until: u64,
    /// Calls that it refused itself with a 503 or redirected with a 3xx.
    pub refusals: u64,
}

const _: () = assert!(size_of::<Load>() == 64);

impl Load {
    /// Calls in progress.
    #[inline(always)]
    pub const fn in_progress(&self) -> u64 {
        in_progress(self.channels)
    }
}

/// A rate of new calls as one word that decays by itself: every call adds 1, and in [`Rate::WINDOW_NS`] all that was
/// there has gone. With calls that come evenly it settles at their number per window.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Calls in the window, in units of 1/1024.
    pub value: u32,
    /// When that was true, in units of 2^20 ns.
    pub at: u32,
}

/// Units of time in a window.
const WINDOW: u32 = 1024;
/// Units of the value in a call.
const CALL: u32 = 1024;

impl Rate {
    /// Length of the window in nanoseconds: 1.07 s.
    pub const WINDOW_NS: u64 = (WINDOW as u64) << 20;

    /// The rate as one word, little endian, as it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.value as u64 | (self.at as u64) << 32
    }

    /// The rate of a word.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Rate {
        Rate { value: word as u32, at: (word >> 32) as u32 }
    }

    /// What is left of it at `now`, in monotonic nanoseconds. A clock that seems to go backwards, as those of two CPUs
    /// may by a little, leaves it as it is.
    #[inline(always)]
    pub const fn decayed(self, now: u64) -> Rate {
        let at = (now >> 20) as u32;
        let age = at.wrapping_sub(self.at);
        if age >> 31 != 0 {
            return self;
        }
        let left = if age >= WINDOW {
            0
        } else {
            (self.value as u64 * (WINDOW - age) as u64 / WINDOW as u64) as u32
        };
        Rate { value: left, at }
    }

    /// The rate with one more call at `now`.
    #[inline(always)]
    pub const fn with_call(self, now: u64) -> Rate {
        let rate = self.decayed(now);
        Rate { value: rate.value.saturating_add(CALL), at: rate.at }
    }

    /// Calls per second at `now`, in units of 1/1024.
    #[inline(always)]
    pub const fn per_second(self, now: u64) -> u64 {
        // 1 s is 953.67 units of time.
        self.decayed(now).value as u64 * 954 / WINDOW as u64
    }
}

/// A utilisation of 1, in the units in which the program computes.
pub const FULL: u32 = 1024;

/// The greater of channels and calls per second, each relative to the capacity, in units of 1/1024: what the backend has
/// of us now and what telemetry says it carries beside.
#[inline(always)]
pub const fn utilisation(load: &Load, limits: &Limits, now: u64) -> u32 {
    let channels = load.in_progress() + limits.other_channels as u64;
    let cps = Rate::from_word(load.rate).per_second(now) + (limits.other_cps as u64) * 1024;
    let by_channels = ratio(channels * FULL as u64, limits.capacity_channels as u64);
    let by_cps = ratio(cps, limits.capacity_cps as u64);
    if by_channels > by_cps { by_channels } else { by_cps }
}

/// A quotient that fits; a capacity of 0 is none, and full as soon as anything is there.
#[inline(always)]
pub const fn ratio(amount: u64, capacity: u64) -> u32 {
    let quotient = match amount.checked_div(capacity) {
        Some(quotient) => quotient,
        None => return if amount == 0 { 0 } else { u32::MAX },
    };
    if quotient > u32::MAX as u64 { u32::MAX } else { quotient as u32 }
}

/// A word of channels as a number of calls: what is below zero for a moment counts as zero.
#[inline(always)]
const fn in_progress(channels: u64) -> u64 {
    if channels >> 63 == 0 { channels } else { 0 }
}

/// Whether fewer calls than `max_channels` are in progress: with this word of [`Load::channels`], and what telemetry says.
#[inline(always)]
pub const fn has_channel(channels: u64, limits: &Limits) -> bool {
    limits.max_channels == UNLIMITED
        || in_progress(channels) + (limits.other_channels as u64) < limits.max_channels as u64
}

/// Whether the pace of `max_cps` with its burst lets a call in at `now`, with this word of [`Load::next_arrival`]. Generic
/// cell rate algorithm (ITU-T I.371 annex A): calls come at `interval_ns`, `burst` of them early. What was noted at an
/// earlier limit says nothing once there is none.
#[inline(always)]
pub const fn keeps_pace(next_arrival: u64, limits: &Limits, now: u64) -> bool {
    if limits.max_cps == UNLIMITED {
        return true;
    }
    let tolerance = limits.burst as u64 * limits.interval_ns as u64;
    limits.max_cps != 0 && next_arrival.saturating_sub(now) <= tolerance
}

/// Whether a backend that takes calls has room for one more at `now`, in monotonic nanoseconds: it does not count as full
/// after a refusal of its own, has a channel and keeps its pace. Says nothing of the operator's will and of health.
#[inline(always)]
pub const fn has_room(load: &Load, limits: &Limits, now: u64) -> bool {
    load.full_until <= now && has_channel(load.channels, limits) && keeps_pace(load.next_arrival, limits, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LIMITS: Limits = Limits {
        max_channels: 1000,
        max_cps: 100,
        interval_ns: 10_000_000,
        burst: 10,
        capacity_channels: 1000,
        capacity_cps: 100,
        other_channels: 0,
        other_cps: 0,
    };

    #[test]
    fn even_calls_settle_at_their_rate() {
        for cps in [1, 10, 50, 100, 1000] {
            let mut rate = Rate::default();
            let mut now = 100 * SECOND;
            for _ in 0..5 * cps {
                now += SECOND / cps;
                rate = rate.with_call(now);
            }
            let seen = rate.per_second(now) as f64 / 1024.0;
            let expected = cps as f64;
            // The last call counts whole, so that 1 a second reads as 1 right after it.
            assert!((seen - expected).abs() < 0.03 * expected + 1.0, "{cps}: {seen}");
        }
    }

    #[test]
    fn a_silent_second_empties_it_and_a_clock_behind_does_nothing() {
        let rate = Rate::default().with_call(10 * SECOND);
        assert_eq!(rate.per_second(10 * SECOND + Rate::WINDOW_NS), 0);
        assert_eq!(rate.decayed(9 * SECOND), rate);
        assert_eq!(Rate::from_word(rate.to_word()), rate);
    }

    #[test]
    fn the_tighter_of_the_two_capacities_counts() {
        let load = Load { channels: 500, ..Load::default() };
        assert_eq!(utilisation(&load, &LIMITS, 0), 512);
        let fast = (0..100).fold(Rate::default(), |r, _| r.with_call(SECOND));
        let load = Load { channels: 500, rate: fast.to_word(), ..Load::default() };
        assert!(utilisation(&load, &LIMITS, SECOND) > 900);
        let load = Load { channels: u64::MAX, ..Load::default() };
        assert_eq!(utilisation(&load, &LIMITS, 0), 0, "below zero for a moment");
    }

    #[test]
    fn what_telemetry_says_is_added() {
        let limits = Limits { other_channels: 250, other_cps: 75, ..LIMITS };
        assert_eq!(utilisation(&Load::default(), &limits, 0), 768);
        assert_eq!(utilisation(&Load::default(), &Limits { capacity_cps: 0, ..limits }, 0), u32::MAX);
        assert_eq!(utilisation(&Load::default(), &Limits { capacity_cps: 0, ..LIMITS }, 0), 0);
    }

    #[test]
    fn room_ends_with_the_last_channel() {
        let with = |channels| Load { channels, ..Load::default() };
        assert!(has_room(&with(999), &LIMITS, 0));
        assert!(!has_room(&with(1000), &LIMITS, 0));
        assert!(has_room(&with(u64::MAX), &LIMITS, 0), "below zero for a moment");
        let limits = Limits { other_channels: 10, ..LIMITS };
        assert!(has_room(&with(989), &limits, 0));
        assert!(!has_room(&with(990), &limits, 0));
        assert!(has_room(&with(1 << 40), &Limits { max_channels: UNLIMITED, ..LIMITS }, 0));
    }

    #[test]
    fn room_ends_with_the_burst() {
        // 10 calls of 10 ms each may come at once.
        let load = Load { next_arrival: SECOND, ..Load::default() };
        assert!(has_room(&load, &LIMITS, SECOND - 100_000_000));
        assert!(!has_room(&load, &LIMITS, SECOND - 100_000_001));
        assert!(has_room(&load, &LIMITS, 2 * SECOND));
        assert!(has_room(&load, &Limits { max_cps: UNLIMITED, interval_ns: 0, ..LIMITS }, 0));
        let exact = Limits { burst: 0, ..LIMITS };
        assert!(has_room(&load, &exact, SECOND));
        assert!(!has_room(&load, &exact, SECOND - 1));
    }

    #[test]
    fn a_limit_of_zero_and_a_refusal_leave_no_room() {
        let idle = Load::default();
        assert!(has_room(&idle, &LIMITS, 0));
        assert!(!has_room(&idle, &Limits { max_channels: 0, ..LIMITS }, 0));
        assert!(!has_room(&idle, &Limits { max_cps: 0, interval_ns: 0, ..LIMITS }, 0));
        let refused = Load { full_until: SECOND, ..idle };
        assert!(!has_room(&refused, &LIMITS, SECOND - 1));
        assert!(has_room(&refused, &LIMITS, SECOND));
    }
}
