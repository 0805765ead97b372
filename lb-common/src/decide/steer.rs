//! A packet from a caller: to which backend?
//!
//! Three steps, because the kernel walks through each apart: [`follow`] for a packet whose dialog is in the table, which most
//! are, [`choose`] for the others, and [`open`] for those that open a dialog.

use super::{
    Inbound, Inspect, Tables,
    capacity::NOBODY,
    own_tag, peer_of, pin,
    remember::{self, Opening, Remembered},
    select::{self, Choice},
    table,
    track::{self, Seen, Sender},
};
use crate::{
    map::{
        backend::keeps_dialogs,
        dialog::{DialogKey, Phase, State},
        zone::hash_by,
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
    /// The backend that the dialog is pinned to and cannot stay at; [`NOBODY`] if it is not in the table.
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

/// A backend for a dialog that opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The backend.
    pub backend: u16,
    /// The verdict when the dialog is pinned there.
    pub verdict: Verdict,
    /// A channel is reserved there.
    pub admitted: bool,
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All is decided.
    Done(Steering),
    /// The dialog has to be pinned.
    Open(Place),
}

/// Steers a packet by its dialog's pin, else by the ring, and remembers a dialog that it opens.
#[inline(always)]
pub fn steer<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I) -> Steering {
    match follow(tables, packet, inspect) {
        Following::Done(steering) => steering,
        Following::Choose(choosing) => match choose(tables, packet, inspect, &choosing) {
            Chosen::Done(steering) => steering,
            Chosen::Open(place) => open(tables, packet, &choosing, &place),
        },
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
    let Some(found) = entry.found() else {
        return without_pin(tables, packet, inspect, headers);
    };
    let state = found.dialog.state;
    // Before its backend's state is asked for: this is a new call, which needs a channel.
    if state.phase == Phase::TurnedAway as u8 && opens_again(inspect, headers, found.dialog.evidence.hash) {
        return Following::Choose(Choosing {
            why: Verdict::SteeredNew,
            phase: Phase::Unanswered as u8,
            branch: headers.branch,
            from: state.backend,
        });
    }
    let seen = Seen {
        headers,
        evidence: found.dialog.evidence.hash,
        sender,
        sees_answers: packet.sees_answers,
        turns_away: false,
    };
    // Before it moves: the BYE of a call whose backend is dead ends it, and takes no channel of another one.
    track::update(tables, &found, inspect, &seen, Some(packet.listener), tables.now());
    let backend = tables.backend(state.backend);
    if !keeps_dialogs(backend.will, backend.health) {
        let why = Verdict::SteeredMoved;
        return Following::Choose(Choosing {
            why,
            phase: state.phase,
            branch: headers.branch,
            from: state.backend,
        });
    }
    Following::Done(Steering::to(state.backend, Verdict::SteeredPinned))
}

/// Whether a message is an INVITE of a new attempt: not one that the backend turned away, which comes again.
#[inline(always)]
fn opens_again<I: Inspect>(inspect: &I, headers: DialogHeaders, evidence: u32) -> bool {
    matches!(inspect.kind(), Kind::Request(Method::Invite))
        && headers.to_tag == 0
        && headers.branch != 0
        && headers.branch != evidence
}

/// A packet that has no dialog in the table.
#[inline(always)]
fn without_pin<T: Tables, I: Inspect>(
    tables: &T,
    packet: &Inbound,
    inspect: &I,
    headers: DialogHeaders,
) -> Following {
    let mut phase = 0;
    let why = match inspect.kind() {
        Kind::KeepAlive | Kind::Stun => Verdict::SteeredKeepAlive,
        Kind::NotSip if packet.call_key.is_none() => {
            return Following::Done(Steering::to(0, Verdict::DroppedNotSip));
        }
        _ if packet.call_key.is_none() => Verdict::SteeredSource,
        Kind::Request(Method::Ack) if is_of_own_answer(tables, packet, headers) => {
            return Following::Done(Steering::to(0, Verdict::AbsorbedAck));
        }
        Kind::Request(Method::Options) if headers.to_tag == 0 && answers_options(tables, packet.service) => {
            return Following::Done(Steering::to(0, Verdict::AnsweredOptions));
        }
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
    Following::Choose(Choosing { why, phase, branch: headers.branch, from: NOBODY })
}

/// Whether an ACK carries the To tag of an answer that the balancer gave itself (RFC 3261 section 17.1.1.3).
#[inline(always)]
fn is_of_own_answer<T: Tables>(tables: &T, packet: &Inbound, headers: DialogHeaders) -> bool {
    match packet.call_key {
        Some(call_key) => {
            headers.to_tag != 0 && headers.to_tag == own_tag::hash(&tables.settings().hash_key, call_key)
        }
        None => false,
    }
}

/// Whether OPTIONS of a service are the daemon's business now. Without it a backend answers.
#[inline(always)]
fn answers_options<T: Tables>(tables: &T, service: u16) -> bool {
    tables.policy(service).answers_options != 0 && tables.daemon_answers()
}

/// Chooses a backend for a packet that no pin decides about.
#[inline(always)]
pub fn choose<T: Tables, I: Inspect>(
    tables: &T,
    packet: &Inbound,
    inspect: &I,
    choosing: &Choosing,
) -> Chosen {
    // Without a Call-ID, retransmissions still meet the same backend.
    let key = ring_key(tables, packet, inspect, choosing);
    if choosing.phase == Phase::Unanswered as u8 && matches!(choosing.why, Verdict::SteeredNew) {
        return call(tables, packet, choosing, key);
    }
    let Some(backend) = tables.ring_choice(packet.service, packet.tiers, key) else {
        return Chosen::Done(Steering::to(0, Verdict::DroppedNoBackend));
    };
    match choosing.why {
        Verdict::SteeredNew => Chosen::Open(Place { backend, verdict: Verdict::SteeredNew, admitted: false }),
        Verdict::SteeredMoved => {
            let key = DialogKey::new(packet.call_key.unwrap_or(0), packet.service);
            tables.move_pin(&key, choosing.from, backend, tables.now());
            Chosen::Done(Steering::to(backend, choosing.why))
        }
        why => Chosen::Done(Steering::to(backend, why)),
    }
}

/// What the ring is asked with.
#[inline(always)]
fn ring_key<T: Tables, I: Inspect>(tables: &T, packet: &Inbound, inspect: &I, choosing: &Choosing) -> u64 {
    let key = packet.call_key.unwrap_or(packet.source);
    if choosing.phase == 0 {
        return key;
    }
    let by = tables.policy(packet.service).hash_by;
    if by == hash_by::CALL_ID {
        return key;
    }
    match inspect.ring_key(by) {
        Some(user) => user,
        None => key,
    }
}

/// A new call, or one that its backend turned away: to a backend that has room.
#[inline(always)]
fn call<T: Tables>(tables: &T, packet: &Inbound, choosing: &Choosing, key: u64) -> Chosen {
    let choice = select::call(tables, packet.service, key, choosing.from, tables.nanoseconds());
    let (backend, verdict) = match choice {
        Choice::Backend { id, overflow: false } => (id, Verdict::SteeredNew),
        Choice::Backend { id, overflow: true } => (id, Verdict::SteeredOverflow),
        Choice::Redirect => return Chosen::Done(Steering::to(0, Verdict::Redirected)),
        Choice::Full => return Chosen::Done(Steering::to(0, Verdict::RefusedFull)),
        Choice::Down => return Chosen::Done(Steering::to(0, Verdict::RefusedDown)),
    };
    if choosing.from == NOBODY {
        return Chosen::Open(Place { backend, verdict, admitted: true });
    }
    let key = DialogKey::new(packet.call_key.unwrap_or(0), packet.service);
    tables.reopen(&key, choosing.from, backend, choosing.branch);
    // The dialog has taken a channel of its own.
    tables.move_channel(backend, NOBODY);
    Chosen::Done(Steering::to(backend, verdict))
}

/// A call that its backend turned away, at another backend.
struct Reopen {
    from: u16,
    to: u16,
    now: u32,
}

impl pin::Step for Reopen {
    #[inline(always)]
    fn next(&self, state: State) -> State {
        if state.phase == Phase::TurnedAway as u8 && state.backend == self.from {
            State { backend: self.to, phase: Phase::Unanswered as u8, seen: self.now as u16, ..state }
        } else {
            state
        }
    }
}

/// Pins a call that its backend turned away to another one, for the INVITE of a branch.
#[inline(always)]
pub fn reopen<T: Tables>(tables: &T, key: &DialogKey, from: u16, to: u16, branch: u32) {
    if let Some(found) = table::find(tables, key)
        && pin::change(tables, &found, &Reopen { from, to, now: tables.now() }).done
    {
        pin::set_evidence(&found, branch);
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
pub fn open<T: Tables>(tables: &T, packet: &Inbound, choosing: &Choosing, place: &Place) -> Steering {
    let Place { backend, verdict, admitted } = *place;
    let opening = Opening {
        call_key: packet.call_key.unwrap_or(0),
        service: packet.service,
        backend,
        phase: choosing.phase,
        listener: packet.listener,
        peer: peer_of(packet.source),
        evidence: choosing.branch,
        now: tables.now(),
        admitted,
    };
    match remember::pin(tables, &opening) {
        Remembered::New => Steering::to(backend, verdict),
        Remembered::Already(pinned) => Steering::to(pinned, Verdict::SteeredPinned),
        _ => {
            // Where the rest of the dialog will be steered, which finds no pin.
            let first = tables.ring_choice(packet.service, packet.tiers, opening.call_key);
            Steering::to(first.unwrap_or(backend), Verdict::SteeredUnpinned)
        }
    }
}
