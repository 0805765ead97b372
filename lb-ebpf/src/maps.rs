//! One of the two unsafe doors: map memory. What leaves this file is safe to call.
#![allow(unsafe_code, reason = "map values are shared memory; the rules of each access stand beside it")]

mod capacity;
mod scratch;

#[allow(unused_imports, reason = "the test-only programs do not need all of it")]
pub use capacity::{
    LoadPointer, backend_load, count_detour, member, members, policy, tier_zone, zone, zone_load,
};
pub use scratch::{Datagram, Inspected, ScratchCell, scratch};

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, PerCpuArray},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::btf_map,
};
use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd},
    ptr::{NonNull, read_volatile, write_volatile},
};
use lb_common::{
    decide::{select, table},
    limits,
    map::{
        backend::{Backend, BackendAddress, CachedNextHop},
        counters::{BackendCounter, Counter, METHODS, ServiceCounter},
        dialog::{BUCKET_SLOTS, Bucket, Dialog, DialogKey, Evidence, State, Tally, buckets_for},
        expiry::Sweep,
        layout::Layout,
        load::Load,
        ring::RingSlots,
        ring_index,
        service::{Endpoint, Listener, Service, ServiceKey},
        settings::{Scratch, Settings, SlowPath},
        zone::{Members, Policy, Zone},
    },
    verdict::{VERDICTS as VERDICT_COUNT, Verdict},
};

const LISTENER_COUNT: usize = (limits::MAX_SERVICES * limits::MAX_LISTENERS) as usize;
const RING_COUNT: usize = (limits::MAX_SERVICES * limits::MAX_TIERS) as usize;
const SEQ: AtomicOrdering = AtomicOrdering::SeqCst;
const RELAXED: AtomicOrdering = AtomicOrdering::Relaxed;

/// BPF_F_MMAPABLE: the kernel puts the values of such an array on a page of their own, so that a bucket lies in exactly two
/// cache lines.
const MMAPABLE: usize = 1 << 10;

/// What the kernel asks before it lets a program call its helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static LAYOUT: Array<Layout, 1> = Array::new();
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, LISTENER_COUNT> = HashMap::new();
#[btf_map]
static LISTENERS: Array<Listener, LISTENER_COUNT> = Array::new();
#[btf_map]
static RINGS: ArrayOfMaps<Array<RingSlots, 1>, RING_COUNT> = ArrayOfMaps::new();
#[btf_map]
static BACKENDS: Array<Backend, { limits::MAX_BACKENDS as usize }> = Array::new();
#[btf_map]
static BACKEND_LOADS: Array<Load, { limits::MAX_BACKENDS as usize }> = Array::new();
#[btf_map]
static ZONE_LOADS: Array<Load, { limits::MAX_ZONES as usize }> = Array::new();
#[btf_map]
static ZONES: Array<Zone, { limits::MAX_ZONES as usize }> = Array::new();
#[btf_map]
static ZONE_MEMBERS: Array<Members, { limits::MAX_ZONES as usize }> = Array::new();
#[btf_map]
static POLICIES: Array<Policy, { limits::MAX_SERVICES as usize }> = Array::new();
#[btf_map]
static SLOW_PATH: Array<SlowPath, 1> = Array::new();
#[btf_map]
static BACKEND_ADDRESSES: HashMap<ServiceKey, BackendAddress, { limits::MAX_BACKENDS as usize }> =
    HashMap::new();
#[btf_map]
static DIALOGS: Array<Bucket, { buckets_for(limits::MAX_DIALOGS) as usize }, MMAPABLE> = Array::new();
#[btf_map]
static DIALOG_TALLY: Array<Tally, 1> = Array::new();
#[btf_map]
static SWEEP: Array<Sweep, 1> = Array::new();
#[btf_map]
static ENDPOINTS: PerCpuArray<Endpoint, { limits::ENDPOINT_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static NEXT_HOPS: PerCpuArray<CachedNextHop, { limits::NEXT_HOP_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static PORTS: DevMapHash<{ limits::MAX_INTERFACES as usize }> = DevMapHash::new();
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
static VERDICTS: PerCpuArray<Counter, { VERDICT_COUNT as usize }> = PerCpuArray::new();
#[btf_map]
static BACKEND_COUNTERS: PerCpuArray<BackendCounter, { limits::MAX_BACKENDS as usize }> = PerCpuArray::new();
#[btf_map]
static SERVICE_COUNTERS: PerCpuArray<ServiceCounter, { limits::MAX_SERVICES as usize }> = PerCpuArray::new();
#[btf_map]
static WRITE_ERRORS: PerCpuArray<u64, { limits::MAX_ERRNO as usize }> = PerCpuArray::new();

/// The node's settings.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// `jiffies`, which the verifier turns into one load.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: the helper takes nothing and reads a kernel variable.
    unsafe { bpf_jiffies64() }
}

/// The monotonic time in nanoseconds; 30 ns dearer than `jiffies`.
#[inline(always)]
pub fn nanoseconds() -> u64 {
    // SAFETY: the helper takes nothing and reads a clock.
    unsafe { bpf_ktime_get_ns() }
}

/// The service of an address.
#[inline(always)]
pub fn service(key: &ServiceKey) -> Option<Service> {
    // SAFETY: the daemon alone writes this map; a value that is replaced meanwhile was true a moment ago.
    unsafe { SERVICES.get(key).copied() }
}

/// The backend of an address.
#[inline(always)]
pub fn backend_address(key: &ServiceKey) -> Option<BackendAddress> {
    // SAFETY: the daemon alone writes this map; a value that is replaced meanwhile was true a moment ago.
    unsafe { BACKEND_ADDRESSES.get(key).copied() }
}

/// A listener of a service.
#[inline(always)]
pub fn listener(index: u32) -> Option<&'static Listener> {
    LISTENERS.get(index)
}

/// The backend of an id.
#[inline(always)]
pub fn backend(id: u16) -> Option<&'static Backend> {
    BACKENDS.get(id as u32)
}

/// Whether the daemon answers what it is handed.
#[inline(always)]
pub fn daemon_answers() -> bool {
    let Some(p) = SLOW_PATH.get_ptr(0) else { return false };
    // SAFETY: one aligned load of a word that the daemon writes.
    let until = unsafe { read_volatile(&raw const (*p).answers_until) };
    nanoseconds() < until
}

/// The backend id in a slot of a ring.
#[inline(always)]
pub fn ring_backend(ring: u32, slot: u32) -> Option<u16> {
    if slot >= limits::RING_SLOTS {
        return None;
    }
    let slots = (&raw const *RINGS.get_value(ring, &0)?).cast::<u16>();
    // SAFETY: the slot lies inside; the daemon fills a ring before it puts it in place, and never changes it there.
    Some(unsafe { read_volatile(slots.add(slot as usize)) })
}

/// Has the processor fetch what a new call will need: the two buckets of its dialog and its slot in the ring of the service's
/// first tier. They lie anywhere in memory, so it waits for each; like this it waits for all at the same time.
#[inline(always)]
pub fn fetch_for_call(key: &DialogKey, mask: u32) {
    let homes = table::homes(key, mask);
    if let (Some(first), Some(second)) = (bucket(homes.first), bucket(homes.second)) {
        first.slot(0).state();
        first.slot(2).state();
        second.slot(0).state();
        second.slot(2).state();
    }
    ring_backend(ring_index(key.service, 0), select::ring_slot(key.call_key));
}

/// Sends the packet out of an interface when the program ends; false: it is not one of ours.
#[inline(always)]
pub fn redirect(ifindex: u32) -> bool {
    PORTS.redirect(ifindex, 0).is_ok()
}

/// This CPU's cached next hop in a slot.
#[inline(always)]
pub fn cached_next_hop(slot: u32) -> Option<CachedNextHop> {
    NEXT_HOPS.get(slot).copied()
}

/// Caches a next hop for this CPU.
#[inline(always)]
pub fn cache_next_hop(slot: u32, entry: CachedNextHop) {
    if let Some(p) = NEXT_HOPS.get_ptr_mut(slot) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe { *p = entry };
    }
}

/// What this CPU remembers of an address, in a slot.
#[inline(always)]
pub fn endpoint(slot: u32) -> Option<&'static Endpoint> {
    ENDPOINTS.get(slot)
}

/// Has this CPU remember an address.
#[inline(always)]
pub fn remember_endpoint(slot: u32, endpoint: &Endpoint) {
    if let Some(p) = ENDPOINTS.get_ptr_mut(slot) {
        // SAFETY: this CPU's element of a per-CPU array; XDP programs do not nest on a CPU.
        unsafe { *p = *endpoint };
    }
}

/// A bucket of the dialog table.
#[derive(Clone, Copy)]
pub struct BucketCell(NonNull<Bucket>);

/// The bucket of an index.
#[inline(always)]
pub fn bucket(index: u32) -> Option<BucketCell> {
    DIALOGS.get_ptr_mut(index).and_then(NonNull::new).map(BucketCell)
}

impl BucketCell {
    /// A slot of it.
    #[inline(always)]
    pub fn slot(self, index: u32) -> DialogSlot {
        let at = (index & (BUCKET_SLOTS - 1)) as usize;
        // SAFETY: the masked index stays inside the bucket.
        DialogSlot(unsafe { self.0.cast::<Dialog>().add(at) })
    }
}

const _: () = assert!(BUCKET_SLOTS.is_power_of_two());

/// A slot of the dialog table. Other CPUs read and write it, and it may belong to another dialog by the next look.
#[derive(Clone, Copy)]
pub struct DialogSlot(NonNull<Dialog>);

impl DialogSlot {
    /// The call key that stands in it.
    #[inline(always)]
    pub fn call_key(self) -> u64 {
        // SAFETY: array elements stay where they are; an aligned load of a word that others store whole.
        unsafe { read_volatile(&raw const (*self.0.as_ptr()).call_key) }
    }

    /// The service that stands in it.
    #[inline(always)]
    pub fn service(self) -> u32 {
        // SAFETY: as in `call_key`.
        unsafe { read_volatile(&raw const (*self.0.as_ptr()).service) }
    }

    /// The state word.
    #[inline(always)]
    pub fn state(self) -> State {
        // SAFETY: as in `call_key`; others change the word atomically.
        State::from_word(unsafe { read_volatile((&raw const (*self.0.as_ptr()).state).cast::<u64>()) })
    }

    /// Reads the whole slot, the state first.
    #[inline(always)]
    pub fn read(self) -> Dialog {
        let state = self.state();
        // SAFETY: as in `call_key`; each field is read by one aligned load.
        unsafe {
            let evidence = read_volatile((&raw const (*self.0.as_ptr()).evidence).cast::<u64>());
            let peer = read_volatile(&raw const (*self.0.as_ptr()).peer);
            Dialog {
                call_key: self.call_key(),
                service: self.service(),
                peer,
                evidence: Evidence::from_word(evidence),
                state,
            }
        }
    }

    /// Compare-and-swap of the state word.
    #[inline(always)]
    pub fn swap_state(self, from: State, to: State) -> bool {
        // SAFETY: an aligned word of the element, changed by one atomic instruction.
        unsafe { swap((&raw mut (*self.0.as_ptr()).state).cast(), from.to_word(), to.to_word()) }
    }

    /// Compare-and-swap of the evidence.
    #[inline(always)]
    pub fn swap_evidence(self, from: Evidence, to: Evidence) -> bool {
        // SAFETY: an aligned word of the element, changed by one atomic instruction.
        unsafe { swap((&raw mut (*self.0.as_ptr()).evidence).cast(), from.to_word(), to.to_word()) }
    }

    /// Writes everything but the state.
    #[inline(always)]
    pub fn write(self, key: &DialogKey, peer: u32, evidence: Evidence) {
        // SAFETY: the slot is claimed, so no other CPU writes these fields but the evidence, which is exchanged whole;
        // aligned stores, in order with the exchange of the state that publishes them.
        unsafe {
            write_volatile(&raw mut (*self.0.as_ptr()).call_key, key.call_key);
            write_volatile(&raw mut (*self.0.as_ptr()).service, key.service);
            write_volatile(&raw mut (*self.0.as_ptr()).peer, peer);
            write_volatile((&raw mut (*self.0.as_ptr()).evidence).cast::<u64>(), evidence.to_word());
        }
    }
}

/// Compare-and-swap of one word.
///
/// # Safety
/// `at` points to an aligned word of a map value.
#[inline(always)]
unsafe fn swap(at: *mut u64, from: u64, to: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, { SEQ }, { SEQ }>(at, from, to).1 }
}

/// Adds to the number of dialogs and of unconfirmed ones.
#[inline(always)]
pub fn add_to_tally(entries: i64, unconfirmed: i64) {
    let Some(p) = DIALOG_TALLY.get_ptr_mut(0) else { return };
    // SAFETY: aligned words of the one element, changed by atomic additions.
    unsafe {
        if entries != 0 {
            atomic_xadd::<u64, u64, { RELAXED }>(&raw mut (*p).entries, entries as u64);
        }
        if unconfirmed != 0 {
            atomic_xadd::<u64, u64, { RELAXED }>(&raw mut (*p).unconfirmed, unconfirmed as u64);
        }
    }
}

/// Number of unconfirmed dialogs; a sum that is below zero for a moment counts as zero.
#[inline(always)]
pub fn unconfirmed() -> u64 {
    let Some(p) = DIALOG_TALLY.get_ptr(0) else { return 0 };
    // SAFETY: one aligned load of a word that others change atomically.
    let value = unsafe { read_volatile(&raw const (*p).unconfirmed) };
    if value >> 63 == 0 { value } else { 0 }
}

/// `jiffies` up to which the search for old dialogs has come.
#[inline(always)]
pub fn swept_at() -> Option<u64> {
    let p = SWEEP.get_ptr(0)?;
    // SAFETY: one aligned load of a word that others change atomically.
    Some(unsafe { read_volatile(&raw const (*p).at) })
}

/// Sets that if it is `from`.
#[inline(always)]
pub fn set_swept_at(from: u64, to: u64) -> bool {
    let Some(p) = SWEEP.get_ptr_mut(0) else { return false };
    // SAFETY: an aligned word, changed by one atomic instruction.
    unsafe { swap(&raw mut (*p).at, from, to) }
}

/// Adds to the number of buckets that were looked at; what it was.
#[inline(always)]
pub fn advance_hand(count: u32) -> u64 {
    let Some(p) = SWEEP.get_ptr_mut(0) else { return 0 };
    // SAFETY: an aligned word, changed by an atomic addition.
    unsafe { atomic_xadd::<u64, u64, { SEQ }>(&raw mut (*p).hand, count as u64) }
}

/// Counts a dialog whose lifetime was over, by its phase.
#[inline(always)]
pub fn count_expired(phase: u8) {
    let Some(p) = SWEEP.get_ptr_mut(0) else { return };
    // SAFETY: an aligned word inside the array, changed by an atomic addition.
    unsafe {
        let at = (&raw mut (*p).expired).cast::<u64>().add((phase & 15) as usize);
        atomic_xadd::<u64, u64, { RELAXED }>(at, 1);
    }
}

/// Counts a packet of a verdict.
#[inline(always)]
pub fn count_verdict(verdict: Verdict, bytes: u64) {
    if let Some(p) = VERDICTS.get_ptr_mut(verdict.index()) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            (*p).packets += 1;
            (*p).bytes += bytes;
        }
    }
}

/// What a packet to a backend is counted as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// As a packet only.
    Packet,
    /// Opens a call.
    Call,
    /// Opens a call that could not be pinned.
    UnpinnedCall,
    /// Opens another dialog or a transaction.
    Transaction,
    /// Shows that the backend answered a new call.
    Answer,
}

/// Counts a packet to a backend.
#[inline(always)]
pub fn count_to_backend(backend: u16, bytes: u64, counted: Counted) {
    if let Some(p) = BACKEND_COUNTERS.get_ptr_mut(backend as u32) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            (*p).packets += 1;
            (*p).bytes += bytes;
            match counted {
                Counted::Packet => {}
                Counted::Call => (*p).calls += 1,
                Counted::UnpinnedCall => {
                    (*p).calls += 1;
                    (*p).unpinned += 1;
                }
                Counted::Transaction => (*p).transactions += 1,
                Counted::Answer => (*p).answered += 1,
            }
        }
    }
}

/// Counts a packet from a backend; `answers`: it shows that the backend answered a new call.
#[inline(always)]
pub fn count_from_backend(backend: u16, bytes: u64, answers: bool) {
    if let Some(p) = BACKEND_COUNTERS.get_ptr_mut(backend as u32) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            (*p).reply_packets += 1;
            (*p).reply_bytes += bytes;
            (*p).answered += answers as u64;
        }
    }
}

/// Counts a packet of a service by its method's slot.
#[inline(always)]
pub fn count_service(service: u16, bytes: u64, method: u8) {
    if let Some(p) = SERVICE_COUNTERS.get_ptr_mut(service as u32) {
        let slot = method as usize & (METHODS - 1);
        // SAFETY: this CPU's element of a per-CPU array; the slot lies inside, METHODS being a power of two.
        unsafe {
            (*p).packets += 1;
            (*p).bytes += bytes;
            let at = (&raw mut (*p).methods).cast::<u64>().add(slot);
            *at += 1;
        }
    }
}

/// Counts a failed write by its error number.
#[inline(always)]
pub fn count_write_error(errno: i32) {
    let last = limits::MAX_ERRNO - 1;
    let slot = if errno < 0 || errno as u32 > last { last } else { errno as u32 };
    if let Some(p) = WRITE_ERRORS.get_ptr_mut(slot) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe { *p += 1 };
    }
}

const _: () = assert!(METHODS.is_power_of_two());
