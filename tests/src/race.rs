//! Two CPUs on the same few dialogs, in the kernel: runs the test-only programs of `lb-ebpf/src/race.rs`.

use crate::bench::{Bench, backend, backend_address, settings};
use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, TestRunOptions,
    maps::{PerCpuArray, PerCpuValues},
    programs::{TestRun, Xdp},
    util::nr_cpus,
};
use lb_common::map::{
    dialog::{DialogKey, State, Tally},
    settings::Settings,
    zone::Policy,
};
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};
use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// The object with the programs of the race.
const RACE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/race.bpf.o"));

/// Rounds of one BPF_PROG_TEST_RUN.
const BATCH: u32 = 20_000;
/// The backends, in turn on the ring; both in zone 0.
const BACKENDS: [u16; 2] = [0, 1];
/// Bytes of a packet that nobody reads; the least that the kernel takes.
const PACKET: [u8; 64] = [0; 64];

/// What came of a race.
#[derive(Debug)]
pub struct Report {
    /// Rounds of both CPUs together.
    pub rounds: u64,
    /// Dialogs that were not what their key says.
    pub foreign: u64,
    /// How often a packet stopped until its dialog was gone and the slot had a new owner.
    pub handed_over: u64,
    /// How often a change met another life of its slot.
    pub refused: u64,
    /// Dialogs that were looked at and sound.
    pub sound: u64,
    /// Of the dialogs that both twins put in at once.
    pub twins: Twins,
    /// How long it took.
    pub took: Duration,
    /// Key, state and evidence (its word) of the last foreign dialog that either CPU saw.
    pub witnesses: Vec<(u64, State, u64)>,
    /// Dialogs at the end.
    pub left: usize,
    /// Keys that have more than one of them.
    pub repeated: Vec<DialogKey>,
    /// Number of dialogs as the program counts them.
    pub tally: Tally,
    /// Number of dialogs as the table says.
    pub counted: Tally,
    /// Channels of both backends and of their zone as the program counts them.
    pub channels: [u64; 3],
    /// The same as the table says.
    pub counted_channels: [u64; 3],
    /// Failed writes by error number.
    pub write_errors: Vec<(u32, u64)>,
}

/// What came of dialogs that two CPUs put in at the same time.
#[derive(Debug)]
pub struct Twins {
    /// Insertions that saw the other CPU's entry beside their own.
    pub met: u64,
    /// Dialogs that stood in the table once afterwards.
    pub single: u64,
    /// More than once.
    pub twice: u64,
    /// Not at all.
    pub missing: u64,
    /// Once, pinned to a backend that neither CPU was told.
    pub mistold: u64,
}

/// The programs of a race on two CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Pair(pub &'static str, pub &'static str);

/// Lifetimes of `ticks` ticks of one jiffy each.
pub fn short_lives(ticks: u32) -> Settings {
    Settings {
        tick_shift: 0,
        unanswered_ticks: ticks,
        answered_ticks: ticks,
        ended_ticks: ticks,
        subscribed_ticks: ticks,
        ..settings()
    }
}

/// Races two programs against each other, each on a CPU of its own, until both together have come to `rounds`, or until
/// `enough` says so. The table has two buckets, so that each slot is used over and over again.
///
/// # Errors
/// When there are no two CPUs to run on, and the kernel's own.
pub fn race(
    pair: Pair,
    settings: &Settings,
    rounds: u64,
    enough: impl Fn(&Ebpf) -> bool + Sync,
) -> Result<Report> {
    let cpus = two_cpus()?;
    let mut bench = Bench::load(RACE, 1)?;
    bench.set_settings(settings)?;
    for id in BACKENDS {
        let mut backend = backend(id, backend_address(id));
        // So large that the ring alone decides.
        backend.limits.capacity_cps = 1 << 30;
        backend.limits.capacity_channels = 1 << 30;
        bench.set_backend(id, &backend)?;
    }
    bench.set_ring(0, |slot| slot & 1)?;
    bench.set_policy(0, &Policy { tiers: 1, target: 1024, ..Policy::default() })?;
    bench.set_zone(0, &BACKENDS)?;
    seed(&mut bench.ebpf)?;
    bench.program(pair.0)?;
    bench.program(pair.1)?;
    let start = Instant::now();
    let first: &Xdp = bench.ebpf.program(pair.0).context(pair.0)?.try_into()?;
    let second: &Xdp = bench.ebpf.program(pair.1).context(pair.1)?.try_into()?;
    let (ebpf, stop, played) = (&bench.ebpf, AtomicBool::new(false), AtomicU64::new(0));
    // The CPU that ends first, by an error or by the last round, stops the other one.
    let side = |cpu: usize, program: &Xdp, over: &dyn Fn() -> Result<bool>| -> Result<()> {
        let run = || -> Result<()> {
            pin_to(cpu)?;
            while !stop.load(SeqCst) && !over()? {
                batch(program)?;
                played.fetch_add(u64::from(BATCH), SeqCst);
            }
            Ok(())
        };
        let result = run();
        stop.store(true, SeqCst);
        result
    };
    std::thread::scope(|scope| -> Result<()> {
        let other = scope.spawn(|| side(cpus[1], second, &|| Ok(false)));
        let mine =
            scope.spawn(|| side(cpus[0], first, &|| Ok(played.load(SeqCst) >= rounds || enough(ebpf))));
        for thread in [mine, other] {
            thread.join().expect("a CPU's thread panicked")?;
        }
        Ok(())
    })?;
    let took = start.elapsed();
    report(&bench, played.into_inner(), took)
}

fn report(bench: &Bench, rounds: u64, took: Duration) -> Result<Report> {
    let dialogs = bench.dialogs()?;
    let values = |index| -> Result<PerCpuValues<u64>> { Ok(numbers(&bench.ebpf)?.get(&index, 0)?) };
    let keys = values(4)?;
    let (states, evidences) = (values(5)?, values(6)?);
    let witnesses = (0..keys.len())
        .filter(|cpu| states[*cpu] != 0)
        .map(|cpu| (keys[cpu], State::from_word(states[cpu]), evidences[cpu]))
        .collect();
    let unconfirmed = dialogs.iter().filter(|(_, d)| d.state.is_unconfirmed()).count() as u64;
    let calls: Vec<u16> =
        dialogs.iter().filter(|(_, d)| d.state.holds_channel()).map(|(_, d)| d.state.backend).collect();
    let calls_of = |id| calls.iter().filter(|backend| **backend == id).count() as u64;
    let mut seen = HashSet::new();
    let repeated = dialogs.iter().map(|(key, _)| *key).filter(|key| !seen.insert(*key)).collect();
    Ok(Report {
        rounds,
        foreign: foreign(&bench.ebpf),
        handed_over: handed_over(&bench.ebpf),
        refused: sum(&bench.ebpf, 2)?,
        sound: sum(&bench.ebpf, 3)?,
        twins: Twins {
            twice: sum(&bench.ebpf, 7)?,
            missing: sum(&bench.ebpf, 8)?,
            mistold: sum(&bench.ebpf, 9)?,
            met: sum(&bench.ebpf, 10)?,
            single: sum(&bench.ebpf, 11)?,
        },
        took,
        witnesses,
        left: dialogs.len(),
        repeated,
        tally: bench.tally()?,
        counted: Tally { entries: dialogs.len() as u64, unconfirmed },
        channels: [
            bench.backend_load(BACKENDS[0])?.channels,
            bench.backend_load(BACKENDS[1])?.channels,
            bench.zone_load(0)?.channels,
        ],
        counted_channels: [calls_of(BACKENDS[0]), calls_of(BACKENDS[1]), calls.len() as u64],
        write_errors: bench.write_errors()?,
    })
}

/// Dialogs so far that were not what their key says.
pub fn foreign(ebpf: &Ebpf) -> u64 {
    sum(ebpf, 0).unwrap_or(u64::MAX)
}

/// How often a packet has stopped so far until its dialog was gone.
pub fn handed_over(ebpf: &Ebpf) -> u64 {
    sum(ebpf, 1).unwrap_or(u64::MAX)
}

/// Dialogs so far that stood in the table twice after both CPUs had put them in.
pub fn twice(ebpf: &Ebpf) -> u64 {
    sum(ebpf, 7).unwrap_or(u64::MAX)
}

fn numbers(ebpf: &Ebpf) -> Result<PerCpuArray<&aya::maps::MapData, u64>> {
    Ok(PerCpuArray::try_from(ebpf.map("REPORT").context("no map REPORT")?)?)
}

fn sum(ebpf: &Ebpf, index: u32) -> Result<u64> {
    Ok(numbers(ebpf)?.get(&index, 0)?.iter().sum())
}

/// Each CPU's first random number; an xorshift must not start from 0.
fn seed(ebpf: &mut Ebpf) -> Result<()> {
    let cpus = nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
    let seeds: Vec<u64> = (1..=cpus as u64).map(|cpu| cpu.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let mut random: PerCpuArray<_, u64> = ebpf.map_mut("RANDOM").context("no map RANDOM")?.try_into()?;
    random.set(0, PerCpuValues::try_from(seeds)?, 0)?;
    Ok(())
}

fn batch(program: &Xdp) -> Result<()> {
    let result =
        program.test_run(TestRunOptions { data_in: Some(&PACKET), repeat: BATCH, ..Default::default() })?;
    const XDP_PASS: u32 = 2;
    ensure!(result.return_value == XDP_PASS, "a round could not be run: a map is missing");
    Ok(())
}

fn two_cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(None::<Pid>)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("the race needs two CPUs: run it on a machine, or in a cpuset, that has them"),
    }
}

fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(Some(gettid()), &set)?)
}
