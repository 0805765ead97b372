//! Test support.

pub mod agreement;
pub mod corpus;
pub mod messages;
pub mod privilege;
pub mod probes;

pub use sipsteer::reference;
