//! Calls that are over. The program counts calls that begin and calls in progress, by backend, and a call may move from one to
//! another: what began less what is in progress is true of all backends together.

use super::daemon::Daemon;
use crate::{core::recount::Counted, failure::Failure};
use std::collections::BTreeMap;

/// Calls that are over since the first look.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    last: Option<BTreeMap<u16, Counted>>,
    /// Begun less in progress, as far as it was seen: below [`Ended::count`] for the moment of a move.
    balance: i64,
    count: u64,
}

impl Ended {
    /// How many. It never falls.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    fn note(&mut self, now: BTreeMap<u16, Counted>) {
        let Some(last) = self.last.take() else {
            self.last = Some(now);
            return;
        };
        for (id, carried) in &now {
            // An id that is given to another backend begins anew.
            let before = last.get(id).copied().filter(|before| before.begun <= carried.begun);
            let before = before.unwrap_or_default();
            self.balance +=
                signed(carried.begun - before.begun) + signed(before.channels) - signed(carried.channels);
        }
        let gone = last.iter().filter(|(id, _)| !now.contains_key(id));
        self.balance += gone.map(|(_, carried)| signed(carried.channels)).sum::<i64>();
        self.count = self.count.max(u64::try_from(self.balance).unwrap_or_default());
        self.last = Some(now);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Daemon {
    /// Looks at what all backends carry, those that are no longer configured too.
    pub(super) fn note_ended(&mut self) -> Result<(), Failure> {
        let mut now = BTreeMap::new();
        for id in self.model.backends.keys() {
            now.insert(*id, (&self.tables.maps.backend_load(*id)?).into());
        }
        self.ended.note(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks, one after the other: id, begun, in progress. What was counted after each.
    fn counted(looks: &[&[(u16, u64, u64)]]) -> Vec<u64> {
        let mut ended = Ended::default();
        let mut counts = Vec::new();
        for look in looks {
            ended.note(
                look.iter()
                    .map(|(id, begun, channels)| (*id, Counted { begun: *begun, channels: *channels }))
                    .collect(),
            );
            counts.push(ended.count());
        }
        counts
    }

    #[test]
    fn what_began_and_is_not_in_progress_is_over() {
        assert_eq!(counted(&[&[(0, 7, 3)], &[(0, 7, 3)], &[(0, 9, 4)], &[(0, 9, 0)]]), [0, 0, 1, 5]);
    }

    #[test]
    fn a_call_that_moves_is_not_over() {
        // From 0 to 1: its channel is free there before it is taken here.
        let moves: &[&[(u16, u64, u64)]] =
            &[&[(0, 1, 1), (1, 0, 0)], &[(0, 1, 0), (1, 0, 1)], &[(0, 1, 0), (1, 0, 0)]];
        assert_eq!(counted(moves), [0, 0, 1]);
        // Taken before it is free: it never falls.
        let twice: &[&[(u16, u64, u64)]] =
            &[&[(0, 2, 1), (1, 0, 0)], &[(0, 2, 0), (1, 0, 0)], &[(0, 2, 1), (1, 0, 1)]];
        assert_eq!(counted(twice), [0, 1, 1]);
    }

    #[test]
    fn an_id_that_another_backend_gets_begins_anew() {
        assert_eq!(counted(&[&[(0, 9, 2)], &[(0, 1, 1)]]), [0, 0]);
        assert_eq!(counted(&[&[(0, 9, 2)], &[], &[(0, 3, 1)]]), [0, 2, 4]);
    }
}
