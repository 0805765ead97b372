//! The pure core: what the tables in the kernel should hold, and how to get there. No input or output, no clock.
//!
//! * [`maglev`]: one zone's backends and their weights to 65,537 slots.
//! * [`wishes`]: what operators want beyond the [`crate::config::Config`]. * [`change`]: a change of that, in words.
//! * [`model`]: a configuration, what operators want and what probes saw, to the contents of the maps; `capacity` has the part
//!   about limits, zones and policies.
//! * [`standing`]: what was observed of a backend, and what it may carry for that reason; [`standings`]: of all of them;
//!   [`report`]: what a source says of one.
//! * [`health`]: probes and traffic to the health of a backend.
//! * [`controller`]: what sources say of backends, their health and our own calls, to what they may carry, and why.
//! * [`recount`]: what is counted of calls in progress, held against the dialogs.
//! * [`plan`]: the difference between two models, as map writes in a safe order and as a sentence for humans.
//! * [`lifetimes`]: durations to ticks of the kernel's clock. * [`steady`]: the clock whose moments are handed in.

mod capacity;
pub mod change;
pub mod controller;
pub mod health;
mod ids;
pub mod lifetimes;
pub mod maglev;
pub mod model;
pub mod plan;
pub mod recount;
pub mod report;
pub mod standing;
pub mod standings;
pub mod steady;
pub mod summary;
pub mod wishes;

#[cfg(test)]
mod examples;
