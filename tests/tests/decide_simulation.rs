//! What the policies make of random traffic: a short run of the simulation, with bounds. `cargo xtask sim` prints a long one.

use lb_tests::simulation::{Outcome, Servers, WAYS, compare, run};

/// 100 s, of which 40 are measured.
const CALLS: u64 = 40_000;
const SEED: u64 = 7;

fn outcome(servers: Servers, name: &str) -> Outcome {
    let way = WAYS.iter().find(|way| way.name == name).expect("a policy of the simulation");
    let outcome = run(servers, way, CALLS, SEED);
    assert_eq!((outcome.calls, outcome.left), (CALLS, 0), "{name}: channels of calls that have ended");
    assert!(outcome.fullest > 0.5 && outcome.fullest <= 1.0, "{name}: {outcome:?}");
    outcome
}

#[test]
fn calls_are_spread_by_capacity() {
    for servers in [Servers::Alike, Servers::Mixed] {
        let ring = outcome(servers, "ring alone");
        let least_loaded = outcome(servers, "least-loaded");
        assert_eq!(least_loaded.refused, 0, "{least_loaded:?}");
        assert!(least_loaded.channels < 1.15 && least_loaded.channels < ring.channels, "{least_loaded:?}");
        assert!(least_loaded.cps < 1.15 && least_loaded.cps < ring.cps, "{least_loaded:?}");
        // Within its bound of 1.25, and nearly every call stays where the ring wants it.
        let consistent = outcome(servers, "consistent");
        assert_eq!(consistent.refused, 0, "{consistent:?}");
        assert!(consistent.channels < 1.25 && consistent.cps < 1.5, "{consistent:?}");
        assert!(consistent.first_choice > CALLS * 9 / 10, "{consistent:?}");
        assert!(ring.channels < 1.25 && ring.cps < 1.5, "{ring:?}");
        // What the pace of one does not let in, another takes.
        assert_eq!(ring.refused, 0);
    }
}

#[test]
fn primaries_are_filled_to_their_limit_before_the_next() {
    for servers in [Servers::Alike, Servers::Mixed] {
        let outcome = outcome(servers, "primary-secondary");
        assert!(outcome.fullest > 0.9, "{outcome:?}");
        assert!(outcome.channels > 1.2 && outcome.cps > 1.2, "{outcome:?}");
        // All servers together have room for a quarter more than comes, in any second but the worst.
        assert!(outcome.refused < CALLS / 500, "{outcome:?}");
    }
}

#[test]
fn a_seed_tells_everything() {
    let way = &WAYS[1];
    assert_eq!(run(Servers::Mixed, way, 5000, 3), run(Servers::Mixed, way, 5000, 3));
    assert_ne!(run(Servers::Mixed, way, 5000, 3), run(Servers::Mixed, way, 5000, 4));
}

#[test]
fn the_table_has_a_row_for_every_policy_and_set_of_servers() {
    let table = compare(1000, 1).to_string();
    for way in WAYS {
        assert_eq!(table.matches(&format!(" {} ", way.name)).count(), 2, "{table}");
    }
}
