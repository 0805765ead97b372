//! ZONE_LOADS: the calls in progress of a zone are those of its backends. The program counts both, and a backend that
//! comes to another zone, or leaves an id with calls that never ended, makes them differ.

use super::daemon::Daemon;
use crate::{
    core::recount::{Counted, Look, Owner},
    failure::Failure,
};
use std::collections::BTreeMap;

impl Daemon {
    /// Sets zones right that do not carry what their backends do. Calls that come and go meanwhile may be missed by a few,
    /// which a recount of the dialogs sets right.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn correct_zone_loads(&self) -> Result<(), Failure> {
        let mut looks = BTreeMap::new();
        for zone in self.model.zones.keys() {
            looks.insert(*zone, Look { before: self.counted_by_zone(*zone)?, ..Look::default() });
        }
        for (id, backend) in &self.model.backends {
            if let Some(look) = looks.get_mut(&backend.zone) {
                look.held += self.tables.maps.backend_load(*id)?.in_progress();
            }
        }
        for (zone, look) in &mut looks {
            look.after = self.counted_by_zone(*zone)?;
        }
        for (zone, look) in looks {
            let excess = look.certain_excess();
            if excess != 0 {
                tracing::debug!("zone number {zone}: {excess} calls more in progress than at its backends");
                self.correct_channels(Owner::Zone(zone), -excess)?;
            }
        }
        Ok(())
    }

    fn counted_by_zone(&self, zone: u16) -> Result<Counted, Failure> {
        Ok((&self.tables.maps.zone_load(zone)?).into())
    }
}
