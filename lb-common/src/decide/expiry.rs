//! Forgetting dialogs, without the daemon.
//!
//! Every dialog waits in the short queue first. When its time there is over, it is dead, or waits again: in the short
//! queue if an end is near, else in the long one. A dead dialog is deleted when no CPU can hold a pointer to it any
//! more. Every entry put in is paid for by two visits to each queue, so the queues empty faster than they fill.

use super::{Cursor, ENOENT, ENOSPC, Slot, Tables, pin};
use crate::{
    limits::EXPIRY_VISITS,
    map::{
        dialog::{DialogKey, Phase, State},
        expiry::{Due, DueWord, LONG, QUEUES, SHORT},
        settings::Settings,
    },
};

/// The lap in which a queue's index lies, from 1, as a slot notes it.
#[inline(always)]
const fn lap<T: Tables>(index: u64) -> u16 {
    // 0 marks a slot that was never written.
    ((index / T::QUEUE_SLOTS as u64) % 0xffff) as u16 + 1
}

/// Whether a tick has come, across the wrap of 32 bits.
#[inline(always)]
const fn has_come(tick: u32, now: u32) -> bool {
    now.wrapping_sub(tick) < 1 << 31
}

/// Puts a dialog into a queue, to be looked at at `tick`. False: the queue is full.
#[inline(always)]
pub fn put<T: Tables>(tables: &T, queue: u32, key: &DialogKey, tick: u32) -> bool {
    let Some(cursors) = tables.cursors(queue) else { return false };
    if cursors.tail.wrapping_sub(cursors.burying) >= (T::QUEUE_SLOTS - T::QUEUE_MARGIN) as u64 {
        return false;
    }
    let Some(index) = tables.claim_tail(queue) else { return false };
    let word = DueWord { tick, service: key.service as u16, lap: lap::<T>(index) };
    tables.put_due(queue, index, Due { call_key: key.call_key, word });
    true
}

/// Visits what is due in both queues, a bounded number of entries.
#[inline(always)]
pub fn tend<T: Tables>(tables: &T, now: u32) {
    let mut queue = 0;
    while queue < QUEUES {
        let mut visit = 0;
        while visit < EXPIRY_VISITS {
            visit_dying(tables, queue, now);
            visit_burying(tables, queue, now);
            visit += 1;
        }
        queue += 1;
    }
}

/// The entry at a cursor. All zeros, which no written entry is, when it is not written completely; a value in either
/// case, for the verifier's sake.
#[inline(always)]
fn entry<T: Tables>(tables: &T, queue: u32, index: u64) -> Due {
    const NONE: Due = Due { call_key: 0, word: DueWord { tick: 0, service: 0, lap: 0 } };
    match tables.due(queue, index) {
        Some(due) if due.word.lap == lap::<T>(index) => due,
        _ => NONE,
    }
}

#[inline(always)]
fn visit_dying<T: Tables>(tables: &T, queue: u32, now: u32) {
    let Some(cursors) = tables.cursors(queue) else { return };
    if cursors.dying >= cursors.tail {
        return;
    }
    let due = entry(tables, queue, cursors.dying);
    if due.word.lap == 0 || !has_come(due.word.tick, now) {
        return;
    }
    if tables.advance(queue, Cursor::Dying, cursors.dying) {
        examine(tables, &DialogKey::new(due.call_key, due.word.service), now);
    }
}

#[inline(always)]
fn visit_burying<T: Tables>(tables: &T, queue: u32, now: u32) {
    let Some(cursors) = tables.cursors(queue) else { return };
    if cursors.burying >= cursors.dying {
        return;
    }
    let due = entry(tables, queue, cursors.burying);
    let burial = tables.settings().burial_ticks;
    if due.word.lap == 0 || !has_come(due.word.tick.wrapping_add(burial), now) {
        return;
    }
    let key = DialogKey::new(due.call_key, due.word.service);
    let dialog = pin::look_up(tables, &key);
    let dead = dialog.dialog.state.phase == Phase::Dead as u8;
    // Marked dead late, because nothing had come by: its two seconds are not over yet.
    if dead && dialog.dialog.state.age(now) < burial {
        return;
    }
    if !tables.advance(queue, Cursor::Burying, cursors.burying) {
        return;
    }
    if let (true, Some(found)) = (dead, dialog.found()) {
        bury(tables, &key, &found, now);
    }
}

/// Lifetime of a dialog of a phase, since it was last seen, in ticks.
#[inline(always)]
pub fn lifetime(settings: &Settings, phase: u8) -> u32 {
    if phase == Phase::Unanswered as u8 {
        settings.unanswered_ticks
    } else if phase == Phase::Answered as u8 {
        settings.answered_ticks
    } else if phase == Phase::Subscribed as u8 {
        settings.subscribed_ticks
    } else {
        settings.ended_ticks
    }
}

/// Marks a dialog dead whose lifetime is over; puts another one back into a queue.
#[inline(always)]
fn examine<T: Tables>(tables: &T, key: &DialogKey, now: u32) {
    let Some(found) = pin::find(tables, key) else { return };
    if !found.dialog.state.is_live() || die(tables, &found, now) {
        return;
    }
    let settings = tables.settings();
    let phase = found.dialog.state.phase;
    let long = phase == Phase::Unanswered as u8
        || phase == Phase::Answered as u8
        || phase == Phase::Subscribed as u8;
    let (queue, wait) = if long {
        // An INVITE has waited in the short queue already.
        (LONG, settings.unanswered_ticks.wrapping_sub(settings.ended_ticks))
    } else {
        (SHORT, settings.ended_ticks)
    };
    if !put(tables, queue, key, now.wrapping_add(wait)) {
        tables.count_write_error(ENOSPC);
    }
}

/// Death of a dialog whose lifetime is over.
struct Death<'a> {
    settings: &'a Settings,
    now: u32,
}

impl pin::Step for Death<'_> {
    #[inline(always)]
    fn next(&self, state: State) -> State {
        if state.is_live() && state.age(self.now) >= lifetime(self.settings, state.phase) {
            State { phase: Phase::Dead as u8, seen: self.now as u16, ..state }
        } else {
            state
        }
    }
}

/// Marks a dialog dead if its lifetime is over; false: it lives on.
#[inline(always)]
fn die<T: Tables>(tables: &T, found: &pin::Found<T::Slot>, now: u32) -> bool {
    let change = pin::change(tables, found, &Death { settings: tables.settings(), now });
    change.done && change.after.phase == Phase::Dead as u8
}

/// Deletes a dead dialog. Whoever turns its state from dead to buried is the one to delete it; if the table refuses, the
/// dialog is dead again and comes again.
#[inline(always)]
fn bury<T: Tables>(tables: &T, key: &DialogKey, found: &pin::Found<T::Slot>, now: u32) {
    let dead = found.dialog.state;
    let buried = State { phase: Phase::Buried as u8, ..dead };
    if dead.phase != Phase::Dead as u8 || !found.slot.swap_state(dead, buried) {
        return;
    }
    match tables.delete_dialog(key) {
        Ok(()) => tables.add_to_tally(-1, 0),
        Err(errno) => {
            tables.count_write_error(errno);
            let again = errno != ENOENT && found.slot.swap_state(buried, dead);
            if again && !put(tables, SHORT, key, now.wrapping_add(tables.settings().ended_ticks)) {
                tables.count_write_error(ENOSPC);
            }
        }
    }
}

/// Examines one dialog by its key, for the daemon's search for forgotten ones: dead ones are buried, overdue ones are
/// marked dead and come again. Returns true when it was deleted or marked.
#[inline(always)]
pub fn expire<T: Tables>(tables: &T, key: &DialogKey, now: u32) -> bool {
    let Some(found) = pin::find(tables, key) else { return false };
    let settings = tables.settings();
    if found.dialog.state.is_live() {
        return die(tables, &found, now);
    }
    if found.dialog.state.age(now) >= settings.burial_ticks {
        bury(tables, key, &found, now);
        return true;
    }
    false
}
