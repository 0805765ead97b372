//! Test support: the program in the kernel without a network ([`bench`]), packets ([`packet`]), tables in plain memory
//! ([`memory`]), and what happens at them ([`story`]).

pub mod bench;
pub mod memory;
pub mod packet;
pub mod probes;
pub mod race;
pub mod story;
