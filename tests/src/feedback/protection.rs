//! What protects calls from wrong decisions, each of which a run can do without: then a promise must break.
//!
//! What the core has as a number is switched off by that number, what it decides from by handing in something else.

use super::WARM_UP;
use sipsteer::{
    config::Probing,
    core::controller::{Pace, Tuning},
};
use std::time::Duration;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Small changes are not made.
    Hysteresis,
    /// Weights and limits fall by half in a second at most.
    SlowFall,
    /// They rise by a twentieth at most.
    SlowRise,
    /// A daemon that slept, or whose clock leapt, does not make up for it.
    LongestStep,
    /// Whoever comes up gets a tenth first.
    SlowStart,
    /// Nobody falls below a tenth.
    Floor,
    /// Whoever drained by a word gets no calls in the seconds after it.
    DrainHold,
    /// A sample that is too old is forgotten.
    AgeLimit,
    /// A sample that comes late does not replace a newer one.
    Order,
    /// A sample is compared with our calls of its moment, not with those of now.
    Moment,
    /// Our own calls are told from those of others.
    OwnCalls,
    /// Limits reach the tables.
    Limits,
    /// Operators' drains reach the tables.
    OperatorDrain,
    /// Whoever falls again and again stays down for longer.
    FlapDamping,
    /// One lost probe is none.
    Patience,
    /// Whoever answers calls is not cut off.
    SignOfLife,
    /// Calls that get no answer count, whatever probes say.
    SecondWitness,
    /// Silence of all at once is not believed.
    Doubt,
    /// A clock that goes back is one that stands still.
    SteadyClock,
}

/// All of them.
pub const PROTECTIONS: [Protection; 19] = [
    Protection::Hysteresis,
    Protection::SlowFall,
    Protection::SlowRise,
    Protection::LongestStep,
    Protection::SlowStart,
    Protection::Floor,
    Protection::DrainHold,
    Protection::AgeLimit,
    Protection::Order,
    Protection::Moment,
    Protection::OwnCalls,
    Protection::Limits,
    Protection::OperatorDrain,
    Protection::FlapDamping,
    Protection::Patience,
    Protection::SignOfLife,
    Protection::SecondWitness,
    Protection::Doubt,
    Protection::SteadyClock,
];

/// How the controller is set without one of them.
pub(super) fn tuning(without: Option<Protection>) -> Tuning {
    const MUCH: f64 = 1e9;
    let mut tuning = Tuning { warm_up: Duration::from_secs(WARM_UP), cpu_target: 0.8, pace: Pace::DEFAULT };
    match without {
        Some(Protection::Hysteresis) => tuning.pace.worth = 0.0,
        Some(Protection::SlowFall) => tuning.pace.down = MUCH,
        Some(Protection::SlowRise) => tuning.pace.up = MUCH,
        Some(Protection::LongestStep) => tuning.pace.longest_step = Duration::MAX,
        Some(Protection::SlowStart) => tuning.warm_up = Duration::ZERO,
        Some(Protection::Floor) => tuning.pace.floor = 0.0,
        Some(Protection::DrainHold) => tuning.pace.drained = Duration::ZERO,
        _ => {}
    }
    tuning
}

/// How backends are probed without one of them.
pub(super) fn probing(without: Option<Protection>) -> Probing {
    match without {
        Some(Protection::Patience) => Probing { fall: 1, ..Probing::DEFAULT },
        _ => Probing::DEFAULT,
    }
}
