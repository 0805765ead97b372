//! Finding a dialog, and changing it without touching another one's memory.

use super::{Slot, Tables};
use crate::{
    limits::STATE_ATTEMPTS,
    map::dialog::{Dialog, DialogKey, Evidence, Phase, State},
};

/// A dialog as it was read.
#[derive(Clone, Copy)]
pub struct Found<S: Slot> {
    /// Its place, for changes.
    pub slot: S,
    /// Its value when it was read.
    pub dialog: Dialog,
}

/// The dialog of a key, dead ones included. The place may have been given to another dialog between the look-up and
/// the read, so the key in the value is compared after the state was read.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, key: &DialogKey) -> Option<Found<T::Slot>> {
    let slot = tables.dialog(key)?;
    let dialog = slot.read();
    if dialog.call_key != key.call_key || dialog.service != key.service {
        return None;
    }
    Some(Found { slot, dialog })
}

/// Changes the state word as `next` says, given the present one; `None` leaves it as it is. Returns the state before
/// and after, or `None` when the place belongs to another dialog by now or stayed contended.
#[inline(always)]
pub fn change<T: Tables, F: Fn(State) -> Option<State>>(
    tables: &T,
    found: &Found<T::Slot>,
    next: F,
) -> Option<(State, State)> {
    let mut state = found.dialog.state;
    let mut attempt = 0;
    while attempt < STATE_ATTEMPTS {
        let to = match next(state) {
            Some(to) if to.to_word() != state.to_word() => to,
            _ => return Some((state, state)),
        };
        if found.slot.swap_state(state, to) {
            let unconfirmed = to.is_unconfirmed() as i64 - state.is_unconfirmed() as i64;
            if unconfirmed != 0 {
                tables.add_to_tally(0, unconfirmed);
            }
            return Some((state, to));
        }
        let again = found.slot.read();
        if again.call_key != found.dialog.call_key
            || again.service != found.dialog.service
            || again.state.generation != state.generation
        {
            return None;
        }
        state = again.state;
        attempt += 1;
    }
    None
}

/// Replaces the evidence if it still belongs to this dialog's life.
#[inline(always)]
pub fn set_evidence<S: Slot>(found: &Found<S>, hash: u32) {
    let from = found.dialog.evidence;
    found.slot.swap_evidence(from, Evidence { hash, ..from });
}

/// A new dialog's value.
#[inline(always)]
pub fn new_dialog(key: &DialogKey, state: State, peer: u32, evidence: u32) -> Dialog {
    Dialog {
        call_key: key.call_key,
        service: key.service,
        peer,
        evidence: Evidence { hash: evidence, generation: state.generation, _pad: 0 },
        state,
    }
}

/// The state of a dialog that opens now.
#[inline(always)]
pub fn new_state(phase: Phase, backend: u16, listener: u8, now: u32, generation: u16) -> State {
    State { backend, phase: phase as u8, listener, seen: now as u16, generation }
}
