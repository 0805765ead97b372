//! Third stage: what the message is, its Call-ID, and on demand the headers that tell how its dialog goes on.

use crate::{
    apart,
    maps::{Inspected, ScratchCell},
    packet::Packet,
};
use lb_common::{
    decide::{DialogHeaders, Inspect},
    map::settings::Settings,
    sip::{self, CallId, Kind},
};

/// A message, for the decision that may want to know more of it.
#[derive(Clone, Copy)]
pub struct Message {
    packet: Packet,
    payload_at: usize,
    start: usize,
    /// What it is.
    pub kind: Kind,
    /// Keyed hash of its Call-ID, if it has one.
    pub call_key: Option<u64>,
}

/// Reads the start line and finds the Call-ID of the message at `payload_at` in the frame.
#[inline(always)]
pub fn inspect(packet: &Packet, payload_at: usize, scratch: ScratchCell) -> Message {
    apart::inspect(packet, payload_at);
    let Inspected { kind, start, call_key } = scratch.message();
    Message { packet: *packet, payload_at, start, kind, call_key }
}

/// The inspection itself, see [`apart::inspect`].
#[inline(always)]
pub fn inspect_apart(packet: &Packet, payload_at: usize, settings: &Settings) -> Inspected {
    let window = packet.window(payload_at);
    let (kind, start) = sip::start_line(&window, settings.zero as usize);
    let call_key = match kind {
        Kind::KeepAlive | Kind::Stun => None,
        _ => match sip::call_id(&window, start) {
            CallId::Found { at } => Some(sip::call_key(&window, at, &settings.hash_key).hash),
            CallId::Empty | CallId::Absent => None,
        },
    };
    Inspected { kind, start, call_key }
}

impl Inspect for Message {
    #[inline(always)]
    fn dialog_headers(&self) -> DialogHeaders {
        apart::dialog_headers(&self.packet, self.payload_at, self.start)
    }
}
