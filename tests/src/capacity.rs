//! Stories about capacity: backends with limits, and calls that ask for their channels.

use crate::{
    memory::NO_LIMITS,
    story::{Story, message, request, settings},
};
use lb_common::{
    limits::MAX_TIERS,
    map::{
        backend::{Limits, UNLIMITED},
        settings::Settings,
        zone::{Policy, choice},
    },
    sip::{Kind, Method},
    verdict::Verdict,
};

/// The To tag of every answer.
pub const TAG: u32 = 0x7a6;
/// Nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// Keys that lie anywhere on the ring.
pub fn key(n: u64) -> u64 {
    let x = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// So many calls in progress and no more.
pub fn channels(max_channels: u32) -> Limits {
    let capacity_channels = if max_channels == UNLIMITED { 1000 } else { max_channels };
    Limits { max_channels, capacity_channels, ..NO_LIMITS }
}

/// So many calls per second, with so many early.
pub fn pace(max_cps: u32, burst: u32) -> Limits {
    Limits { max_cps, burst, interval_ns: 1_000_000_000u32.div_ceil(max_cps), ..NO_LIMITS }
}

/// A policy with one tier.
pub fn policy(choice: u8) -> Policy {
    Policy { tiers: 1, target: 1024, choice, ..Policy::default() }
}

/// A policy with tiers of these zones, in order.
pub fn tiers(of: &[u16]) -> Policy {
    let mut zones = [0; MAX_TIERS as usize];
    zones[..of.len()].copy_from_slice(of);
    Policy { tiers: of.len() as u8, zones, ..policy(choice::CONSISTENT) }
}

/// Service 0 with backends of these limits, ids from 0, in turn on its ring.
pub fn with_limits(limits: &[Limits]) -> Story {
    let story = Story {
        sees_answers: true,
        ..Story::with(Settings { unconfirmed_limit: 100_000, ..settings() }, 4096)
    };
    let backends: Vec<(u16, Limits)> = (0..).zip(limits.iter().copied()).collect();
    story.tables.add_zone(0, &backends);
    story.tables.set_ring(0, 0, &(0..limits.len() as u16).collect::<Vec<_>>());
    story
}

/// A new call's INVITE.
pub fn invites(story: &Story, n: u64) -> (Verdict, u16) {
    let steering = story.arrives(request(Method::Invite, key(n)));
    (steering.verdict, steering.backend)
}

/// An answer of a backend to the INVITE of a call.
pub fn answers(story: &Story, backend: u16, n: u64, code: u16) {
    story.leaves(backend, &[0], message(Kind::Response(code), key(n)).to_tag(TAG));
}

/// Calls in progress at a backend, and at its zone; what is below zero shows.
pub fn carried(story: &Story, backend: u16) -> u64 {
    story.tables.load_of(backend).channels
}

/// Channels are the dialogs in progress, at each backend and in its zone.
pub fn adds_up(story: &Story, backends: u16, zone: u16) {
    adds_up_beside(story, backends, zone, 0);
}

/// Channels are the dialogs in progress, and as many more at each backend as are `held` without a dialog.
pub fn adds_up_beside(story: &Story, backends: u16, zone: u16, held: u64) {
    let mut sum = 0;
    for id in 0..backends {
        let dialogs = story.tables.dialogs();
        let calls = dialogs.iter().filter(|(_, d)| d.state.backend == id && d.state.holds_channel());
        assert_eq!(carried(story, id), held + calls.count() as u64, "backend {id}");
        sum += carried(story, id);
    }
    assert_eq!(story.tables.load_of_zone(zone).channels, sum);
}
