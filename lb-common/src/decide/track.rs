//! Where a dialog stands, told from the requests that pass.

use super::{Inspect, Tables, expiry::lifetime, pin};
use crate::{
    map::{
        dialog::{Phase, State},
        settings::Settings,
    },
    sip::{DialogHeaders, Kind, Method},
};

/// Who sent a packet of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The dialog's backend.
    Backend,
    /// The other side, known by its address.
    Peer,
    /// Somebody else.
    Stranger,
}

/// The phase a request opens a dialog in. `None`: it belongs to a dialog that exists, or is no dialog's business.
#[inline(always)]
pub fn opening_phase(method: Method) -> Option<Phase> {
    match method {
        Method::Invite => Some(Phase::Unanswered),
        Method::Subscribe => Some(Phase::Subscribed),
        // RFC 3261 section 9.1: a CANCEL goes where its INVITE went. The others exist inside a dialog only.
        Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update | Method::Info => None,
        _ => Some(Phase::Transaction),
    }
}

/// Whether the To tag or the branch decides what this message does to a dialog of a phase, 0 if there is none.
#[inline(always)]
pub fn needs_headers(kind: Kind, phase: u8, sender: Sender) -> bool {
    let method = match kind {
        Kind::Request(method) => method,
        // RFC 3261 section 17.1.3: a final answer belongs to the INVITE whose branch it repeats. That it rings says any
        // provisional one.
        Kind::Response(code) => return code >= 200 && is_open(phase) && !matches!(sender, Sender::Stranger),
        _ => return false,
    };
    if phase == 0 {
        // An ACK may be that of an answer of our own.
        return matches!(method, Method::Ack) || opening_phase(method).is_some();
    }
    match method {
        Method::Invite => phase != Phase::Answered as u8,
        Method::Ack => is_open(phase),
        Method::Bye => phase == Phase::Answered as u8 && matches!(sender, Sender::Stranger),
        _ => false,
    }
}

/// The phases of an INVITE without a final answer, a bit each: one test instead of three keeps the verifier's ways few.
const OPEN: u32 = 1 << Phase::Unanswered as u8 | 1 << Phase::Ringing as u8 | 1 << Phase::Cancelled as u8;

/// Whether a phase is one of them.
#[inline(always)]
const fn is_open(phase: u8) -> bool {
    OPEN >> (phase & 15) & 1 != 0
}

/// What a message that passes says about its dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its To tag and branch. All zeros: they were not read, because another CPU has changed the phase since the dialog was
    /// found, and what would need them now changes nothing. (A request without branch and To tag, which RFC 3261 does not
    /// know, looks the same.)
    pub headers: DialogHeaders,
    /// The dialog's evidence.
    pub evidence: u32,
    /// Who sent it.
    pub sender: Sender,
    /// Whether the dialog's answers pass too: then an ACK need not tell what they were.
    pub sees_answers: bool,
    /// Whether a backend's own 503 or 3xx lets the call go elsewhere.
    pub turns_away: bool,
}

/// The phase after a request.
#[inline(always)]
pub fn next_phase(phase: u8, method: Method, seen: &Seen) -> u8 {
    const ANSWERED: u8 = Phase::Answered as u8;
    let Seen { headers, evidence, sender, .. } = *seen;
    match method {
        Method::Invite | Method::Ack if headers.branch | headers.to_tag == 0 => phase,
        // A refused INVITE that comes again, with credentials for instance, opens the call again. With a To tag it is
        // a re-INVITE of a dialog whose beginning was not seen.
        Method::Invite if phase != ANSWERED => {
            if headers.to_tag != 0 {
                ANSWERED
            } else if headers.branch == evidence {
                // The same INVITE again, late perhaps.
                phase
            } else {
                Phase::Unanswered as u8
            }
        }
        // RFC 3261 17.1.1.3: the ACK of a refusal carries the INVITE's branch, the ACK of a 2xx a new one.
        Method::Ack if is_open(phase) => {
            if evidence != 0 && headers.branch == evidence {
                Phase::Ended as u8
            } else if seen.sees_answers && phase != Phase::Cancelled as u8 {
                // Of an INVITE before the present one.
                phase
            } else {
                // Of a CANCEL too, which a 2xx crossed: 200 to the CANCEL itself has no ACK (RFC 3261 section 9.1).
                ANSWERED
            }
        }
        Method::Cancel if is_open(phase) && matches!(sender, Sender::Peer | Sender::Backend) => {
            Phase::Cancelled as u8
        }
        Method::Bye if phase == ANSWERED || is_open(phase) => {
            let known = match sender {
                Sender::Peer | Sender::Backend => true,
                // Somebody who knows the tag of the other side has seen the dialog.
                Sender::Stranger => phase == ANSWERED && evidence != 0 && headers.to_tag == evidence,
            };
            if known { Phase::Ended as u8 } else { phase }
        }
        _ => phase,
    }
}

/// The phase after an answer: of the backend, or of the far side of a call that the backend made. Any provisional answer says
/// that it rings; of the final ones only those to the INVITE matter, which repeat its branch. Those to a CANCEL do so too
/// (RFC 3261 section 9.1), and are 200 in practice.
#[inline(always)]
pub fn phase_after_answer(phase: u8, code: u16, seen: &Seen) -> u8 {
    if !is_open(phase) || matches!(seen.sender, Sender::Stranger) {
        return phase;
    }
    if code < 200 {
        return if code > 100 && phase == Phase::Unanswered as u8 { Phase::Ringing as u8 } else { phase };
    }
    if seen.evidence == 0 || seen.headers.branch != seen.evidence {
        return phase;
    }
    match code {
        200..=299 if phase != Phase::Cancelled as u8 => Phase::Answered as u8,
        // RFC 3261 section 21.5.4 and 21.3: somebody else may take the call.
        300..=399 | 503 if seen.turns_away && phase != Phase::Cancelled as u8 => Phase::TurnedAway as u8,
        300..=699 => Phase::Ended as u8,
        _ => phase,
    }
}

/// A packet's effect on a state.
struct Packet<'a, I: Inspect> {
    inspect: &'a I,
    settings: &'a Settings,
    seen: &'a Seen,
    listener: Option<u8>,
    now: u32,
}

impl<I: Inspect> pin::Step for Packet<'_, I> {
    #[inline(always)]
    fn next(&self, state: State) -> State {
        if !state.is_live() {
            return state;
        }
        let phase = match self.inspect.kind() {
            Kind::Request(method) => next_phase(state.phase, method, self.seen),
            Kind::Response(code) => phase_after_answer(state.phase, code, self.seen),
            _ => state.phase,
        };
        let listener = match self.listener {
            Some(listener) => listener,
            None => state.listener,
        };
        // A packet that changes nothing else is noted when a 64th of the lifetime has passed: each write is one that other
        // CPUs have to fetch.
        let recent = phase == state.phase && state.age(self.now) <= lifetime(self.settings, phase) >> 6;
        let seen = if recent { state.seen } else { self.now as u16 };
        State { phase, listener, seen, ..state }
    }
}

/// Brings a dialog up to date with a packet of it, and says what changed.
#[inline(always)]
pub fn update<T: Tables, I: Inspect>(
    tables: &T,
    found: &pin::Found<T::Slot>,
    inspect: &I,
    seen: &Seen,
    listener: Option<u8>,
    now: u32,
) -> pin::Change {
    tables.count_answer(found.dialog.state, inspect, seen);
    let packet = Packet { inspect, settings: tables.settings(), seen, listener, now };
    let change = pin::change(tables, found, &packet);
    let pin::Change { done, before, after } = change;
    if !done {
        return change;
    }
    let opened = after.phase == Phase::Unanswered as u8 && seen.headers.branch != seen.evidence;
    let answered = before.phase != after.phase && after.phase == Phase::Answered as u8;
    match inspect.kind() {
        Kind::Request(Method::Invite) if opened && seen.headers.branch != 0 => {
            pin::set_evidence(found, seen.headers.branch);
        }
        Kind::Request(Method::Ack) | Kind::Response(_) if answered => {
            pin::set_evidence(found, seen.headers.to_tag);
        }
        _ => {}
    }
    change
}

/// Whether a message to a dialog of a phase shows that the dialog's backend answered an INVITE that had no answer before: any
/// response of its own does, and where those pass elsewhere, the ACK that follows a final one (RFC 3261 sections 13.2.2.4 and
/// 17.1.1.3). Where they pass here, an ACK says nothing: a stranger can send one without any answer.
#[inline(always)]
pub fn is_answer(kind: Kind, phase: u8, sender: Sender, sees_answers: bool) -> bool {
    match kind {
        Kind::Response(_) => matches!(sender, Sender::Backend) && phase == Phase::Unanswered as u8,
        Kind::Request(Method::Ack) => {
            matches!(sender, Sender::Peer | Sender::Stranger) && !sees_answers && is_open(phase)
        }
        _ => false,
    }
}
