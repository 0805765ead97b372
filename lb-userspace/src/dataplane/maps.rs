//! Typed handles for the pinned maps. They work from the pins alone, with or without a daemon.

use super::{adopt::map_failure, load::open_map, pins::PinDir};
use crate::{
    failure::{Failure, Kind, chain},
    fault::{self, Point},
};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, xdp::DevMapHash};
use lb_common::{
    limits,
    map::{
        backend::{Backend, BackendAddress, will},
        counters::{BackendCounter, Counter, ServiceCounter},
        dialog::{Bucket, Tally},
        expiry::Sweep,
        listener_index,
        load::Load,
        name,
        service::{Listener, Service, ServiceKey},
        settings::Settings,
        zone::{Members, Policy, Zone},
    },
    verdict::Verdict,
};
use std::collections::BTreeMap;

/// Handles for the maps that the daemon and the CLI use.
pub struct Maps {
    settings: Array<MapData, Settings>,
    services: HashMap<MapData, ServiceKey, Service>,
    listeners: Array<MapData, Listener>,
    backends: Array<MapData, Backend>,
    backend_addresses: HashMap<MapData, ServiceKey, BackendAddress>,
    backend_loads: Array<MapData, Load>,
    zone_loads: Array<MapData, Load>,
    zones: Array<MapData, Zone>,
    zone_members: Array<MapData, Members>,
    policies: Array<MapData, Policy>,
    pub(super) dialogs: Array<MapData, Bucket>,
    pub(super) tally: Array<MapData, Tally>,
    pub(super) sweep: Array<MapData, Sweep>,
    ports: DevMapHash<MapData>,
    verdicts: PerCpuArray<MapData, Counter>,
    backend_counters: PerCpuArray<MapData, BackendCounter>,
    service_counters: PerCpuArray<MapData, ServiceCounter>,
    write_errors: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Maps")
    }
}

fn open<T>(pins: &PinDir, name: &str) -> Result<T, Failure>
where
    T: TryFrom<Map, Error = MapError>,
{
    T::try_from(open_map(pins, name)?).map_err(|e| map_failure(&pins.map(name), e))
}

pub(super) fn cannot(what: &str, error: &MapError) -> Failure {
    Failure::bad("map_io", format!("cannot {what}: {}", chain(error)))
}

impl Maps {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// [`Kind::NotRunning`] when nothing is pinned, [`Kind::Permission`] when they may not be opened.
    pub fn open(pins: &PinDir) -> Result<Maps, Failure> {
        if pins.pinned_maps()?.is_empty() {
            return Err(not_running(pins));
        }
        Ok(Maps {
            settings: open(pins, name::SETTINGS)?,
            services: open(pins, name::SERVICES)?,
            listeners: open(pins, name::LISTENERS)?,
            backends: open(pins, name::BACKENDS)?,
            backend_addresses: open(pins, name::BACKEND_ADDRESSES)?,
            backend_loads: open(pins, name::BACKEND_LOADS)?,
            zone_loads: open(pins, name::ZONE_LOADS)?,
            zones: open(pins, name::ZONES)?,
            zone_members: open(pins, name::ZONE_MEMBERS)?,
            policies: open(pins, name::POLICIES)?,
            dialogs: open(pins, name::DIALOGS)?,
            tally: open(pins, name::DIALOG_TALLY)?,
            sweep: open(pins, name::SWEEP)?,
            ports: open(pins, name::PORTS)?,
            verdicts: open(pins, name::VERDICTS)?,
            backend_counters: open(pins, name::BACKEND_COUNTERS)?,
            service_counters: open(pins, name::SERVICE_COUNTERS)?,
            write_errors: open(pins, name::WRITE_ERRORS)?,
        })
    }

    /// SETTINGS.
    ///
    /// # Errors
    /// The kernel's.
    pub fn settings(&self) -> Result<Settings, Failure> {
        self.settings.get(&0, 0).map_err(|e| cannot("read SETTINGS", &e))
    }

    /// Writes SETTINGS. What the CPUs remember of addresses is out of date afterwards, whatever `settings` says.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<(), Failure> {
        let endpoints_version = self.settings()?.endpoints_version.wrapping_add(1);
        let settings = Settings { endpoints_version, ..*settings };
        self.settings.set(0, settings, 0).map_err(|e| cannot("write SETTINGS", &e))?;
        fault::pass(Point::SettingsWritten);
        Ok(())
    }

    /// Makes the CPUs forget what they remember of SERVICES and BACKEND_ADDRESSES; to be called after these changed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn forget_endpoints(&mut self) -> Result<(), Failure> {
        let settings = self.settings()?;
        self.set_settings(&settings)
    }

    /// All of SERVICES, in no order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn services(&self) -> Result<Vec<(ServiceKey, Service)>, Failure> {
        self.services.iter().collect::<Result<_, _>>().map_err(|e| cannot("read SERVICES", &e))
    }

    /// Writes an entry of SERVICES.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_service(&mut self, key: &ServiceKey, service: &Service) -> Result<(), Failure> {
        self.services.insert(key, service, 0).map_err(|e| cannot("write SERVICES", &e))
    }

    /// Removes an entry of SERVICES; one that is not there is fine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_service(&mut self, key: &ServiceKey) -> Result<(), Failure> {
        absent_is_fine(self.services.remove(key)).map_err(|e| cannot("write SERVICES", &e))
    }

    /// A service's listener.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listener(&self, service: u16, listener: u8) -> Result<Listener, Failure> {
        let index = listener_index(service.into(), listener.into());
        self.listeners.get(&index, 0).map_err(|e| cannot("read LISTENERS", &e))
    }

    /// Writes an entry of LISTENERS by its index.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_listener(&mut self, index: u32, listener: &Listener) -> Result<(), Failure> {
        self.listeners.set(index, listener, 0).map_err(|e| cannot("write LISTENERS", &e))
    }

    /// One backend; [`will::ABSENT`] where there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend(&self, id: u16) -> Result<Backend, Failure> {
        self.backends.get(&id.into(), 0).map_err(|e| cannot("read BACKENDS", &e))
    }

    /// All backends that are not absent, by id.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backends(&self) -> Result<BTreeMap<u16, Backend>, Failure> {
        let mut backends = BTreeMap::new();
        for id in 0..limits::MAX_BACKENDS as u16 {
            let backend = self.backend(id)?;
            if backend.will != will::ABSENT {
                backends.insert(id, backend);
            }
        }
        Ok(backends)
    }

    /// Writes one backend.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_backend(&mut self, id: u16, backend: &Backend) -> Result<(), Failure> {
        self.backends.set(id.into(), backend, 0).map_err(|e| cannot("write BACKENDS", &e))
    }

    /// All of BACKEND_ADDRESSES, in no order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend_addresses(&self) -> Result<Vec<(ServiceKey, BackendAddress)>, Failure> {
        self.backend_addresses
            .iter()
            .collect::<Result<_, _>>()
            .map_err(|e| cannot("read BACKEND_ADDRESSES", &e))
    }

    /// Writes an entry of BACKEND_ADDRESSES.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_backend_address(&mut self, key: &ServiceKey, value: &BackendAddress) -> Result<(), Failure> {
        self.backend_addresses.insert(key, value, 0).map_err(|e| cannot("write BACKEND_ADDRESSES", &e))
    }

    /// Removes an entry of BACKEND_ADDRESSES; one that is not there is fine.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_backend_address(&mut self, key: &ServiceKey) -> Result<(), Failure> {
        absent_is_fine(self.backend_addresses.remove(key)).map_err(|e| cannot("write BACKEND_ADDRESSES", &e))
    }

    /// What a backend carries now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend_load(&self, id: u16) -> Result<Load, Failure> {
        self.backend_loads.get(&id.into(), 0).map_err(|e| cannot("read BACKEND_LOADS", &e))
    }

    /// Sets what a backend carries: to nothing, for an id that is used anew. What the program counts meanwhile is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_backend_load(&mut self, id: u16, load: &Load) -> Result<(), Failure> {
        self.backend_loads.set(id.into(), load, 0).map_err(|e| cannot("write BACKEND_LOADS", &e))
    }

    /// What a zone carries now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn zone_load(&self, zone: u16) -> Result<Load, Failure> {
        self.zone_loads.get(&zone.into(), 0).map_err(|e| cannot("read ZONE_LOADS", &e))
    }

    /// Sets what a zone carries. What the program counts meanwhile is lost.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_zone_load(&mut self, zone: u16, load: &Load) -> Result<(), Failure> {
        self.zone_loads.set(zone.into(), load, 0).map_err(|e| cannot("write ZONE_LOADS", &e))
    }

    /// One zone; [`lb_common::map::zone::zone_will::ABSENT`] where there is none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn zone(&self, zone: u16) -> Result<Zone, Failure> {
        self.zones.get(&zone.into(), 0).map_err(|e| cannot("read ZONES", &e))
    }

    /// Writes one zone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_zone(&mut self, zone: u16, value: &Zone) -> Result<(), Failure> {
        self.zones.set(zone.into(), value, 0).map_err(|e| cannot("write ZONES", &e))
    }

    /// Ids of a zone's backends that take new calls, in order.
    ///
    /// # Errors
    /// The kernel's.
    pub fn zone_members(&self, zone: u16) -> Result<Vec<u16>, Failure> {
        let members = self.zone_members.get(&zone.into(), 0).map_err(|e| cannot("read ZONE_MEMBERS", &e))?;
        Ok(members.ids.into_iter().take(members.count as usize).collect())
    }

    /// Writes the ids of a zone's backends that take new calls; there are never more than fit.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_zone_members(&mut self, zone: u16, ids: &[u16]) -> Result<(), Failure> {
        let mut members = Members::default();
        for (slot, id) in members.ids.iter_mut().zip(ids) {
            *slot = *id;
            members.count += 1;
        }
        self.zone_members.set(zone.into(), members, 0).map_err(|e| cannot("write ZONE_MEMBERS", &e))
    }

    /// How a service chooses; no tiers where there is no such service.
    ///
    /// # Errors
    /// The kernel's.
    pub fn policy(&self, service: u16) -> Result<Policy, Failure> {
        self.policies.get(&service.into(), 0).map_err(|e| cannot("read POLICIES", &e))
    }

    /// Writes how a service chooses.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_policy(&mut self, service: u16, policy: &Policy) -> Result<(), Failure> {
        self.policies.set(service.into(), policy, 0).map_err(|e| cannot("write POLICIES", &e))
    }

    /// Makes PORTS hold exactly these interfaces.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_ports(&mut self, ifindexes: &[u32]) -> Result<(), Failure> {
        let present: Vec<u32> =
            self.ports.keys().collect::<Result<_, _>>().map_err(|e| cannot("read PORTS", &e))?;
        for ifindex in ifindexes {
            self.ports.insert(*ifindex, *ifindex, None, 0).map_err(|e| {
                Failure::bad("map_io", format!("cannot put interface {ifindex} into PORTS: {}", chain(&e)))
            })?;
        }
        fault::pass(Point::PortsAdded);
        for ifindex in present.into_iter().filter(|i| !ifindexes.contains(i)) {
            absent_is_fine(self.ports.remove(ifindex)).map_err(|e| cannot("write PORTS", &e))?;
        }
        Ok(())
    }

    /// A verdict's counter, summed over all CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn verdict(&self, verdict: Verdict) -> Result<(Counter, Vec<Counter>), Failure> {
        let values = self.verdicts.get(&verdict.index(), 0).map_err(|e| cannot("read VERDICTS", &e))?;
        let sum = sum(&values, |a, b| {
            a.packets += b.packets;
            a.bytes += b.bytes;
        });
        Ok((sum, values.to_vec()))
    }

    /// A backend's counter, summed over all CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend_counter(&self, id: u16) -> Result<BackendCounter, Failure> {
        let values =
            self.backend_counters.get(&id.into(), 0).map_err(|e| cannot("read BACKEND_COUNTERS", &e))?;
        Ok(sum(&values, |a, b| {
            a.packets += b.packets;
            a.bytes += b.bytes;
            a.reply_packets += b.reply_packets;
            a.reply_bytes += b.reply_bytes;
            a.calls += b.calls;
            a.unpinned += b.unpinned;
            a.answered += b.answered;
            a.transactions += b.transactions;
        }))
    }

    /// Sets a backend's counter to zero, for an id that is used anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear_backend_counter(&mut self, id: u16) -> Result<(), Failure> {
        let cannot = |e: MapError| cannot("write BACKEND_COUNTERS", &e);
        let cpus = self.backend_counters.get(&id.into(), 0).map_err(cannot)?.len();
        let zeros = PerCpuValues::try_from(vec![BackendCounter::default(); cpus])
            .map_err(|e| Failure::bad("map_io", format!("cannot count the CPUs: {e}")))?;
        self.backend_counters.set(id.into(), zeros, 0).map_err(cannot)
    }

    /// A service's counter, summed over all CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn service_counter(&self, service: u16) -> Result<ServiceCounter, Failure> {
        let values =
            self.service_counters.get(&service.into(), 0).map_err(|e| cannot("read SERVICE_COUNTERS", &e))?;
        Ok(sum(&values, |a, b| {
            a.packets += b.packets;
            a.bytes += b.bytes;
            for (a, b) in a.methods.iter_mut().zip(&b.methods) {
                *a += b;
            }
            a.spilled += b.spilled;
            a.overflowed += b.overflowed;
            a.redirected += b.redirected;
            a.refused_full += b.refused_full;
            a.refused_down += b.refused_down;
        }))
    }

    /// Error numbers of failed map writes in the kernel, with how often; without those that never happened.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write_errors(&self) -> Result<Vec<(u32, u64)>, Failure> {
        let mut errors = Vec::new();
        for errno in 0..limits::MAX_ERRNO {
            let values = self.write_errors.get(&errno, 0).map_err(|e| cannot("read WRITE_ERRORS", &e))?;
            let count: u64 = values.iter().sum();
            if count > 0 {
                errors.push((errno, count));
            }
        }
        Ok(errors)
    }
}

fn sum<T: aya::Pod + Default>(values: &PerCpuValues<T>, add: impl Fn(&mut T, &T)) -> T {
    let mut total = T::default();
    for value in values.iter() {
        add(&mut total, value);
    }
    total
}

fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Nothing is pinned.
pub fn not_running(pins: &PinDir) -> Failure {
    Failure::new(
        Kind::NotRunning,
        "not_running",
        format!("sipsteer is not attached: there are no maps in {}", pins.path().display()),
    )
    .remedy("start it with `sipsteer run` (or `systemctl start sipsteer`)")
}
