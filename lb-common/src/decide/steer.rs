//! A packet from a caller: to which backend?

use super::{
    DialogHeaders, E2BIG, EDQUOT, EEXIST, ENOSPC, Inbound, Inspect, Tables, expiry, peer_of, pin, select,
    track::{self, Sender},
};
use crate::{
    map::{
        backend::keeps_dialogs,
        dialog::{DialogKey, Phase},
        expiry::SHORT,
    },
    sip::{Kind, Method},
    verdict::Verdict,
};

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// Backend id; meaningless when the verdict drops the packet.
    pub backend: u16,
    /// How it leaves us.
    pub verdict: Verdict,
}

const NOWHERE: Steering = Steering { backend: 0, verdict: Verdict::DroppedNoBackend };

/// Steers a packet by its dialog's pin, else by the ring, and remembers a dialog that it opens.
#[inline(always)]
pub fn steer<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I) -> Steering {
    let Some(call_key) = packet.call_key else { return by_source(tables, packet) };
    let key = DialogKey::new(call_key, packet.service);
    let found = pin::find(tables, &key);
    let sender = match &found {
        Some(f) if f.dialog.peer == peer_of(packet.source) => Sender::Peer,
        _ => Sender::Stranger,
    };
    let headers = if track::needs_headers(packet.kind, found.as_ref().map(|f| &f.dialog), sender) {
        inspect.dialog_headers()
    } else {
        DialogHeaders::default()
    };
    let now = tables.now();
    let Some(found) = found else { return open(tables, packet, &key, headers, now) };
    follow(tables, packet, &found, headers, sender, now)
}

/// Without a Call-ID, retransmissions still meet the same backend.
#[inline(always)]
fn by_source<T: Tables>(tables: &T, packet: &Inbound) -> Steering {
    let verdict = match packet.kind {
        Kind::KeepAlive | Kind::Stun => Verdict::SteeredKeepAlive,
        Kind::Request(_) | Kind::Response(_) => Verdict::SteeredSource,
        Kind::NotSip => return Steering { backend: 0, verdict: Verdict::DroppedNotSip },
    };
    match select::ring_choice(tables, packet.service, packet.tiers, packet.source) {
        Some(backend) => Steering { backend, verdict },
        None => NOWHERE,
    }
}

/// A packet of a dialog in the table.
#[inline(always)]
fn follow<T: Tables>(
    tables: &T,
    packet: &Inbound,
    found: &pin::Found<T::Slot>,
    headers: DialogHeaders,
    sender: Sender,
    now: u32,
) -> Steering {
    let state = found.dialog.state;
    let stays = match tables.backend(state.backend) {
        Some(b) => keeps_dialogs(b.will, b.health),
        None => false,
    };
    if !state.is_live() {
        // Its last moments: the pin is still true, but nothing is remembered until the entry is deleted.
        let opens = matches!(packet.kind, Kind::Request(Method::Invite));
        if stays && !opens {
            return Steering { backend: state.backend, verdict: Verdict::SteeredPinned };
        }
        return unpinned(tables, packet, found.dialog.call_key);
    }
    if !stays {
        return move_pin(tables, packet, found, now);
    }
    if track::update(tables, found, packet.kind, headers, sender, Some(packet.listener), now) {
        expiry::tend(tables, now);
    }
    Steering { backend: state.backend, verdict: Verdict::SteeredPinned }
}

/// The pinned backend is down, disabled or gone: the ring chooses another, which becomes the pin.
#[inline(always)]
fn move_pin<T: Tables>(tables: &T, packet: &Inbound, found: &pin::Found<T::Slot>, now: u32) -> Steering {
    let key = found.dialog.call_key;
    let Some(backend) = select::ring_choice(tables, packet.service, packet.tiers, key) else {
        return NOWHERE;
    };
    pin::change(tables, found, |state| {
        if state.is_live() && state.backend == found.dialog.state.backend {
            Some(crate::map::dialog::State { backend, listener: packet.listener, seen: now as u16, ..state })
        } else {
            None
        }
    });
    Steering { backend, verdict: Verdict::SteeredMoved }
}

/// A packet of no dialog in the table.
#[inline(always)]
fn open<T: Tables>(
    tables: &T,
    packet: &Inbound,
    key: &DialogKey,
    headers: DialogHeaders,
    now: u32,
) -> Steering {
    let Some(backend) = select::ring_choice(tables, packet.service, packet.tiers, key.call_key) else {
        return NOWHERE;
    };
    // Only a request outside a dialog opens one (RFC 3261 section 12.1, 12.2): it has no To tag.
    let opens = match packet.kind {
        Kind::Request(method) if headers.to_tag == 0 => track::opening_phase(method),
        _ => None,
    };
    let Some(phase) = opens else { return Steering { backend, verdict: Verdict::SteeredRing } };
    let peer = peer_of(packet.source);
    match remember(tables, key, phase, backend, packet.listener, peer, headers.branch, now) {
        Remembered::New => Steering { backend, verdict: Verdict::SteeredNew },
        Remembered::Already(backend) => Steering { backend, verdict: Verdict::SteeredPinned },
        Remembered::Not => Steering { backend, verdict: Verdict::SteeredUnpinned },
    }
}

/// A dialog that opens but cannot be remembered.
#[inline(always)]
fn unpinned<T: Tables>(tables: &T, packet: &Inbound, call_key: u64) -> Steering {
    match select::ring_choice(tables, packet.service, packet.tiers, call_key) {
        Some(backend) => Steering { backend, verdict: Verdict::SteeredUnpinned },
        None => NOWHERE,
    }
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

/// Puts a dialog into its expiry queue and into the table. The queue comes first: an entry of the queue without a
/// dialog is harmless, a dialog without one would never be forgotten.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "all of it goes into one value; a struct would only rename it")]
pub fn remember<T: Tables>(
    tables: &T,
    key: &DialogKey,
    phase: Phase,
    backend: u16,
    listener: u8,
    peer: u32,
    branch: u32,
    now: u32,
) -> Remembered {
    let state = pin::new_state(phase, backend, listener, now, tables.next_generation());
    if state.is_unconfirmed() && tables.unconfirmed() >= tables.settings().unconfirmed_limit as u64 {
        tables.count_write_error(EDQUOT);
        expiry::tend(tables, now);
        return Remembered::Not;
    }
    if !expiry::put(tables, SHORT, key, now.wrapping_add(tables.settings().ended_ticks)) {
        tables.count_write_error(ENOSPC);
        expiry::tend(tables, now);
        return Remembered::Not;
    }
    let result = tables.insert_dialog(key, &pin::new_dialog(key, state, peer, branch));
    let remembered = match result {
        Ok(()) => {
            tables.add_to_tally(1, state.is_unconfirmed() as i64);
            Remembered::New
        }
        Err(EEXIST) => match pin::find(tables, key) {
            Some(found) if found.dialog.state.is_live() => Remembered::Already(found.dialog.state.backend),
            _ => {
                tables.count_write_error(EEXIST);
                Remembered::Not
            }
        },
        Err(errno) => {
            tables.count_write_error(if errno > 0 { errno } else { E2BIG });
            Remembered::Not
        }
    };
    expiry::tend(tables, now);
    remembered
}
