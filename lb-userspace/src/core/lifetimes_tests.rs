//! Lifetimes in ticks, for every clock a kernel may have.

use super::settings;
use crate::{
    config::{self, Config, Dialogs},
    core::examples::simple,
};
use lb_common::{abi, hash::HashKey, limits, map::settings::Settings};
use proptest::prelude::*;
use std::time::Duration;

/// The values of CONFIG_HZ.
const CLOCKS: [u32; 4] = [100, 250, 300, 1000];

fn with(dialogs: Dialogs) -> Config {
    Config { dialogs, ..simple(1) }
}

/// An age of `ticks` is reached no sooner than after the lifetime, and no later than three ticks after it: one for the
/// fraction, one for the tick in which the dialog was seen, one for the jiffy that is rounded up.
fn assert_lasts(ticks: u32, lifetime: Duration, shift: u32, hz: u32) {
    // Both sides in jiffies times 10^9, without rounding.
    let age = |ticks: u32| (u128::from(ticks) << shift) * 1_000_000_000;
    let lifetime = lifetime.as_nanos() * u128::from(hz);
    assert!(age(ticks - 1) >= lifetime, "{ticks} ticks of 2^{shift}/{hz} s are less than {lifetime}");
    assert!(age(ticks) <= lifetime + age(3), "{ticks} ticks of 2^{shift}/{hz} s are more than {lifetime}");
}

fn assert_all_last(dialogs: &Dialogs, settings: &Settings, hz: u32) {
    let lasts = |ticks, lifetime| assert_lasts(ticks, lifetime, settings.tick_shift, hz);
    lasts(settings.ended_ticks, dialogs.ended);
    lasts(settings.unanswered_ticks, dialogs.unanswered);
    lasts(settings.answered_ticks, dialogs.answered);
    lasts(settings.subscribed_ticks, dialogs.subscribed);
    // Ages are told apart in 16 bits, with a tenth to spare.
    let longest = settings.answered_ticks.max(settings.subscribed_ticks).max(settings.unanswered_ticks);
    assert!(longest < 65_536 / 10 * 9, "{longest}");
}

#[test]
fn a_tick_is_the_shortest_of_at_least_800_ms() {
    let shifts = CLOCKS.map(|hz| settings(&simple(1), HashKey::default(), hz).tick_shift);
    // 1.28 s, 1.024 s, 0.853 s, 1.024 s.
    assert_eq!(shifts, [7, 8, 8, 10]);
}

#[test]
fn the_defaults_last_as_long_as_they_say() {
    for hz in CLOCKS {
        let settings = settings(&simple(1), HashKey { k0: 1, k1: 2 }, hz);
        assert_all_last(&Dialogs::default(), &settings, hz);
        assert_eq!(settings.next_hop_jiffies, hz);
        assert_eq!(settings.unconfirmed_limit, limits::MAX_DIALOGS / 2);
        assert_eq!(settings.bucket_mask + 1, limits::MAX_DIALOGS / 2);
        // All buckets in two minutes.
        let round = f64::from(settings.bucket_mask + 1) / f64::from(settings.sweep_buckets * hz);
        // Whole buckets a jiffy: up to a fifth sooner at 1,000 Hz.
        assert!(round > 0.8 * f64::from(limits::SWEEP_SECONDS), "{round} s");
        assert!(round <= f64::from(limits::SWEEP_SECONDS), "{round} s");
        assert_eq!((settings.abi, settings.zero, settings.hash_key), (abi::ABI, 0, HashKey { k0: 1, k1: 2 }));
    }
}

#[test]
fn the_longest_lifetime_fits_every_clock() {
    let longest = Duration::from_secs(limits::MAX_LIFETIME_SECONDS.into());
    let dialogs = Dialogs { answered: longest, subscribed: longest, ..Dialogs::default() };
    for hz in CLOCKS {
        assert_all_last(&dialogs, &settings(&with(dialogs.clone()), HashKey::default(), hz), hz);
    }
}

#[test]
fn shortened_lifetimes_have_some_fifty_ticks() {
    let seconds = Duration::from_secs;
    let dialogs = Dialogs {
        ended: seconds(1),
        unanswered: seconds(2),
        answered: seconds(5),
        subscribed: seconds(5),
        shortened: true,
        ..Dialogs::default()
    };
    // Ticks of 16 ms with 250 Hz: 1 s is 62.5 of them, and one more.
    let settings = settings(&with(dialogs.clone()), HashKey::default(), 250);
    assert_eq!((settings.tick_shift, settings.ended_ticks), (2, 64));
    assert_all_last(&dialogs, &settings, 250);
}

/// `[dialogs]` with these lifetimes in milliseconds, if the configuration takes them.
fn shortened(ended: u64, [unanswered, answered, subscribed]: [u64; 3]) -> Option<Dialogs> {
    let text = format!(
        "[node]\nname='lb1'\ninterfaces=['eth0']\n[[service]]\nname='s'\nlisten=['203.0.113.10:5060/udp']\nzones=['uk']\n\
         [[backend]]\nname='b'\nzone='uk'\naddress='10.0.0.1:5060'\n[dialogs]\nshortened=true\nended='{ended}ms'\n\
         unanswered='{unanswered}ms'\nanswered='{answered}ms'\nsubscribed='{subscribed}ms'\n"
    );
    config::parse(&text, "f.toml").ok().map(|loaded| loaded.config.dialogs)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_configuration_takes_fits(
        ended in 100_u64..120_000,
        factors in prop::array::uniform3(1_u64..=500),
        hz in prop::sample::select(CLOCKS.to_vec()),
    ) {
        let lifetimes = factors.map(|factor| (ended * factor).min(47_000_000));
        let dialogs = shortened(ended, lifetimes).expect("within bounds");
        assert_all_last(&dialogs, &settings(&with(dialogs.clone()), HashKey::default(), hz), hz);
    }
}

#[test]
fn what_would_not_fit_is_refused() {
    assert!(shortened(1000, [1000, 500_000, 1000]).is_some());
    assert!(shortened(1000, [1000, 500_001, 1000]).is_none());
}
