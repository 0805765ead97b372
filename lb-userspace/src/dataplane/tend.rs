//! Helps the kernel with old dialogs: the program `expire` looks again at each and buries those that are due.
//!
//! The kernel does this by itself as new calls come in; on an idle box, and for dialogs that live for hours, the daemon
//! gives it a push. What it is handed are only hints, so a dialog that was just used again is safe.

use super::{load::Programs, maps::Maps};
use crate::failure::Failure;
use lb_common::map::{
    dialog::{Dialog, DialogKey, State},
    expiry::request::{COUNT_AT, KEYS_AT, LEN, MAX_KEYS},
};
use std::time::Instant;

/// Lets the kernel bury what is due in its queues.
///
/// # Errors
/// When the program cannot be run.
pub fn push(programs: &Programs) -> Result<(), Failure> {
    programs.run_expire(&packet(&[]))
}

/// Hands dialogs that look overdue to the kernel, which looks again.
///
/// # Errors
/// When the program cannot be run.
pub fn hand_over(programs: &Programs, keys: &[DialogKey]) -> Result<(), Failure> {
    for some in keys.chunks(MAX_KEYS as usize) {
        programs.run_expire(&packet(some))?;
    }
    Ok(())
}

/// The request for at most [`MAX_KEYS`] dialogs.
fn packet(keys: &[DialogKey]) -> [u8; LEN] {
    let mut packet = [0; LEN];
    let count = keys.len() as u64;
    packet[COUNT_AT..COUNT_AT + 8].copy_from_slice(&count.to_le_bytes());
    for (slot, key) in packet[KEYS_AT..].chunks_exact_mut(size_of::<DialogKey>()).zip(keys) {
        slot[..8].copy_from_slice(&key.call_key.to_le_bytes());
        slot[8..12].copy_from_slice(&key.service.to_le_bytes());
    }
    packet
}

/// What a sweep of the table saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Live dialogs by backend id and service id.
    pub dialogs: std::collections::BTreeMap<(u16, u16), u64>,
    /// Entries read.
    pub entries: u64,
    /// Dialogs that looked overdue and were handed to the kernel.
    pub overdue: u64,
    /// How long it took, in microseconds.
    pub microseconds: u64,
}

/// Reads the whole table in the background and hands over what `overdue` says is past its lifetime.
///
/// # Errors
/// The kernel's.
pub fn sweep(maps: &Maps, programs: &Programs, overdue: impl Fn(State) -> bool) -> Result<Swept, Failure> {
    let start = Instant::now();
    let mut swept = Swept::default();
    let mut due = Vec::new();
    maps.for_each_dialogs(|keys, dialogs| {
        due.clear();
        for (key, dialog) in keys.iter().zip(dialogs) {
            swept.look(dialog);
            if overdue(dialog.state) {
                due.push(*key);
            }
        }
        swept.overdue += due.len() as u64;
        hand_over(programs, &due)
    })?;
    swept.microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(swept)
}

impl Swept {
    fn look(&mut self, dialog: &Dialog) {
        self.entries += 1;
        if dialog.state.is_live() {
            *self.dialogs.entry((dialog.state.backend, dialog.service as u16)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_where_the_program_reads_them() {
        assert_eq!(packet(&[]), [0; LEN]);
        let packet =
            packet(&[DialogKey::new(0x0807_0605_0403_0201, 9), DialogKey::new(7, 1), DialogKey::new(8, 2)]);
        assert_eq!(packet[16..24], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet[32..48], [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(packet[64..66], [8, 0]);
        assert_eq!(packet[80..], [0; LEN - 80]);
    }

    #[test]
    fn only_live_dialogs_count_for_a_backend() {
        let mut swept = Swept::default();
        for phase in [2, 7, 8, 1] {
            let state = State { backend: 5, phase, ..State::default() };
            swept.look(&Dialog { state, service: 3, ..Dialog::default() });
        }
        assert_eq!(swept.entries, 4);
        assert_eq!(swept.dialogs, [((5, 3), 2)].into());
    }
}
