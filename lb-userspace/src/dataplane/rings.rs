//! RINGS: Maglev tables, each swapped in whole by one write.

use super::{
    adopt::map_failure,
    load::open_map,
    pins::{PinDir, unreadable},
    sys,
};
use crate::failure::{Failure, chain};
use aya::maps::{Array, MapData, MapError, of_maps::ArrayOfMaps};
use lb_common::{
    limits::RING_SLOTS,
    map::{name, ring_index},
};
use std::os::fd::{AsFd, OwnedFd};

/// A handle for RINGS.
pub struct Rings {
    rings: ArrayOfMaps<MapData, Array<MapData, u32>>,
    /// aya's handle hides its descriptor.
    fd: OwnedFd,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rings")
    }
}

fn cannot(what: &str, error: &MapError) -> Failure {
    Failure::bad("map_io", format!("cannot {what}: {}", chain(error)))
}

impl Rings {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// When it is not there or may not be opened.
    pub fn open(pins: &PinDir) -> Result<Rings, Failure> {
        let path = pins.map(name::RINGS);
        let rings = open_map(pins, name::RINGS)?;
        let rings = ArrayOfMaps::try_from(rings).map_err(|e| map_failure(&path, e))?;
        let fd = sys::object_get(&path).map_err(|e| unreadable(&path, &e))?;
        Ok(Rings { rings, fd })
    }

    /// Puts a table of [`RING_SLOTS`] backend ids in place at an index of [`lb_common::map::ring_index`]. Packets see
    /// the old table or the new one, never a mixture.
    ///
    /// # Errors
    /// When the table has another length, or the kernel's.
    pub fn set(&mut self, index: u32, table: &[u32]) -> Result<(), Failure> {
        if table.len() != RING_SLOTS as usize {
            let message = format!("a ring has {RING_SLOTS} slots, not {}", table.len());
            return Err(Failure::bad("ring_length", message));
        }
        let mut inner: Array<MapData, u32> =
            Array::create(RING_SLOTS, 0).map_err(|e| cannot("make a ring", &e))?;
        fill(&mut inner, table)?;
        self.rings.set(index, &inner, 0).map_err(|e| cannot("put a ring in place", &e))
    }

    /// Takes a ring away; none there is fine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&mut self, index: u32) -> Result<(), Failure> {
        sys::remove_map(self.fd.as_fd(), index)
            .map_err(|e| Failure::bad("map_io", format!("cannot remove a ring: {e}")))
    }

    /// Indices that hold a ring.
    ///
    /// # Errors
    /// The kernel's.
    pub fn present(&self) -> Result<Vec<u32>, Failure> {
        let mut present = Vec::new();
        for index in 0..self.rings.len() {
            let held = sys::holds_map(self.fd.as_fd(), index)
                .map_err(|e| Failure::bad("map_io", format!("cannot read RINGS: {e}")))?;
            if held {
                present.push(index);
            }
        }
        Ok(present)
    }

    /// The backend id in one slot of a ring; None where the service has no such tier. Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// The kernel's.
    pub fn slot(&self, service: u16, tier: u32, slot: u32) -> Result<Option<u32>, Failure> {
        match self.rings.get(&ring_index(service.into(), tier), 0) {
            Ok(ring) => ring.get(&slot, 0).map(Some).map_err(|e| cannot("read a ring", &e)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(e) => Err(cannot("read RINGS", &e)),
        }
    }
}

/// Fills a table with one call, or slot by slot where the kernel cannot.
fn fill(inner: &mut Array<MapData, u32>, table: &[u32]) -> Result<(), Failure> {
    let slots: Vec<u32> = (0..RING_SLOTS).collect();
    let data: &MapData = aya::maps::IterableMap::map(&*inner);
    match sys::update_batch(data.fd().as_fd(), &slots, table) {
        Ok(()) => return Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {}
        Err(e) => return Err(Failure::bad("map_io", format!("cannot fill a ring: {e}"))),
    }
    for (slot, backend) in slots.into_iter().zip(table) {
        inner.set(slot, backend, 0).map_err(|e| cannot("fill a ring", &e))?;
    }
    Ok(())
}
