//! The search for old dialogs in a table of a million: what a round costs, and how long one look keeps its CPU from everything
//! else, since XDP runs with softirqs off.

use super::{Row, limits};
use anyhow::{Result, ensure};
use aya::{TestRunOptions, programs::TestRun};
use lb_common::{
    limits::{LIFETIME_ANSWERED_SECONDS, MAX_DIALOGS, MAX_SWEEP, SWEEP_SECONDS},
    map::{
        dialog::{BUCKET_SLOTS, Bucket, Phase, buckets_for},
        expiry::request::{COUNT_AT, LEN, MAX_BUCKETS},
        service::forwarding,
    },
};
use lb_tests::bench::{Bench, backend, backend_address, settings};
use sipsteer::dataplane::OBJECT;
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
const BACKENDS: u16 = 100;
/// Buckets of the table.
const BUCKETS: u32 = buckets_for(MAX_DIALOGS);
/// Dialogs of each when the table has what it was made for.
const ORDINARY: u32 = MAX_DIALOGS / BUCKETS;
/// Buckets that are filled to the last slot for the worst case.
const FULL: u32 = 1 << 16;

const _: () = assert!(BUCKETS.is_multiple_of(MAX_BUCKETS as u32) && BUCKETS.is_multiple_of(MAX_SWEEP));

/// The rows of the search.
pub(super) fn rows() -> Result<Vec<Row>> {
    eprintln!("budget: {MAX_DIALOGS} live dialogs, and the search for old ones among them");
    let mut table = Table::new()?;
    let now = table.now()?;
    table.fill(BUCKETS, ORDINARY, now)?;
    let round = table.search(BUCKETS, MAX_BUCKETS)?;
    let share = table.search(BUCKETS, MAX_SWEEP.into())?;
    ensure!(table.forgotten()? == 0, "{} of the live dialogs were forgotten", table.forgotten()?);
    table.fill(FULL, BUCKET_SLOTS, now.wrapping_sub(LIFETIME_ANSWERED_SECONDS as u16 + 60))?;
    let worst = table.search(FULL, MAX_BUCKETS)?;
    let (forgotten, expected) = (table.forgotten()?, u64::from(FULL * BUCKET_SLOTS));
    ensure!(forgotten == expected, "{forgotten} of {expected} old dialogs were forgotten");
    let part = round.sum() / 1e9 / f64::from(SWEEP_SECONDS) * 100.0;
    let remark = format!("a round in {SWEEP_SECONDS} s: {part:.3} % of a core");
    Ok(vec![
        Row::new(limits::ROUND, round.sum() / 1e6, remark),
        Row::new(limits::SHARE, share.longest(), share.remark()),
        Row::new(limits::LOOK, round.longest(), round.remark()),
        Row::new(limits::FUNERALS, worst.longest(), worst.remark()),
    ])
}

/// The program and a table whose dialogs are written by hand.
struct Table(Bench);

impl Table {
    fn new() -> Result<Table> {
        let mut bench = Bench::load(OBJECT, MAX_DIALOGS)?;
        bench.add_service(0, SERVICE, forwarding::NAT)?;
        for id in 0..BACKENDS {
            bench.set_backend(id, &backend(id, backend_address(id)))?;
        }
        bench.set_ring(0, |slot| slot % u32::from(BACKENDS))?;
        Ok(Table(bench))
    }

    /// The present tick, as a dialog notes it.
    fn now(&mut self) -> Result<u16> {
        let outcome = self.0.run("clock", &[0; LEN])?;
        let jiffies = u64::from_le_bytes(outcome.frame[..8].try_into()?);
        Ok((jiffies >> settings().tick_shift) as u16)
    }

    /// Puts so many answered calls, last seen then, into each of the first buckets.
    fn fill(&mut self, buckets: u32, each: u32, seen: u16) -> Result<()> {
        let mut bucket = Bucket::default();
        for index in 0..buckets {
            for (slot, number) in bucket.slots.iter_mut().zip(0..each) {
                let call = u64::from(index * BUCKET_SLOTS + number);
                slot.call_key = call.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                slot.state.backend = (call % u64::from(BACKENDS)) as u16;
                slot.state.phase = Phase::Answered as u8;
                slot.state.seen = seen;
            }
            self.0.set_bucket(index, &bucket)?;
        }
        Ok(())
    }

    /// Dialogs that were found to be over.
    fn forgotten(&self) -> Result<u64> {
        Ok(self.0.sweep()?.expired.iter().sum())
    }

    /// Looks at the first buckets, so many at a time.
    fn search(&mut self, buckets: u32, at_once: u64) -> Result<Runs> {
        ensure!(
            self.0.sweep()?.hand % u64::from(BUCKETS) == 0,
            "the search does not begin at the first bucket"
        );
        let mut packet = [0; LEN];
        packet[COUNT_AT..COUNT_AT + 8].copy_from_slice(&at_once.to_le_bytes());
        let program = self.0.program("expire")?;
        let run = || -> Result<u64> {
            let options = TestRunOptions { data_in: Some(&packet), repeat: 1, ..TestRunOptions::default() };
            Ok(u64::try_from(program.test_run(options)?.duration.as_nanos())?)
        };
        let mut times = (0..u64::from(buckets) / at_once).map(|_| run()).collect::<Result<Vec<u64>>>()?;
        times.sort_unstable();
        Ok(Runs(times))
    }
}

/// Nanoseconds of each look, the shortest first.
struct Runs(Vec<u64>);

impl Runs {
    fn sum(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64
    }

    /// Microseconds of the longest.
    fn longest(&self) -> f64 {
        self.of(1000)
    }

    /// Microseconds that so many of a thousand do not exceed.
    fn of(&self, thousandths: usize) -> f64 {
        let place = (self.0.len() * thousandths).div_ceil(1000).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default() as f64 / 1e3
    }

    fn remark(&self) -> String {
        format!("median {:.1}, 99 of 100 within {:.1}", self.of(500), self.of(990))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_by_their_place() {
        let runs = Runs((1..=1000).map(|n| n * 1000).collect());
        assert_eq!((runs.of(500), runs.of(990), runs.longest()), (500.0, 990.0, 1000.0));
        assert_eq!(Runs(Vec::new()).longest(), 0.0);
        assert_eq!(runs.remark(), "median 500.0, 99 of 100 within 990.0");
    }
}
