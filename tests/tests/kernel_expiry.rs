//! Forgetting in the real kernel, without any daemon: packets alone keep the table bounded.

use lb_common::{
    map::{
        dialog::Phase,
        expiry::{LONG, SHORT, request},
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

/// The daemon's request for a look at the queues, naming no dialog.
fn tend(bench: &mut Bench) {
    let outcome = bench.run("expire", &[0; request::LEN]).expect("run");
    assert_eq!(outcome.action, action::PASS);
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
fn new_calls_alone_bury_the_old_ones() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    const ENTRIES: u32 = 32_768;
    let lifetimes = Settings {
        tick_shift: 0,
        unconfirmed_limit: ENTRIES,
        unanswered_ticks: 4,
        ended_ticks: 2,
        burial_ticks: 1,
        ..settings()
    };
    let mut bench = balancer(&lifetimes, ENTRIES);
    const CALLS: u64 = 4 * ENTRIES as u64;
    let mut most = 0;
    for call in 0..CALLS {
        // Some hundred calls a jiffy, which live for seven jiffies.
        arrives(&mut bench, "INVITE", &format!("call-{call}"));
        most = most.max(bench.tally().expect("tally").entries);
    }
    let (new, unpinned) = (
        bench.verdict(Verdict::SteeredNew).expect("verdict"),
        bench.verdict(Verdict::SteeredUnpinned).expect("verdict"),
    );
    println!("{CALLS} calls, {new} pinned, at most {most} entries at once");
    assert_eq!((new, unpinned), (CALLS, 0), "{:?}", bench.write_errors());
    assert!(most < u64::from(ENTRIES), "the table was full");
    assert_eq!(bench.write_errors().expect("errors"), []);

    let [short, long] = [SHORT, LONG].map(|queue| bench.cursors(queue).expect("cursors"));
    assert_eq!(short.tail, CALLS, "every call waits in the short queue once");
    assert!(
        short.burying > CALLS - u64::from(ENTRIES)
            && short.dying >= short.burying
            && short.tail >= short.dying
    );
    // On a busy machine a call may be past both lifetimes when its turn in the short queue comes.
    assert!(
        long.tail <= CALLS
            && long.burying >= long.tail.saturating_sub(u64::from(ENTRIES))
            && long.dying >= long.burying
            && long.tail >= long.dying,
        "{long:?}"
    );
    let (tally, dialogs) = (bench.tally().expect("tally"), bench.dialogs().expect("dialogs"));
    assert_eq!(tally.entries, dialogs.len() as u64);
    let unconfirmed = dialogs.iter().filter(|(_, d)| d.state.is_unconfirmed()).count();
    assert_eq!(tally.unconfirmed, unconfirmed as u64);

    // No calls any more: looks at the queues empty the table to the last entry.
    eventually(&mut bench, "an empty table", |bench| {
        tend(bench);
        bench.tally().expect("tally").entries == 0
    });
    assert_eq!(bench.dialogs().expect("dialogs"), []);
    assert_eq!(bench.tally().expect("tally").unconfirmed, 0);
    assert_eq!(bench.write_errors().expect("errors"), []);
    Ok(())
}

#[test]
fn a_full_table_steers_by_ring_and_moves_no_established_dialog() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    // Nothing dies here; the unconfirmed may fill all of it.
    let mut bench = balancer(&Settings { unconfirmed_limit: 4096, ..settings() }, 1024);
    let call = |n: u32| format!("call-{n}");
    let established: Vec<_> = (0..1024).map(|n| arrives(&mut bench, "INVITE", &call(n))).collect();
    assert_eq!(bench.verdict(Verdict::SteeredNew).expect("verdict"), 1024);
    assert_eq!(bench.tally().expect("tally").entries, 1024);
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
    for (n, backend) in (0..1024).zip(established) {
        assert_eq!(arrives(&mut bench, "CANCEL", &call(n)), backend, "{}", call(n));
    }
    assert_eq!(bench.verdict(Verdict::SteeredPinned).expect("verdict"), 1024);
    assert_eq!(bench.tally().expect("tally").entries, 1024);
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
fn the_daemons_search_marks_then_buries_what_it_names() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let lifetimes = Settings { tick_shift: 0, ended_ticks: 1, burial_ticks: 1, ..settings() };
    let mut bench = balancer(&lifetimes, 1024);
    arrives(&mut bench, "OPTIONS", "probe");
    arrives(&mut bench, "INVITE", "call");
    let dialogs = bench.dialogs().expect("dialogs");
    // The queues are as if lost, so that nothing but the search can find the dialog.
    bench.forget_queues().expect("cursors");
    let phase_of = |bench: &Bench, key| {
        let dialogs = bench.dialogs().expect("dialogs");
        dialogs.iter().find(|(k, _)| *k == key).and_then(|(_, d)| Phase::from_number(d.state.phase))
    };
    let (probe, call) = match &dialogs[..] {
        [(a, d), (b, _)] if d.state.phase == Phase::Transaction as u8 => (*a, *b),
        [(a, _), (b, _)] => (*b, *a),
        other => panic!("two dialogs, not {other:?}"),
    };
    let mut packet = [0; request::LEN];
    packet[request::COUNT_AT] = 2;
    for (i, key) in [probe, call].into_iter().enumerate() {
        let at = request::KEYS_AT + i * 16;
        packet[at..at + 8].copy_from_slice(&key.call_key.to_le_bytes());
        packet[at + 8..at + 12].copy_from_slice(&key.service.to_le_bytes());
    }
    let mut seen = Vec::new();
    eventually(&mut bench, "the probe's burial", |bench| {
        assert_eq!(bench.run("expire", &packet).expect("run").action, action::PASS);
        let phase = phase_of(bench, probe);
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
        phase.is_none()
    });
    assert!(seen.ends_with(&[Some(Phase::Dead), None]), "dead first, then gone: {seen:?}");
    // The call's lifetime is longer, and it is still young.
    assert_eq!(phase_of(&bench, call), Some(Phase::Unanswered));
    assert_eq!(bench.tally().expect("tally").entries, 1);
    Ok(())
}
