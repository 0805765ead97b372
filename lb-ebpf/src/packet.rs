//! One of the two unsafe doors: packet bytes, and the helpers that take a packet. Every access stands behind a check
//! against the packet's end that the verifier sees.
#![allow(unsafe_code, reason = "the verifier checks every access; the checks it wants stand beside each")]

use aya_ebpf::{
    bindings::{bpf_fib_lookup as FibParameters, xdp_md},
    helpers::generated::{bpf_fib_lookup, bpf_xdp_adjust_tail},
};
use core::{arch::asm, hint::cold_path};
use lb_common::{
    limits::MAX_SCAN,
    map::{
        backend::NextHop,
        carry::{self, Entry},
        expiry::request,
        recount::{RECOUNT_AT, Recount},
    },
    sip::Window,
    wire::Octets,
};

/// The packet as it lies in memory now.
#[derive(Clone, Copy)]
pub struct Packet {
    context: *mut xdp_md,
    data: usize,
    end: usize,
}

/// Keeps variable offsets of headers small, which the verifier wants to see.
const HEADER_MASK: usize = 0xff;
/// Keeps offsets inside a message below the bound of the scan.
const SCAN_MASK: usize = MAX_SCAN - 1;

const _: () = assert!(MAX_SCAN.is_power_of_two());

impl Packet {
    /// The packet of a context.
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Packet {
        // SAFETY: the context is the program's own and outlives its run.
        unsafe { Packet { context, data: (*context).data as usize, end: (*context).data_end as usize } }
    }

    /// The context, for functions that the verifier walks through apart.
    #[inline(always)]
    pub fn context(&self) -> *mut xdp_md {
        self.context
    }

    /// Length of the frame in bytes, below 65,536. The mask keeps LLVM from folding the subtraction into sums of offsets:
    /// it would add scalars without bounds to the packet pointer, which verifiers up to 6.12 refuse.
    #[inline(always)]
    pub fn length(&self) -> usize {
        (self.end - self.data) & 0xffff
    }

    /// Index of the interface it came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        // SAFETY: the context outlives the program's run.
        unsafe { (*self.context).ingress_ifindex }
    }

    /// `N` bytes at `at` as a header, if they lie inside. `at` is below 256.
    #[inline(always)]
    pub fn header<const N: usize>(&self, at: usize) -> Option<Header<N>> {
        let p = self.data + (at & HEADER_MASK);
        if p + N > self.end {
            cold_path();
            return None;
        }
        Some(Header(p))
    }

    /// Everything from `at` on, for the scanner. `at` is below 256.
    #[inline(always)]
    pub fn window(&self, at: usize) -> PacketWindow {
        PacketWindow { data: self.data + (at & HEADER_MASK), end: self.end }
    }

    /// Cuts bytes off the end: what Ethernet put behind a short packet would look like part of the message.
    #[inline(always)]
    pub fn trimmed(&self, bytes: usize) -> Option<Packet> {
        // SAFETY: the context is the program's own; every pointer into the packet is taken anew below.
        let code = unsafe { bpf_xdp_adjust_tail(self.context, -(bytes as i32)) };
        if code == 0 { Some(Packet::new(self.context)) } else { None }
    }

    /// Asks the kernel's routing table for the next hop of an IPv4 packet of `length` bytes.
    #[inline(always)]
    pub fn route(&self, source: u32, destination: u32, length: u16) -> Route {
        // SAFETY: all zeros is a value of the parameters, a struct of integers.
        let mut p: FibParameters = unsafe { core::mem::zeroed() };
        p.family = AF_INET;
        p.ifindex = self.ingress();
        // SAFETY: the fields written and read here are those of IPv4; the helper gets the struct's true size.
        let code = unsafe {
            p.l4_protocol = lb_common::map::service::UDP;
            p.__bindgen_anon_1.tot_len = length;
            p.__bindgen_anon_3.ipv4_src = source;
            p.__bindgen_anon_4.ipv4_dst = destination;
            bpf_fib_lookup(self.context.cast(), &mut p, size_of::<FibParameters>() as i32, 0)
        };
        match code {
            FIB_SUCCESS => {
                // SAFETY: after success the helper has written the MTU here.
                let mtu = unsafe { p.__bindgen_anon_1.mtu_result };
                // SAFETY: after success the two MAC addresses are set.
                let (dmac, smac) = unsafe { macs(&p) };
                Route::Via(NextHop {
                    ifindex: p.ifindex,
                    mtu,
                    destination_mac: dmac,
                    source_mac: smac,
                    _pad: 0,
                })
            }
            FIB_NO_NEIGHBOUR | FIB_FRAGMENTATION_NEEDED => Route::Unresolved,
            _ => Route::NotForwarded,
        }
    }
}

/// Address family of IPv4.
const AF_INET: u8 = 2;
/// BPF_FIB_LKUP_RET_SUCCESS.
const FIB_SUCCESS: i64 = 0;
/// BPF_FIB_LKUP_RET_NO_NEIGH.
const FIB_NO_NEIGHBOUR: i64 = 7;
/// BPF_FIB_LKUP_RET_FRAG_NEEDED.
const FIB_FRAGMENTATION_NEEDED: i64 = 8;

#[inline(always)]
unsafe fn macs(p: &FibParameters) -> ([u8; 6], [u8; 6]) {
    (p.dmac, p.smac)
}

/// What the routing table says.
#[derive(Clone, Copy)]
pub enum Route {
    /// The next hop is known.
    Via(NextHop),
    /// The host can forward it, but has to find the neighbour or to fragment first.
    Unresolved,
    /// For the host itself, or not to be forwarded.
    NotForwarded,
}

/// A header of `N` bytes inside the packet.
#[derive(Clone, Copy)]
pub struct Header<const N: usize>(usize);

impl<const N: usize> Octets for Header<N> {
    #[inline(always)]
    fn u8_at<const AT: usize>(&self) -> u8 {
        const { assert!(AT < N) };
        // SAFETY: inside the N bytes that `Packet::header` checked.
        unsafe { *((self.0 + AT) as *const u8) }
    }
    #[inline(always)]
    fn u16_at<const AT: usize>(&self) -> u16 {
        const { assert!(AT + 2 <= N) };
        // SAFETY: inside the N bytes that `Packet::header` checked; BPF allows unaligned packet loads.
        unsafe { *((self.0 + AT) as *const u16) }
    }
    #[inline(always)]
    fn u32_at<const AT: usize>(&self) -> u32 {
        const { assert!(AT + 4 <= N) };
        // SAFETY: as in `u16_at`.
        unsafe { *((self.0 + AT) as *const u32) }
    }
    #[inline(always)]
    fn set_u8<const AT: usize>(&mut self, value: u8) {
        const { assert!(AT < N) };
        // SAFETY: inside the N bytes that `Packet::header` checked.
        unsafe { *((self.0 + AT) as *mut u8) = value };
    }
    #[inline(always)]
    fn set_u16<const AT: usize>(&mut self, value: u16) {
        const { assert!(AT + 2 <= N) };
        // SAFETY: as in `u16_at`.
        unsafe { *((self.0 + AT) as *mut u16) = value };
    }
    #[inline(always)]
    fn set_u32<const AT: usize>(&mut self, value: u32) {
        const { assert!(AT + 4 <= N) };
        // SAFETY: as in `u16_at`.
        unsafe { *((self.0 + AT) as *mut u32) = value };
    }
}

/// The packet from an offset to its end, for the scanner. Its end is met once a message: what is done then lies apart in the
/// code, or the processor would fetch it with the rest.
#[derive(Clone, Copy)]
pub struct PacketWindow {
    data: usize,
    end: usize,
}

impl Window for PacketWindow {
    #[inline(always)]
    fn block(&self, at: usize) -> Option<[u64; 4]> {
        let p = self.data + (at & SCAN_MASK);
        if p + 32 > self.end {
            cold_path();
            return None;
        }
        // SAFETY: 32 bytes from p lie before end, as just checked; BPF allows unaligned packet loads.
        unsafe {
            Some([
                *(p as *const u64),
                *((p + 8) as *const u64),
                *((p + 16) as *const u64),
                *((p + 24) as *const u64),
            ])
        }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> Option<u64> {
        let p = self.data + (at & SCAN_MASK);
        if p + 8 > self.end {
            cold_path();
            return None;
        }
        // SAFETY: 8 bytes from p lie before end, as just checked; BPF allows unaligned packet loads.
        Some(unsafe { *(p as *const u64) })
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> Option<u8> {
        let p = self.data + (at & SCAN_MASK);
        if next(p) > self.end {
            cold_path();
            return None;
        }
        // SAFETY: the byte at p lies before end, as just checked.
        Some(unsafe { *(p as *const u8) })
    }
}

/// The next number, of which the compiler knows nothing: it would turn `p + 1 > end` into `p >= end`, from which the verifier
/// learns nothing, or add the 1 to another part of `p`.
#[inline(always)]
fn next(mut number: usize) -> usize {
    // SAFETY: one addition to a register.
    unsafe { asm!("{0} += 1", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// A packet that the daemon made up to ask something of a program, see [`request`].
#[derive(Clone, Copy)]
pub struct Request(usize);

impl Packet {
    /// The request in a packet, if it is long enough.
    #[inline(always)]
    pub fn request(&self) -> Option<Request> {
        if self.data + request::LEN > self.end {
            return None;
        }
        Some(Request(self.data))
    }
}

impl Request {
    /// Number of buckets.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        // SAFETY: inside the bytes that `Packet::request` checked.
        unsafe { *((self.0 + request::COUNT_AT) as *const u64) }
    }

    /// What is to be added to the calls in progress.
    #[inline(always)]
    pub fn recount(&self) -> Recount {
        // SAFETY: inside the bytes that `Packet::request` checked; BPF allows unaligned packet loads.
        unsafe { *((self.0 + RECOUNT_AT) as *const Recount) }
    }

    /// Writes the answer's two words.
    #[inline(always)]
    pub fn answer(&self, first: u64, second: u64) {
        // SAFETY: the first 16 bytes lie inside those that `Packet::request` checked.
        unsafe {
            *(self.0 as *mut u64) = first;
            *((self.0 + 8) as *mut u64) = second;
        }
    }
}

const _: () = assert!(request::LEN >= request::COUNT_AT + 8);

/// A dialog of another table in a packet that the daemon made up, see [`carry`].
#[derive(Clone, Copy)]
pub struct EntryCell(usize);

impl Packet {
    /// The dialog of an index below [`carry::MAX_ENTRIES`], if the packet is long enough.
    #[inline(always)]
    pub fn entry(&self, index: usize) -> Option<EntryCell> {
        let at = carry::length(index & (carry::MAX_ENTRIES - 1));
        let p = self.data + (at & SCAN_MASK);
        if p + size_of::<Entry>() > self.end {
            return None;
        }
        Some(EntryCell(p))
    }
}

impl EntryCell {
    /// Reads it.
    #[inline(always)]
    pub fn read(&self) -> Entry {
        // SAFETY: inside the bytes that `Packet::entry` checked; BPF allows unaligned packet loads.
        unsafe { *(self.0 as *const Entry) }
    }

    /// Writes the answer.
    #[inline(always)]
    pub fn answer(&self, outcome: u32) {
        let at = self.0 + core::mem::offset_of!(Entry, outcome);
        // SAFETY: inside the bytes that `Packet::entry` checked.
        unsafe { *(at as *mut u32) = outcome };
    }
}

const _: () = assert!(carry::length(carry::MAX_ENTRIES) <= SCAN_MASK);
