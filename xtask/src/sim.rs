//! `cargo xtask sim`: what each policy makes of random traffic, told by the decision core on a clock of its own.

use clap::Args;
use lb_tests::simulation::compare;

/// How long, and which traffic.
#[derive(Args)]
pub(crate) struct Arguments {
    /// New calls of each run; the first 24,000 are not measured
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(30_000..))]
    calls: u64,
    /// What all of the traffic follows from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Prints the table.
pub(crate) fn run(arguments: &Arguments) -> bool {
    println!("{}", compare(arguments.calls, arguments.seed));
    true
}
