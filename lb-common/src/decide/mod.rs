//! The steering decision.
