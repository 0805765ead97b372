//! Forgetting in the real kernel, without any daemon: packets alone keep the table bounded.

use lb_common::{
    map::{
        dialog::{Phase, Tally},
        expiry::request::{self, MAX_BUCKETS},
        service::forwarding,
        settings::Settings,
    },
    verdict::Verdict,
};
use lb_tests::{
    bench::{Bench, LOOPBACK, action, backend, backend_address, settings},
    packet::{Request, udp},
};
use std::net::SocketAddrV4;

const SERVICE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 5060);
const CALLER: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(198, 51, 100, 7), 5060);

/// A balancer with three backends and a table of some entries.
fn balancer(settings: &Settings, entries: u32) -> Bench {
    let mut bench = Bench::load(sipsteer::OBJECT, entries).expect("object");
    bench.set_settings(settings).expect("settings");
    bench.add_service(0, SERVICE, forwarding::NAT).expect("service");
    for id in 0..3 {
        bench.set_backend(id, &backend(id, backend_address(id))).expect("backend");
    }
    bench.set_ring(0, |slot| slot % 3).expect("ring");
    bench.add_port(LOOPBACK).expect("port");
    bench
}

/// The caller's request arrives; returns the backend's address.
fn arrives(bench: &mut Bench, method: &str, call_id: &str) -> SocketAddrV4 {
    let frame = udp(CALLER, SERVICE, &Request::new(method, call_id).bytes());
    let outcome = bench.run("sipsteer", &frame).expect("run");
    assert_eq!(outcome.action, action::TX, "{method} of {call_id} was not sent on");
    lb_tests::packet::read(&outcome.frame).destination
}

/// The daemon's request for a look at some buckets.
fn sweep(bench: &mut Bench, buckets: u64) {
    let mut packet = [0; request::LEN];
    packet[request::COUNT_AT..request::COUNT_AT + 8].copy_from_slice(&buckets.to_le_bytes());
    assert_eq!(bench.run("expire", &packet).expect("run").action, action::PASS);
}

/// What the tally ought to be.
fn counted(bench: &Bench) -> Tally {
    let dialogs = bench.dialogs().expect("dialogs");
    let unconfirmed = dialogs.iter().filter(|(_, d)| d.state.is_unconfirmed()).count();
    Tally { entries: dialogs.len() as u64, unconfirmed: unconfirmed as u64 }
}

/// Dialogs whose lifetime was found to be over.
fn expired(bench: &Bench, phase: Phase) -> u64 {
    bench.sweep().expect("sweep").expired[phase as usize]
}

/// The kernel's `jiffies`.
fn jiffies(bench: &mut Bench) -> u64 {
    let outcome = bench.run("clock", &[0; request::LEN]).expect("run");
    u64::from_le_bytes(outcome.frame[..8].try_into().expect("eight bytes"))
}

/// Waits for the kernel's clock, which nothing here can set: until `done`, or for so long that it must have come.
fn eventually(bench: &mut Bench, what: &str, mut done: impl FnMut(&mut Bench) -> bool) {
    for _ in 0..2_000 {
        if done(bench) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("{what} did not come about in thousands of ticks");
}

#[test]
fn new_calls_alone_forget_the_old_ones() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    // Far more than live at once, also when a busy machine's clock stands still for a while.
    const DIALOGS: u32 = 32_768;
    let lifetimes = Settings {
        tick_shift: 0,
        unconfirmed_limit: 4 * DIALOGS,
        unanswered_ticks: 4,
        ended_ticks: 2,
        sweep_buckets: 64,
        ..settings()
    };
    let mut bench = balancer(&lifetimes, DIALOGS);
    const CALLS: u64 = 4 * DIALOGS as u64;
    let before = jiffies(&mut bench);
    let mut most = 0;
    for call in 0..CALLS {
        arrives(&mut bench, "INVITE", &format!("call-{call}"));
        most = most.max(bench.tally().expect("tally").entries);
    }
    let passed = jiffies(&mut bench) - before;
    let (new, unpinned) = (
        bench.verdict(Verdict::SteeredNew).expect("verdict"),
        bench.verdict(Verdict::SteeredUnpinned).expect("verdict"),
    );
    println!("{CALLS} calls in {passed} jiffies, {new} pinned, at most {most} at once");
    assert_eq!((new, unpinned), (CALLS, 0), "{:?}", bench.write_errors());
    assert_eq!(bench.write_errors().expect("errors"), []);
    // The search looks at 64 buckets in each new jiffy, and makes up for no more than two jiffies at a time.
    let hand = bench.sweep().expect("sweep").hand;
    assert!(hand > 0 && hand <= 64 * passed + 128, "{hand} buckets in {passed} jiffies");
    assert_eq!(hand % 64, 0);
    let tally = bench.tally().expect("tally");
    assert_eq!(tally, counted(&bench));
    assert_eq!(tally.entries + expired(&bench, Phase::Unanswered), CALLS, "each is there or was forgotten");

    // No calls any more: looks at the table empty it to the last dialog.
    eventually(&mut bench, "an empty table", |bench| {
        sweep(bench, MAX_BUCKETS);
        bench.tally().expect("tally").entries == 0
    });
    assert_eq!(counted(&bench), Tally::default());
    assert_eq!(bench.tally().expect("tally"), Tally::default());
    assert_eq!(expired(&bench, Phase::Unanswered), CALLS);
    assert_eq!(bench.write_errors().expect("errors"), []);
    Ok(())
}

#[test]
fn packets_of_a_jiffy_search_once() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = balancer(&Settings { sweep_buckets: 3, ..settings() }, 4096);
    arrives(&mut bench, "OPTIONS", "first");
    let first = bench.sweep().expect("sweep");
    assert_eq!(first.hand, 128, "silence since ever is made up for within bounds");
    let mut last = first;
    eventually(&mut bench, "a hundred searches", |bench| {
        let before = jiffies(bench);
        for _ in 0..20 {
            arrives(bench, "OPTIONS", "first");
        }
        let (after, sweep) = (jiffies(bench), bench.sweep().expect("sweep"));
        assert!(sweep.at >= before && sweep.at <= after, "{sweep:?} at {before} to {after}");
        let jiffies = sweep.at - last.at;
        let looked = sweep.hand - last.hand;
        // As many as are due, unless some jiffies were left out for too long.
        assert!(looked == 3 * jiffies || looked >= 128 && looked < 3 * jiffies, "{looked} in {jiffies}");
        last = sweep;
        sweep.hand > first.hand + 300
    });
    Ok(())
}

#[test]
fn a_full_table_steers_by_ring_and_moves_no_established_dialog() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    // Nothing dies here; the unconfirmed may fill all of it. Two buckets, which every dialog may stand in.
    const SLOTS: u32 = 8;
    let mut bench = balancer(&Settings { unconfirmed_limit: 4096, ..settings() }, 1);
    let call = |n: u32| format!("call-{n}");
    let established: Vec<_> = (0..SLOTS).map(|n| arrives(&mut bench, "INVITE", &call(n))).collect();
    assert_eq!(bench.verdict(Verdict::SteeredNew).expect("verdict"), u64::from(SLOTS));
    assert_eq!(bench.tally().expect("tally").entries, u64::from(SLOTS));
    assert_eq!(bench.write_errors().expect("errors"), []);

    let unpinned: Vec<_> = (2000..2100).map(|n| arrives(&mut bench, "INVITE", &call(n))).collect();
    const E2BIG: u32 = 7;
    assert_eq!(bench.write_errors().expect("errors"), [(E2BIG, 100)]);
    assert_eq!(bench.verdict(Verdict::SteeredUnpinned).expect("verdict"), 100);
    // The rest of such a call finds the same backend by the ring.
    for (n, backend) in (2000..2100).zip(unpinned) {
        assert_eq!(arrives(&mut bench, "BYE", &call(n)), backend, "{}", call(n));
    }
    // Another ring: only pins hold the established calls now.
    bench.set_ring(0, |slot| (slot + 1) % 3).expect("ring");
    for (n, backend) in (0..SLOTS).zip(established) {
        assert_eq!(arrives(&mut bench, "CANCEL", &call(n)), backend, "{}", call(n));
    }
    assert_eq!(bench.verdict(Verdict::SteeredPinned).expect("verdict"), u64::from(SLOTS));
    assert_eq!(bench.tally().expect("tally").entries, u64::from(SLOTS));
    Ok(())
}

#[test]
fn a_full_table_makes_room_from_what_is_over() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    // Without any search, one new call finds the place of an old one.
    let lifetimes = Settings { tick_shift: 0, ended_ticks: 1, ..settings() };
    let mut bench = balancer(&lifetimes, 1);
    let calls: Vec<_> = (0..7).map(|n| arrives(&mut bench, "INVITE", &format!("call-{n}"))).collect();
    arrives(&mut bench, "OPTIONS", "probe");
    assert_eq!(bench.tally().expect("tally").entries, 8);
    eventually(&mut bench, "room for a call", |bench| {
        arrives(bench, "INVITE", "late");
        bench.verdict(Verdict::SteeredNew).expect("verdict") == 9
    });
    assert_eq!((expired(&bench, Phase::Transaction), expired(&bench, Phase::Unanswered)), (1, 0));
    assert_eq!(bench.sweep().expect("sweep").hand, 0, "nobody searched");
    bench.set_ring(0, |slot| (slot + 1) % 3).expect("ring");
    for (n, backend) in calls.into_iter().enumerate() {
        assert_eq!(arrives(&mut bench, "INVITE", &format!("call-{n}")), backend, "call-{n} stays");
    }
    assert_eq!(bench.tally().expect("tally"), counted(&bench));
    Ok(())
}

#[test]
fn a_table_has_room_for_what_it_was_made_for() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    const DIALOGS: u32 = 65_536;
    let mut bench = balancer(&Settings { unconfirmed_limit: 4 * DIALOGS, ..settings() }, DIALOGS);
    for n in 0..DIALOGS / 2 {
        arrives(&mut bench, "INVITE", &format!("call-{n}"));
    }
    assert_eq!(bench.write_errors().expect("errors"), [], "half full");
    for n in DIALOGS / 2..DIALOGS {
        arrives(&mut bench, "INVITE", &format!("call-{n}"));
    }
    let unpinned = bench.verdict(Verdict::SteeredUnpinned).expect("verdict");
    println!("{unpinned} of {DIALOGS} found no room");
    assert!(unpinned <= u64::from(DIALOGS / 1000), "{unpinned} found no room");
    assert_eq!(bench.tally().expect("tally").entries, u64::from(DIALOGS) - unpinned);
    assert_eq!(bench.tally().expect("tally"), counted(&bench));
    Ok(())
}

#[test]
fn the_unconfirmed_stop_at_their_limit_and_established_calls_go_on() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = balancer(&Settings { unconfirmed_limit: 512, ..settings() }, 1024);
    for n in 0..600 {
        arrives(&mut bench, "INVITE", &format!("call-{n}"));
    }
    const EDQUOT: u32 = 122;
    assert_eq!(bench.write_errors().expect("errors"), [(EDQUOT, 88)]);
    assert_eq!(bench.tally().expect("tally").entries, 512);
    // Two of them are cancelled: room for two.
    for n in [3, 4] {
        arrives(&mut bench, "CANCEL", &format!("call-{n}"));
    }
    for n in 600..603 {
        arrives(&mut bench, "INVITE", &format!("call-{n}"));
    }
    assert_eq!(bench.write_errors().expect("errors"), [(EDQUOT, 89)]);
    let tally = bench.tally().expect("tally");
    assert_eq!((tally.entries, tally.unconfirmed), (514, 512));
    Ok(())
}

#[test]
fn the_daemons_search_forgets_what_is_over_and_nothing_else() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let lifetimes = Settings { tick_shift: 0, ended_ticks: 1, ..settings() };
    // 512 buckets, none of which a packet looks at.
    let mut bench = balancer(&lifetimes, 1024);
    arrives(&mut bench, "INVITE", "call");
    for n in 0..200 {
        arrives(&mut bench, "OPTIONS", &format!("probe-{n}"));
    }
    let (entries, over) = (bench.tally().expect("tally").entries, expired(&bench, Phase::Transaction));
    assert_eq!((entries, over), (201, 0));
    eventually(&mut bench, "an end of all probes", |bench| {
        let before = bench.tally().expect("tally").entries;
        sweep(bench, 1);
        let after = bench.tally().expect("tally").entries;
        assert!(after + 4 >= before, "one bucket has four slots: {before} to {after}");
        sweep(bench, MAX_BUCKETS);
        bench.tally().expect("tally").entries == 1
    });
    assert_eq!(expired(&bench, Phase::Transaction), 200);
    // The call's lifetime is longer, and it is still young.
    let left = bench.dialogs().expect("dialogs");
    assert!(matches!(&left[..], [(_, d)] if d.state.phase == Phase::Unanswered as u8), "{left:?}");
    assert_eq!(bench.tally().expect("tally"), counted(&bench));
    Ok(())
}

#[test]
fn a_request_looks_at_as_many_buckets_as_it_says_within_bounds() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = balancer(&settings(), 1024);
    let mut expected = 0;
    for (asked, looked) in
        [(0, 0), (1, 1), (127, 127), (128, 128), (129, 129), (256, 256), (257, 256), (u64::MAX, 256)]
    {
        sweep(&mut bench, asked);
        expected += looked;
        assert_eq!(bench.sweep().expect("sweep").hand, expected, "{asked} buckets");
    }
    const ABORTED: u32 = 0;
    let short = bench.run("expire", &[0; request::LEN - 1]).expect("run");
    assert_eq!(short.action, ABORTED, "no request");
    Ok(())
}
