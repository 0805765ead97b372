//! Balance, proportion, disruption and determinism of Maglev tables.

use super::{Entry, SLOTS, Walk, build, moved, slot};
use proptest::{collection::btree_map, prelude::*};
use std::collections::BTreeMap;

/// Backends as (name, weight); the id of each is its place in the list.
type Backends = Vec<(String, u16)>;

fn equal(count: usize) -> Backends {
    (0..count).map(|i| (format!("sw{i}"), 100)).collect()
}

fn table(backends: &Backends) -> Vec<u32> {
    let entries: Vec<_> =
        (0..).zip(backends).map(|(id, (name, weight))| Entry { id, weight: *weight, name }).collect();
    build(&entries)
}

/// Slots of every id.
fn shares(table: &[u32], backends: usize) -> Vec<usize> {
    let mut shares = vec![0; backends];
    table.iter().for_each(|id| shares[*id as usize] += 1);
    shares
}

/// Slots that changed although neither their old nor their new backend is `subject`, as a share of all.
fn needless(old: &[u32], new: &[u32], subject: u32) -> f64 {
    let changed = old.iter().zip(new).filter(|(a, b)| a != b && **a != subject && **b != subject).count();
    changed as f64 / SLOTS as f64
}

#[test]
fn equal_weights_differ_by_one_slot_at_most() {
    for count in [1, 2, 3, 5, 10, 33, 100, 333, 1000] {
        let table = table(&equal(count));
        assert_eq!(table.len(), SLOTS);
        let shares = shares(&table, count);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{count}: {least} to {most}");
        // Hence max/mean is at most 1 + count / 65,537: 1.016 at 1,000 backends.
        assert!(*most as f64 / (SLOTS as f64 / count as f64) <= 1.0 + count as f64 / SLOTS as f64);
    }
}

#[test]
fn no_backend_no_table() {
    assert_eq!(build(&[]), Vec::<u32>::new());
}

#[test]
fn the_order_of_the_configuration_does_not_matter() {
    let (a, b, c) = (
        Entry { id: 7, weight: 100, name: "a" },
        Entry { id: 3, weight: 50, name: "b" },
        Entry { id: 9, weight: 10, name: "c" },
    );
    let table = build(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(build(&[c.clone(), a.clone(), b.clone()]), table);
    // Ids are only labels: on another balancer the same names have the same slots under other ids.
    let relabelled = build(&[Entry { id: 1, ..a }, Entry { id: 2, ..b }, Entry { id: 4, ..c }]);
    let expected: Vec<u32> = table.iter().map(|id| BTreeMap::from([(7, 1), (3, 2), (9, 4)])[id]).collect();
    assert_eq!(relabelled, expected);
}

#[test]
fn tables_stay_the_same_in_later_versions() {
    // Balancers of two versions side by side must steer alike, so the function is part of the contract.
    let table = table(&vec![("sw1".into(), 100), ("sw2".into(), 100), ("sw3".into(), 200)]);
    let digest =
        table.iter().fold(0_u64, |digest, id| digest.wrapping_mul(31).wrapping_add(u64::from(*id) + 1));
    assert_eq!(digest, DIGEST);
}

const DIGEST: u64 = 14_889_496_756_397_761_819;

/// Maglev as it is written down: the backends take turns in the order of their names, each walks on in its permutation
/// until it finds a free slot.
fn by_the_book(names: &[&str]) -> Vec<u32> {
    let mut slots = vec![u32::MAX; SLOTS];
    let mut walks: Vec<(usize, usize)> = names
        .iter()
        .map(|name| {
            let walk = Walk::new(name);
            (walk.next as usize, walk.step as usize)
        })
        .collect();
    for turn in 0..SLOTS {
        let backend = turn % names.len();
        let (next, step) = &mut walks[backend];
        while slots[*next] != u32::MAX {
            *next = (*next + *step) % SLOTS;
        }
        slots[*next] = backend as u32;
    }
    slots
}

#[test]
fn the_shortcut_at_the_end_changes_nothing() {
    for names in [vec!["a"], vec!["a", "b"], vec!["a", "b", "c", "d", "e", "f", "g"]] {
        let backends = names.iter().map(|name| ((*name).to_owned(), 100)).collect();
        assert!(table(&backends) == by_the_book(&names), "{names:?}");
    }
}

#[test]
fn a_removed_backend_leaves_its_share_to_all_others_evenly() {
    for count in [3, 10, 100, 1000] {
        let backends = equal(count);
        let before = table(&backends);
        // Ids stay: the removed one is the last in the list.
        let gone = count as u32 - 1;
        let after = table(&backends[..count - 1].to_vec());
        assert!(!after.contains(&gone));
        let mut heirs = vec![0_usize; count - 1];
        for (old, new) in before.iter().zip(&after) {
            if *old == gone {
                heirs[*new as usize] += 1;
            }
        }
        // Nobody inherits more than twice the fair part, give or take the noise of a few slots.
        let fair = SLOTS as f64 / count as f64 / (count - 1) as f64;
        let most = *heirs.iter().max().unwrap() as f64;
        assert!(most <= 2.0 * fair + 6.0, "{count}: {most}, fair is {fair}");
        assert!(needless(&before, &after, gone) <= NEEDLESS, "{count}");
    }
}

#[test]
fn calls_of_a_dead_backend_are_one_more_of_n_less_one_for_each_other() {
    const CALLS: u64 = 200_000;
    for count in [3, 5, 10, 50] {
        let backends = equal(count);
        for dead in [0, count as u32 / 2, count as u32 - 1] {
            let before = table(&backends);
            let left = (0..).zip(&backends).filter(|(id, _)| u32::from(*id) != dead);
            let left: Vec<_> = left.map(|(id, (name, weight))| Entry { id, weight: *weight, name }).collect();
            let after = build(&left);
            let mut calls: BTreeMap<u32, [f64; 2]> = BTreeMap::new();
            for call in 1..=CALLS {
                let key = call.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for (when, ring) in [&before, &after].into_iter().enumerate() {
                    calls.entry(ring[slot(key) as usize]).or_default()[when] += 1.0;
                }
            }
            calls.remove(&dead);
            assert_eq!(calls.len(), count - 1);
            for [then, now] in calls.into_values() {
                let (more, fair) = (now / then - 1.0, 1.0 / (count as f64 - 1.0));
                assert!((more - fair).abs() < 0.02, "of {count}: {more} instead of {fair}");
            }
        }
    }
}

/// Share of all slots that may change beyond what a change makes necessary. Measured: 0.02 % with 3 backends, 0.9 % with
/// 300.
const NEEDLESS: f64 = 0.012;

#[test]
fn an_added_backend_takes_its_share_and_little_else_moves() {
    for count in [1, 2, 3, 5, 10, 30, 100, 300, 1000] {
        let mut backends = equal(count);
        let before = table(&backends);
        backends.push(("added".into(), 100));
        let after = table(&backends);
        assert!(needless(&before, &after, count as u32) <= NEEDLESS, "{count}");
        let ideal = 1.0 / (count as f64 + 1.0);
        assert!(moved(&before, &after) as f64 / SLOTS as f64 <= ideal + NEEDLESS, "{count}");
    }
}

#[test]
fn a_changed_weight_moves_the_difference_and_little_else() {
    for count in [2, 3, 10, 100, 1000] {
        let before = table(&equal(count));
        for weight in [1, 50, 99, 101, 200, 1000] {
            let mut backends = equal(count);
            backends[0].1 = weight;
            let after = table(&backends);
            let share = |table: &[u32]| shares(table, count)[0] as f64 / SLOTS as f64;
            let ideal = (share(&before) - share(&after)).abs();
            let moved = moved(&before, &after) as f64 / SLOTS as f64;
            // Ten times the weight at once disturbs the turns of all others: 2.2 % with 1,000 backends.
            let bound = if weight > 200 { 0.03 } else { NEEDLESS };
            assert!(moved <= ideal + bound, "{count}, one of weight {weight}: {moved}, ideal {ideal}");
        }
    }
}

#[test]
fn the_lightest_backend_has_a_slot_beside_very_heavy_ones() {
    // 1,000 slots short of what the shares say: the heavy ones make room.
    for heavy in [65, 100, 500] {
        let backends: Backends = (0..1024)
            .map(|i| {
                (
                    format!("sw{i}"),
                    if i == 0 {
                        1000
                    } else if i <= heavy {
                        499
                    } else {
                        1
                    },
                )
            })
            .collect();
        let shares = shares(&table(&backends), backends.len());
        assert_eq!(shares.iter().sum::<usize>(), SLOTS);
        assert!(shares.iter().all(|share| *share >= 1));
        assert!(shares[0] > shares[1] && shares[1] > shares[1023], "{heavy}: {:?}", &shares[..2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_are_proportional_to_weights(weights in btree_map("[a-z0-9.-]{1,12}", 1_u16..=1000, 1..60)) {
        let backends: Backends = weights.into_iter().collect();
        let sum: f64 = backends.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let shares = shares(&table(&backends), backends.len());
        for ((name, weight), slots) in backends.iter().zip(shares) {
            let exact = SLOTS as f64 * f64::from(*weight) / sum;
            prop_assert!((slots as f64 - exact).abs() < 1.0, "{name}: {slots} slots, exact would be {exact}");
        }
    }
}

#[test]
fn a_slot_is_the_scaled_upper_half_of_the_key() {
    assert_eq!(slot(0), 0);
    assert_eq!(slot(u64::MAX), SLOTS as u32 - 1);
    assert_eq!(slot(0x8000_0000_0000_0000), SLOTS as u32 / 2);
    assert_eq!(slot(0xffff_ffff), 0);
}
