//! Bringing dialogs over from another table while calls go on. Of the other table it is told how a dialog stood when it was
//! brought over before, and how it stands now; meanwhile this table may steer packets and have gone its own way.

use super::{
    Tables,
    pin::{self, Found},
    remember::{self, Opening, Remembered},
    table,
};
use crate::map::dialog::{DialogKey, Phase, State};

/// How a dialog of the other table stands at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its state; of phase 0 if it is not there. The generation is that of a slot of the other table and means nothing here.
    pub state: State,
    /// See [`Evidence::hash`](crate::map::dialog::Evidence::hash).
    pub evidence: u32,
}

/// A dialog of the other table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// What names it.
    pub key: DialogKey,
    /// Hash of its other side.
    pub peer: u32,
    /// What of it was brought over before; of phase 0: nothing, or it is not known what.
    pub was: Version,
    /// How it stands now.
    pub is: Version,
}

/// What became of it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// It was put in.
    Put = 1,
    /// It was here and was brought up to date.
    Changed = 2,
    /// What is here needs no change.
    Kept = 3,
    /// It was here and was removed, as it is in the other table.
    Removed = 4,
    /// There is no room for it.
    NoRoom = 5,
    /// Other CPUs changed it all the time.
    Contended = 6,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Outcome; 6] = [
        Outcome::Put,
        Outcome::Changed,
        Outcome::Kept,
        Outcome::Removed,
        Outcome::NoRoom,
        Outcome::Contended,
    ];

    /// The outcome of a number.
    pub fn from_number(number: u32) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| *o as u32 == number)
    }
}

/// Brings a dialog over, or what has changed about it.
#[inline(always)]
pub fn carry<T: Tables>(tables: &T, carried: &Carried) -> Outcome {
    let there = carried.is.state.is_live();
    match table::look_up(tables, &carried.key).found() {
        Some(found) => update(tables, &found, carried),
        None if there => put(tables, carried),
        None => Outcome::Kept,
    }
}

/// Puts it in, as the decision core puts in any dialog, with the time at which it was seen.
#[inline(always)]
fn put<T: Tables>(tables: &T, carried: &Carried) -> Outcome {
    let state = carried.is.state;
    let opening = Opening {
        call_key: carried.key.call_key,
        service: carried.key.service as u16,
        backend: state.backend,
        phase: state.phase,
        listener: state.listener,
        peer: carried.peer,
        evidence: carried.is.evidence,
        now: state.seen as u32,
        admitted: false,
    };
    match remember::pin(tables, &opening) {
        Remembered::New | Remembered::Already(_) => Outcome::Put,
        _ => Outcome::NoRoom,
    }
}

#[inline(always)]
fn update<T: Tables>(tables: &T, found: &Found<T::Slot>, carried: &Carried) -> Outcome {
    let merge = Merge { was: carried.was, is: carried.is, evidence: found.dialog.evidence.hash };
    let pin::Change { done, before, after } = pin::change(tables, found, &merge);
    if !done {
        return Outcome::Contended;
    }
    if !after.is_live() {
        return Outcome::Removed;
    }
    let evidence = if merge.is_told(before) { carried.is.evidence } else { merge.evidence };
    if evidence != merge.evidence {
        pin::set_evidence(found, evidence);
        return Outcome::Changed;
    }
    if before.to_word() == after.to_word() { Outcome::Kept } else { Outcome::Changed }
}

/// One dialog in two tables: what holds?
struct Merge {
    was: Version,
    is: Version,
    /// Evidence here.
    evidence: u32,
}

impl Merge {
    /// Whether nothing has happened to it here since it was brought over.
    #[inline(always)]
    fn is_untouched(&self, here: State) -> bool {
        let was = State { generation: here.generation, ..self.was.state };
        here.to_word() == was.to_word() && self.evidence == self.was.evidence
    }

    /// Whether the other table's word about it holds, not that of this one.
    #[inline(always)]
    fn is_told(&self, here: State) -> bool {
        let (was, is) = (self.was.state, self.is.state);
        if !is.is_live() {
            return false;
        }
        // Packets were seen here, and none that meant anything.
        if was.is_live() && here.phase == was.phase && self.evidence == self.was.evidence {
            return true;
        }
        if self.evidence != self.is.evidence {
            // A call that is over opens again with another INVITE. Of two that could be meant the open one is chosen: an
            // open one that is none has its lifetime, a call that is taken for over is lost.
            let known = was.is_live();
            if is_open(here.phase) && is_over(is.phase) && (known || !is_later(is.seen, here.seen)) {
                return false;
            }
            if is_open(is.phase) && is_over(here.phase) && !known && !is_later(here.seen, is.seen) {
                return true;
            }
        }
        rank(is.phase) > rank(here.phase)
    }
}

impl pin::Step for Merge {
    #[inline(always)]
    fn next(&self, here: State) -> State {
        let (was, is) = (self.was.state, self.is.state);
        if !here.is_live() {
            return here;
        }
        if self.is_untouched(here) {
            return if is.is_live() {
                State { generation: here.generation, ..is }
            } else {
                State { phase: 0, ..here }
            };
        }
        if !is.is_live() {
            return here;
        }
        let told = self.is_told(here);
        let moved = if was.is_live() {
            here.backend != was.backend
        } else {
            // One INVITE that was sent to two backends, because it came again while this table did not know it: the first
            // one has the call.
            !told && self.evidence != self.is.evidence
        };
        State {
            backend: if moved { here.backend } else { is.backend },
            phase: if told { is.phase } else { here.phase },
            listener: if told { is.listener } else { here.listener },
            seen: if is_later(is.seen, here.seen) { is.seen } else { here.seen },
            generation: here.generation,
        }
    }
}

/// Whether the first of two times is the later one.
#[inline(always)]
const fn is_later(first: u16, second: u16) -> bool {
    let ticks = first.wrapping_sub(second);
    ticks != 0 && ticks < 1 << 15
}

/// Whether a phase is that of an INVITE without a final answer.
#[inline(always)]
const fn is_open(phase: u8) -> bool {
    phase == Phase::Unanswered as u8 || phase == Phase::Ringing as u8 || phase == Phase::Cancelled as u8
}

/// Whether a phase is that of a call that is over, or of one that its backend turned away.
#[inline(always)]
const fn is_over(phase: u8) -> bool {
    phase == Phase::Ended as u8 || phase == Phase::TurnedAway as u8
}

/// How far a phase is on the way of a call.
#[inline(always)]
const fn rank(phase: u8) -> u32 {
    if phase == Phase::Unanswered as u8 {
        1
    } else if phase == Phase::Ringing as u8 {
        2
    } else if phase == Phase::Cancelled as u8 {
        3
    } else if phase == Phase::Answered as u8 {
        4
    } else if is_over(phase) {
        5
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_numbers() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_number(outcome as u32), Some(outcome));
        }
        assert_eq!(Outcome::from_number(0), None);
        assert_eq!(Outcome::from_number(7), None);
    }

    #[test]
    fn the_later_of_two_times_is_told_across_the_wrap() {
        assert!(is_later(1, 0xffff) && !is_later(0xffff, 1));
        assert!(!is_later(7, 7) && is_later(8, 7) && !is_later(7, 8));
    }
}
