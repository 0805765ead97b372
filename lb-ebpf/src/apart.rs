//! The rare parts of the decision as global functions: the verifier walks through each of them once, whatever it knows of
//! the packet at the call, and a call costs some 10 ns. Their arguments and results are plain numbers for that reason.

#![allow(
    unsafe_code,
    reason = "a global function needs a symbol of its own, and naming one counts as unsafe"
)]

mod capacity;

#[allow(unused_imports, reason = "the test-only programs do not need all of it")]
pub use capacity::{
    admit, candidate, mean_utilisation, move_channel, reopen, takes_one_more, turned_away, utilisation, walk,
    zone_room,
};

use crate::{
    maps::{self, ScratchCell},
    packet::Packet,
    stage::{
        inspect::{self, Message},
        route,
    },
    tables::KernelTables,
};
use aya_ebpf::bindings::xdp_md;
use lb_common::{
    decide::{
        Inbound,
        capacity::NOBODY,
        carry, expiry,
        remember::{self, Opening, Remembered},
        reply::{self, Leaving, Opens, Outbound},
        select,
        steer::{self, Choosing, Chosen, Following, Place, Steering},
        table,
    },
    map::{dialog::DialogKey, service::forwarding},
    sip::{self, DialogHeaders, Notes},
    verdict::Verdict,
};

/// [`inspect::inspect`]; the result stands in SCRATCH.
#[inline(always)]
pub fn inspect(packet: &Packet, payload_at: usize) {
    sipsteer_inspect(packet.context(), payload_at as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_inspect(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let packet = Packet::new(context);
    inspect::inspect(&packet, payload_at as usize, tables.settings, tables.scratch);
    1
}

/// [`route::learn`].
#[inline(always)]
pub fn learn(address: u32, port: u16, kind: u32, slot: u32) -> bool {
    sipsteer_learn(address as u64 | (port as u64) << 32, kind as u64, slot as u64) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_learn(address_and_port: u64, kind: u64, slot: u64) -> u64 {
    let Some(settings) = maps::settings() else { return 0 };
    let (address, port) = (address_and_port as u32, (address_and_port >> 32) as u16);
    route::learn(address, port, kind as u32, slot as u32, settings) as u64
}

/// [`route::next_hop`]; the next hop stands in SCRATCH. False: the packet is not forwarded.
#[inline(always)]
pub fn next_hop(packet: &Packet, source: u32, destination: u32, length: u16) -> bool {
    let addresses = source as u64 | (destination as u64) << 32;
    sipsteer_next_hop(packet.context(), addresses, length as u64) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_next_hop(context: *mut xdp_md, addresses: u64, length: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let packet = Packet::new(context);
    match route::next_hop(&packet, addresses as u32, (addresses >> 32) as u32, length as u16, tables.settings)
    {
        Some(next_hop) => {
            tables.scratch.set_next_hop(next_hop);
            1
        }
        None => 0,
    }
}

/// [`steer::follow`] for the packet that SCRATCH tells of, and where a backend has to be chosen, [`steer::choose`].
#[inline(always)]
pub fn steer(packet: &Packet, payload_at: usize, source: u64) -> Steering {
    let mut number = sipsteer_follow(packet.context(), payload_at as u64, source);
    if number == CHOOSE {
        number = sipsteer_choose(packet.context(), payload_at as u64, source);
        if number & OPEN != 0 {
            number = sipsteer_open(number, source);
        }
    }
    Steering {
        backend: number as u16,
        verdict: Verdict::from_index((number >> 32) as u32).unwrap_or(Verdict::PassedBroken),
    }
}

/// A backend has to be chosen, as the result of `sipsteer_follow`; what is known stands in SCRATCH.
const CHOOSE: u64 = u64::MAX;

/// In the result of `sipsteer_choose`: the dialog has to be pinned.
const OPEN: u64 = 1 << 24;
/// Beside [`OPEN`]: a channel is reserved.
const ADMITTED: u64 = 1 << 25;

/// A steering as one number.
#[inline(always)]
fn number_of(steering: Steering) -> u64 {
    steering.backend as u64 | (steering.verdict.index() as u64) << 32
}

/// What SCRATCH tells of a packet to a service.
#[inline(always)]
fn inbound(scratch: ScratchCell, source: u64) -> Inbound {
    let service = scratch.service();
    Inbound {
        service: service.service,
        listener: service.listener,
        tiers: service.tiers,
        sees_answers: service.forwarding == forwarding::NAT,
        call_key: scratch.message().call_key,
        source,
    }
}

const BROKEN: Steering = Steering { backend: 0, verdict: Verdict::PassedBroken };

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_follow(context: *mut xdp_md, payload_at: u64, source: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return number_of(BROKEN) };
    let scratch = tables.scratch;
    let message = Message { packet: Packet::new(context), payload_at: payload_at as usize, scratch };
    match steer::follow(&tables, &inbound(scratch, source), &message) {
        Following::Done(steering) => number_of(steering),
        Following::Choose(choosing) => {
            scratch.set_choosing(&choosing);
            CHOOSE
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_choose(context: *mut xdp_md, payload_at: u64, source: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return number_of(BROKEN) };
    let scratch = tables.scratch;
    let message = Message { packet: Packet::new(context), payload_at: payload_at as usize, scratch };
    match steer::choose(&tables, &inbound(scratch, source), &message, &scratch.choosing()) {
        Chosen::Done(steering) => number_of(steering),
        Chosen::Open(Place { backend, verdict, admitted }) => {
            number_of(Steering { backend, verdict }) | OPEN | if admitted { ADMITTED } else { 0 }
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_open(number: u64, source: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return number_of(BROKEN) };
    let scratch = tables.scratch;
    let place = Place {
        backend: number as u16,
        verdict: Verdict::from_index((number >> 32) as u32).unwrap_or(Verdict::SteeredNew),
        admitted: number & ADMITTED != 0,
    };
    number_of(steer::open(&tables, &inbound(scratch, source), &scratch.choosing(), &place))
}

/// [`reply::follow`] for the packet that SCRATCH tells of, and where it opens a dialog, [`reply::open`].
#[inline(always)]
pub fn reply(packet: &Packet, payload_at: usize, destination: u64) -> Leaving {
    let mut number = sipsteer_reply(packet.context(), payload_at as u64, destination);
    if number == CHOOSE {
        number = sipsteer_reply_opens(destination);
    }
    Leaving {
        service: number as u16,
        listener: (number >> 16) as u8,
        verdict: match (number >> 32) as u32 {
            REPLY_NEW => Verdict::ReplyNew,
            REPLY_UNPINNED => Verdict::ReplyUnpinned,
            _ => Verdict::Reply,
        },
    }
}

const REPLY_NEW: u32 = Verdict::ReplyNew.index();
const REPLY_UNPINNED: u32 = Verdict::ReplyUnpinned.index();

/// A leaving as one number.
#[inline(always)]
fn leaving_number(leaving: Leaving) -> u64 {
    leaving.service as u64 | (leaving.listener as u64) << 16 | (leaving.verdict.index() as u64) << 32
}

/// What SCRATCH tells of a packet from a backend.
#[inline(always)]
fn outbound(scratch: ScratchCell, destination: u64) -> Outbound<'static> {
    Outbound { from: scratch.from(), call_key: scratch.message().call_key, destination }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_reply(context: *mut xdp_md, payload_at: u64, destination: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let scratch = tables.scratch;
    let message = Message { packet: Packet::new(context), payload_at: payload_at as usize, scratch };
    match reply::follow(&tables, &outbound(scratch, destination), &message) {
        reply::Following::Done(leaving) => leaving_number(leaving),
        reply::Following::Open(Opens { phase, branch }) => {
            scratch.set_choosing(&Choosing { why: Verdict::ReplyNew, phase, branch, from: NOBODY });
            CHOOSE
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_reply_opens(destination: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let Choosing { phase, branch, .. } = tables.scratch.choosing();
    leaving_number(reply::open(&tables, &outbound(tables.scratch, destination), &Opens { phase, branch }))
}

/// [`sip::dialog_headers`] of the message whose headers SCRATCH tells of. In pieces, so that the verifier walks through the
/// reading of a parameter once for both headers.
#[inline(always)]
pub fn dialog_headers(packet: &Packet, payload_at: usize, scratch: ScratchCell) -> DialogHeaders {
    if scratch.lacks(sip::Place::TO) || scratch.lacks(sip::Place::VIA) {
        sipsteer_onward(packet.context(), payload_at as u64);
    }
    let parameter = |place: sip::Place| {
        sipsteer_parameter(packet.context(), payload_at as u64, place.index() as u64) as u32
    };
    DialogHeaders { to_tag: parameter(sip::Place::TO), branch: parameter(sip::Place::VIA) }
}

/// [`sip::onward`]; what it notes stands in SCRATCH.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_onward(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(scratch) = maps::scratch() else { return 0 };
    sip::onward(Packet::new(context).window(payload_at as usize), scratch);
    1
}

/// [`sip::parameter`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_parameter(context: *mut xdp_md, payload_at: u64, place: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let window = Packet::new(context).window(payload_at as usize);
    sip::parameter(window, tables.scratch, sip::Place::from_index(place), &tables.settings.hash_key) as u64
}

/// [`sip::user_key`] of the message whose headers SCRATCH tells of.
#[inline(always)]
pub fn user_key(
    packet: &Packet,
    payload_at: usize,
    scratch: ScratchCell,
    start: usize,
    which: u8,
) -> Option<u64> {
    if sip::user_place(which).is_some_and(|place| scratch.lacks(place)) {
        sipsteer_onward(packet.context(), payload_at as u64);
    }
    match sipsteer_user_key(packet.context(), payload_at as u64, start as u64, which as u64) {
        0 => None,
        key => Some(key),
    }
}

/// [`sip::noted_user_key`]; 0 for none. It does not call [`sipsteer_onward`] itself, as the stack would not do for both.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_user_key(context: *mut xdp_md, payload_at: u64, start: u64, which: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let window = Packet::new(context).window(payload_at as usize);
    let key = &tables.settings.hash_key;
    sip::noted_user_key(window, tables.scratch, start as usize, which as u8, key).unwrap_or(0)
}

/// [`sip::retry_after`] of the message that SCRATCH tells of.
#[inline(always)]
pub fn retry_after(packet: &Packet, payload_at: usize) -> Option<u32> {
    seconds_of_number(sipsteer_retry_after(packet.context(), payload_at as u64))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_retry_after(context: *mut xdp_md, payload_at: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NO_SECONDS };
    let window = Packet::new(context).window(payload_at as usize);
    number_of_seconds(sip::retry_after(window, tables.scratch.message().start))
}

/// No Retry-After, as a number of seconds.
const NO_SECONDS: u64 = u64::MAX;

/// Seconds as one number.
#[inline(always)]
fn number_of_seconds(seconds: Option<u32>) -> u64 {
    match seconds {
        Some(seconds) => seconds as u64,
        None => NO_SECONDS,
    }
}

/// The seconds of a number that [`number_of_seconds`] gave.
#[inline(always)]
fn seconds_of_number(number: u64) -> Option<u32> {
    if number == NO_SECONDS { None } else { Some(number as u32) }
}

/// No backend, as the result of [`ring_choice`].
const NONE: u64 = u64::MAX;

/// [`select::ring_choice`].
#[inline(always)]
pub fn ring_choice(service: u16, tiers: u8, key: u64) -> Option<u16> {
    match sipsteer_ring_choice(service as u64, tiers as u64, key) {
        NONE => None,
        backend => Some(backend as u16),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_ring_choice(service: u64, tiers: u64, key: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NONE };
    match select::ring_choice(&tables, service as u16, tiers as u8, key) {
        Some(backend) => backend as u64,
        None => NONE,
    }
}

/// [`remember::remember`].
#[inline(always)]
pub fn remember(opening: &Opening) -> Remembered {
    let ids = opening.service as u64
        | (opening.backend as u64) << 16
        | (opening.phase as u64) << 32
        | (opening.listener as u64) << 40
        | (opening.admitted as u64) << 48;
    let hashes = opening.peer as u64 | (opening.evidence as u64) << 32;
    Remembered::from_number(sipsteer_remember(opening.call_key, ids, hashes, opening.now as u64) as u32)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_remember(call_key: u64, ids: u64, hashes: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return Remembered::Not.to_number() as u64 };
    let opening = Opening {
        call_key,
        service: ids as u16,
        backend: (ids >> 16) as u16,
        phase: (ids >> 32) as u8,
        listener: (ids >> 40) as u8,
        admitted: ids >> 48 & 1 != 0,
        peer: hashes as u32,
        evidence: (hashes >> 32) as u32,
        now: now as u32,
    };
    remember::remember(&tables, &opening).to_number() as u64
}

/// [`steer::move_pin`].
#[inline(always)]
pub fn move_pin(key: &DialogKey, from: u16, to: u16, now: u32) {
    sipsteer_move_pin(key.call_key, key.service as u64, from as u64 | (to as u64) << 16, now as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_move_pin(call_key: u64, service: u64, backends: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = DialogKey::new(call_key, service as u16);
    steer::move_pin(&tables, &key, backends as u16, (backends >> 16) as u16, now as u32);
    1
}

/// [`table::settle`].
#[inline(always)]
pub fn settle(key: &DialogKey) -> u16 {
    sipsteer_settle(key.call_key, key.service as u64) as u16
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_settle(call_key: u64, service: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return NOBODY as u64 };
    table::settle(&tables, &DialogKey::new(call_key, service as u16)) as u64
}

/// [`table::sweep_bucket`].
#[inline(always)]
pub fn sweep_bucket(index: u32, now: u32) -> u32 {
    sipsteer_sweep_bucket(index as u64, now as u64) as u32
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_sweep_bucket(index: u64, now: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    table::sweep_bucket(&tables, index as u32, now as u32) as u64
}

/// [`expiry::tend`].
#[inline(always)]
pub fn tend(jiffies: u64) {
    sipsteer_tend(jiffies);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_tend(jiffies: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    expiry::tend(&tables, jiffies);
    1
}

/// [`expiry::sweep`].
#[inline(always)]
pub fn sweep(count: u32) {
    sipsteer_sweep(count as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_sweep(count: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    expiry::sweep(&tables, count as u32);
    1
}

/// [`carry::carry`] of a dialog in a packet; the answer stands there.
#[inline(always)]
pub fn carry(packet: &Packet, index: usize) {
    sipsteer_carry(packet.context(), index as u64);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_carry(context: *mut xdp_md, index: u64) -> u64 {
    let (Some(tables), Some(entry)) = (KernelTables::open(), Packet::new(context).entry(index as usize))
    else {
        return 0;
    };
    let outcome = carry::carry(&tables, &entry.read().carried());
    // Anew: the verifier does not follow the old pointer through the calls in between.
    if let Some(entry) = Packet::new(context).entry(index as usize) {
        entry.answer(outcome as u32);
    }
    1
}
