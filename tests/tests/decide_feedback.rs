//! The loop of telemetry, controller and decision core in simulation: seeds that stay, and some of this moment. `cargo xtask sim
//! --seeds N` runs as many as one likes.

use lb_tests::feedback::run;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a run.
const SECONDS: u64 = 600;

fn holds(seed: u64) {
    match run(seed, SECONDS) {
        Ok(outcome) => {
            assert!(
                outcome.calls > 10_000 && outcome.samples > 500 && outcome.changes > 50,
                "{seed}: {outcome:?}"
            );
        }
        Err(what) => panic!("seed {seed}: {what}; run it again with cargo xtask sim --seed {seed} --seeds 1"),
    }
}

#[test]
fn seeds_that_stay() {
    (1..=4).for_each(holds);
}

#[test]
fn seeds_of_this_moment() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    [now, now ^ 0x5eed].into_iter().for_each(holds);
}

#[test]
fn a_seed_tells_everything() {
    assert_eq!(run(7, 100), run(7, 100));
    assert_ne!(run(7, 100), run(8, 100));
}
