//! `cargo xtask budget`: what the data plane may cost, and what it does cost here.
//!
//! [`limits`] records what it may. [`stack`] and the kernel's own words give what is the same on every machine;
//! [`timing`] measures what is not, as differences to an empty program in the same run, and [`search`] what old dialogs cost.

mod limits;
mod message;
mod search;
mod stack;
mod timing;

use anyhow::{Context, Result, anyhow};
use aya::programs::Program;
use clap::Args;
use lb_common::limits::MAX_DIALOGS;
use lb_tests::{bench::Bench, capability, program};
use limits::{Limit, Nature};
use sipsteer::{core::maglev, dataplane::OBJECT};
use std::{
    fmt::Write,
    hint::black_box,
    time::{Duration, Instant},
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only what does not depend on the machine; fails when a limit is exceeded
    #[arg(long)]
    check: bool,
}

/// A measured figure beside its limit.
struct Row {
    limit: Limit,
    measured: f64,
    /// What else is worth knowing.
    remark: String,
}

impl Row {
    fn new(limit: Limit, measured: f64, remark: impl Into<String>) -> Row {
        Row { limit, measured, remark: remark.into() }
    }

    fn within(&self) -> bool {
        self.measured <= self.limit.limit
    }
}

/// Measures and prints the table. With `--check`, false if a limit is exceeded; without, always true.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    capability::bpf_and_namespaces().map_err(|reason| anyhow!("the budget cannot be measured: {reason}"))?;
    let mut rows = fixed_costs()?;
    if !arguments.check {
        rows.extend(timing::rows()?);
        rows.extend(search::rows()?);
        rows.push(ring_build());
        if cfg!(debug_assertions) {
            eprintln!(
                "budget: the ring was built without full optimisation; cargo run --release -p xtask -- budget"
            );
        }
    }
    print!("{}", table(&rows));
    let exceeded = rows.iter().any(|row| row.limit.nature == Nature::Fixed && !row.within());
    Ok(!(arguments.check && exceeded))
}

/// Loads everything at full size and asks the kernel.
fn fixed_costs() -> Result<Vec<Row>> {
    let mut bench = Bench::load(OBJECT, MAX_DIALOGS)?;
    bench.set_ring(0, |slot| slot % 3)?;
    let (mut most, mut slowest) = ((0, String::new()), Duration::ZERO);
    for (name, program) in bench.ebpf.programs_mut() {
        let Program::Xdp(xdp) = program else { continue };
        let began = Instant::now();
        xdp.load().with_context(|| format!("the verifier refuses {name}"))?;
        slowest = slowest.max(began.elapsed());
        let verified = program::facts_of(&xdp.info()?)?.verified_instructions;
        most = most.max((verified, name.to_owned()));
    }
    let memory = program::own_map_memory()? as f64 / 1e6;
    let (deepest, stack) = stack::deepest(OBJECT)?;
    Ok(vec![
        Row::new(limits::INSTRUCTIONS, most.0 as f64, most.1),
        Row::new(limits::STACK, stack as f64, deepest),
        Row::new(limits::MAP_MEMORY, memory, "with one ring"),
        Row::new(limits::LOAD, slowest.as_secs_f64() * 1e3, ""),
    ])
}

/// The quickest of several builds: what the daemon does at a reload.
fn ring_build() -> Row {
    let names: Vec<String> = (0..1000).map(|n| format!("backend-{n}")).collect();
    let entries: Vec<_> = names
        .iter()
        .zip(0..)
        .map(|(name, id)| maglev::Entry { id, weight: 100, name: name.as_str() })
        .collect();
    let build = || {
        let began = Instant::now();
        black_box(maglev::build(black_box(&entries)));
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..21).map(|_| build()).collect();
    times.sort();
    let profile = if cfg!(debug_assertions) { "median of 21, not a release build" } else { "median of 21" };
    Row::new(limits::RING, times[times.len() / 2].as_secs_f64() * 1e3, profile)
}

fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<44} {:>9} {:>9}  {:<4} {:<9} REMARK\n", "WHAT", "MEASURED", "LIMIT", "", "");
    for row in rows {
        let verdict = match (row.within(), row.limit.nature) {
            (true, _) => "ok",
            (false, Nature::Fixed) => "EXCEEDED",
            (false, Nature::Timed) => "above",
        };
        let digits = if matches!(row.limit.unit, "ms" | "us" | "MB") { 1 } else { 0 };
        let (Limit { what, limit, unit, .. }, measured, remark) = (row.limit, row.measured, &row.remark);
        // Writing to a String cannot fail.
        let _ =
            writeln!(out, "{what:<44} {measured:>9.digits$} {limit:>9.0}  {unit:<4} {verdict:<9} {remark}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_largest_value_allowed() {
        let row = |measured| Row::new(limits::STACK, measured, "");
        assert!(row(512.0).within());
        assert!(!row(513.0).within());
        assert!(table(&[row(513.0)]).contains("EXCEEDED"));
        assert!(table(&[Row::new(limits::NAT, 41.0, "")]).contains("above"));
    }
}
