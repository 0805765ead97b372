//! sipsteer: the library behind the binary.
//!
//! * [`config`]: a file to a valid configuration. * [`core`]: pure: what the maps should hold and how to get there.
//! * [`dataplane`]: the only door to the kernel. * [`control`]: the daemon. * [`view`]: what people look at.
//! * [`cli`]: the commands. * [`failure`]: what went wrong and what to do. * [`reference`](mod@reference): SIP, read slowly.
//! * [`slowpath`]: answers of the balancer itself. * [`probe`]: asks backends how they are.
//! * [`telemetry`]: what servers say of themselves. * `tls`: whose certificates count.
//! * [`fault`]: where tests have us die. * [`wall`]: the time of day.

pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod dataplane;
pub mod failure;
pub mod fault;
pub mod probe;
pub mod reference;
pub mod slowpath;
pub mod telemetry;
mod tls;
pub mod view;
pub mod wall;

pub use dataplane::OBJECT;
