//! A packet from a caller: to which backend?

use super::{
    DialogHeaders, Inbound, Inspect, Tables, peer_of, pin,
    remember::{Opening, Remembered},
    track::{self, Sender},
};
use crate::{
    map::{
        backend::keeps_dialogs,
        dialog::{DialogKey, State},
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
    /// Something was put into an expiry queue, or an end has come: [`super::expiry::tend`] is due.
    pub tend: bool,
}

impl Steering {
    #[inline(always)]
    const fn to(backend: u16, verdict: Verdict) -> Steering {
        Steering { backend, verdict, tend: false }
    }
}

/// Steers a packet by its dialog's pin, else by the ring, and remembers a dialog that it opens.
#[inline(always)]
pub fn steer<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I) -> Steering {
    let key = DialogKey::new(packet.call_key.unwrap_or(0), packet.service);
    let entry = match packet.call_key {
        Some(_) => pin::look_up(tables, &key),
        None => pin::LookUp::NONE,
    };
    let sender = if entry.slot.is_some() && entry.dialog.peer == peer_of(packet.source) {
        Sender::Peer
    } else {
        Sender::Stranger
    };
    let headers = if packet.call_key.is_some() && track::needs_headers(packet.kind, &entry.dialog, sender) {
        inspect.dialog_headers()
    } else {
        DialogHeaders::default()
    };
    let now = tables.now();
    let why = match entry.found() {
        Some(found) => match follow(tables, packet, &found, headers, sender, now) {
            Following::Pin(steering) => return steering,
            Following::Choose(verdict) => verdict,
        },
        None => match without_pin(packet, headers) {
            Verdict::DroppedNotSip => return Steering::to(0, Verdict::DroppedNotSip),
            verdict => verdict,
        },
    };
    // Without a Call-ID, retransmissions still meet the same backend.
    let choice = packet.call_key.unwrap_or(packet.source);
    let Some(backend) = tables.ring_choice(packet.service, packet.tiers, choice) else {
        return Steering::to(0, Verdict::DroppedNoBackend);
    };
    match why {
        Verdict::SteeredNew => open(tables, packet, &key, headers, backend, now),
        Verdict::SteeredMoved => {
            if let Some(found) = entry.found() {
                move_pin(tables, packet, &found, backend, now);
            }
            Steering::to(backend, why)
        }
        _ => Steering::to(backend, why),
    }
}

/// Why a packet without a pin goes to the ring's choice, and whether it opens a dialog.
#[inline(always)]
fn without_pin(packet: &Inbound, headers: DialogHeaders) -> Verdict {
    match packet.kind {
        Kind::KeepAlive | Kind::Stun => Verdict::SteeredKeepAlive,
        Kind::NotSip if packet.call_key.is_none() => Verdict::DroppedNotSip,
        _ if packet.call_key.is_none() => Verdict::SteeredSource,
        // Only a request outside a dialog opens one (RFC 3261 section 12.1, 12.2): it has no To tag.
        Kind::Request(method) if headers.to_tag == 0 && track::opening_phase(method).is_some() => {
            Verdict::SteeredNew
        }
        _ => Verdict::SteeredRing,
    }
}

/// Whether a dialog in the table decides.
enum Following {
    /// Its pin does.
    Pin(Steering),
    /// The ring has to choose, and why.
    Choose(Verdict),
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
) -> Following {
    let state = found.dialog.state;
    let stays = match tables.backend(state.backend) {
        Some(b) => keeps_dialogs(b.will, b.health),
        None => false,
    };
    if !state.is_live() {
        // Its last moments: the pin is still true, but nothing is remembered until the entry is deleted.
        let opens = matches!(packet.kind, Kind::Request(Method::Invite));
        if stays && !opens {
            return Following::Pin(Steering::to(state.backend, Verdict::SteeredPinned));
        }
        return Following::Choose(Verdict::SteeredUnpinned);
    }
    if !stays {
        return Following::Choose(Verdict::SteeredMoved);
    }
    let ended = track::update(tables, found, packet.kind, headers, sender, Some(packet.listener), now);
    Following::Pin(Steering { backend: state.backend, verdict: Verdict::SteeredPinned, tend: ended })
}

/// The pinned backend is down, disabled or gone: the ring's choice becomes the pin.
#[inline(always)]
fn move_pin<T: Tables>(tables: &T, packet: &Inbound, found: &pin::Found<T::Slot>, backend: u16, now: u32) {
    pin::change(tables, found, |state| {
        if state.is_live() && state.backend == found.dialog.state.backend {
            State { backend, listener: packet.listener, seen: now as u16, ..state }
        } else {
            state
        }
    });
}

/// Pins a dialog that opens.
#[inline(always)]
fn open<T: Tables>(
    tables: &T,
    packet: &Inbound,
    key: &DialogKey,
    headers: DialogHeaders,
    backend: u16,
    now: u32,
) -> Steering {
    let Kind::Request(method) = packet.kind else { return Steering::to(backend, Verdict::SteeredRing) };
    let Some(phase) = track::opening_phase(method) else { return Steering::to(backend, Verdict::SteeredRing) };
    let opening = Opening {
        call_key: key.call_key,
        service: packet.service,
        backend,
        phase: phase as u8,
        listener: packet.listener,
        peer: peer_of(packet.source),
        evidence: headers.branch,
        now,
    };
    let (backend, verdict) = match tables.remember(&opening) {
        Remembered::New => (backend, Verdict::SteeredNew),
        Remembered::Already(pinned) => (pinned, Verdict::SteeredPinned),
        Remembered::Not => (backend, Verdict::SteeredUnpinned),
    };
    Steering { backend, verdict, tend: true }
}
