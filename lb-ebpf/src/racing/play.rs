//! A packet of the race, and what it says.

use super::{BRANCH, KEYS, key_of, sipsteer_race_stop, tag_of};
use lb_common::{
    decide::{DialogHeaders, Inbound, Inspect},
    sip::{Kind, Method},
};

/// Number of the message that answers a call.
pub(super) const ANSWER: u64 = 4;
/// Number of the message that ends it.
pub(super) const END: u64 = 5;

/// A packet as one number: its parts lie in different bits of it, so a random number is a packet.
#[derive(Clone, Copy)]
pub(super) struct Play(pub(super) u64);

impl Play {
    /// The INVITE of a key.
    #[inline(always)]
    pub(super) fn invite(index: u64, listener: u64) -> Play {
        Play(index & (KEYS - 1) | (listener & 1) << 16 | 1 << 24)
    }

    /// A message to a key's dialog, by its number in [`Play::message`].
    #[inline(always)]
    pub(super) fn within(index: u64, number: u64) -> Play {
        Play(index & (KEYS - 1) | number << 8 | 1 << 24)
    }

    /// Whether it stops somewhere: then it is the ACK that answers a call of an odd key, or the INVITE that opens one again.
    #[inline(always)]
    pub(super) fn stops(self) -> bool {
        (self.0 >> 24) & 7 == 0
    }

    #[inline(always)]
    pub(super) fn index(self) -> u64 {
        self.0 & (KEYS - 1) | self.stops() as u64
    }

    /// What HELD is to be while it stops; 0: it does not.
    #[inline(always)]
    pub(super) fn held(self) -> u64 {
        if self.stops() { (((self.0 >> 40) | 1) << 8 | self.index()) & 0xffff_ffff } else { 0 }
    }

    #[inline(always)]
    pub(super) fn place(self) -> Place {
        match (self.0 >> 28) & 3 {
            0 => Place::BeforeReading,
            1 => Place::WhileReading,
            2 => Place::BeforeWriting,
            _ => Place::BesideChannel,
        }
    }

    /// Whether it is the INVITE that opens a call again.
    #[inline(always)]
    pub(super) fn opens_again(self) -> bool {
        self.stops() && self.place() == Place::BesideChannel
    }

    #[inline(always)]
    pub(super) fn message(self) -> Message {
        let index = self.index();
        let even = index & 1 == 0;
        let (method, branch, to_tag) = match (self.0 >> 8) & 7 {
            _ if self.opens_again() => (Method::Invite, BRANCH, 0),
            _ if self.stops() => (Method::Ack, BRANCH + 1, tag_of(index)),
            0..=3 => (Method::Invite, BRANCH, 0),
            _ if even => (Method::Invite, BRANCH, 0),
            ANSWER => (Method::Ack, BRANCH + 1, tag_of(index)),
            END => (Method::Bye, BRANCH + 2, tag_of(index)),
            6 => (Method::Ack, BRANCH, tag_of(index)),
            _ => (Method::Info, BRANCH + 3, tag_of(index)),
        };
        let stop = if self.place() == Place::BeforeWriting { self.held() } else { 0 };
        Message { kind: Kind::Request(method), headers: DialogHeaders { to_tag, branch }, stop }
    }

    #[inline(always)]
    pub(super) fn inbound(self) -> Inbound {
        let call_key = key_of(self.index()).call_key;
        // A BYE comes from a stranger, so that the tag has to prove it.
        let stranger = matches!(self.message().kind, Kind::Request(Method::Bye));
        Inbound {
            service: 0,
            listener: (self.0 >> 16) as u8 & 1,
            tiers: 1,
            sees_answers: false,
            call_key: Some(call_key),
            source: if stranger { !call_key } else { call_key },
        }
    }
}

/// Where the packets' CPU stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The slot has matched.
    BeforeReading,
    /// Its state has been read, the rest has not.
    WhileReading,
    /// The dialog has been read.
    BeforeWriting,
    /// A channel is about to be taken.
    BesideChannel,
}

/// A packet's headers, without a packet.
#[derive(Clone, Copy)]
pub(super) struct Message {
    kind: Kind,
    headers: DialogHeaders,
    /// What HELD is to be while the message is read again; 0: no stop there.
    stop: u64,
}

impl Inspect for Message {
    #[inline(always)]
    fn kind(&self) -> Kind {
        self.kind
    }
    #[inline(always)]
    fn dialog_headers(&self) -> DialogHeaders {
        if self.stop != 0 {
            sipsteer_race_stop(self.stop);
        }
        self.headers
    }
    #[inline(always)]
    fn ring_key(&self, _by: u8) -> Option<u64> {
        None
    }
    #[inline(always)]
    fn retry_after(&self) -> Option<u32> {
        None
    }
}
