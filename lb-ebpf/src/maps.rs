//! One of the two unsafe doors: map memory. What leaves this file is safe to call.
#![allow(unsafe_code, reason = "map values are shared memory; the rules of each access stand beside it")]

mod scratch;

pub use scratch::{Datagram, Inspected, ScratchCell, scratch};

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, PerCpuArray},
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
    macros::btf_map,
};
use core::{
    intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg},
    ptr::{NonNull, read_volatile, write_volatile},
};
use lb_common::{
    limits,
    map::{
        backend::{Backend, BackendAddress, CachedNextHop},
        counters::{BackendCounter, Counter, METHODS, ServiceCounter},
        dialog::{Dialog, DialogKey, Evidence, State, Tally},
        expiry::{Cursors, Due, DueWord, QUEUES, SHORT},
        load::Load,
        service::{Listener, Service, ServiceKey},
        settings::{Scratch, Settings, SlowPath},
        zone::{Members, Policy, Zone},
    },
    verdict::{VERDICTS as VERDICT_COUNT, Verdict},
};

const LISTENER_COUNT: usize = (limits::MAX_SERVICES * limits::MAX_LISTENERS) as usize;
const RING_COUNT: usize = (limits::MAX_SERVICES * limits::MAX_TIERS) as usize;
const SEQ: AtomicOrdering = AtomicOrdering::SeqCst;
const RELAXED: AtomicOrdering = AtomicOrdering::Relaxed;

/// `bpf(2)`: add only if the key is not there.
const BPF_NOEXIST: u64 = 1;

/// What the kernel asks before it lets a program call its helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, LISTENER_COUNT> = HashMap::new();
#[btf_map]
static LISTENERS: Array<Listener, LISTENER_COUNT> = Array::new();
#[btf_map]
static RINGS: ArrayOfMaps<Array<u32, { limits::RING_SLOTS as usize }>, RING_COUNT> = ArrayOfMaps::new();
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
static DIALOGS: HashMap<DialogKey, Dialog, { limits::MAX_DIALOGS as usize }> = HashMap::new();
#[btf_map]
static DIALOG_TALLY: Array<Tally, 1> = Array::new();
#[btf_map]
static EXPIRY_SHORT: Array<Due, { limits::EXPIRY_SLOTS as usize }> = Array::new();
#[btf_map]
static EXPIRY_LONG: Array<Due, { limits::EXPIRY_SLOTS as usize }> = Array::new();
#[btf_map]
static EXPIRY_CURSORS: Array<Cursors, { QUEUES as usize }> = Array::new();
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
    RINGS.get_value(ring, &slot).map(|id| *id as u16)
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

/// A dialog's place in the table. Other CPUs read and write it, and after a deletion it belongs to another dialog.
#[derive(Clone, Copy)]
pub struct DialogSlot(NonNull<Dialog>);

/// The place of a key.
#[inline(always)]
pub fn dialog(key: &DialogKey) -> Option<DialogSlot> {
    DIALOGS.get_ptr_mut(key).and_then(NonNull::new).map(DialogSlot)
}

/// Adds a dialog; the error number is positive.
#[inline(always)]
pub fn insert_dialog(key: &DialogKey, value: &Dialog) -> Result<(), i32> {
    DIALOGS.insert(key, value, BPF_NOEXIST).map_err(|e| -e)
}

/// Deletes a dialog; the error number is positive.
#[inline(always)]
pub fn delete_dialog(key: &DialogKey) -> Result<(), i32> {
    DIALOGS.remove(key).map_err(|e| -e)
}

impl DialogSlot {
    /// Reads the value: state first, key last.
    #[inline(always)]
    pub fn read(self) -> Dialog {
        // SAFETY: the element stays mapped while the program runs, whoever it belongs to; each field is read by one
        // aligned load.
        unsafe {
            let state = read_volatile((&raw const (*self.0.as_ptr()).state).cast::<u64>());
            let evidence = read_volatile((&raw const (*self.0.as_ptr()).evidence).cast::<u64>());
            let peer = read_volatile(&raw const (*self.0.as_ptr()).peer);
            let service = read_volatile(&raw const (*self.0.as_ptr()).service);
            let call_key = read_volatile(&raw const (*self.0.as_ptr()).call_key);
            Dialog {
                call_key,
                service,
                peer,
                evidence: Evidence::from_word(evidence),
                state: State::from_word(state),
            }
        }
    }

    /// Reads the state word, and whether the value is that of the key, in this order.
    #[inline(always)]
    pub fn read_state(self, key: &DialogKey) -> (State, bool) {
        // SAFETY: as in `read`.
        unsafe {
            let state = read_volatile((&raw const (*self.0.as_ptr()).state).cast::<u64>());
            let service = read_volatile(&raw const (*self.0.as_ptr()).service);
            let call_key = read_volatile(&raw const (*self.0.as_ptr()).call_key);
            (State::from_word(state), call_key == key.call_key && service == key.service)
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

/// Cursors of an expiry queue.
#[inline(always)]
pub fn cursors(queue: u32) -> Option<Cursors> {
    let p = EXPIRY_CURSORS.get_ptr(queue)?;
    // SAFETY: aligned loads of words that others change atomically. The hindmost is read first, so that a cursor never
    // seems to be ahead of the one before it.
    unsafe {
        let burying = read_volatile(&raw const (*p).burying);
        let dying = read_volatile(&raw const (*p).dying);
        let tail = read_volatile(&raw const (*p).tail);
        Some(Cursors { tail, dying, burying, _pad: [0; 5] })
    }
}

/// Claims the slot at a queue's tail.
#[inline(always)]
pub fn claim_tail(queue: u32) -> Option<u64> {
    let p = EXPIRY_CURSORS.get_ptr_mut(queue)?;
    // SAFETY: an aligned word, changed by an atomic addition.
    Some(unsafe { atomic_xadd::<u64, u64, { SEQ }>(&raw mut (*p).tail, 1) })
}

/// Moves the cursor of the dying, or of the burying, one slot on if it is at `from`.
#[inline(always)]
pub fn advance(queue: u32, burying: bool, from: u64) -> bool {
    let Some(p) = EXPIRY_CURSORS.get_ptr_mut(queue) else { return false };
    // SAFETY: an aligned word, changed by one atomic instruction.
    unsafe {
        let at = if burying { &raw mut (*p).burying } else { &raw mut (*p).dying };
        swap(at, from, from.wrapping_add(1))
    }
}

#[inline(always)]
fn due_slot(queue: u32, index: u64) -> Option<*mut Due> {
    let slot = index as u32 & (limits::EXPIRY_SLOTS - 1);
    if queue == SHORT { EXPIRY_SHORT.get_ptr_mut(slot) } else { EXPIRY_LONG.get_ptr_mut(slot) }
}

/// Reads a slot of a queue.
#[inline(always)]
pub fn due(queue: u32, index: u64) -> Option<Due> {
    let p = due_slot(queue, index)?;
    // SAFETY: aligned loads; the word is read first and says whether the call key is the one that belongs to it.
    unsafe {
        let word = read_volatile((&raw const (*p).word).cast::<u64>());
        let call_key = read_volatile(&raw const (*p).call_key);
        Some(Due { call_key, word: DueWord::from_word(word) })
    }
}

/// Writes a slot of a queue that this CPU has claimed.
#[inline(always)]
pub fn put_due(queue: u32, index: u64, due: Due) {
    let Some(p) = due_slot(queue, index) else { return };
    // SAFETY: the slot is this CPU's alone until its word is written; the exchange is a full barrier, so nobody sees
    // the word before the call key.
    unsafe {
        write_volatile(&raw mut (*p).call_key, due.call_key);
        atomic_xchg::<u64, { SEQ }>((&raw mut (*p).word).cast::<u64>(), due.word.to_word());
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
pub enum Opening {
    /// Opens nothing.
    Nothing,
    /// Opens a call.
    Call,
    /// Opens another dialog or a transaction.
    Transaction,
}

/// Counts a packet to a backend.
#[inline(always)]
pub fn count_to_backend(backend: u16, bytes: u64, opening: Opening) {
    if let Some(p) = BACKEND_COUNTERS.get_ptr_mut(backend as u32) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            (*p).packets += 1;
            (*p).bytes += bytes;
            match opening {
                Opening::Nothing => {}
                Opening::Call => (*p).calls += 1,
                Opening::Transaction => (*p).transactions += 1,
            }
        }
    }
}

/// Counts a packet from a backend.
#[inline(always)]
pub fn count_from_backend(backend: u16, bytes: u64) {
    if let Some(p) = BACKEND_COUNTERS.get_ptr_mut(backend as u32) {
        // SAFETY: this CPU's element of a per-CPU array.
        unsafe {
            (*p).reply_packets += 1;
            (*p).reply_bytes += bytes;
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
