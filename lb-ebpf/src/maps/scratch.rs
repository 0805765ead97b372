//! Part of the door to map memory: the packet in hand, in this CPU's SCRATCH.

#![allow(
    unsafe_code,
    reason = "as in the door that it is part of, and the test-only programs have this part alone"
)]

use core::ptr::{read_volatile, write_volatile};
use lb_common::{
    decide::steer::Choosing,
    map::{
        backend::{BackendAddress, NextHop},
        service::Service,
        settings::Scratch,
    },
    sip::{Kind, Notes, Place},
    verdict::Verdict,
};

/// A UDP datagram in an IPv4 packet in an Ethernet frame.
#[derive(Clone, Copy)]
pub struct Datagram {
    /// Source address, network order.
    pub source: u32,
    /// Destination address, network order.
    pub destination: u32,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
    /// Length of the IP packet in bytes.
    pub ip_length: u16,
    /// Offset of the UDP header in the frame.
    pub udp_at: u16,
}

/// What the inspection of a message gave.
#[derive(Clone, Copy)]
pub struct Inspected {
    /// What it is.
    pub kind: Kind,
    /// Offset of the start line in the message.
    pub start: usize,
    /// Keyed hash of its Call-ID, if it has one.
    pub call_key: Option<u64>,
}

/// This CPU's memory of the packet in hand.
#[derive(Clone, Copy)]
pub struct ScratchCell(*mut Scratch);

/// This CPU's memory of the packet in hand.
#[inline(always)]
pub fn scratch() -> Option<ScratchCell> {
    super::SCRATCH.get_ptr_mut(0).map(ScratchCell)
}

impl ScratchCell {
    /// Notes a packet to a service.
    #[inline(always)]
    pub fn set_service(self, direction: u32, service: Service) {
        // SAFETY: the pointer is this CPU's element of a per-CPU array; XDP programs do not nest on a CPU.
        unsafe {
            write_volatile(&raw mut (*self.0).direction, direction);
            write_volatile(&raw mut (*self.0).service, service);
        }
    }

    /// Notes a packet from a backend.
    #[inline(always)]
    pub fn set_backend(self, direction: u32, from: BackendAddress) {
        // SAFETY: as in `set_service`.
        unsafe {
            write_volatile(&raw mut (*self.0).direction, direction);
            write_volatile(&raw mut (*self.0).from, from);
        }
    }

    /// Notes the next hop of a packet from a backend.
    #[inline(always)]
    pub fn set_next_hop(self, next_hop: NextHop) {
        // SAFETY: as in `set_service`.
        unsafe { write_volatile(&raw mut (*self.0).next_hop, next_hop) }
    }

    /// Reads what was noted.
    #[inline(always)]
    pub fn direction(self) -> u32 {
        // SAFETY: as in `set_service`.
        unsafe { read_volatile(&raw const (*self.0).direction) }
    }

    /// What was noted.
    #[inline(always)]
    pub fn service(self) -> &'static Service {
        // SAFETY: as in `set_service`; it is written before the reference is made, and not again for this packet.
        unsafe { &(*self.0).service }
    }

    /// What was noted.
    #[inline(always)]
    pub fn from(self) -> &'static BackendAddress {
        // SAFETY: as in `set_service`; it is written before the reference is made, and not again for this packet.
        unsafe { &(*self.0).from }
    }

    /// What was noted.
    #[inline(always)]
    pub fn next_hop(self) -> &'static NextHop {
        // SAFETY: as in `set_service`; it is written before the reference is made, and not again for this packet.
        unsafe { &(*self.0).next_hop }
    }

    /// Notes the datagram.
    #[inline(always)]
    pub fn set_datagram(self, datagram: &Datagram) {
        // SAFETY: as in `set_service`.
        unsafe {
            write_volatile(&raw mut (*self.0).source, datagram.source);
            write_volatile(&raw mut (*self.0).destination, datagram.destination);
            write_volatile(&raw mut (*self.0).source_port, datagram.source_port);
            write_volatile(&raw mut (*self.0).destination_port, datagram.destination_port);
            write_volatile(&raw mut (*self.0).ip_length, datagram.ip_length);
            write_volatile(&raw mut (*self.0).udp_at, datagram.udp_at);
        }
    }

    /// Reads what was noted.
    #[inline(always)]
    pub fn datagram(self) -> Datagram {
        // SAFETY: as in `set_service`.
        unsafe {
            Datagram {
                source: read_volatile(&raw const (*self.0).source),
                destination: read_volatile(&raw const (*self.0).destination),
                source_port: read_volatile(&raw const (*self.0).source_port),
                destination_port: read_volatile(&raw const (*self.0).destination_port),
                ip_length: read_volatile(&raw const (*self.0).ip_length),
                udp_at: read_volatile(&raw const (*self.0).udp_at),
            }
        }
    }

    /// Notes what the message is and where it starts, and that nothing else is known of it.
    #[inline(always)]
    pub fn set_start(self, kind: Kind, start: usize) {
        for place in Place::ALL {
            self.note(place, 0);
        }
        // SAFETY: as in `set_service`.
        unsafe {
            write_volatile(&raw mut (*self.0).kind, kind.to_number() as u32);
            write_volatile(&raw mut (*self.0).start, start as u32);
            write_volatile(&raw mut (*self.0).met, 0);
        }
    }

    /// Notes the hash of the Call-ID.
    #[inline(always)]
    pub fn set_call_key(self, call_key: Option<u64>) {
        // SAFETY: as in `set_service`.
        unsafe {
            write_volatile(&raw mut (*self.0).has_call_key, call_key.is_some() as u32);
            write_volatile(&raw mut (*self.0).call_key, call_key.unwrap_or(0));
        }
    }

    /// Reads what was noted.
    #[inline(always)]
    pub fn message(self) -> Inspected {
        // SAFETY: as in `set_service`.
        unsafe {
            let call_key = read_volatile(&raw const (*self.0).call_key);
            let has_call_key = read_volatile(&raw const (*self.0).has_call_key) != 0;
            Inspected {
                kind: Kind::from_number(read_volatile(&raw const (*self.0).kind) as u16),
                start: read_volatile(&raw const (*self.0).start) as usize,
                call_key: if has_call_key { Some(call_key) } else { None },
            }
        }
    }

    /// Notes why a backend is to be chosen.
    #[inline(always)]
    pub fn set_choosing(self, choosing: &Choosing) {
        // SAFETY: as in `set_service`.
        unsafe {
            write_volatile(&raw mut (*self.0).why, choosing.why.index());
            write_volatile(&raw mut (*self.0).branch, choosing.branch);
            write_volatile(&raw mut (*self.0).leaves, choosing.from);
            write_volatile(&raw mut (*self.0).opens, choosing.phase);
        }
    }

    /// Reads what was noted.
    #[inline(always)]
    pub fn choosing(self) -> Choosing {
        // SAFETY: as in `set_service`.
        unsafe {
            let why = read_volatile(&raw const (*self.0).why);
            Choosing {
                why: Verdict::from_index(why).unwrap_or(Verdict::PassedBroken),
                phase: read_volatile(&raw const (*self.0).opens),
                branch: read_volatile(&raw const (*self.0).branch),
                from: read_volatile(&raw const (*self.0).leaves),
            }
        }
    }

    /// Notes the phase that the packet finds its dialog in.
    #[inline(always)]
    pub fn set_met(self, phase: u8) {
        // SAFETY: as in `set_service`.
        unsafe { write_volatile(&raw mut (*self.0).met, phase) }
    }

    /// Reads what was noted; 0 if nothing was.
    #[inline(always)]
    pub fn met(self) -> u8 {
        // SAFETY: as in `set_service`.
        unsafe { read_volatile(&raw const (*self.0).met) }
    }

    /// Whether this CPU sees `jiffies` for the first time; from then on it has seen them.
    #[inline(always)]
    pub fn is_new_jiffy(self, jiffies: u32) -> bool {
        // SAFETY: as in `set_service`.
        unsafe {
            let before = read_volatile(&raw const (*self.0).swept_at);
            write_volatile(&raw mut (*self.0).swept_at, jiffies);
            before != jiffies
        }
    }
}

impl Notes for ScratchCell {
    #[inline(always)]
    fn note(&self, place: Place, offset: u32) {
        // SAFETY: as in `set_service`; a place is an index of the array, as its mask tells the verifier.
        unsafe { write_volatile((&raw mut (*self.0).places).cast::<u32>().add(place.index()), offset) }
    }

    #[inline(always)]
    fn noted(&self, place: Place) -> u32 {
        // SAFETY: as in `note`.
        unsafe { read_volatile((&raw const (*self.0).places).cast::<u32>().add(place.index())) }
    }
}
