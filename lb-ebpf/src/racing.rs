//! One round of the race on each CPU.
#![allow(
    unsafe_code,
    reason = "a global function needs a symbol of its own, and naming one counts as unsafe"
)]

mod play;
mod tables;

use play::{ANSWER, END, Play};
use tables::Racing;

use crate::{apart, maps, tables::KernelTables};
use aya_ebpf::{
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    decide::{
        Tables, peer_of,
        remember::{self, Opening, Remembered},
        select::ring_slot,
        steer::{self, Chosen, Following},
        table,
    },
    map::dialog::{BUCKET_SLOTS, Dialog, DialogKey, Phase},
    verdict::Verdict,
};

/// The product's own rules.
pub const AS_IT_IS: u64 = 0;
/// A change is written whatever stands there.
pub const WITHOUT_COMPARISON: u64 = 1;
/// A change is written if everything but the generation is as it was.
pub const WITHOUT_GENERATION: u64 = 2;
/// What a slot shows is believed to be the dialog that was looked for.
pub const WITHOUT_KEY: u64 = 3;
/// Two CPUs that put the same dialog in leave both entries there.
pub const WITHOUT_SETTLING: u64 = 4;
/// A call takes its channel when others can see it already.
pub const TAKEN_LATE: u64 = 5;

/// Keys that both CPUs pick from, a power of two: twice as many as a table of two buckets has slots.
const KEYS: u64 = 16;
/// Hash of every INVITE's branch.
const BRANCH: u32 = 0xb1;
/// How long a CPU waits for the other one, in looks at a map.
const PATIENCE: u32 = 3000;
/// Calls that get the slots of those that were removed: enough for all of a bucket, wherever the held one stands.
const HEIRS: u64 = 6;

/// Each CPU's random number, the state of an xorshift.
#[btf_map]
static RANDOM: PerCpuArray<u64, 1> = PerCpuArray::new();
/// What happened, see the constants below.
#[btf_map]
static REPORT: PerCpuArray<u64, 16> = PerCpuArray::new();
/// The dialog that the packets' CPU has found and not yet used: key in the lowest byte, number of the round above.
#[btf_map]
static HELD: Array<u64, 1> = Array::new();
/// The last value of HELD that was dealt with.
#[btf_map]
static DONE: Array<u64, 1> = Array::new();
/// Steps that each of two twins has done.
#[btf_map]
static STEPS: Array<u64, 2> = Array::new();
/// The backend that each of two twins was told, plus one.
#[btf_map]
static TOLD: Array<u64, 2> = Array::new();

/// Dialogs that were not what their key says.
const FOREIGN: u32 = 0;
/// Waits that ended because the other CPU was done.
const HANDED_OVER: u32 = 1;
/// Changes that were refused because the slot had another owner by then.
const REFUSED: u32 = 2;
/// Dialogs that were looked at and are what their key says.
const SOUND: u32 = 3;
/// The last dialog that was not: its key's number, state and evidence, one behind the other.
const WITNESS: u32 = 4;
/// Dialogs that both twins have put in, and that stand in the table more than once afterwards.
const TWICE: u32 = 7;
/// Dialogs that both twins have put in, and that are not there afterwards.
const MISSING: u32 = 8;
/// Dialogs that are pinned to a backend that neither twin was told.
const MISTOLD: u32 = 9;
/// Insertions that saw the other twin's entry beside their own.
const MET: u32 = 10;
/// Dialogs that were there once, as both twins left them.
const SINGLE: u32 = 11;

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

/// Stops until the other CPU is done with what is held, or patience ends. While it has not even dealt with the last stop
/// it does not run, and there is nothing to wait for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_stop(held: u64) -> u64 {
    let (Some(last), Some(done)) = (HELD.get(0), DONE.get(0)) else { return 0 };
    if *last != *done || HELD.set(0, held, 0).is_err() {
        return 0;
    }
    let mut look = 0;
    while look < PATIENCE {
        match DONE.get(0) {
            Some(done) if *done == held => {
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
pub fn packet(rule: u64) -> Option<()> {
    let r = random()?;
    let play = Play(r);
    if play.opens_again() {
        steer(AS_IT_IS, Play::invite(play.index(), 0));
        steer(AS_IT_IS, Play::within(play.index(), ANSWER));
        steer(AS_IT_IS, Play::within(play.index(), END));
    }
    steer(rule, play);
    if play.stops() {
        // Whichever got the slot.
        let mut index = 0;
        while index < KEYS {
            sipsteer_race_look(index);
            index += 1;
        }
    } else if (r >> 33) & 3 == 0 {
        sipsteer_race_look(play.index());
    }
    Some(())
}

/// Removes the dialog that the other CPU holds and gives its slot to a call of an even key; or removes any, and lets calls
/// come.
#[inline(always)]
pub fn expiry() -> Option<()> {
    let r = random()?;
    let held = *HELD.get(0)?;
    if *DONE.get(0)? != held {
        remove_all();
        let mut heir = 0;
        while heir < HEIRS {
            steer(AS_IT_IS, Play::invite((r >> 8).wrapping_add(heir) << 1, r >> heir));
            heir += 1;
        }
        DONE.set(0, held, 0).ok()?;
        return Some(());
    }
    if (r >> 32) & 3 == 0 {
        apart::sweep(1 + (r >> 34 & 1) as u32);
    }
    steer(AS_IT_IS, Play::invite(r >> 16, r >> 17));
    // A call that can be answered.
    steer(AS_IT_IS, Play::invite(r >> 40 | 1, r >> 18));
    sipsteer_race_look(r >> 16 & (KEYS - 1));
    Some(())
}

/// Removes every dialog whose lifetime is over by the next jiffy.
#[inline(always)]
fn remove_all() {
    let next = (maps::jiffies() + 1) as u32;
    apart::sweep_bucket(0, next);
    apart::sweep_bucket(1, next);
}

/// A backend has to be chosen, as the result of `sipsteer_race_follow`.
const CHOOSE: u64 = 1;

/// The dialog has to be pinned, in the result of `sipsteer_race_choose`; below it the backend, and whether it is admitted.
const OPEN: u64 = 1 << 32;

/// [`steer::steer`] in the product's three steps.
#[inline(always)]
fn steer(rule: u64, play: Play) {
    if sipsteer_race_follow(rule, play.0) == CHOOSE {
        let chosen = sipsteer_race_choose(play.0);
        if chosen & OPEN != 0 {
            sipsteer_race_pin(play.0, chosen);
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_follow(rule: u64, play: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let play = Play(play);
    let racing = Racing { tables, rule, play };
    match steer::follow(&racing, &play.inbound(), &play.message()) {
        Following::Done(_) => 0,
        Following::Choose(choosing) => {
            tables.scratch.set_choosing(&choosing);
            CHOOSE
        }
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_choose(play: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let play = Play(play);
    match steer::choose(&tables, &play.inbound(), &play.message(), &tables.scratch.choosing()) {
        Chosen::Done(steering) => steering.backend as u64,
        Chosen::Open(place) => OPEN | place.backend as u64 | (place.admitted as u64) << 16,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_pin(play: u64, chosen: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let place = steer::Place {
        backend: chosen as u16,
        verdict: Verdict::SteeredNew,
        admitted: chosen >> 16 & 1 != 0,
    };
    steer::open(&tables, &Play(play).inbound(), &tables.scratch.choosing(), &place).backend as u64
}

/// Looks whether the dialog of a key is what it may be.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_look(index: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let key = key_of(index & (KEYS - 1));
    let Some(found) = table::find(&tables, &key) else { return 0 };
    let Dialog { state, evidence, peer, .. } = found.dialog;
    let answers = index & 1 == 1;
    let phase = state.phase;
    let sound = state.backend == backend_of(&key)
        && peer == peer_of(key.call_key)
        && evidence.generation == state.generation
        && (evidence.hash == BRANCH || answers && evidence.hash == tag_of(index))
        && (phase == Phase::Unanswered as u8
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

/// One step of a twin, if the other one has done as many; a round has three. Both put the same dialog in, each for a
/// backend of its own, and see a packet of it; then both look; then one removes everything and lets some calls in.
#[inline(always)]
pub fn twin(rule: u64, side: u32) -> Option<()> {
    let r = random()?;
    let step = *STEPS.get(side)?;
    let mut look = 0;
    while *STEPS.get(1 - side)? < step {
        look += 1;
        if look > PATIENCE {
            return Some(());
        }
    }
    let round = step / 3;
    let index = (round ^ round >> 7) & (KEYS - 1);
    match step % 3 {
        0 => {
            let told = sipsteer_race_open(rule, index, side as u64);
            TOLD.set(side, told, 0).ok()?;
            steer(AS_IT_IS, Play::invite(index, side as u64));
        }
        1 if side == 0 => {
            sipsteer_race_count(index);
        }
        2 if side == 0 => {
            remove_all();
            let mut filler = 0;
            while filler < HEIRS && filler < (r & 7) {
                let other = (index + 1 + filler) & (KEYS - 1);
                sipsteer_race_open(AS_IT_IS, other, 0);
                filler += 1;
            }
        }
        _ => {}
    }
    STEPS.set(side, step + 1, 0).ok()?;
    Some(())
}

/// Puts the dialog of a key in, pinned to a backend; the backend that it is pinned to, plus one.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_open(rule: u64, index: u64, backend: u64) -> u64 {
    let Some(tables) = KernelTables::open() else { return 0 };
    let racing = Racing { tables, rule, play: Play::invite(index, 0) };
    let call_key = key_of(index & (KEYS - 1)).call_key;
    let opening = Opening {
        call_key,
        service: 0,
        backend: backend as u16,
        phase: Phase::Unanswered as u8,
        listener: 0,
        peer: peer_of(call_key),
        evidence: BRANCH,
        now: racing.now(),
        admitted: false,
    };
    match remember::pin(&racing, &opening) {
        Remembered::New => backend + 1,
        Remembered::Already(backend) => backend as u64 + 1,
        _ => 0,
    }
}

/// Counts the entries of a key that both twins have put in.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sipsteer_race_count(index: u64) -> u64 {
    let key = key_of(index & (KEYS - 1));
    let (mut entries, mut pin) = (0, 0);
    let mut i = 0;
    while i < 2 * BUCKET_SLOTS {
        let Some(bucket) = maps::bucket(i / BUCKET_SLOTS) else { return 0 };
        let slot = bucket.slot(i);
        let state = slot.state();
        if state.is_live() && slot.call_key() == key.call_key {
            entries += 1;
            pin = state.backend as u64 + 1;
        }
        i += 1;
    }
    let (Some(first), Some(second)) = (TOLD.get(0), TOLD.get(1)) else { return 0 };
    count(match entries {
        0 => MISSING,
        1 if pin != *first && pin != *second => MISTOLD,
        1 => SINGLE,
        _ => TWICE,
    });
    entries
}
