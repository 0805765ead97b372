//! The stages of a packet's way, in their order.

pub mod forward;
pub mod inspect;
pub mod parse;
pub mod route;
