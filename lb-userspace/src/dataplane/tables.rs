//! The maps as a whole: what stands in them, and a plan's writes carried out.

use super::{maps::Maps, pins::PinDir, rings::Rings};
use crate::{
    core::{model::Found, plan::Write},
    failure::Failure,
    fault::{self, Point},
};
use lb_common::{
    limits,
    map::{
        backend::{Backend, NextHop, will},
        listener_index,
        load::Load,
        service::Listener,
        zone::{Policy, Zone, zone_will},
    },
};

/// All maps of the daemon.
#[derive(Debug)]
pub struct Tables {
    /// Those with entries.
    pub maps: Maps,
    /// The rings.
    pub rings: Rings,
}

impl Tables {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// As [`Maps::open`].
    pub fn open(pins: &PinDir) -> Result<Tables, Failure> {
        Ok(Tables { maps: Maps::open(pins)?, rings: Rings::open(pins)? })
    }

    /// What stands in the maps.
    ///
    /// # Errors
    /// The kernel's.
    pub fn found(&self) -> Result<Found, Failure> {
        let mut listeners = Vec::new();
        for service in 0..limits::MAX_SERVICES as u16 {
            for number in 0..limits::MAX_LISTENERS as u8 {
                let index = listener_index(service.into(), number.into());
                listeners.push((index, self.maps.listener(service, number)?));
            }
        }
        Ok(Found {
            services: self.maps.services()?,
            listeners,
            backends: self.maps.backends()?.into_iter().collect(),
            backend_addresses: self.maps.backend_addresses()?,
            zones: self.found_zones()?,
            policies: (0..limits::MAX_SERVICES as u16)
                .map(|service| Ok((service, self.maps.policy(service)?)))
                .collect::<Result<_, Failure>>()?,
            rings: self.rings.present()?,
        })
    }

    fn found_zones(&self) -> Result<Vec<(u16, Zone, Vec<u16>)>, Failure> {
        let zones = 0..limits::MAX_ZONES as u16;
        zones.map(|id| Ok((id, self.maps.zone(id)?, self.maps.zone_members(id)?))).collect()
    }

    /// Carries out the writes of a plan, in order.
    ///
    /// # Errors
    /// The kernel's, at the first write that fails: those before it are done and stay usable.
    pub fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        for write in writes {
            self.write(write)?;
            fault::pass(Point::PlanWrite);
        }
        fault::pass(Point::PlanWritten);
        let addresses = |write: &Write| {
            matches!(
                write,
                Write::PutService(..)
                    | Write::RemoveService(..)
                    | Write::PutBackendAddress(..)
                    | Write::RemoveBackendAddress(..)
            )
        };
        if writes.iter().any(addresses) { self.maps.forget_endpoints() } else { Ok(()) }
    }

    fn write(&mut self, write: &Write) -> Result<(), Failure> {
        match write {
            Write::PutBackend(id, backend) => self.put_backend(*id, *backend),
            Write::PutListener(index, listener) => self.maps.set_listener(*index, listener),
            Write::PutBackendAddress(key, value) => self.maps.set_backend_address(key, value),
            Write::PutZone(id, zone) => self.put_zone(*id, zone),
            Write::PutMembers(id, ids) => self.maps.set_zone_members(*id, ids),
            Write::PutPolicy(id, policy) => self.maps.set_policy(*id, policy),
            Write::PutRing(index, slots) => self.rings.set(*index, slots),
            Write::PutService(key, service) => self.maps.set_service(key, service),
            Write::RemoveService(key) => self.maps.remove_service(key),
            Write::RemoveBackendAddress(key) => self.maps.remove_backend_address(key),
            Write::RemoveRing(index) => self.rings.remove(*index),
            Write::ClearPolicy(id) => self.maps.set_policy(*id, &Policy::default()),
            Write::ClearZone(id) => {
                self.maps.set_zone(*id, &Zone::default())?;
                self.maps.set_zone_members(*id, &[])
            }
            Write::ClearListener(index) => self.maps.set_listener(*index, &Listener::default()),
            Write::ClearBackend(id) => self.maps.set_backend(*id, &Backend::default()),
        }
    }

    /// Writes a backend, whose next hop stays if its address does. A backend that comes to an id starts to count at 0.
    fn put_backend(&mut self, id: u16, backend: Backend) -> Result<(), Failure> {
        let before = self.maps.backend(id)?;
        if before.will == will::ABSENT {
            self.maps.clear_backend_counter(id)?;
            self.maps.set_backend_load(id, &Load::default())?;
            fault::pass(Point::BackendCleared);
        }
        let stays = before.will != will::ABSENT && before.address == backend.address;
        let next_hop = if stays { before.next_hop } else { NextHop::default() };
        self.maps.set_backend(id, &Backend { next_hop, ..backend })
    }

    /// Writes a zone. One that comes to a number starts to count at 0.
    fn put_zone(&mut self, id: u16, zone: &Zone) -> Result<(), Failure> {
        if self.maps.zone(id)?.will == zone_will::ABSENT {
            self.maps.set_zone_load(id, &Load::default())?;
        }
        self.maps.set_zone(id, zone)
    }

    /// Writes a backend's next hop; none if it is not resolved.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_next_hop(&mut self, id: u16, next_hop: Option<NextHop>) -> Result<(), Failure> {
        let backend = self.maps.backend(id)?;
        if backend.will == will::ABSENT {
            return Ok(());
        }
        self.maps.set_backend(id, &Backend { next_hop: next_hop.unwrap_or_default(), ..backend })?;
        fault::pass(Point::NextHopWritten);
        Ok(())
    }
}
