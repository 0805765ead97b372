//! Third stage: what the message is, its Call-ID, and on demand the headers that tell how its dialog goes on.

use super::parse::mapped;
use crate::{
    apart,
    maps::{self, Inspected, ScratchCell},
    packet::Packet,
};
use lb_common::{
    decide::{Inspect, source::source_hash},
    map::{settings::Settings, zone::hash_by},
    sip::{self, CallId, DialogHeaders, Kind},
};

/// A message that SCRATCH tells of, for the decision.
#[derive(Clone, Copy)]
pub struct Message {
    /// The frame.
    pub packet: Packet,
    /// Where the message starts in it.
    pub payload_at: usize,
    /// What was found out of it.
    pub scratch: ScratchCell,
}

/// Reads the start line and finds the Call-ID of the message at `payload_at` in the frame. The result stands in SCRATCH;
/// so does what lies between the two steps, or the verifier would walk through the search once for every way that a
/// start line can be read.
#[inline(always)]
pub fn inspect(packet: &Packet, payload_at: usize, settings: &Settings, scratch: ScratchCell) {
    let window = packet.window(payload_at);
    let (kind, start) = sip::start_line(window, settings.zero as usize);
    scratch.set_start(kind, start);
    let Inspected { kind, start, .. } = scratch.message();
    let call_key = match kind {
        Kind::KeepAlive | Kind::Stun => None,
        _ => match sip::call_id(window, start, scratch) {
            CallId::Found { at } => Some(sip::call_key(window, at, &settings.hash_key).hash),
            CallId::Empty | CallId::Absent => None,
        },
    };
    scratch.set_call_key(call_key);
}

impl Inspect for Message {
    #[inline(always)]
    fn kind(&self) -> Kind {
        self.scratch.message().kind
    }

    #[inline(always)]
    fn dialog_headers(&self) -> DialogHeaders {
        apart::dialog_headers(&self.packet, self.payload_at, self.scratch)
    }

    #[inline(always)]
    fn ring_key(&self, by: u8) -> Option<u64> {
        if by == hash_by::SOURCE {
            let address = mapped(self.scratch.datagram().source);
            return maps::settings().map(|settings| source_hash(&settings.hash_key, &address, 0));
        }
        apart::user_key(&self.packet, self.payload_at, self.scratch, self.scratch.message().start, by)
    }

    #[inline(always)]
    fn retry_after(&self) -> Option<u32> {
        apart::retry_after(&self.packet, self.payload_at)
    }
}
