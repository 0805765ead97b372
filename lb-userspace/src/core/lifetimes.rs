//! Durations to ticks of the kernel's clock.

use crate::config::{Config, Dialogs};
use lb_common::{
    abi,
    hash::HashKey,
    limits,
    map::{dialog::buckets_for, settings::Settings},
};
use std::time::Duration;

/// Shortest tick unless a test shortens the lifetimes: 0.8 s, so that a tick is 0.8 to 1.6 s.
const TICK: Duration = Duration::from_millis(800);
/// Ticks in the shortest of shortened lifetimes, at least half of it.
const SHORTENED_TICKS: u32 = 50;

/// SETTINGS of a configuration, for a kernel of `hz` jiffies a second (CONFIG_HZ).
pub fn settings(config: &Config, hash_key: HashKey, hz: u32) -> Settings {
    let hz = hz.max(1);
    let dialogs = &config.dialogs;
    let tick_shift = tick_shift(dialogs, hz);
    let ticks = |lifetime: Duration| ticks(lifetime, tick_shift, hz);
    Settings {
        hash_key,
        zero: 0,
        abi: abi::ABI,
        tick_shift,
        unconfirmed_limit: dialogs.max / 2,
        unanswered_ticks: ticks(dialogs.unanswered),
        answered_ticks: ticks(dialogs.answered),
        ended_ticks: ticks(dialogs.ended),
        subscribed_ticks: ticks(dialogs.subscribed),
        bucket_mask: buckets_for(dialogs.max) - 1,
        sweep_buckets: sweep_buckets(dialogs, hz),
        next_hop_jiffies: hz,
        endpoints_version: 0,
        readable_from: abi::READABLE_FROM,
    }
}

/// Buckets to look at in each jiffy, so that the whole table is seen in [`limits::SWEEP_SECONDS`], or in a fourth of the
/// shortest lifetime if that was shortened.
fn sweep_buckets(dialogs: &Dialogs, hz: u32) -> u32 {
    let shortest = dialogs.lifetimes().into_iter().min().unwrap_or_default() / 4;
    let round = Duration::from_secs(limits::SWEEP_SECONDS.into());
    let round = if dialogs.shortened { round.min(shortest) } else { round };
    let each = u64::from(buckets_for(dialogs.max)).div_ceil(jiffies(round, hz).max(1));
    u32::try_from(each).unwrap_or(u32::MAX)
}

/// Jiffies of a tick as a power of two: the smallest tick of at least [`TICK`]. With shortened lifetimes the largest
/// that fits [`SHORTENED_TICKS`] times into the shortest of them, but never less than a jiffy.
fn tick_shift(dialogs: &Dialogs, hz: u32) -> u32 {
    let regular = jiffies(TICK, hz).max(1).next_power_of_two().ilog2();
    if !dialogs.shortened {
        return regular;
    }
    let shortest = dialogs.lifetimes().into_iter().min().unwrap_or(TICK);
    let wanted = (shortest.as_nanos() * u128::from(hz) / 1_000_000_000) as u64 / u64::from(SHORTENED_TICKS);
    wanted.max(1).ilog2().min(regular)
}

/// Ticks that surely last as long as `lifetime`. An age of n ticks says only that more than n - 1 have passed, hence
/// one more than fits.
fn ticks(lifetime: Duration, tick_shift: u32, hz: u32) -> u32 {
    u32::try_from(jiffies(lifetime, hz).div_ceil(1 << tick_shift) + 1).unwrap_or(u32::MAX)
}

/// Jiffies of a duration, rounded up.
fn jiffies(duration: Duration, hz: u32) -> u64 {
    u64::try_from((duration.as_nanos() * u128::from(hz)).div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "lifetimes_tests.rs"]
mod tests;
