//! One round of the race on each CPU.
#![allow(
    unsafe_code,
    reason = "a global function needs a symbol of its own, and naming one counts as unsafe"
)]

use crate::{apart, maps::DialogSlot, tables::KernelTables};
use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    decide::{
        BackendView, Cursor, DialogHeaders, Inbound, Inspect, Slot, Tables, peer_of, pin,
        remember::{Opening, Remembered},
        select::ring_slot,
        steer,
    },
    map::{
        dialog::{Dialog, DialogKey, Evidence, Phase, State},
        expiry::{Cursors, Due},
        settings::Settings,
    },
    sip::{Kind, Method},
};

/// The product's own rule for a change of a dialog.
pub const AS_IT_IS: u8 = 0;
/// A change is written whatever stands there.
pub const WITHOUT_COMPARISON: u8 = 1;
/// A change is written if everything but the generation is as it was.
pub const WITHOUT_GENERATION: u8 = 2;
/// What a pointer shows is believed to be the dialog that was looked for.
pub const WITHOUT_KEY: u8 = 3;

/// Keys that both CPUs pick from, a power of two.
const KEYS: u64 = 32;
/// Hash of every INVITE's branch.
const BRANCH: u32 = 0xb1;
/// How long the packets' CPU waits for the other one, in looks at DONE.
const PATIENCE: u32 = 3000;

/// Rounds between two looks at the queues, on average, a power of two: a dialog lives some rounds before it dies. Each look
/// then visits twice as many entries as were put in.
const BETWEEN_VISITS: u64 = 16;

/// Each CPU's random number, the state of an xorshift.
#[btf_map]
static RANDOM: PerCpuArray<u64, 1> = PerCpuArray::new();
/// What happened, see the constants below.
#[btf_map]
static REPORT: PerCpuArray<u64, 8> = PerCpuArray::new();
/// The dialog that the packets' CPU holds a pointer to: key in the lowest byte, number of the round above.
#[btf_map]
static HELD: Array<u64, 1> = Array::new();
/// The last value of HELD that was dealt with; in the upper half the key that has got its memory.
#[btf_map]
static DONE: Array<u64, 1> = Array::new();

/// Dialogs that were not what their key says.
const FOREIGN: u32 = 0;
/// Waits that ended because the other CPU was done.
const HANDED_OVER: u32 = 1;
/// Changes that were refused because the memory had another owner by then.
const REFUSED: u32 = 2;
/// Dialogs that were looked at and are what their key says.
const SOUND: u32 = 3;
/// The last dialog that was not: its key's number, state and evidence, one behind the other.
const WITNESS: u32 = 4;

#[inline(always)]
fn count(what: u32) {
    if let Some(value) = REPORT.get(what) {
        let _ = REPORT.set(what, *value + 1, 0);
    }
}

#[inline(always)]
fn random() -> Option<u64> {
    let mut x = *RANDOM.get(0)?;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    RANDOM.set(0, x, 0).ok()?;
    Some(x)
}

#[inline(always)]
fn key_of(index: u64) -> DialogKey {
    DialogKey::new((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15), 0)
}

#[inline(always)]
fn backend_of(key: &DialogKey) -> u16 {
    (ring_slot(key.call_key) & 1) as u16
}

#[inline(always)]
fn tag_of(index: u64) -> u32 {
    0x7a60_0000 | index as u32
}

/// A packet, without a packet.
#[derive(Clone, Copy)]
struct Message {
    kind: Kind,
    headers: DialogHeaders,
    /// What HELD is to be while the message is read again; 0: no stop there.
    stop: u64,
}

impl Inspect for Message {
    #[inline(always)]
    fn kind(&self) -> Kind {
        self.kind
    }
    #[inline(always)]
    fn dialog_headers(&self) -> DialogHeaders {
        if self.stop != 0 {
            sipsteer_race_stop(self.stop);
        }
        self.headers
    }
}

/// Stops until the other CPU is done with what is held, or patience ends. While it has not even dealt with the last stop
/// it does not run, and there is nothing to wait for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_stop(held: u64) -> u64 {
    let (Some(last), Some(done)) = (HELD.get(0), DONE.get(0)) else { return 0 };
    if *last as u32 != *done as u32 || HELD.set(0, held, 0).is_err() {
        return 0;
    }
    let mut look = 0;
    while look < PATIENCE {
        match DONE.get(0) {
            Some(done) if *done as u32 == held as u32 => {
                count(HANDED_OVER);
                return 1;
            }
            _ => look += 1,
        }
    }
    0
}

/// Steers a packet under a rule, then looks whether all is sound.
#[inline(always)]
pub fn packet<const RULE: u8>() -> Option<()> {
    let r = random()?;
    // Where it stops, it is about to write: the ACK that answers a call of an odd key.
    let stops = (r >> 24) & 7 == 0;
    let index = if stops { r & (KEYS - 1) | 1 } else { r & (KEYS - 1) };
    let even = index & 1 == 0;
    let (method, branch, to_tag) = match (r >> 8) & 7 {
        _ if stops => (Method::Ack, BRANCH + 1, tag_of(index)),
        0..=3 => (Method::Invite, BRANCH, 0),
        _ if even => (Method::Invite, BRANCH, 0),
        4 => (Method::Ack, BRANCH + 1, tag_of(index)),
        5 => (Method::Bye, BRANCH + 2, tag_of(index)),
        6 => (Method::Ack, BRANCH, tag_of(index)),
        _ => (Method::Info, BRANCH + 3, tag_of(index)),
    };
    let key = key_of(index);
    let stop = if stops { (((r >> 40) | 1) << 8 | index) & 0xffff_ffff } else { 0 };
    let between = (r >> 28) & 3 == 0;
    let message = Message {
        kind: Kind::Request(method),
        headers: DialogHeaders { to_tag, branch },
        stop: if between { 0 } else { stop },
    };
    let inbound = Inbound {
        service: 0,
        listener: (r >> 16) as u8 & 1,
        tiers: 1,
        call_key: Some(key.call_key),
        // A BYE comes from a stranger, so that the tag has to prove it.
        source: if matches!(method, Method::Bye) { !key.call_key } else { key.call_key },
    };
    let racing = Racing::<RULE> { tables: KernelTables::open()?, stop: if between { stop } else { 0 } };
    let steering = steer::steer(&racing, &inbound, &message);
    if steering.tend && (r >> 34) & 15 == 0 {
        racing.tend(racing.now());
    }
    if !stops {
        if (r >> 33) & 3 == 0 {
            sipsteer_race_look(index);
        }
        return Some(());
    }
    let done = *DONE.get(0)?;
    if done as u32 == stop as u32 {
        sipsteer_race_look((done >> 32) & (KEYS - 1));
    }
    sipsteer_race_look(index);
    Some(())
}

/// Deletes the dialog that the other CPU holds, or any, and gives its memory to a call of an even key.
#[inline(always)]
pub fn expiry() -> Option<()> {
    let r = random()?;
    let held = *HELD.get(0)?;
    let waiting = *DONE.get(0)? as u32 != held as u32;
    let index = if waiting { held & (KEYS - 1) } else { r & (KEYS - 1) };
    let heir = (r >> 8) & (KEYS - 2);
    let heir = if heir == index { heir ^ 2 } else { heir };
    if (r >> 32) & (BETWEEN_VISITS - 1) == 0 {
        let tables = KernelTables::open()?;
        let mut visit = 0;
        while visit < 2 * BETWEEN_VISITS {
            tables.tend(tables.now());
            visit += 1;
        }
    }
    let mut step = 0;
    // Dead first, then deleted; the last memory that was freed is the first to be given away.
    while step < 4 {
        apart::expire(&key_of(if step < 2 { heir } else { index }));
        step += 1;
    }
    sipsteer_race_invite(heir, r >> 16);
    if waiting {
        DONE.set(0, (held & 0xffff_ffff) | heir << 32, 0).ok()?;
    }
    sipsteer_race_look(heir);
    // Another call that can be answered.
    sipsteer_race_invite(r >> 40 | 1, r >> 17);
    Some(())
}

/// The INVITE of a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_invite(index: u64, random: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = key_of(index & (KEYS - 1));
    let message = Message {
        kind: Kind::Request(Method::Invite),
        headers: DialogHeaders { to_tag: 0, branch: BRANCH },
        stop: 0,
    };
    let inbound = Inbound {
        service: 0,
        listener: random as u8 & 1,
        tiers: 1,
        call_key: Some(key.call_key),
        source: key.call_key,
    };
    steer::steer(&tables, &inbound, &message).backend as u64
}

/// Looks whether the dialog of a key is what it may be.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_look(index: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = key_of(index & (KEYS - 1));
    let Some(found) = pin::find(&tables, &key) else { return 0 };
    let Dialog { state, evidence, peer, .. } = found.dialog;
    let (again, same) = found.slot.read_state(&key);
    // It changed hands while it was read; a buried one may already be half overwritten by its next life.
    if !same || again.generation != state.generation || state.phase == Phase::Buried as u8 {
        return 0;
    }
    let answers = index & 1 == 1;
    let phase = state.phase;
    let sound = state.backend == backend_of(&key)
        && peer == peer_of(key.call_key)
        && evidence.generation == state.generation
        && (evidence.hash == BRANCH || answers && evidence.hash == tag_of(index))
        && (phase == Phase::Unanswered as u8
            || phase == Phase::Dead as u8
            || answers && (phase == Phase::Answered as u8 || phase == Phase::Ended as u8));
    if sound {
        count(SOUND);
        return 0;
    }
    count(FOREIGN);
    let _ = REPORT.set(WITNESS, index, 0);
    let _ = REPORT.set(WITNESS + 1, state.to_word(), 0);
    let _ = REPORT.set(WITNESS + 2, evidence.to_word(), 0);
    1
}

/// The product's tables with a stop after a look-up, and with the rule in question.
struct Racing<const RULE: u8> {
    tables: KernelTables,
    /// What HELD is to be after a look-up; 0: no stop there.
    stop: u64,
}

/// A place in the table under a rule.
#[derive(Clone, Copy)]
struct RacingSlot<const RULE: u8> {
    slot: DialogSlot,
    call_key: u64,
}

impl<const RULE: u8> Slot for RacingSlot<RULE> {
    #[inline(always)]
    fn read(&self) -> Dialog {
        let dialog = self.slot.read();
        if RULE == WITHOUT_KEY { Dialog { call_key: self.call_key, ..dialog } } else { dialog }
    }
    #[inline(always)]
    fn read_state(&self, key: &DialogKey) -> (State, bool) {
        let (state, same) = self.slot.read_state(key);
        if !same {
            count(REFUSED);
        }
        (state, same)
    }
    #[inline(always)]
    fn swap_state(&self, from: State, to: State) -> bool {
        if RULE == AS_IT_IS || RULE == WITHOUT_KEY {
            return self.slot.swap_state(from, to);
        }
        let present = self.slot.read().state;
        if RULE == WITHOUT_COMPARISON {
            return self.slot.swap_state(present, to);
        }
        let alike = State { generation: from.generation, ..present }.to_word() == from.to_word();
        alike && self.slot.swap_state(present, State { generation: present.generation, ..to })
    }
    #[inline(always)]
    fn swap_evidence(&self, from: Evidence, to: Evidence) -> bool {
        self.slot.swap_evidence(from, to)
    }
}

impl<const RULE: u8> Tables for Racing<RULE> {
    type Slot = RacingSlot<RULE>;
    const QUEUE_SLOTS: u32 = KernelTables::QUEUE_SLOTS;
    const QUEUE_MARGIN: u32 = KernelTables::QUEUE_MARGIN;

    #[inline(always)]
    fn dialog(&self, key: &DialogKey) -> Option<RacingSlot<RULE>> {
        let slot = self.tables.dialog(key)?;
        if self.stop != 0 {
            sipsteer_race_stop(self.stop);
        }
        Some(RacingSlot { slot, call_key: key.call_key })
    }
    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.tables.settings()
    }
    #[inline(always)]
    fn now(&self) -> u32 {
        self.tables.now()
    }
    #[inline(always)]
    fn next_generation(&self) -> u16 {
        self.tables.next_generation()
    }
    #[inline(always)]
    fn insert_dialog(&self, key: &DialogKey, dialog: &Dialog) -> Result<(), i32> {
        self.tables.insert_dialog(key, dialog)
    }
    #[inline(always)]
    fn delete_dialog(&self, key: &DialogKey) -> Result<(), i32> {
        self.tables.delete_dialog(key)
    }
    #[inline(always)]
    fn add_to_tally(&self, entries: i64, unconfirmed: i64) {
        self.tables.add_to_tally(entries, unconfirmed);
    }
    #[inline(always)]
    fn unconfirmed(&self) -> u64 {
        self.tables.unconfirmed()
    }
    #[inline(always)]
    fn ring_backend(&self, service: u16, tier: u32, slot: u32) -> Option<u16> {
        self.tables.ring_backend(service, tier, slot)
    }
    #[inline(always)]
    fn backend(&self, id: u16) -> Option<BackendView> {
        self.tables.backend(id)
    }
    #[inline(always)]
    fn cursors(&self, queue: u32) -> Option<Cursors> {
        self.tables.cursors(queue)
    }
    #[inline(always)]
    fn claim_tail(&self, queue: u32) -> Option<u64> {
        self.tables.claim_tail(queue)
    }
    #[inline(always)]
    fn advance(&self, queue: u32, cursor: Cursor, from: u64) -> bool {
        self.tables.advance(queue, cursor, from)
    }
    #[inline(always)]
    fn due(&self, queue: u32, index: u64) -> Option<Due> {
        self.tables.due(queue, index)
    }
    #[inline(always)]
    fn put_due(&self, queue: u32, index: u64, due: Due) {
        self.tables.put_due(queue, index, due);
    }
    #[inline(always)]
    fn count_write_error(&self, errno: i32) {
        self.tables.count_write_error(errno);
    }
    #[inline(always)]
    fn ring_choice(&self, service: u16, tiers: u8, key: u64) -> Option<u16> {
        self.tables.ring_choice(service, tiers, key)
    }
    #[inline(always)]
    fn remember(&self, opening: &Opening) -> Remembered {
        self.tables.remember(opening)
    }
    #[inline(always)]
    fn move_pin(&self, key: &DialogKey, from: u16, to: u16, now: u32) {
        self.tables.move_pin(key, from, to, now);
    }
    #[inline(always)]
    fn tend(&self, now: u32) {
        self.tables.tend(now);
    }
}
