//! The scanner of `lb-common` and the reference parser must agree on every datagram.
//!
//! The fuzz target in `tests/fuzz` includes this file as a module of its own, so it names its neighbours by `crate::`.

use crate::reference::{self, Message};
use lb_common::{
    hash::{HashKey, SipHash13, fold},
    limits::MAX_SCAN,
    map::zone::hash_by,
    sip::{self, Bytes, CallId, Kind, Noted, Window},
};

/// What a scan found, natively, in the kernel or by the reference parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What the datagram is.
    pub kind: Kind,
    /// The Call-ID.
    pub call_id: Found,
    /// Hash of the To tag, 0 if absent.
    pub to_tag: u32,
    /// Hash of the topmost Via's branch, 0 if absent.
    pub branch: u32,
    /// Keys of the users in From, To and the request line.
    pub users: [Option<u64>; 3],
    /// The seconds of the Retry-After.
    pub retry_after: Option<u32>,
}

/// A Call-ID as a scan reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has a value.
    Value {
        /// Offset of the value.
        at: usize,
        /// Its length, as far as it is hashed.
        len: usize,
        /// The call key.
        hash: u64,
    },
    /// A header without value.
    Empty,
    /// No header.
    Absent,
}

/// What the scanner finds.
pub fn scan(datagram: &[u8], key: &HashKey) -> Scan {
    let (window, notes) = (Guarded(Bytes(datagram)), &Noted::default());
    let (kind, from) = sip::start_line(window, 0);
    let call_id = match sip::call_id(window, from, notes) {
        CallId::Found { at } => {
            let found = sip::call_key(window, at, key);
            Found::Value { at, len: found.len, hash: found.hash }
        }
        CallId::Empty => Found::Empty,
        CallId::Absent => Found::Absent,
    };
    let headers = sip::dialog_headers(window, notes, key);
    let users = [hash_by::FROM_USER, hash_by::TO_USER, hash_by::REQUEST_USER]
        .map(|which| sip::user_key(window, notes, from, which, key));
    let retry_after = sip::retry_after(window, from);
    Scan { kind, call_id, to_tag: headers.to_tag, branch: headers.branch, users, retry_after }
}

/// What the scanner should find: the reference parser's answer, hashed.
pub fn expect(message: &Message<'_>, key: &HashKey) -> Scan {
    let parameter = |value: Option<&[u8]>| value.map_or(0, |value| fold(SipHash13::of(key, value)));
    Scan {
        kind: message.kind,
        call_id: match message.call_id {
            reference::CallId::Value(at, value) => {
                Found::Value { at, len: value.len(), hash: SipHash13::of(key, value) }
            }
            reference::CallId::Empty => Found::Empty,
            reference::CallId::Absent => Found::Absent,
        },
        to_tag: parameter(message.to_tag),
        branch: parameter(message.branch),
        users: message.users.map(|user| user.map(|user| SipHash13::of(key, user))),
        retry_after: message.retry_after,
    }
}

/// Panics, showing the datagram, if scanner and reference parser differ.
pub fn check(datagram: &[u8], key: &HashKey) {
    let message = reference::read(datagram);
    let (found, expected) = (scan(datagram, key), expect(&message, key));
    assert_eq!(
        found,
        expected,
        "scanner (left) and {message:?} (right) on {:?}",
        datagram.escape_ascii().to_string()
    );
}

/// A window that refuses offsets the kernel's window would bend.
#[derive(Clone, Copy)]
struct Guarded<'a>(Bytes<'a>);

impl Guarded<'_> {
    fn guard(at: usize) -> usize {
        assert!(at < MAX_SCAN, "the scanner asks for offset {at}, which the kernel's mask would change");
        at
    }
}

impl Window for Guarded<'_> {
    fn block(&self, at: usize) -> Option<[u64; 4]> {
        self.0.block(Self::guard(at))
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.0.word(Self::guard(at))
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.0.byte(Self::guard(at))
    }
}
