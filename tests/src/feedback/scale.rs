//! How large a run is: most are small, so that many can be run; some are as large as the tables let a node be.

use crate::simulation::Random;
use lb_common::limits::MAX_BACKENDS;

/// New calls per second and server, on the mean.
const CALLS_PER_SERVER: f64 = 12.0;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// Servers.
    pub(super) servers: u64,
    /// Seconds.
    pub(super) seconds: u64,
    /// Dialogs that the table has room for: so many more than there are that no dialog ever finds both of its buckets full.
    pub(super) dialogs: u32,
}

impl Scale {
    /// That of a seed, whose small runs last `seconds`.
    pub(super) fn of(seed: u64, seconds: u64, random: &mut Random) -> Scale {
        match seed {
            // Two million calls to as many servers as there can be.
            _ if seed % 512 == 256 => {
                Scale { servers: MAX_BACKENDS.into(), seconds: seconds / 4, dialogs: 1 << 22 }
            }
            _ if seed % 32 == 16 => {
                Scale { servers: 40 + random.below(120), seconds: seconds / 3, dialogs: 1 << 20 }
            }
            _ => Scale { servers: 4 + random.below(8), seconds, dialogs: 1 << 16 },
        }
    }

    /// New calls per second.
    pub(super) fn calls_per_second(&self) -> f64 {
        self.servers as f64 * CALLS_PER_SERVER
    }
}
