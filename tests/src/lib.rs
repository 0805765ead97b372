//! Test support.

pub mod probes;
