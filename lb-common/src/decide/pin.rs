//! A dialog that was found, and changing it without touching another one that has got its slot.

use super::{Slot, Tables, capacity::NOBODY};
use crate::{
    limits::STATE_ATTEMPTS,
    map::dialog::{Dialog, Evidence, State},
};

/// A dialog as it was read.
#[derive(Clone, Copy)]
pub struct Found<S: Slot> {
    /// Its place, for changes.
    pub slot: S,
    /// Its value when it was read.
    pub dialog: Dialog,
}

/// The value of no dialog.
const EMPTY: Dialog = Dialog {
    call_key: 0,
    service: 0,
    peer: 0,
    evidence: Evidence { hash: 0, generation: 0, _pad: 0 },
    state: State { backend: 0, phase: 0, listener: 0, seen: 0, generation: 0 },
};

/// What a look-up gave. Every field has a value in either case: the verifier refuses the copy of an undefined one.
#[derive(Clone, Copy)]
pub struct LookUp<S: Slot> {
    /// Its place, if there is one.
    pub slot: Option<S>,
    /// Its value; all zeros if there is none.
    pub dialog: Dialog,
}

impl<S: Slot> LookUp<S> {
    /// Nothing found.
    pub const NONE: LookUp<S> = LookUp { slot: None, dialog: EMPTY };

    /// The dialog, if there is one.
    #[inline(always)]
    pub fn found(self) -> Option<Found<S>> {
        match self.slot {
            Some(slot) => Some(Found { slot, dialog: self.dialog }),
            None => None,
        }
    }
}

/// What became of a change. The states have values in either case, for the verifier's sake.
#[derive(Clone, Copy)]
pub struct Change {
    /// False when the slot belongs to another dialog by now, or stayed contended.
    pub done: bool,
    /// The state before.
    pub before: State,
    /// The state after, the same if nothing had to be changed.
    pub after: State,
}

/// The state that follows. A trait, because the compiler does not honour `inline(always)` on a closure.
pub trait Step {
    /// The state after `state`; the same leaves it as it is.
    fn next(&self, state: State) -> State;
}

/// Replaces a slot's state if it is still what it was, and keeps the sums: dialogs, unconfirmed ones, channels of backends
/// and zones. Every change of a state goes through here, so that whoever ends a call gives its channel back, once.
#[inline(always)]
pub fn replace<T: Tables>(tables: &T, slot: T::Slot, from: State, to: State) -> bool {
    // Before anybody can see the new state: another CPU may end the call at once, and a channel that is given back before it
    // was taken stays taken for ever, as no number of channels falls below zero.
    if takes_channel(from, to) {
        tables.move_channel(NOBODY, to.backend);
    }
    if !slot.swap_state(from, to) {
        if takes_channel(from, to) {
            tables.move_channel(to.backend, NOBODY);
        }
        return false;
    }
    let entries = to.is_live() as i64 - from.is_live() as i64;
    let unconfirmed = to.is_unconfirmed() as i64 - from.is_unconfirmed() as i64;
    if entries | unconfirmed != 0 {
        tables.add_to_tally(entries, unconfirmed);
    }
    if takes_channel(to, from) {
        tables.move_channel(from.backend, NOBODY);
    }
    true
}

/// Whether one state takes a channel that the other one does not have.
#[inline(always)]
const fn takes_channel(from: State, to: State) -> bool {
    to.holds_channel() && !(from.holds_channel() && from.backend == to.backend)
}

/// Changes the state word as `step` says, given the present one.
#[inline(always)]
pub fn change<T: Tables, S: Step>(tables: &T, found: &Found<T::Slot>, step: &S) -> Change {
    let mut state = found.dialog.state;
    let mut attempt = 0;
    while attempt < STATE_ATTEMPTS {
        let to = step.next(state);
        if to.to_word() == state.to_word() {
            return Change { done: true, before: state, after: state };
        }
        if replace(tables, found.slot, state, to) {
            return Change { done: true, before: state, after: to };
        }
        let again = found.slot.state();
        if again.generation != state.generation || !again.is_live() {
            break;
        }
        state = again;
        attempt += 1;
    }
    Change { done: false, before: state, after: state }
}

/// Replaces the evidence if it still belongs to this dialog's life.
#[inline(always)]
pub fn set_evidence<S: Slot>(found: &Found<S>, hash: u32) {
    let from = found.dialog.evidence;
    found.slot.swap_evidence(from, Evidence { hash, ..from });
}
