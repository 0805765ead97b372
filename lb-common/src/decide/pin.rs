//! Finding a dialog, and changing it without touching another one's memory.

use super::{Slot, Tables};
use crate::{
    limits::STATE_ATTEMPTS,
    map::dialog::{Dialog, DialogKey, Evidence, State},
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

/// The dialog of a key, dead ones included. The place may have been given to another dialog between the look-up and
/// the read, so the key in the value is compared after the state was read.
#[inline(always)]
pub fn look_up<T: Tables>(tables: &T, key: &DialogKey) -> LookUp<T::Slot> {
    if let Some(slot) = tables.dialog(key) {
        let dialog = slot.read();
        if dialog.call_key == key.call_key && dialog.service == key.service {
            return LookUp { slot: Some(slot), dialog };
        }
    }
    LookUp::NONE
}

/// The dialog of a key, if there is one.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &DialogKey) -> Option<Found<T::Slot>> {
    look_up(tables, key).found()
}

/// What became of a change. The states have values in either case, for the verifier's sake.
#[derive(Clone, Copy)]
pub struct Change {
    /// False when the place belongs to another dialog by now, or stayed contended.
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
        if found.slot.swap_state(state, to) {
            let unconfirmed = to.is_unconfirmed() as i64 - state.is_unconfirmed() as i64;
            if unconfirmed != 0 {
                tables.add_to_tally(0, unconfirmed);
            }
            return Change { done: true, before: state, after: to };
        }
        let key = DialogKey { call_key: found.dialog.call_key, service: found.dialog.service, _pad: 0 };
        let (again, same) = found.slot.read_state(&key);
        if !same || again.generation != state.generation {
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
