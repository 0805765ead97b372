//! SIP, read in place: bytes to offsets, never copies.

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
    /// The kind as one number, for memory that the verifier does not see through.
    #[inline(always)]
    pub const fn to_number(self) -> u32 {
        match self {
            Kind::NotSip => 0,
            Kind::Request(method) => method as u32,
            Kind::KeepAlive => 1 << 8,
            Kind::Stun => 2 << 8,
            Kind::Response(status) => 1 << 16 | status as u32,
        }
    }

    /// The kind of a number that [`Kind::to_number`] gave.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Kind {
        if number >> 16 != 0 {
            return Kind::Response(number as u16);
        }
        match number {
            0x100 => Kind::KeepAlive,
            0x200 => Kind::Stun,
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
pub enum CallId {
    Found { at: usize },
    Empty,
    Absent,
}
pub struct CallKey {
    pub hash: u64,
    pub len: usize,
}
pub use crate::decide::DialogHeaders;
use crate::hash::HashKey;
const LO: u64 = 0x0101010101010101;
const HI: u64 = 0x8080808080808080;
const NL: u64 = 0x0a * LO;
#[inline(always)]
fn fb(m: u64) -> usize {
    ((((m & m.wrapping_neg()).wrapping_sub(1) & LO).wrapping_mul(LO) >> 56) as usize).wrapping_sub(1) & 7
}
#[inline(always)]
pub fn start_line<W: Window>(w: &W, zero: usize) -> (Kind, usize) {
    let Some(x) = w.word(zero) else { return (Kind::NotSip, zero) };
    let b = x & 0xffffff;
    if b == u32::from_le_bytes(*b"INV\0") as u64 {
        return (Kind::Request(Method::Invite), zero);
    }
    if b == u32::from_le_bytes(*b"ACK\0") as u64 {
        return (Kind::Request(Method::Ack), zero);
    }
    if b == u32::from_le_bytes(*b"BYE\0") as u64 {
        return (Kind::Request(Method::Bye), zero);
    }
    if b == u32::from_le_bytes(*b"CAN\0") as u64 {
        return (Kind::Request(Method::Cancel), zero);
    }
    if b == u32::from_le_bytes(*b"OPT\0") as u64 {
        return (Kind::Request(Method::Options), zero);
    }
    if b == u32::from_le_bytes(*b"SIP\0") as u64 {
        return (Kind::Response(200), zero);
    }
    (Kind::NotSip, zero)
}
#[inline(always)]
fn find<W: Window>(w: &W, from: usize, name: u64, mask: u64, len: usize) -> usize {
    let mut off = from;
    let mut i = 0;
    while i < 128 {
        i += 1;
        let Some(b) = w.block(off) else { break };
        let mut z = [0u64; 4];
        let mut acc = 0;
        let mut j = 0;
        while j < 4 {
            let t = b[j] ^ NL;
            z[j] = t.wrapping_sub(LO) & !t & HI;
            acc |= z[j];
            j += 1;
        }
        if acc == 0 {
            off += 32;
            continue;
        }
        let mut j = 0;
        let mut m = 0;
        while j < 4 {
            m = z[j];
            if m != 0 {
                break;
            }
            off += 8;
            j += 1;
        }
        off += fb(m) + 1;
        let Some(x) = w.word(off) else { break };
        if (x | 0x2020202020202020) & mask == name {
            return off + len;
        }
        if x & 0xff == 13 {
            break;
        }
    }
    4095
}
#[inline(always)]
pub fn call_id<W: Window>(w: &W, from: usize) -> CallId {
    let at = find(w, from, u64::from_le_bytes(*b"call-id\0"), 0x00ffffffffffffff, 9);
    if at == 4095 {
        return CallId::Absent;
    }
    CallId::Found { at }
}
#[inline(always)]
pub fn call_key<W: Window>(w: &W, at: usize, key: &HashKey) -> CallKey {
    let mut h = key.k0;
    let mut off = at;
    let mut i = 0;
    while i < 16 {
        let Some(x) = w.word(off) else { break };
        let m = x.wrapping_sub(0x21 * LO) & !x & HI;
        if m != 0 {
            h ^= x & (((m & m.wrapping_neg()) - 1) >> 7);
            h = h.wrapping_mul(0x9fb21c651e98df25);
            h ^= h >> 32;
            break;
        }
        h ^= x;
        h = h.wrapping_mul(0x9fb21c651e98df25);
        h ^= h >> 32;
        off += 8;
        i += 1;
    }
    CallKey { hash: h, len: off - at }
}
#[inline(always)]
pub fn dialog_headers<W: Window>(w: &W, from: usize, key: &HashKey) -> DialogHeaders {
    let b = find(w, from, u64::from_le_bytes(*b"via:\0\0\0\0"), 0xffffffff, 4);
    let h = call_key(w, b + 20, key);
    DialogHeaders { to_tag: 0, branch: h.hash as u32 | 1 }
}
