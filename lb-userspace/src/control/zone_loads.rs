//! ZONE_LOADS: the calls in progress of a zone are those of its backends. The program counts both, and a backend that
//! comes to another zone, or leaves an id with calls that never ended, makes them differ.

use super::daemon::Daemon;
use crate::{
    failure::Failure,
    fault::{self, Point},
};
use lb_common::map::load::Load;
use std::collections::BTreeMap;

impl Daemon {
    /// Sets zones right that do not carry what their backends do. Calls that come and go meanwhile may be missed by a few,
    /// which the next look sets right.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn correct_zone_loads(&mut self) -> Result<(), Failure> {
        let before = self.channels_by_zone()?;
        let mut loads = Vec::new();
        for zone in self.model.zones.keys() {
            loads.push((*zone, self.tables.maps.zone_load(*zone)?));
        }
        let after = self.channels_by_zone()?;
        for (zone, load) in loads {
            let of = |sums: &BTreeMap<u16, u64>| sums.get(&zone).copied().unwrap_or_default();
            if let Some(channels) = corrected(of(&before), load.in_progress(), of(&after)) {
                tracing::debug!("zone number {zone}: {} calls in progress, not {}", channels, load.channels);
                self.tables.maps.set_zone_load(zone, &Load { channels, ..load })?;
                fault::pass(Point::ZoneCorrected);
            }
        }
        Ok(())
    }

    fn channels_by_zone(&self) -> Result<BTreeMap<u16, u64>, Failure> {
        let mut sums = BTreeMap::new();
        for (id, backend) in &self.model.backends {
            *sums.entry(backend.zone).or_default() += self.tables.maps.backend_load(*id)?.in_progress();
        }
        Ok(sums)
    }
}

/// What a zone should count, if it does not lie between the sums of its backends before and after it was read.
fn corrected(before: u64, zone: u64, after: u64) -> Option<u64> {
    let plausible = before.min(after)..=before.max(after);
    (!plausible.contains(&zone)).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_call_explains_is_corrected() {
        assert_eq!(corrected(5, 5, 5), None);
        assert_eq!(corrected(5, 6, 7), None);
        assert_eq!(corrected(7, 6, 5), None);
        assert_eq!(corrected(5, 4, 7), Some(7));
        assert_eq!(corrected(5, 8, 7), Some(7));
        assert_eq!(corrected(0, 3, 0), Some(0));
    }
}
