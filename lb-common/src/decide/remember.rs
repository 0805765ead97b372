//! Putting a dialog into the table.

use super::{
    E2BIG, EBUSY, EDQUOT, Tables,
    capacity::NOBODY,
    table::{self, Inserted, New},
};
use crate::map::dialog::{DialogKey, State};

/// A dialog that opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Keyed hash of its Call-ID.
    pub call_key: u64,
    /// Its service.
    pub service: u16,
    /// The backend it is to be pinned to.
    pub backend: u16,
    /// The [`Phase`](crate::map::dialog::Phase) it starts in.
    pub phase: u8,
    /// The listener it came by.
    pub listener: u8,
    /// Hash of the other side's address and port.
    pub peer: u32,
    /// See [`Evidence`](crate::map::dialog::Evidence).
    pub evidence: u32,
    /// The present tick.
    pub now: u32,
    /// Its channel was taken by [`super::capacity::admit`] already.
    pub admitted: bool,
}

/// What became of the attempt to remember a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is pinned.
    New,
    /// Another CPU was faster; this is its pin.
    Already(u16),
    /// Another CPU has put it in too.
    Doubled,
    /// Its buckets are full.
    Full,
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
            Remembered::Doubled => DOUBLED,
            Remembered::Full => FULL,
            Remembered::Not => NOT,
        }
    }

    /// What a number from [`Remembered::to_number`] says.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Remembered {
        match number {
            NEW => Remembered::New,
            DOUBLED => Remembered::Doubled,
            FULL => Remembered::Full,
            NOT => Remembered::Not,
            backend => Remembered::Already(backend as u16),
        }
    }
}

const NEW: u32 = 1 << 16;
const NOT: u32 = 2 << 16;
const FULL: u32 = 3 << 16;
const DOUBLED: u32 = 4 << 16;

/// Puts a dialog into the table, in place of one whose lifetime is over if need be: `New`, `Already` or `Not`. The channel of
/// a call that is not in the table afterwards is given back: nobody would see its end.
#[inline(always)]
pub fn pin<T: Tables>(tables: &T, opening: &Opening) -> Remembered {
    let remembered = attempt(tables, opening);
    if matches!(remembered, Remembered::Doubled) {
        // The copy that goes gives its channel back. Twice: a packet that had found a copy may change it just when it is to go.
        let key = DialogKey::new(opening.call_key, opening.service);
        tables.settle(&key);
        let kept = tables.settle(&key);
        return Remembered::Already(if kept == NOBODY { opening.backend } else { kept });
    }
    if opening.admitted && matches!(remembered, Remembered::Not) {
        tables.move_channel(opening.backend, NOBODY);
    }
    remembered
}

#[inline(always)]
fn attempt<T: Tables>(tables: &T, opening: &Opening) -> Remembered {
    let remembered = tables.remember(opening);
    if !matches!(remembered, Remembered::Full) {
        return remembered;
    }
    let key = DialogKey::new(opening.call_key, opening.service);
    if table::make_room(tables, &key, opening.now) > 0 {
        let again = tables.remember(opening);
        if !matches!(again, Remembered::Full) {
            return again;
        }
    }
    tables.count_write_error(E2BIG);
    Remembered::Not
}

/// Puts a dialog into the table if it may be there and there is room.
#[inline(always)]
pub fn remember<T: Tables>(tables: &T, opening: &Opening) -> Remembered {
    let Opening { call_key, service, backend, phase, listener, peer, evidence, now, admitted } = *opening;
    let state = State { backend, phase, listener, seen: now as u16, generation: 0 };
    if state.is_unconfirmed() && tables.unconfirmed() >= tables.settings().unconfirmed_limit as u64 {
        tables.count_write_error(EDQUOT);
        return Remembered::Not;
    }
    let new = New { key: DialogKey::new(call_key, service), state, peer, evidence, admitted };
    match table::insert(tables, &new) {
        Inserted::New => Remembered::New,
        Inserted::Doubled => Remembered::Doubled,
        Inserted::Full => Remembered::Full,
        Inserted::Contended => {
            tables.count_write_error(EBUSY);
            Remembered::Not
        }
    }
}
