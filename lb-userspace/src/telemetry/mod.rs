//! What servers say of themselves: parsers that take any bytes and give a [`crate::core::report::Report`] or a reason, and
//! the sources that ask for it.
//!
//! * `exposition`, `selector`, `mapping`: pages of metrics as Prometheus scrapes them. * `agent`: the line of an agent beside
//!   the server. * `oc`: overload feedback in answers. * `heartbeat`: events of FreeSWITCH. * `push`: reports handed over by
//!   the API. * `number`: which numbers make sense.
//! * `source`: asking.

pub mod agent;
pub mod exposition;
pub mod heartbeat;
pub mod mapping;
mod number;
pub mod oc;
pub mod push;
pub mod selector;
pub mod source;
