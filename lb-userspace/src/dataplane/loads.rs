//! How backends and zones stand: typed handles for the maps of capacity, to read; and the word by which the daemon says that it
//! answers.

use super::{
    adopt::map_failure,
    load::open_map,
    pins::PinDir,
    sys::{self, Cursor},
};
use crate::failure::{Failure, chain};
use aya::maps::{Array, IterableMap, MapData, MapError};
use lb_common::{
    limits,
    map::{
        backend::{Backend, will},
        load::Load,
        name,
        settings::SlowPath,
        zone::{Members, Policy, Zone},
    },
};
use std::os::fd::AsFd;

/// Handles for POLICIES, ZONES, ZONE_MEMBERS, BACKENDS, BACKEND_LOADS and SLOW_PATH.
pub struct Loads {
    policies: Array<MapData, Policy>,
    zones: Array<MapData, Zone>,
    members: Array<MapData, Members>,
    backends: Array<MapData, Backend>,
    loads: Array<MapData, Load>,
    slow_path: Array<MapData, SlowPath>,
}

impl std::fmt::Debug for Loads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loads")
    }
}

fn open<V: aya::Pod>(pins: &PinDir, name: &str) -> Result<Array<MapData, V>, Failure> {
    Array::try_from(open_map(pins, name)?).map_err(|e| map_failure(&pins.map(name), e))
}

fn read<V: aya::Pod>(map: &Array<MapData, V>, index: u32, name: &str) -> Result<V, Failure> {
    map.get(&index, 0).map_err(|e| cannot(&format!("read {name}"), &e))
}

fn cannot(what: &str, error: &MapError) -> Failure {
    Failure::bad("map_io", format!("cannot {what}: {}", chain(error)))
}

impl Loads {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// When one is not there or may not be opened.
    pub fn open(pins: &PinDir) -> Result<Loads, Failure> {
        Ok(Loads {
            policies: open(pins, name::POLICIES)?,
            zones: open(pins, name::ZONES)?,
            members: open(pins, name::ZONE_MEMBERS)?,
            backends: open(pins, name::BACKENDS)?,
            loads: open(pins, name::BACKEND_LOADS)?,
            slow_path: open(pins, name::SLOW_PATH)?,
        })
    }

    /// How a service chooses; of no tiers where there is no such service.
    ///
    /// # Errors
    /// The kernel's.
    pub fn policy(&self, service: u16) -> Result<Policy, Failure> {
        read(&self.policies, service.into(), name::POLICIES)
    }

    /// A zone by its number; [`lb_common::map::zone::zone_will::ABSENT`] where there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn zone(&self, zone: u16) -> Result<Zone, Failure> {
        read(&self.zones, zone.into(), name::ZONES)
    }

    /// Ids of a zone's backends that take calls, in the order of the configuration.
    ///
    /// # Errors
    /// The kernel's.
    pub fn members(&self, zone: u16) -> Result<Vec<u16>, Failure> {
        let members = read(&self.members, zone.into(), name::ZONE_MEMBERS)?;
        Ok(members.ids.into_iter().take(members.count as usize).collect())
    }

    /// A backend and what it carries.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend(&self, id: u16) -> Result<(Backend, Load), Failure> {
        let backend = read(&self.backends, id.into(), name::BACKENDS)?;
        Ok((backend, read(&self.loads, id.into(), name::BACKEND_LOADS)?))
    }

    /// All backends of a zone that are in the configuration, those that take no calls included.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all_of_zone(&self, zone: u16) -> Result<Vec<Backend>, Failure> {
        let data: &MapData = IterableMap::map(&self.backends);
        let mut ids = vec![0_u32; limits::MAX_BACKENDS as usize];
        let mut backends = vec![Backend::default(); limits::MAX_BACKENDS as usize];
        let (count, _) =
            sys::lookup_batch(data.fd().as_fd(), &mut Cursor::default(), &mut ids, &mut backends)
                .map_err(|e| Failure::bad("map_io", format!("cannot read BACKENDS: {e}")))?;
        backends.truncate(count);
        backends.retain(|b| b.zone == zone && b.will != will::ABSENT && b.will != will::REMOVED);
        Ok(backends)
    }

    /// Tells the program until when the daemon answers, in monotonic nanoseconds.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_answers_until(&mut self, answers_until: u64) -> Result<(), Failure> {
        let value = SlowPath { answers_until };
        self.slow_path.set(0, value, 0).map_err(|e| cannot("write SLOW_PATH", &e))
    }

    /// Until when the daemon answers, in monotonic nanoseconds.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answers_until(&self) -> Result<u64, Failure> {
        Ok(read(&self.slow_path, 0, name::SLOW_PATH)?.answers_until)
    }
}
