//! sipsteer: the library behind the binary.

pub mod config;
pub mod core;
pub mod dataplane;
pub mod failure;

pub use dataplane::OBJECT;
