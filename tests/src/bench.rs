//! The program in the kernel, without a network: maps filled by hand, packets by BPF_PROG_TEST_RUN.

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader, TestRunOptions, VerifierLogLevel,
    maps::{Array, HashMap, MapData, PerCpuArray, of_maps::ArrayOfMaps, xdp::DevMapHash},
    programs::{TestRun, Xdp},
};
use lb_common::{
    hash::HashKey,
    limits,
    map::{
        backend::{Backend, BackendAddress, Limits, NextHop, UNLIMITED, health, padded_name, will},
        counters::{BackendCounter, Counter},
        dialog::{Bucket, Dialog, DialogKey, Tally, buckets_for},
        expiry::Sweep,
        listener_index,
        load::Load,
        name,
        ring::Ring,
        ring_index,
        service::{Listener, Service, ServiceKey, forwarding},
        settings::{Settings, SlowPath},
        zone::{Members, Policy, Zone, zone_will},
    },
    verdict::Verdict,
};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, SocketAddrV4},
};

/// XDP's return codes.
pub mod action {
    /// XDP_DROP.
    pub const DROP: u32 = 1;
    /// XDP_PASS.
    pub const PASS: u32 = 2;
    /// XDP_TX.
    pub const TX: u32 = 3;
    /// XDP_REDIRECT.
    pub const REDIRECT: u32 = 4;
}

/// Interface that BPF_PROG_TEST_RUN says packets come from.
pub const LOOPBACK: u32 = 1;
/// The hash key of the bench.
pub const HASH_KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

/// The loaded object.
pub struct Bench {
    /// aya's view of it.
    pub ebpf: Ebpf,
    /// The table's, whatever settings are written.
    bucket_mask: u32,
    /// Keeps the rings' inner maps alive for this process.
    rings: Vec<Array<MapData, Ring>>,
}

/// Result of one run.
pub struct Outcome {
    /// XDP action.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// Lifetimes as in production, at one second a tick.
pub fn settings() -> Settings {
    Settings {
        hash_key: HASH_KEY,
        abi: lb_common::abi::ABI,
        tick_shift: 10,
        unconfirmed_limit: limits::MAX_DIALOGS / 2,
        unanswered_ticks: limits::LIFETIME_UNANSWERED_SECONDS,
        answered_ticks: limits::LIFETIME_ANSWERED_SECONDS,
        ended_ticks: limits::LIFETIME_ENDED_SECONDS,
        subscribed_ticks: limits::LIFETIME_SUBSCRIBED_SECONDS,
        bucket_mask: buckets_for(limits::MAX_DIALOGS) - 1,
        next_hop_jiffies: 250,
        ..Settings::default()
    }
}

impl Bench {
    /// Loads an object with a dialog table for `dialogs` dialogs.
    pub fn load(object: &[u8], dialogs: u32) -> Result<Bench> {
        let ebpf = EbpfLoader::new()
            .verifier_log_level(if std::env::var_os("SIPSTEER_VERIFIER").is_some() {
                VerifierLogLevel::VERBOSE | VerifierLogLevel::STATS
            } else {
                VerifierLogLevel::STATS
            })
            .map_max_entries(name::DIALOGS, buckets_for(dialogs))
            .load(object)
            .context("the object was not loaded: this needs root and a kernel with BTF")?;
        let mut bench = Bench { ebpf, rings: Vec::new(), bucket_mask: buckets_for(dialogs) - 1 };
        bench.set_settings(&settings())?;
        Ok(bench)
    }

    /// Loads a program into the kernel.
    pub fn program(&mut self, program: &str) -> Result<&mut Xdp> {
        let xdp: &mut Xdp =
            self.ebpf.program_mut(program).with_context(|| format!("no program {program}"))?.try_into()?;
        if xdp.fd().is_err() {
            xdp.load()?;
        }
        Ok(xdp)
    }

    /// Runs a program once on a packet.
    pub fn run(&mut self, program: &str, packet: &[u8]) -> Result<Outcome> {
        let mut frame = vec![0; packet.len() + 64];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut frame),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = self.program(program)?.test_run(options)?;
        let (action, length) = (result.return_value, result.data_size_out as usize);
        frame.truncate(length);
        Ok(Outcome { action, frame })
    }

    /// A map by name, as one of aya's typed maps.
    fn map_mut(&mut self, map: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(map).with_context(|| format!("no map {map}"))
    }

    fn map(&self, map: &str) -> Result<&aya::maps::Map> {
        self.ebpf.map(map).with_context(|| format!("no map {map}"))
    }

    /// Writes SETTINGS, with the mask of this table.
    pub fn set_settings(&mut self, settings: &Settings) -> Result<()> {
        let settings = &Settings { bucket_mask: self.bucket_mask, ..*settings };
        Ok(Array::<_, Settings>::try_from(self.map_mut(name::SETTINGS)?)?.set(0, settings, 0)?)
    }

    /// Adds a service with one listener and one tier, the zone of its number.
    pub fn add_service(&mut self, id: u16, address: SocketAddrV4, forwarding: u8) -> Result<()> {
        let key = ServiceKey::udp(SocketAddr::V4(address));
        let service = Service { service: id, listener: 0, forwarding, tiers: 1, _pad: [0; 3] };
        HashMap::<_, ServiceKey, Service>::try_from(self.map_mut(name::SERVICES)?)?
            .insert(key, service, 0)?;
        let listener =
            Listener { address: key, forwarding, _pad: [0; 3], name: padded_name(&format!("service{id}")) };
        Array::<_, Listener>::try_from(self.map_mut(name::LISTENERS)?)?.set(
            listener_index(u32::from(id), 0),
            listener,
            0,
        )?;
        let mut policy = Policy { tiers: 1, target: 1024, ..Policy::default() };
        policy.zones[0] = id;
        self.set_policy(id, &policy)
    }

    /// Says how a service chooses.
    pub fn set_policy(&mut self, service: u16, policy: &Policy) -> Result<()> {
        Ok(Array::<_, Policy>::try_from(self.map_mut(name::POLICIES)?)?.set(u32::from(service), policy, 0)?)
    }

    /// Makes a zone of backends, in this order; their capacities are those of BACKENDS.
    pub fn set_zone(&mut self, zone: u16, ids: &[u16]) -> Result<()> {
        let mut members = Members { count: ids.len() as u32, ..Members::default() };
        members.ids[..ids.len()].copy_from_slice(ids);
        let (mut channels, mut cps) = (0, 0);
        {
            let backends = Array::<_, Backend>::try_from(self.map_mut(name::BACKENDS)?)?;
            for id in ids {
                let limits = backends.get(&u32::from(*id), 0)?.limits;
                channels += limits.capacity_channels;
                cps += limits.capacity_cps;
            }
        }
        let value = Zone {
            will: zone_will::ENABLED,
            takers: ids.len() as u32,
            capacity_channels: channels,
            capacity_cps: cps,
            name: padded_name(&format!("zone{zone}")),
            ..Zone::default()
        };
        Array::<_, Members>::try_from(self.map_mut(name::ZONE_MEMBERS)?)?.set(u32::from(zone), members, 0)?;
        Ok(Array::<_, Zone>::try_from(self.map_mut(name::ZONES)?)?.set(u32::from(zone), value, 0)?)
    }

    /// What a backend carries.
    pub fn backend_load(&self, id: u16) -> Result<Load> {
        Ok(Array::<_, Load>::try_from(self.map(name::BACKEND_LOADS)?)?.get(&u32::from(id), 0)?)
    }

    /// What was counted of a backend.
    pub fn backend_counter(&self, id: u16) -> Result<BackendCounter> {
        let map: PerCpuArray<_, BackendCounter> = PerCpuArray::try_from(self.map(name::BACKEND_COUNTERS)?)?;
        let cpus = map.get(&u32::from(id), 0)?;
        let sum = |of: fn(&BackendCounter) -> u64| cpus.iter().map(of).sum();
        Ok(BackendCounter {
            packets: sum(|c| c.packets),
            bytes: sum(|c| c.bytes),
            reply_packets: sum(|c| c.reply_packets),
            reply_bytes: sum(|c| c.reply_bytes),
            calls: sum(|c| c.calls),
            unpinned: sum(|c| c.unpinned),
            answered: sum(|c| c.answered),
            transactions: sum(|c| c.transactions),
        })
    }

    /// What a zone carries.
    pub fn zone_load(&self, zone: u16) -> Result<Load> {
        Ok(Array::<_, Load>::try_from(self.map(name::ZONE_LOADS)?)?.get(&u32::from(zone), 0)?)
    }

    /// Says until when the daemon answers, in monotonic nanoseconds.
    pub fn set_answers_until(&mut self, answers_until: u64) -> Result<()> {
        let value = SlowPath { answers_until };
        Ok(Array::<_, SlowPath>::try_from(self.map_mut(name::SLOW_PATH)?)?.set(0, value, 0)?)
    }

    /// Adds or replaces a backend.
    pub fn set_backend(&mut self, id: u16, backend: &Backend) -> Result<()> {
        Ok(Array::<_, Backend>::try_from(self.map_mut(name::BACKENDS)?)?.set(u32::from(id), backend, 0)?)
    }

    /// Says which services a backend's packets may belong to.
    pub fn set_backend_services(&mut self, id: u16, address: SocketAddrV4, services: &[u16]) -> Result<()> {
        let mut value =
            BackendAddress { backend: id, count: services.len() as u16, ..BackendAddress::default() };
        value.services[..services.len()].copy_from_slice(services);
        let key = ServiceKey::udp(SocketAddr::V4(address));
        HashMap::<_, ServiceKey, BackendAddress>::try_from(self.map_mut(name::BACKEND_ADDRESSES)?)?
            .insert(key, value, 0)?;
        Ok(())
    }

    /// Makes the ring of a service's first tier: backend `choose(slot)` in every slot. Its backends make the zone of that
    /// number.
    pub fn set_ring(&mut self, service: u16, choose: impl Fn(u32) -> u32) -> Result<()> {
        self.set_ring_alone(service, &choose)?;
        let ids: BTreeSet<u16> = (0..limits::RING_SLOTS).map(|slot| choose(slot) as u16).collect();
        self.set_zone(service, &ids.into_iter().collect::<Vec<_>>())
    }

    /// Makes the ring of a service's first tier, and leaves its zone as it is.
    pub fn set_ring_alone(&mut self, service: u16, choose: impl Fn(u32) -> u32) -> Result<()> {
        let mut value = Box::new(Ring::EMPTY);
        for (slot, at) in (0..).zip(&mut value.slots) {
            *at = u16::try_from(choose(slot))?;
        }
        let mut ring = Array::<MapData, Ring>::create(1, 0)?;
        ring.set(0, *value, 0)?;
        let mut rings: ArrayOfMaps<_, Array<MapData, Ring>> =
            ArrayOfMaps::try_from(self.ebpf.map_mut(name::RINGS).context("no map RINGS")?)?;
        rings.set(ring_index(u32::from(service), 0), &ring, 0)?;
        self.rings.push(ring);
        Ok(())
    }

    /// Lets packets leave by an interface.
    pub fn add_port(&mut self, ifindex: u32) -> Result<()> {
        Ok(DevMapHash::try_from(self.map_mut(name::PORTS)?)?.insert(ifindex, ifindex, None, 0)?)
    }

    /// Packets of a verdict.
    pub fn verdict(&self, verdict: Verdict) -> Result<u64> {
        let map: PerCpuArray<_, Counter> = PerCpuArray::try_from(self.map(name::VERDICTS)?)?;
        Ok(map.get(&verdict.index(), 0)?.iter().map(|c| c.packets).sum())
    }

    /// All verdicts that were counted.
    pub fn verdicts(&self) -> Result<Vec<(Verdict, u64)>> {
        let mut all = Vec::new();
        for verdict in Verdict::ALL {
            let packets = self.verdict(*verdict)?;
            if packets > 0 {
                all.push((*verdict, packets));
            }
        }
        Ok(all)
    }

    /// All dialogs.
    pub fn dialogs(&self) -> Result<Vec<(DialogKey, Dialog)>> {
        let map: Array<_, Bucket> = Array::try_from(self.map(name::DIALOGS)?)?;
        let mut dialogs = Vec::new();
        for bucket in map.iter() {
            dialogs.extend(bucket?.slots.into_iter().filter(|d| d.state.is_live()).map(|d| (d.key(), d)));
        }
        Ok(dialogs)
    }

    /// Writes a bucket of the dialog table, past the program, which does not count what is in it.
    pub fn set_bucket(&mut self, index: u32, bucket: &Bucket) -> Result<()> {
        Ok(Array::<_, Bucket>::try_from(self.map_mut(name::DIALOGS)?)?.set(index, bucket, 0)?)
    }

    /// Number of dialogs as the program counts them.
    pub fn tally(&self) -> Result<Tally> {
        Ok(Array::<_, Tally>::try_from(self.map(name::DIALOG_TALLY)?)?.get(&0, 0)?)
    }

    /// Where the search for old dialogs stands.
    pub fn sweep(&self) -> Result<Sweep> {
        Ok(Array::<_, Sweep>::try_from(self.map(name::SWEEP)?)?.get(&0, 0)?)
    }

    /// Failed writes by error number.
    pub fn write_errors(&self) -> Result<Vec<(u32, u64)>> {
        let map: PerCpuArray<_, u64> = PerCpuArray::try_from(self.map(name::WRITE_ERRORS)?)?;
        let mut errors = Vec::new();
        for errno in 0..limits::MAX_ERRNO {
            let count: u64 = map.get(&errno, 0)?.iter().sum();
            if count > 0 {
                errors.push((errno, count));
            }
        }
        Ok(errors)
    }

    /// Instructions that the verifier walked through for a program.
    pub fn verified_instructions(&mut self, program: &str) -> Result<u32> {
        match self.program(program)?.info()?.verified_instruction_count() {
            Some(count) => Ok(count),
            None => bail!("this kernel does not tell how many instructions it verified"),
        }
    }
}

/// A backend that takes dialogs and whose next hop is known; packets leave by [`LOOPBACK`].
pub fn backend(id: u16, address: SocketAddrV4) -> Backend {
    let key = ServiceKey::udp(SocketAddr::V4(address));
    Backend {
        address: key.address,
        port: key.port,
        will: will::ENABLED,
        health: health::UP,
        next_hop: NextHop {
            ifindex: LOOPBACK,
            mtu: 1500,
            destination_mac: backend_mac(id),
            source_mac: crate::packet::BALANCER_MAC,
            _pad: 0,
        },
        weight: 100,
        zone: 0,
        limits: Limits {
            max_channels: UNLIMITED,
            max_cps: UNLIMITED,
            capacity_channels: 1000,
            capacity_cps: 100,
            ..Limits::default()
        },
        name: padded_name(&format!("sw{id}")),
    }
}

/// MAC address of a backend.
pub fn backend_mac(id: u16) -> [u8; 6] {
    let [high, low] = id.to_be_bytes();
    [2, 0, 0, 1, high, low]
}

/// A bench with one service and `backends` backends, ids from 0, in turn on the ring.
///
/// # Errors
/// When the object cannot be loaded.
pub fn with_backends(service: SocketAddrV4, mode: u8, backends: u16) -> Result<Bench> {
    let mut bench = Bench::load(sipsteer::dataplane::OBJECT, 65_536)?;
    bench.add_service(0, service, mode)?;
    for id in 0..backends {
        let address = backend_address(id);
        bench.set_backend(id, &backend(id, address))?;
        if mode == forwarding::NAT {
            bench.set_backend_services(id, address, &[0])?;
        }
    }
    bench.set_ring(0, |slot| slot % u32::from(backends))?;
    bench.add_port(LOOPBACK)?;
    Ok(bench)
}

/// Address of a backend of [`with_backends`].
pub fn backend_address(id: u16) -> SocketAddrV4 {
    let [high, low] = id.to_be_bytes();
    SocketAddrV4::new([10, 9, high, low].into(), 5060)
}
