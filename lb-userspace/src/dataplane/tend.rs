//! Helps the kernel with old dialogs: the program `expire` looks at bucket after bucket and removes those whose lifetime is
//! over. Packets do the same as time passes; on an idle box the daemon gives it a push. The program `recount` sets right what
//! is counted of them.

use super::{load::Programs, maps::Maps};
use crate::failure::Failure;
use lb_common::map::{
    expiry::request::{COUNT_AT, LEN, MAX_BUCKETS},
    recount::Recount,
};
use std::{collections::BTreeMap, time::Instant};

/// Has the kernel look at the next `buckets` buckets, some hundred at a time.
///
/// # Errors
/// When the program cannot be run.
pub fn push(programs: &Programs, buckets: u32) -> Result<(), Failure> {
    let mut left = u64::from(buckets);
    while left > 0 {
        let count = left.min(MAX_BUCKETS);
        programs.run_expire(&packet(count))?;
        left -= count;
    }
    Ok(())
}

/// The request for a look at so many buckets.
fn packet(count: u64) -> [u8; LEN] {
    let mut packet = [0; LEN];
    packet[COUNT_AT..COUNT_AT + 8].copy_from_slice(&count.to_le_bytes());
    packet
}

/// What a look at the whole table saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Dialogs by backend id and service id.
    pub dialogs: BTreeMap<(u16, u16), u64>,
    /// Calls in progress by backend id.
    pub channels: BTreeMap<u16, u64>,
    /// How long it took, in microseconds.
    pub microseconds: u64,
}

/// Has the kernel add to what is counted as calls in progress.
///
/// # Errors
/// When the program cannot be run.
pub fn correct(programs: &Programs, recount: Recount) -> Result<(), Failure> {
    programs.run_recount(&recount.to_bytes())
}

/// Counts all dialogs by backend and service, and calls in progress by backend.
///
/// # Errors
/// The kernel's.
pub fn census(maps: &Maps) -> Result<Census, Failure> {
    let start = Instant::now();
    let mut census = Census::default();
    maps.for_each_dialog(|dialog| {
        *census.dialogs.entry((dialog.state.backend, dialog.service as u16)).or_default() += 1;
        if dialog.state.holds_channel() {
            *census.channels.entry(dialog.state.backend).or_default() += 1;
        }
    })?;
    census.microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(census)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_lies_where_the_program_reads_it() {
        let packet = packet(0x0102);
        assert_eq!(packet[16..24], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!((packet[..16].iter().sum::<u8>(), packet[24..].iter().sum::<u8>()), (0, 0));
    }
}
