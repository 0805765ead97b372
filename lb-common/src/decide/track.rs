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

/// Whether the To tag or the branch decides what this request does to a dialog of a phase, 0 if there is none.
#[inline(always)]
pub fn needs_headers(kind: Kind, phase: u8, sender: Sender) -> bool {
    let Kind::Request(method) = kind else { return false };
    if phase == 0 {
        return opening_phase(method).is_some();
    }
    match method {
        Method::Invite => phase != Phase::Answered as u8,
        Method::Ack => phase == Phase::Unanswered as u8 || phase == Phase::Cancelled as u8,
        Method::Bye => phase == Phase::Answered as u8 && matches!(sender, Sender::Stranger),
        _ => false,
    }
}

/// The phase after a request. Headers that are all zeros were not read: another CPU has changed the phase since it was
/// found, and what would need them now changes nothing. (A request without branch and To tag, which RFC 3261 does not
/// know, looks the same.)
#[inline(always)]
pub fn next_phase(phase: u8, method: Method, headers: DialogHeaders, evidence: u32, sender: Sender) -> u8 {
    const UNANSWERED: u8 = Phase::Unanswered as u8;
    const ANSWERED: u8 = Phase::Answered as u8;
    const CANCELLED: u8 = Phase::Cancelled as u8;
    match method {
        Method::Invite | Method::Ack if headers.branch | headers.to_tag == 0 => phase,
        // A refused INVITE that comes again, with credentials for instance, opens the call again. With a To tag it is
        // a re-INVITE of a dialog whose beginning was not seen.
        Method::Invite if phase != ANSWERED => {
            if headers.to_tag == 0 {
                UNANSWERED
            } else {
                ANSWERED
            }
        }
        // RFC 3261 17.1.1.3: the ACK of a refusal carries the INVITE's branch, the ACK of a 2xx a new one.
        Method::Ack if phase == UNANSWERED || phase == CANCELLED => {
            if evidence != 0 && headers.branch == evidence { Phase::Ended as u8 } else { ANSWERED }
        }
        Method::Cancel if phase == UNANSWERED && matches!(sender, Sender::Peer | Sender::Backend) => {
            CANCELLED
        }
        Method::Bye if phase == UNANSWERED || phase == ANSWERED || phase == CANCELLED => {
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

/// A packet's effect on a state.
struct Packet<'a, I: Inspect> {
    inspect: &'a I,
    settings: &'a Settings,
    headers: DialogHeaders,
    evidence: u32,
    sender: Sender,
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
            Kind::Request(method) => {
                next_phase(state.phase, method, self.headers, self.evidence, self.sender)
            }
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

/// Brings a dialog up to date with a packet of it.
#[inline(always)]
pub fn update<T: Tables, I: Inspect>(
    tables: &T,
    found: &pin::Found<T::Slot>,
    inspect: &I,
    headers: DialogHeaders,
    sender: Sender,
    listener: Option<u8>,
    now: u32,
) {
    let evidence = found.dialog.evidence.hash;
    let packet = Packet { inspect, settings: tables.settings(), headers, evidence, sender, listener, now };
    let pin::Change { done, before, after } = pin::change(tables, found, &packet);
    if !done {
        return;
    }
    match inspect.kind() {
        Kind::Request(Method::Invite)
            if headers.branch != 0
                && after.phase == Phase::Unanswered as u8
                && headers.branch != evidence =>
        {
            pin::set_evidence(found, headers.branch);
        }
        Kind::Request(Method::Ack) if before.phase != after.phase && after.phase == Phase::Answered as u8 => {
            pin::set_evidence(found, headers.to_tag);
        }
        _ => {}
    }
}
