//! `cargo xtask sim`: what each policy makes of random traffic, told by the decision core on a clock of its own; with `--seeds`,
//! whether the loop of telemetry and controller keeps its promises.

use clap::Args;
use lb_tests::{feedback, simulation::compare};

/// How long, and which traffic.
#[derive(Args)]
pub(crate) struct Arguments {
    /// New calls of each run; the first 24,000 are not measured
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(30_000..))]
    calls: u64,
    /// What all of the traffic follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Instead of comparing policies, run the loop of telemetry and controller with so many seeds, from --seed on
    #[arg(long, conflicts_with = "calls")]
    seeds: Option<u64>,
    /// Seconds of each of these runs
    #[arg(long, default_value_t = 1800, requires = "seeds")]
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

fn all(first: u64, seeds: u64, seconds: u64) -> bool {
    let (mut calls, mut samples, mut deaths, mut failed) = (0, 0, 0, 0);
    for seed in first..first.saturating_add(seeds) {
        match feedback::run(seed, seconds) {
            Ok(outcome) => {
                calls += outcome.calls;
                samples += outcome.samples;
                deaths += outcome.deaths;
            }
            Err(what) => {
                println!("seed {seed}: {what}");
                failed += 1;
            }
        }
    }
    println!(
        "{seeds} seeds of {seconds} s: {failed} failed; in the others {calls} calls, {samples} samples, {deaths} deaths of \
         servers"
    );
    failed == 0
}
