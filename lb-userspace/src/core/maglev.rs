//! Maglev tables: slot -> backend, balanced by weight, and hardly changed when a backend comes or goes.
//!
//! Every backend has a permutation of all slots, made from its name alone, and the backends take turns at claiming the
//! first slot of their permutation that is still free. A backend of twice the weight has twice as many turns. Names are
//! the only input besides weights, so the order of the configuration does not matter and every balancer of a cluster
//! comes to the same table.

use lb_common::limits::RING_SLOTS;
use std::cmp::Reverse;

/// Slots of a table.
const SLOTS: usize = RING_SLOTS as usize;
/// How many slots are left when looking through them is quicker than walking permutations: with k left, a walk takes
/// 65,537 / k steps on average, and half of all steps would be spent on the last 256 slots.
const LAST: usize = 384;

/// One backend of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What its slots will hold: the backend id.
    pub id: u16,
    /// Its share relative to the others, at least 1; 0 counts as 1.
    pub weight: u16,
    /// Its name, unique in the table: the source of its permutation.
    pub name: &'a str,
}

/// Builds the table: [`RING_SLOTS`] backend ids, or none when there are no entries.
///
/// Slots per backend are its exact share rounded up or down, and at least one, for which the heaviest make room.
pub fn build(entries: &[Entry<'_>]) -> Vec<u32> {
    if entries.is_empty() {
        return Vec::new();
    }
    let mut sorted: Vec<&Entry<'_>> = entries.iter().collect();
    sorted.sort_by_key(|e| e.name);
    let mut walks: Vec<Walk> = sorted.iter().map(|e| Walk::new(e.name)).collect();
    let mut table = Table { slots: vec![0; SLOTS], taken: vec![0; SLOTS.div_ceil(64)] };
    let weights: Vec<u64> = sorted.iter().map(|e| u64::from(e.weight.max(1))).collect();
    let mut turns = Turns::new(&weights);
    for _ in 0..SLOTS - LAST {
        let turn = turns.next();
        table.claim(&mut walks[turn], sorted[turn].id);
    }
    let mut free = table.free();
    while !free.is_empty() {
        let turn = turns.next();
        table.claim_last(&mut free, &mut walks[turn], sorted[turn].id);
    }
    table.slots
}

/// The slot of a call key, as the XDP program computes it: the upper half of the key, scaled.
pub const fn slot(call_key: u64) -> u32 {
    (((call_key >> 32) * RING_SLOTS as u64) >> 32) as u32
}

/// How many slots differ between two tables of the same length.
pub fn moved(old: &[u32], new: &[u32]) -> usize {
    old.iter().zip(new).filter(|(a, b)| a != b).count()
}

/// The slots, and one bit for each that is taken: 8 kB that stay in the first cache, where the slots would not.
struct Table {
    slots: Vec<u32>,
    taken: Vec<u64>,
}

impl Table {
    /// Gives the first free slot of a permutation to `id`. There must be one.
    #[inline]
    fn claim(&mut self, walk: &mut Walk, id: u16) {
        loop {
            let slot = walk.next();
            let (word, bit) = (&mut self.taken[slot / 64], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                self.slots[slot] = u32::from(id);
                return;
            }
        }
    }

    /// The slots that are free.
    fn free(&self) -> Vec<u32> {
        (0..RING_SLOTS).filter(|slot| self.taken[*slot as usize / 64] & (1 << (slot % 64)) == 0).collect()
    }

    /// Does what [`Table::claim`] does by asking of each free slot how many steps away it is.
    fn claim_last(&mut self, free: &mut Vec<u32>, walk: &mut Walk, id: u16) {
        let inverse = inverse(walk.step);
        let steps = |slot: &u32| product(slot + RING_SLOTS - walk.next, inverse);
        if let Some((index, slot)) = free.iter().copied().enumerate().min_by_key(|(_, slot)| steps(slot)) {
            free.swap_remove(index);
            self.slots[slot as usize] = u32::from(id);
            walk.next = slot;
        }
    }
}

/// Product modulo the number of slots.
const fn product(a: u32, b: u32) -> u32 {
    (a as u64 * b as u64 % RING_SLOTS as u64) as u32
}

/// What a step has to be multiplied by to give 1: its power to the number of slots minus 2, which is prime (Fermat).
const fn inverse(step: u32) -> u32 {
    let (mut power, mut square, mut exponent) = (1, step, RING_SLOTS - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        exponent >>= 1;
    }
    power
}

/// A backend's way through its permutation. The number of slots is prime, so any step visits each of them.
struct Walk {
    next: u32,
    step: u32,
}

impl Walk {
    fn new(name: &str) -> Walk {
        let hash = name_hash(name);
        let next = (mixed(hash) % u64::from(RING_SLOTS)) as u32;
        let step = (mixed(hash ^ 0x9e37_79b9_7f4a_7c15) % u64::from(RING_SLOTS - 1)) as u32 + 1;
        Walk { next, step }
    }

    #[inline]
    fn next(&mut self) -> usize {
        let now = self.next;
        let sum = now + self.step;
        self.next = if sum >= RING_SLOTS { sum - RING_SLOTS } else { sum };
        now as usize
    }
}

/// Whose turn it is. The k-th turn of a backend falls into round `k * all weights / its weight`, so that on average
/// there is one turn a round; within a round the order is that of the names.
enum Turns {
    /// All weights are equal.
    Equal { backends: usize, next: usize },
    /// Turns sorted by round.
    Sorted { turns: Vec<u16>, next: usize },
}

impl Turns {
    fn new(weights: &[u64]) -> Turns {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Turns::Equal { backends: weights.len(), next: 0 };
        }
        let sum: u64 = weights.iter().sum();
        let counts = counts(weights, sum);
        // Counting sort: how many turns each round has, where its turns start, and then the turns.
        let mut starts = vec![0_u32; SLOTS + 1];
        for (weight, count) in weights.iter().zip(&counts) {
            rounds(*weight, sum, *count).for_each(|round| starts[round + 1] += 1);
        }
        for round in 1..starts.len() {
            starts[round] += starts[round - 1];
        }
        let mut turns = vec![0_u16; SLOTS];
        for (backend, (weight, count)) in (0..).zip(weights.iter().zip(&counts)) {
            for round in rounds(*weight, sum, *count) {
                turns[starts[round] as usize] = backend;
                starts[round] += 1;
            }
        }
        Turns::Sorted { turns, next: 0 }
    }

    /// Index of the backend whose turn it is; asked for [`SLOTS`] times.
    #[inline]
    fn next(&mut self) -> usize {
        match self {
            Turns::Equal { backends, next } => {
                let now = *next;
                *next = if now + 1 == *backends { 0 } else { now + 1 };
                now
            }
            Turns::Sorted { turns, next } => {
                let now = usize::from(turns[*next]);
                *next += 1;
                now
            }
        }
    }
}

/// The rounds of a backend's turns, counted with 32 bits after the point.
fn rounds(weight: u64, sum: u64, count: u32) -> impl Iterator<Item = usize> {
    let step = (sum << 32) / weight;
    (0..u64::from(count)).map(move |turn| ((turn * step) >> 32) as usize)
}

/// Slots of each backend, [`SLOTS`] in all: its share rounded down, and one more for those that lost most by that, the
/// earlier name first. A share below one slot becomes one, for which the others make room, the heavier first.
fn counts(weights: &[u64], sum: u64) -> Vec<u32> {
    let slots = SLOTS as u64;
    let mut counts: Vec<u32> = weights.iter().map(|w| (w * slots / sum).max(1) as u32).collect();
    let mut given: usize = counts.iter().map(|count| *count as usize).sum();
    let mut order: Vec<usize> = (0..weights.len()).filter(|i| weights[*i] * slots >= sum).collect();
    if given < SLOTS {
        order.sort_by_key(|i| Reverse(weights[*i] * slots % sum));
        order.iter().take(SLOTS - given).for_each(|i| counts[*i] += 1);
    }
    order.sort_by_key(|i| Reverse(weights[*i]));
    while given > SLOTS {
        // More slots than backends: somebody has two.
        for i in order.iter().filter(|i| weights[**i] * slots >= 2 * sum) {
            if given > SLOTS && counts[*i] > 1 {
                counts[*i] -= 1;
                given -= 1;
            }
        }
    }
    counts
}

/// FNV-1a, 64 bits. Unkeyed on purpose: names are ours, and every balancer must come to the same table.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Spreads every bit of a hash over all others (the finaliser of SplitMix64): names often differ in one digit only.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
#[path = "maglev_tests.rs"]
mod tests;
