//! Test support.

pub mod agreement;
pub mod messages;
pub mod probes;

pub use sipsteer::reference;
