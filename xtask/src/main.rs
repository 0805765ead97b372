//! The project's own tools: `cargo xtask --help` lists them.
//!
//! * [`demo`]: real SIP calls through sipsteer; `scripts/demo` runs it. [`lab`]: the same network to look around in.
//! * [`suite`]: every test there is, one step after the other; `scripts/test` runs it.
//! * [`kernel`]: the kernel tests under other kernels. [`budget`]: what the data plane may cost, and what it does.
//! * [`fuzz`]: the scanner against the reference parser, guided by coverage. [`sim`]: random traffic, policy by policy.
//!   [`tidy`]: house rules.
//!
//! Deliberately absent: anything that ships.

mod budget;
mod demo;
mod fuzz;
mod kernel;
mod lab;
mod programs;
mod sim;
mod suite;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tools", version)]
struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Runs real SIP calls through sipsteer, in network namespaces of this machine
    Demo(demo::Arguments),
    /// Wires the demo's network, starts sipsteer in it and waits until Ctrl-C
    Lab(lab::Arguments),
    /// Runs every test there is
    Test(suite::Arguments),
    /// Runs the kernel tests under the running and under other kernels
    Kernel(kernel::Arguments),
    /// Measures what the data plane costs and compares it with the limits
    Budget(budget::Arguments),
    /// Replays the fuzz corpus and fuzzes the scanner against the reference parser
    Fuzz(fuzz::Arguments),
    /// Compares the policies on random traffic, by simulation
    Sim(sim::Arguments),
    /// Checks the house rules
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().tool {
        Tool::Demo(arguments) => demo::run(&arguments),
        Tool::Lab(arguments) => lab::run(&arguments),
        Tool::Test(arguments) => suite::run(&arguments),
        Tool::Kernel(arguments) => kernel::run(&arguments),
        Tool::Budget(arguments) => budget::run(&arguments),
        Tool::Fuzz(arguments) => fuzz::run(&arguments),
        Tool::Sim(arguments) => Ok(sim::run(&arguments)),
        Tool::Tidy => tidy::run(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
