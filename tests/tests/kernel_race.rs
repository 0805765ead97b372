//! Two CPUs at the same slots in the real kernel: packets against expiry and reuse, and insertions against each other.

use lb_tests::race::{Pair, Report, foreign, handed_over, race, short_lives, twice};

/// Rounds of the race with lifetimes of no tick: whatever is looked at is removed. With the next ones they are more than
/// 10,000,000.
const ROUNDS: u64 = 9_600_000;
/// Rounds of the race with lifetimes of one jiffy.
const SLOWER_ROUNDS: u64 = 500_000;
/// Steps of the twins, three for each dialog.
const STEPS: u64 = 3_000_000;

/// E2BIG, EBUSY: the other CPU was faster at the last free slot.
const LOST: [u32; 2] = [7, 16];

fn check(name: &str, report: &Report) {
    println!("{name}: {report:#?}");
    assert_eq!(report.foreign, 0, "{name}: foreign writes");
    assert_eq!(report.repeated, [], "{name}: dialogs that are there more than once at rest");
    assert_eq!(report.tally, report.counted, "{name}: the tally at rest");
    assert_eq!(report.channels, report.counted_channels, "{name}: the channels at rest");
    let unexpected: Vec<_> = report.write_errors.iter().filter(|(errno, _)| !LOST.contains(errno)).collect();
    assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
}

#[test]
fn packets_and_expiry_on_two_cpus_never_touch_a_foreign_dialog() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let pair = Pair("packets", "expiry");
    let report = race(pair, &short_lives(0), ROUNDS, |_| false).expect("race");
    check("lifetimes of no tick", &report);
    assert!(report.rounds >= ROUNDS);
    // Even where the two CPUs are shared with others and seldom run at the same time.
    assert!(report.handed_over > 100, "too few slots were taken away under a packet");
    assert!(report.refused > 10, "too few changes met another life of their slot");
    assert!(report.sound > ROUNDS / 10);

    let report = race(pair, &short_lives(1), SLOWER_ROUNDS, |_| false).expect("race");
    check("lifetimes of one tick", &report);
    assert!(report.rounds >= SLOWER_ROUNDS);
    Ok(())
}

#[test]
fn the_race_finds_foreign_writes_when_a_rule_is_broken() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    for program in ["packets_without_comparison", "packets_without_generation", "packets_without_key"] {
        let pair = Pair(program, "expiry");
        let report = race(pair, &short_lives(0), ROUNDS, |ebpf| foreign(ebpf) > 0).expect("race");
        println!("{program}: {report:#?}");
        assert!(report.foreign > 0, "{program}: {} rounds found nothing", report.rounds);
    }
    Ok(())
}

#[test]
fn the_race_finds_channels_that_nobody_has_when_they_are_taken_late() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let pair = Pair("packets_with_late_channels", "expiry");
    let report = race(pair, &short_lives(0), ROUNDS, |ebpf| handed_over(ebpf) > 2000).expect("race");
    println!("{report:#?}");
    let more = |backend: usize| report.channels[backend] > report.counted_channels[backend];
    assert!(more(0) || more(1), "{} rounds found nothing", report.rounds);
    Ok(())
}

#[test]
fn a_dialog_that_two_cpus_put_in_at_once_is_there_once() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let report = race(Pair("twin", "other_twin"), &short_lives(0), STEPS, |_| false).expect("race");
    check("twins", &report);
    let twins = &report.twins;
    assert_eq!((twins.twice, twins.missing, twins.mistold), (0, 0, 0));
    // Even where the two CPUs seldom run at the same time.
    assert!(twins.met > 100, "too few insertions met another one");
    // Each of the two settles twice at most.
    assert!(twins.single >= twins.met / 4);
    Ok(())
}

#[test]
fn the_twins_find_dialogs_that_are_there_twice_when_nobody_settles() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let pair = Pair("twin_without_settling", "other_twin_without_settling");
    let report = race(pair, &short_lives(0), STEPS, |ebpf| twice(ebpf) > 0).expect("race");
    println!("{report:#?}");
    assert!(report.twins.twice > 0, "{} steps found nothing", report.rounds);
    Ok(())
}
