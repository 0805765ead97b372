//! RINGS: Maglev tables, each swapped in whole by one write.

use super::{
    adopt::map_failure,
    load::open_map,
    pins::{PinDir, unreadable},
    sys,
};
use crate::{
    failure::{Failure, chain},
    fault::{self, Point},
};
use aya::maps::{Array, MapData, MapError, of_maps::ArrayOfMaps};
use lb_common::{
    limits::RING_SLOTS,
    map::{name, ring::Ring, ring_index},
};
use std::os::fd::{AsFd, OwnedFd};

/// A handle for RINGS.
pub struct Rings {
    rings: ArrayOfMaps<MapData, Array<MapData, Ring>>,
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
        let mut ring = Box::new(Ring::EMPTY);
        if table.len() != ring.slots.len() {
            let message = format!("a ring has {RING_SLOTS} slots, not {}", table.len());
            return Err(Failure::bad("ring_length", message));
        }
        for (slot, backend) in ring.slots.iter_mut().zip(table) {
            *slot = u16::try_from(*backend)
                .map_err(|_| Failure::bad("ring_backend", format!("{backend} is no backend's id")))?;
        }
        let mut inner: Array<MapData, Ring> = Array::create(1, 0).map_err(|e| cannot("make a ring", &e))?;
        inner.set(0, *ring, 0).map_err(|e| cannot("fill a ring", &e))?;
        fault::pass(Point::RingFilled);
        self.rings.set(index, &inner, 0).map_err(|e| cannot("put a ring in place", &e))?;
        fault::pass(Point::RingSwapped);
        Ok(())
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
    pub fn slot(&self, service: u16, tier: u32, slot: u32) -> Result<Option<u16>, Failure> {
        match self.rings.get(&ring_index(service.into(), tier), 0) {
            Ok(ring) => {
                let ring = ring.get(&0, 0).map_err(|e| cannot("read a ring", &e))?;
                Ok(ring.slots.get(slot as usize).copied())
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(e) => Err(cannot("read RINGS", &e)),
        }
    }
}
