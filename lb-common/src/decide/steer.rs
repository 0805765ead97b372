//! A packet from a caller: to which backend?
//!
//! Two steps, because the kernel walks through each apart: [`follow`] for a packet whose dialog is in the table, which most
//! are, and [`choose`] for the others.

use super::{
    Inbound, Inspect, Tables, peer_of, pin,
    remember::{self, Opening, Remembered},
    table,
    track::{self, Sender},
};
use crate::{
    map::{
        backend::keeps_dialogs,
        dialog::{DialogKey, State},
    },
    sip::{DialogHeaders, Kind},
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

impl Steering {
    #[inline(always)]
    const fn to(backend: u16, verdict: Verdict) -> Steering {
        Steering { backend, verdict }
    }
}

/// What is known of a packet that no pin decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choosing {
    /// Why a backend is to be chosen: the verdict if all goes well.
    pub why: Verdict,
    /// The phase of the dialog that it opens, see [`crate::map::dialog::Phase`].
    pub phase: u8,
    /// Hash of the topmost Via's branch.
    pub branch: u32,
    /// The backend that the dialog is pinned to and cannot stay at, if the verdict is [`Verdict::SteeredMoved`].
    pub from: u16,
}

/// Whether the table decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It does.
    Done(Steering),
    /// A backend has to be chosen.
    Choose(Choosing),
}

/// Steers a packet by its dialog's pin, else by the ring, and remembers a dialog that it opens.
#[inline(always)]
pub fn steer<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I) -> Steering {
    match follow(tables, packet, inspect) {
        Following::Done(steering) => steering,
        Following::Choose(choosing) => choose(tables, packet, &choosing),
    }
}

/// Follows the pin of a packet's dialog.
#[inline(always)]
pub fn follow<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I) -> Following {
    let key = DialogKey::new(packet.call_key.unwrap_or(0), packet.service);
    let entry = match packet.call_key {
        Some(_) => table::look_up(tables, &key),
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
    let Some(found) = entry.found() else { return without_pin(packet, inspect, headers) };
    let state = found.dialog.state;
    let stays = match tables.backend(state.backend) {
        Some(b) => keeps_dialogs(b.will, b.health),
        None => false,
    };
    if !stays {
        let why = Verdict::SteeredMoved;
        return Following::Choose(Choosing {
            why,
            phase: state.phase,
            branch: headers.branch,
            from: state.backend,
        });
    }
    track::update(tables, &found, inspect, headers, sender, Some(packet.listener), tables.now());
    Following::Done(Steering::to(state.backend, Verdict::SteeredPinned))
}

/// A packet that has no dialog in the table.
#[inline(always)]
fn without_pin<I: Inspect>(packet: &Inbound, inspect: &I, headers: DialogHeaders) -> Following {
    let mut phase = 0;
    let why = match inspect.kind() {
        Kind::KeepAlive | Kind::Stun => Verdict::SteeredKeepAlive,
        Kind::NotSip if packet.call_key.is_none() => {
            return Following::Done(Steering::to(0, Verdict::DroppedNotSip));
        }
        _ if packet.call_key.is_none() => Verdict::SteeredSource,
        // Only a request outside a dialog opens one (RFC 3261 section 12.1, 12.2): it has no To tag.
        Kind::Request(method) if headers.to_tag == 0 => match track::opening_phase(method) {
            Some(opens) => {
                phase = opens as u8;
                Verdict::SteeredNew
            }
            None => Verdict::SteeredRing,
        },
        _ => Verdict::SteeredRing,
    };
    Following::Choose(Choosing { why, phase, branch: headers.branch, from: 0 })
}

/// Chooses a backend for a packet that no pin decides about, and pins the dialog that it opens.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, packet: &Inbound, choosing: &Choosing) -> Steering {
    // Without a Call-ID, retransmissions still meet the same backend.
    let choice = packet.call_key.unwrap_or(packet.source);
    let Some(backend) = tables.ring_choice(packet.service, packet.tiers, choice) else {
        return Steering::to(0, Verdict::DroppedNoBackend);
    };
    match choosing.why {
        Verdict::SteeredNew => open(tables, packet, choosing, backend),
        Verdict::SteeredMoved => {
            let key = DialogKey::new(packet.call_key.unwrap_or(0), packet.service);
            tables.move_pin(&key, choosing.from, backend, tables.now());
            Steering::to(backend, choosing.why)
        }
        why => Steering::to(backend, why),
    }
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
    if let Some(found) = table::find(tables, key) {
        pin::change(tables, &found, &Move { from, to, now });
    }
}

/// Pins a dialog that opens.
#[inline(always)]
fn open<T: Tables>(tables: &T, packet: &Inbound, choosing: &Choosing, backend: u16) -> Steering {
    let opening = Opening {
        call_key: packet.call_key.unwrap_or(0),
        service: packet.service,
        backend,
        phase: choosing.phase,
        listener: packet.listener,
        peer: peer_of(packet.source),
        evidence: choosing.branch,
        now: tables.now(),
    };
    match remember::pin(tables, &opening) {
        Remembered::New => Steering::to(backend, Verdict::SteeredNew),
        Remembered::Already(pinned) => Steering::to(pinned, Verdict::SteeredPinned),
        Remembered::Full | Remembered::Not => Steering::to(backend, Verdict::SteeredUnpinned),
    }
}
