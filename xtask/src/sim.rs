//! `cargo xtask sim`: what each policy makes of random traffic, told by the decision core on a clock of its own; with `--seeds`,
//! whether the loop of probes, telemetry and controller keeps its promises.

use clap::Args;
use lb_tests::{
    feedback::{self, Outcome},
    simulation::compare,
};
use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

/// How long, and which traffic.
#[derive(Args)]
pub(crate) struct Arguments {
    /// New calls of each run; the first 24,000 are not measured
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(30_000..))]
    calls: u64,
    /// What all of the traffic follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of comparing policies, run the loop of probes, telemetry and controller with so many seeds, from --seed on
    #[arg(long, conflicts_with = "calls")]
    seeds: Option<u64>,
    /// Seconds of each of these runs; those of many servers last a part of that
    #[arg(long, default_value_t = 600, requires = "seeds")]
    seconds: u64,
}

/// Prints the table, or the seeds that fail. True if none does.
pub(crate) fn run(arguments: &Arguments) -> bool {
    match arguments.seeds {
        None => {
            println!("{}", compare(arguments.calls, arguments.seed));
            true
        }
        Some(seeds) => all(arguments.seed, seeds, arguments.seconds),
    }
}

/// What came of all runs together.
#[derive(Default)]
struct Sum {
    outcome: Outcome,
    largest: Outcome,
    failed: u64,
}

impl Sum {
    fn add(&mut self, seed: u64, result: Result<Outcome, String>) {
        match result {
            Ok(outcome) => {
                let sum = &mut self.outcome;
                sum.servers += outcome.servers;
                sum.calls += outcome.calls;
                sum.refused += outcome.refused;
                sum.samples += outcome.samples;
                sum.falls += outcome.falls;
                if outcome.calls > self.largest.calls {
                    self.largest = outcome;
                }
            }
            Err(what) => {
                println!("seed {seed}: {what}");
                self.failed += 1;
            }
        }
    }
}

/// Runs seeds on all processors. Those that fail are told as they do, and are to become named cases.
fn all(first: u64, seeds: u64, seconds: u64) -> bool {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let work = || {
        loop {
            let index = next.fetch_add(1, Relaxed);
            if index >= seeds {
                return;
            }
            let seed = first.saturating_add(index);
            let result = feedback::run(seed, seconds);
            sum.lock().unwrap_or_else(PoisonError::into_inner).add(seed, result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let Sum { outcome, largest, failed } = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Outcome { calls, refused, samples, falls, .. } = outcome;
    println!(
        "{seeds} seeds of {seconds} s: {failed} failed; in the others {calls} calls, of which {refused} found no room, {samples} \
         samples, {falls} times that a server was taken out; the largest had {} calls to {} servers; {} s",
        largest.calls,
        largest.servers,
        begun.elapsed().as_secs()
    );
    failed == 0
}
