//! A packet from a caller: to which backend?

use super::{
    Inbound, Inspect, Tables, peer_of, pin,
    remember::{Opening, Remembered},
    track::{self, Sender},
};
use crate::{
    map::{
        backend::keeps_dialogs,
        dialog::{DialogKey, State},
    },
    sip::{DialogHeaders, Kind, Method},
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
    let headers = if packet.call_key.is_some()
        && track::needs_headers(inspect.kind(), entry.dialog.state.phase, sender)
    {
        inspect.dialog_headers()
    } else {
        DialogHeaders::default()
    };
    let why = match entry.found() {
        Some(found) => match follow(tables, packet, inspect, &found, headers, sender) {
            Following::Pin(steering) => return steering,
            Following::Choose(verdict) => verdict,
        },
        None => match without_pin(packet, inspect, headers) {
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
        Verdict::SteeredNew => open(tables, packet, inspect, &key, headers, backend),
        Verdict::SteeredMoved => {
            tables.move_pin(&key, entry.dialog.state.backend, backend, tables.now());
            Steering::to(backend, why)
        }
        _ => Steering::to(backend, why),
    }
}

/// Why a packet without a pin goes to the ring's choice, and whether it opens a dialog.
#[inline(always)]
fn without_pin<I: Inspect>(packet: &Inbound, inspect: &I, headers: DialogHeaders) -> Verdict {
    match inspect.kind() {
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
fn follow<T: Tables, I: Inspect>(
    tables: &T,
    packet: &Inbound,
    inspect: &I,
    found: &pin::Found<T::Slot>,
    headers: DialogHeaders,
    sender: Sender,
) -> Following {
    let state = found.dialog.state;
    let stays = match tables.backend(state.backend) {
        Some(b) => keeps_dialogs(b.will, b.health),
        None => false,
    };
    if !state.is_live() {
        // Its last moments: the pin is still true, but nothing is remembered until the entry is deleted.
        let opens = matches!(inspect.kind(), Kind::Request(Method::Invite));
        if stays && !opens {
            return Following::Pin(Steering::to(state.backend, Verdict::SteeredPinned));
        }
        return Following::Choose(Verdict::SteeredUnpinned);
    }
    if !stays {
        return Following::Choose(Verdict::SteeredMoved);
    }
    let ended = track::update(tables, found, inspect, headers, sender, Some(packet.listener), tables.now());
    Following::Pin(Steering { backend: state.backend, verdict: Verdict::SteeredPinned, tend: ended })
}

/// Another backend for a dialog, if `from` is its pin still.
struct Move {
    from: u16,
    to: u16,
    now: u32,
}

impl pin::Step for Move {
    #[inline(always)]
    fn next(&self, state: State) -> State {
        if state.is_live() && state.backend == self.from {
            State { backend: self.to, seen: self.now as u16, ..state }
        } else {
            state
        }
    }
}

/// The pinned backend is down, disabled or gone: the ring's choice becomes the pin.
#[inline(always)]
pub fn move_pin<T: Tables>(tables: &T, key: &DialogKey, from: u16, to: u16, now: u32) {
    if let Some(found) = pin::find(tables, key) {
        pin::change(tables, &found, &Move { from, to, now });
    }
}

/// Pins a dialog that opens.
#[inline(always)]
fn open<T: Tables, I: Inspect>(
    tables: &T,
    packet: &Inbound,
    inspect: &I,
    key: &DialogKey,
    headers: DialogHeaders,
    backend: u16,
) -> Steering {
    let Kind::Request(method) = inspect.kind() else { return Steering::to(backend, Verdict::SteeredRing) };
    let Some(phase) = track::opening_phase(method) else {
        return Steering::to(backend, Verdict::SteeredRing);
    };
    let opening = Opening {
        call_key: key.call_key,
        service: packet.service,
        backend,
        phase: phase as u8,
        listener: packet.listener,
        peer: peer_of(packet.source),
        evidence: headers.branch,
        now: tables.now(),
    };
    let (backend, verdict) = match tables.remember(&opening) {
        Remembered::New => (backend, Verdict::SteeredNew),
        Remembered::Already(pinned) => (pinned, Verdict::SteeredPinned),
        Remembered::Not => (backend, Verdict::SteeredUnpinned),
    };
    Steering { backend, verdict, tend: true }
}
