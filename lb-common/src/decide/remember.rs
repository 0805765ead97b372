//! Putting a dialog into the table.

use super::{E2BIG, EDQUOT, EEXIST, ENOSPC, Slot, Tables, expiry};
use crate::map::{
    dialog::{Dialog, DialogKey, Evidence, Phase, State},
    expiry::SHORT,
};

/// A dialog that opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Keyed hash of its Call-ID.
    pub call_key: u64,
    /// Its service.
    pub service: u16,
    /// The backend it is to be pinned to.
    pub backend: u16,
    /// The [`Phase`] it starts in.
    pub phase: u8,
    /// The listener it came by.
    pub listener: u8,
    /// Hash of the other side's address and port.
    pub peer: u32,
    /// See [`Evidence`].
    pub evidence: u32,
    /// The present tick.
    pub now: u32,
}

/// What became of the attempt to remember a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is pinned.
    New,
    /// Another CPU was faster; this is its pin.
    Already(u16),
    /// It is not in the table, and why was counted.
    Not,
}

impl Remembered {
    /// As one number.
    #[inline(always)]
    pub const fn to_number(self) -> u32 {
        match self {
            Remembered::New => NEW,
            Remembered::Already(backend) => backend as u32,
            Remembered::Not => NOT,
        }
    }

    /// What a number from [`Remembered::to_number`] says.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Remembered {
        match number {
            NEW => Remembered::New,
            NOT => Remembered::Not,
            backend => Remembered::Already(backend as u16),
        }
    }
}

const NEW: u32 = 1 << 16;
const NOT: u32 = 2 << 16;

/// Puts a dialog into its expiry queue and into the table. The queue comes first: an entry of the queue without a
/// dialog is harmless, a dialog without one would never be forgotten. [`expiry::tend`] is due afterwards.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, opening: &Opening) -> Remembered {
    let Opening { call_key, service, backend, phase, listener, peer, evidence, now } = *opening;
    let key = DialogKey::new(call_key, service);
    let generation = tables.next_generation();
    let state = State { backend, phase, listener, seen: now as u16, generation };
    if state.is_unconfirmed() && tables.unconfirmed() >= tables.settings().unconfirmed_limit as u64 {
        tables.count_write_error(EDQUOT);
        return Remembered::Not;
    }
    if !expiry::put(tables, SHORT, &key, now.wrapping_add(tables.settings().ended_ticks)) {
        tables.count_write_error(ENOSPC);
        return Remembered::Not;
    }
    let evidence = Evidence { hash: evidence, generation, _pad: 0 };
    let dialog = Dialog { call_key, service: key.service, peer, evidence, state };
    match tables.insert_dialog(&key, &dialog) {
        Ok(()) => {
            tables.add_to_tally(1, state.is_unconfirmed() as i64);
            Remembered::New
        }
        Err(EEXIST) => {
            if let Some(slot) = tables.dialog(&key) {
                let (state, same) = slot.read_state(&key);
                if same && state.is_live() {
                    return Remembered::Already(state.backend);
                }
            }
            tables.count_write_error(EEXIST);
            Remembered::Not
        }
        Err(errno) => {
            tables.count_write_error(if errno > 0 { errno } else { E2BIG });
            Remembered::Not
        }
    }
}

const _: () = assert!(Phase::Unanswered as u8 != 0, "0 means that there is no dialog");
