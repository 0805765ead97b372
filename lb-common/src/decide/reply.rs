//! A packet from a backend of a `nat` service: which of the service's addresses does it leave from?

use super::{
    Counted, Inspect, LoadCell, Tables, peer_of,
    remember::{self, Opening, Remembered},
    table,
    track::{self, Seen, Sender},
};
use crate::{
    limits::{MAX_RETRY_AFTER_SECONDS, MAX_SERVICES_PER_BACKEND},
    map::{
        backend::BackendAddress,
        dialog::{DialogKey, Phase},
    },
    sip::{DialogHeaders, Kind},
    verdict::Verdict,
};

/// What is known of a backend's packet before the decision.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'a> {
    /// The backend and the services it serves.
    pub from: &'a BackendAddress,
    /// Keyed hash of its Call-ID, if it has one.
    pub call_key: Option<u64>,
    /// Keyed hash of its destination address and port.
    pub destination: u64,
}

/// Where a backend's packet leaves from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The service.
    pub service: u16,
    /// Its listener (RFC 3581 section 4: the address and port that the request arrived at).
    pub listener: u8,
    /// How it leaves us.
    pub verdict: Verdict,
}

/// What is known of a backend's own request that opens a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opens {
    /// The phase it opens in, see [`crate::map::dialog::Phase`].
    pub phase: u8,
    /// Hash of the topmost Via's branch.
    pub branch: u32,
}

/// Whether the table decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It does.
    Done(Leaving),
    /// The packet opens a dialog.
    Open(Opens),
}

/// Finds the dialog of a backend's packet in the services it serves; its own new requests are pinned to it, so that
/// their answers and the rest of their dialogs find it.
#[inline(always)]
pub fn reply<T: Tables, I: Inspect>(tables: &T, packet: &Outbound<'_>, inspect: &I) -> Leaving {
    match follow(tables, packet, inspect) {
        Following::Done(leaving) => leaving,
        Following::Open(opens) => open(tables, packet, &opens),
    }
}

/// Finds the dialog of a backend's packet.
#[inline(always)]
pub fn follow<T: Tables, I: Inspect>(tables: &T, packet: &Outbound<'_>, inspect: &I) -> Following {
    let first = packet.from.services[0];
    let plain = Following::Done(Leaving { service: first, listener: 0, verdict: Verdict::Reply });
    let Some(call_key) = packet.call_key else { return plain };
    let entry = table::look_up(tables, &DialogKey::new(call_key, service_of(tables, packet, call_key)));
    let headers = if track::needs_headers(inspect.kind(), entry.dialog.state.phase, Sender::Backend) {
        inspect.dialog_headers()
    } else {
        DialogHeaders::default()
    };
    if let Some(found) = entry.found() {
        let state = found.dialog.state;
        // Two backends may share a Call-ID, one calling the other through us: only the pinned one changes the dialog.
        let service = found.dialog.service as u16;
        if state.backend == packet.from.backend {
            let seen = Seen {
                headers,
                evidence: found.dialog.evidence.hash,
                sender: Sender::Backend,
                sees_answers: true,
                turns_away: turns_away(tables, inspect.kind(), service),
            };
            let change = track::update(tables, &found, inspect, &seen, None, tables.now());
            if change.done
                && change.before.phase != change.after.phase
                && change.after.phase == Phase::TurnedAway as u8
            {
                let believes = tables.policy(service).believes_retry_after != 0;
                let retry_after = if believes { inspect.retry_after() } else { None };
                tables.turned_away(state.backend, service, retry_after);
            }
        }
        return Following::Done(Leaving { service, listener: state.listener, verdict: Verdict::Reply });
    }
    match inspect.kind() {
        Kind::Request(method) if headers.to_tag == 0 => match track::opening_phase(method) {
            Some(phase) => Following::Open(Opens { phase: phase as u8, branch: headers.branch }),
            None => plain,
        },
        _ => plain,
    }
}

/// Whether an answer lets the call go elsewhere.
#[inline(always)]
fn turns_away<T: Tables>(tables: &T, kind: Kind, service: u16) -> bool {
    match kind {
        Kind::Response(300..=399 | 503) => tables.policy(service).retries_refused != 0,
        _ => false,
    }
}

/// A backend has turned a call away: it is counted, and the backend counts as full for a while if the service wants that: for
/// as long as the backend said, if it is asked.
#[inline(always)]
pub fn turned_away<T: Tables>(tables: &T, backend: u16, service: u16, retry_after: Option<u32>) {
    let Some(load) = tables.backend_load(backend) else { return };
    load.count(Counted::Refusals);
    let milliseconds = match retry_after {
        Some(seconds) if seconds < MAX_RETRY_AFTER_SECONDS => seconds as u64 * 1000,
        Some(_) => MAX_RETRY_AFTER_SECONDS as u64 * 1000,
        None => tables.policy(service).full_after_refusal_ms as u64,
    };
    let until = tables.nanoseconds() + milliseconds * 1_000_000;
    // What it said before still holds: it may refuse several calls that were on their way.
    if milliseconds != 0 && until > load.full_until() {
        load.set_full_until(until);
    }
}

/// Pins a dialog that a backend opens to that backend.
#[inline(always)]
pub fn open<T: Tables>(tables: &T, packet: &Outbound<'_>, opens: &Opens) -> Leaving {
    let service = packet.from.services[0];
    let opening = Opening {
        call_key: packet.call_key.unwrap_or(0),
        service,
        backend: packet.from.backend,
        phase: opens.phase,
        listener: 0,
        peer: peer_of(packet.destination),
        evidence: opens.branch,
        now: tables.now(),
        admitted: false,
    };
    let verdict = match remember::pin(tables, &opening) {
        Remembered::New => Verdict::ReplyNew,
        Remembered::Already(_) => Verdict::Reply,
        _ => Verdict::ReplyUnpinned,
    };
    Leaving { service, listener: 0, verdict }
}

/// The service in which a backend's packet has its dialog: the first one if it has none in any. Along a chain of our
/// services a call has a dialog in each of them: the one pinned to this backend counts more than another backend's, and
/// the one with the packet's destination on its other side tells two of the same backend apart.
#[inline(always)]
fn service_of<T: Tables>(tables: &T, packet: &Outbound<'_>, call_key: u64) -> u16 {
    let from = packet.from;
    let (mut service, mut likeness) = (from.services[0], 0);
    if from.count > 1 {
        let mut i = 0;
        while i < MAX_SERVICES_PER_BACKEND && i < from.count as usize {
            if let Some(found) = table::find(tables, &DialogKey::new(call_key, from.services[i])) {
                let pinned = found.dialog.state.backend == from.backend;
                let other_side = found.dialog.peer == peer_of(packet.destination);
                let this = 1 + 2 * pinned as u32 + other_side as u32;
                if this > likeness {
                    (service, likeness) = (from.services[i], this);
                }
            }
            i += 1;
        }
    }
    service
}
