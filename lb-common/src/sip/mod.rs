//! SIP, read in place: bytes to offsets, never copies.

mod call_id;
mod dialog;
mod lines;
mod notes;
mod parameter;
mod retry_after;
mod start_line;
pub(crate) mod swar;
mod token;
mod user;
mod window;

pub use call_id::{CallId, CallKey, call_id, call_key};
pub use dialog::{DialogHeaders, dialog_headers};
pub use lines::onward;
pub use notes::{Noted, Notes, PLACES, Place};
pub use parameter::parameter;
pub use retry_after::retry_after;
pub use start_line::start_line;
pub use user::{noted_user_key, user_key, user_place};
pub use window::Bytes;

/// A bounded read-only view of a datagram. The kernel implements it on packet pointers, everything else on slices.
pub trait Window: Copy {
    /// 32 bytes at `at` as four little-endian words, if they lie inside.
    fn block(&self, at: usize) -> Option<[u64; 4]>;
    /// 8 bytes at `at` as a little-endian word, if they lie inside.
    fn word(&self, at: usize) -> Option<u64>;
    /// The byte at `at`, if it lies inside.
    fn byte(&self, at: usize) -> Option<u8>;
}

/// A request's method; the number is its slot in a service's counters, where 0 is for responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// Any other token.
    Other = 1,
    /// RFC 3261 section 13.
    Invite = 2,
    /// RFC 3261 section 13.2.2.4 and 17.1.1.3.
    Ack = 3,
    /// RFC 3261 section 15.
    Bye = 4,
    /// RFC 3261 section 9.
    Cancel = 5,
    /// RFC 3261 section 10.
    Register = 6,
    /// RFC 3261 section 11.
    Options = 7,
    /// RFC 3262.
    Prack = 8,
    /// RFC 3311.
    Update = 9,
    /// RFC 6665.
    Subscribe = 10,
    /// RFC 6665.
    Notify = 11,
    /// RFC 3903.
    Publish = 12,
    /// RFC 6086.
    Info = 13,
    /// RFC 3515.
    Refer = 14,
    /// RFC 3428.
    Message = 15,
}

/// What a datagram is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request(Method),
    /// A response with its status code.
    Response(u16),
    /// Only CR, LF or NUL bytes, or nothing (RFC 5626 section 3.5.1, RFC 6223).
    KeepAlive,
    /// STUN (RFC 8489 section 5: two zero bits first, the magic cookie at byte 4).
    Stun,
    /// Anything else.
    NotSip,
}

impl Kind {
    /// The kind as a number. The program keeps it in memory between its stages, where the verifier loses sight of it: else
    /// it would verify what follows once for each method.
    #[inline(always)]
    pub const fn to_number(self) -> u16 {
        match self {
            Kind::NotSip => 0,
            Kind::Request(method) => method as u16,
            Kind::KeepAlive => 0x100,
            Kind::Stun => 0x101,
            Kind::Response(code) => 0x1000 | code,
        }
    }

    /// The kind of a number that [`Kind::to_number`] gave.
    #[inline(always)]
    pub const fn from_number(number: u16) -> Kind {
        if number & 0x1000 != 0 {
            return Kind::Response(number & 0xfff);
        }
        match number {
            0x100 => Kind::KeepAlive,
            0x101 => Kind::Stun,
            0 => Kind::NotSip,
            _ => Kind::Request(Method::from_number(number as u8)),
        }
    }
}

impl Method {
    /// The method of a number; [`Method::Other`] for any other number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Method {
        match number {
            2 => Method::Invite,
            3 => Method::Ack,
            4 => Method::Bye,
            5 => Method::Cancel,
            6 => Method::Register,
            7 => Method::Options,
            8 => Method::Prack,
            9 => Method::Update,
            10 => Method::Subscribe,
            11 => Method::Notify,
            12 => Method::Publish,
            13 => Method::Info,
            14 => Method::Refer,
            15 => Method::Message,
            _ => Method::Other,
        }
    }
}
