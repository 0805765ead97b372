//! What the kernel would decide, asked from userspace: the decision core on the pinned maps, which it only reads.

use super::tables::Tables as Pinned;
use crate::failure::Failure;
use lb_common::{
    decide::{self, BackendView, Cursor, Slot, select},
    limits::EXPIRY_SLOTS,
    map::{
        dialog::{Dialog, DialogKey, Evidence, State},
        expiry::{Cursors, Due},
        settings::Settings,
    },
};
use std::cell::RefCell;

/// Where the ring sends a call of a service that is not in the table: a backend id, or none when no backend takes calls.
/// Needs CAP_SYS_ADMIN, as reading rings does.
///
/// # Errors
/// The kernel's.
pub fn ring_choice(tables: &Pinned, service: u16, tiers: u8, call_key: u64) -> Result<Option<u16>, Failure> {
    let view = View { tables, settings: tables.maps.settings()?, failure: RefCell::new(None) };
    let choice = select::ring_choice(&view, service, tiers, call_key);
    view.failure.into_inner().map_or(Ok(choice), Err)
}

/// The pinned maps as the decision core wants them. Choosing from a ring reads rings and backends only; everything else
/// is answered as by tables that are empty and refuse writes.
struct View<'a> {
    tables: &'a Pinned,
    settings: Settings,
    failure: RefCell<Option<Failure>>,
}

impl View<'_> {
    fn or_note<T>(&self, result: Result<Option<T>, Failure>) -> Option<T> {
        result.unwrap_or_else(|failure| {
            self.failure.borrow_mut().get_or_insert(failure);
            None
        })
    }
}

/// A dialog that is only looked at.
#[derive(Clone, Copy)]
struct Seen(Dialog);

impl Slot for Seen {
    fn read(&self) -> Dialog {
        self.0
    }

    fn read_state(&self, key: &DialogKey) -> (State, bool) {
        (self.0.state, DialogKey { call_key: self.0.call_key, service: self.0.service, _pad: 0 } == *key)
    }

    fn swap_state(&self, _from: State, _to: State) -> bool {
        false
    }

    fn swap_evidence(&self, _from: Evidence, _to: Evidence) -> bool {
        false
    }
}

impl decide::Tables for View<'_> {
    type Slot = Seen;
    const QUEUE_SLOTS: u32 = EXPIRY_SLOTS;
    const QUEUE_MARGIN: u32 = EXPIRY_SLOTS;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn now(&self) -> u32 {
        0
    }

    fn next_generation(&self) -> u16 {
        0
    }

    fn dialog(&self, key: &DialogKey) -> Option<Seen> {
        self.or_note(self.tables.maps.dialog(key)).map(Seen)
    }

    fn insert_dialog(&self, _key: &DialogKey, _dialog: &Dialog) -> Result<(), i32> {
        Err(libc::EROFS)
    }

    fn delete_dialog(&self, _key: &DialogKey) -> Result<(), i32> {
        Err(libc::EROFS)
    }

    fn add_to_tally(&self, _entries: i64, _unconfirmed: i64) {}

    fn unconfirmed(&self) -> u64 {
        0
    }

    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        self.or_note(self.tables.rings.slot(service, tier, slot)).and_then(|id| u16::try_from(id).ok())
    }

    fn backend(&self, id: u16) -> Option<BackendView> {
        self.or_note(self.tables.maps.backend(id).map(Some))
            .map(|b| BackendView { will: b.will, health: b.health })
    }

    fn cursors(&self, _queue: u32) -> Option<Cursors> {
        None
    }

    fn claim_tail(&self, _queue: u32) -> Option<u64> {
        None
    }

    fn advance(&self, _queue: u32, _cursor: Cursor, _from: u64) -> bool {
        false
    }

    fn due(&self, _queue: u32, _index: u64) -> Option<Due> {
        None
    }

    fn put_due(&self, _queue: u32, _index: u64, _due: Due) {}

    fn count_write_error(&self, _errno: i32) {}
}
