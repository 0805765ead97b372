//! Maglev tables: slot -> backend, balanced by weight, and hardly changed when a backend comes or goes.
//!
//! Every backend has a permutation of all slots, made from its name alone, and the backends take turns at claiming the
//! first slot of their permutation that is still free. A backend of twice the weight has twice as many turns. Names are
//! the only input besides weights, so the order of the configuration does not matter and every balancer of a cluster
//! comes to the same table.

use lb_common::limits::RING_SLOTS;

/// Slots of a table.
const SLOTS: usize = RING_SLOTS as usize;

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
/// Slots per backend are its exact share rounded up or down, and at least one.
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
    for _ in 0..SLOTS {
        let turn = turns.next();
        if let (Some(walk), Some(entry)) = (walks.get_mut(turn), sorted.get(turn)) {
            table.claim(walk, u32::from(entry.id));
        }
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
    fn claim(&mut self, walk: &mut Walk, id: u32) {
        loop {
            let slot = walk.next();
            let (word, bit) = (&mut self.taken[slot / 64], 1 << (slot % 64));
            if *word & bit == 0 {
                *word |= bit;
                self.slots[slot] = id;
                return;
            }
        }
    }
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
        // Rounds with 32 bits after the point: a sum of 1,024 weights of 65,535 still fits.
        let rounds_of = |weight: u64| {
            let step = (sum << 32) / weight;
            std::iter::successors(Some(0_u64), move |at| Some(at + step))
                .map(|at| (at >> 32) as usize)
                .take_while(|round| *round < SLOTS)
        };
        let mut starts = vec![0_u32; SLOTS + 1];
        for round in weights.iter().flat_map(|w| rounds_of(*w)) {
            starts[round + 1] += 1;
        }
        for round in 1..starts.len() {
            starts[round] += starts[round - 1];
        }
        let mut turns = vec![0_u16; starts[SLOTS] as usize];
        for (backend, weight) in weights.iter().enumerate() {
            for round in rounds_of(*weight) {
                turns[starts[round] as usize] = backend as u16;
                starts[round] += 1;
            }
        }
        Turns::Sorted { turns, next: 0 }
    }

    /// Index of the backend whose turn it is. At least [`SLOTS`] turns exist, because each backend's share is rounded up.
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
