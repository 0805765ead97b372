//! The stale-pointer race in the real kernel: packets on one CPU, expiry and reuse of the memory on another.

use lb_tests::race::{Report, foreign, race, short_lives};

/// Rounds of the race with lifetimes and burial of no tick: whatever is looked at is deleted. With the next ones they are
/// more than 10,000,000.
const ROUNDS: u64 = 9_600_000;
/// Rounds of the race with lifetimes and burial of one jiffy.
const SLOWER_ROUNDS: u64 = 500_000;

fn check(name: &str, report: &Report) {
    println!("{name}: {report:#?}");
    assert_eq!(report.foreign, 0, "{name}: foreign writes");
    assert_eq!(report.tally, report.counted, "{name}: the tally at rest");
    // EEXIST: the other CPU has opened the dialog, and it is dead already.
    let unexpected: Vec<_> = report.write_errors.iter().filter(|(errno, _)| *errno != 17).collect();
    assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
}

#[test]
fn packets_and_expiry_on_two_cpus_never_touch_a_foreign_dialog() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let report = race("packets", &short_lives(0), ROUNDS, |_| false).expect("race");
    check("lifetimes and burial of no tick", &report);
    assert!(report.rounds >= ROUNDS);
    // Even where the two CPUs are shared with others and seldom run at the same time.
    assert!(report.handed_over > 100, "the memory was taken away under too few pointers");
    assert!(report.refused > 10, "too few changes met a foreign dialog");
    assert!(report.sound > ROUNDS / 10);

    let report = race("packets", &short_lives(1), SLOWER_ROUNDS, |_| false).expect("race");
    check("lifetimes and burial of one tick", &report);
    assert!(report.rounds >= SLOWER_ROUNDS);
    Ok(())
}

#[test]
fn the_race_finds_foreign_writes_when_a_rule_is_broken() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    for program in ["packets_without_comparison", "packets_without_generation", "packets_without_key"] {
        let report = race(program, &short_lives(0), ROUNDS, |ebpf| foreign(ebpf) > 0).expect("race");
        println!("{program}: {report:#?}");
        assert!(report.foreign > 0, "{program}: {} rounds found nothing", report.rounds);
    }
    Ok(())
}
