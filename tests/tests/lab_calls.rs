//! Callers and servers of our own, without a balancer: calls go straight from the client to one backend, so what fails here
//! is the lab.

use anyhow::Result;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        endpoint::Loss,
        outcome::{Calls, Outcome},
        seen::Record,
        server::{Habits, Manner, Server},
        wish::Wish,
    },
    needs_bpf,
    process::wait_until,
    sipp::{self, Load, scenario::Scenario},
    topology::{CLIENT, Forwarding, Lab, SIP_PORT},
};
use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

const T1: Duration = Duration::from_millis(50);

/// Calls to the only backend's own address.
fn call_directly(plan: &Plan, habits: Habits, manner: Manner) -> Result<(Calls, Record)> {
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let server = Server::start(&lab.backends[0], habits)?;
    server.behave(manner);
    let target = SocketAddrV4::new(lab.backends[0].address, SIP_PORT);
    let calls = Caller::start_to(&lab.client, CLIENT, target, plan)?.wait()?;
    Ok((calls, server.stop()?))
}

#[test]
fn every_wish_is_granted() -> Result<()> {
    needs_bpf!();
    let wishes = [Wish::ANSWER, Wish::Answer(T1), Wish::Refuse, Wish::Ring, Wish::Challenge];
    let plan = Plan { t1: T1, ..Plan::calls("wishes", 50, 200) }.wishing(&wishes);
    let (calls, record) = call_directly(&plan, Habits { t1: T1, loss: Loss::NONE }, Manner::Obliging)?;
    let counts = [Outcome::Completed, Outcome::Refused(486), Outcome::Cancelled].map(|o| calls.count(&o));
    assert_eq!(counts, [30, 10, 10], "{:?}", calls.outcomes());
    assert_eq!(calls.flaw(), None);
    assert_eq!((record.calls.len(), record.strangers), (50, 0));
    assert!(record.calls.iter().all(|call| call.over.is_some() && call.sent <= call.at));
    assert_eq!(record.calls.iter().map(|call| call.transactions).sum::<u32>(), 60, "ten were challenged");
    assert_eq!(calls.those(&Outcome::Completed).filter(|call| call.by() == Some("sw1")).count(), 30);
    Ok(())
}

#[test]
fn silence_times_out_and_unavailable_servers_are_tried_again() -> Result<()> {
    needs_bpf!();
    let t1 = Duration::from_millis(10);
    let plan = Plan { t1, ..Plan::calls("silence", 5, 100) }.wishing(&[Wish::Silence]);
    let (calls, record) = call_directly(&plan, Habits::default(), Manner::Obliging)?;
    assert_eq!(calls.count(&Outcome::TimedOut), 5, "{:?}", calls.outcomes());
    // At most at 0, 1, 3, 7, 15, 31 and 63 T1 (RFC 3261 section 17.1.1.2); fewer if the machine is slow.
    assert!(
        record.calls.iter().all(|call| (2..=7).contains(&call.invites) && call.transactions == 1),
        "{record:?}"
    );

    let plan = Plan { tries: 3, ..Plan::calls("again", 5, 100) };
    let (calls, record) = call_directly(&plan, Habits::default(), Manner::Unavailable(Some(7)))?;
    assert_eq!(calls.count(&Outcome::Refused(503)), 5, "{:?}", calls.outcomes());
    assert!(record.calls.iter().all(|call| call.transactions == 3), "{record:?}");
    assert!(calls.answers(503).all(|answer| answer.retry_after.as_deref() == Some("7")));
    assert_eq!(calls.answers(503).count(), 15);
    Ok(())
}

#[test]
fn our_callers_and_sipp_follow_a_redirect() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let [first, second] = [0, 1].map(|at: usize| SocketAddrV4::new(lab.backends[at].address, SIP_PORT));
    servers[0].behave(Manner::Moved(second));
    let ours = Caller::start_to(&lab.client, CLIENT, first, &Plan::calls("moved", 20, 100))?.wait()?;
    assert_eq!(ours.count(&Outcome::Completed), 20, "{:?}", ours.outcomes());
    assert_eq!(ours.flaw(), None);
    let source = SocketAddrV4::new(CLIENT, 0);
    for target in [first, second] {
        let load = Load::calls(20, 100).of(Scenario::Redirected);
        let made = sipp::Caller::start_to(&lab, &lab.client, source, target, &load)?.wait()?;
        assert_eq!((made.ok, made.failed), (20, 0), "SIPp to {target}");
    }
    // The first server names itself: a URI is tried once only, so there is nowhere left to go.
    servers[0].behave(Manner::Moved(first));
    let looping = Caller::start_to(&lab.client, CLIENT, first, &Plan::calls("loop", 5, 100))?.wait()?;
    assert_eq!(looping.count(&Outcome::Refused(302)), 5, "{:?}", looping.outcomes());

    let records = Server::stop_all(servers)?;
    assert_eq!((records[0].calls.len(), records[1].calls.len()), (45, 60));
    for seen in &records[0].calls {
        assert!(seen.transactions == 1 && (1..=1 + seen.repeats).contains(&seen.acks), "{seen:?}");
    }
    for seen in records[1].calls.iter().filter(|seen| records[0].call(&seen.id).is_some()) {
        assert_eq!(seen.sequence, 2, "the same Call-ID and the next number: {}", seen.id);
    }
    Ok(())
}

#[test]
fn calls_survive_losses() -> Result<()> {
    needs_bpf!();
    let wishes = [Wish::ANSWER, Wish::Refuse, Wish::Ring];
    let plan = Plan { t1: T1, loss: Loss::percent(10, 1), ..Plan::calls("lossy", 300, 300) };
    let habits = Habits { t1: T1, loss: Loss::percent(10, 2) };
    let (calls, record) = call_directly(&plan.wishing(&wishes), habits, Manner::Obliging)?;
    let counts = [Outcome::Completed, Outcome::Refused(486), Outcome::Cancelled].map(|o| calls.count(&o));
    assert_eq!(counts, [100, 100, 100], "{:?}", calls.outcomes());
    assert!(calls.0.iter().map(|call| call.retransmissions).sum::<u32>() > 20, "losses were felt");
    assert!(record.calls.iter().all(|call| call.over.is_some()));
    Ok(())
}

#[test]
fn calls_keep_their_schedule_and_last_until_they_are_told() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let server = Server::start(&lab.backends[0], Habits::default())?;
    let target = SocketAddrV4::new(lab.backends[0].address, SIP_PORT);
    let plan = Plan::calls("held", 200, 100).until_told();
    let start = Instant::now();
    let caller = Caller::start_to(&lab.client, CLIENT, target, &plan)?;
    wait_until("all calls are up", Duration::from_secs(30), || Ok(caller.so_far().up == 200))?;
    let took = start.elapsed();
    assert_eq!(server.so_far(), (200, 200));
    let calls = caller.wait()?;
    assert_eq!(calls.count(&Outcome::Completed), 200, "{:?}", calls.outcomes());
    let record = server.stop()?;
    assert_eq!(record.peak, 200);
    assert!(took >= Duration::from_millis(1990), "{took:?} for calls that take 2 s to begin");
    Ok(())
}

#[test]
fn compact_names_make_the_same_calls() -> Result<()> {
    needs_bpf!();
    let plan = Plan { compact: true, ..Plan::calls("compact", 20, 100) };
    let (calls, _) =
        call_directly(&plan.wishing(&[Wish::ANSWER, Wish::Ring]), Habits::default(), Manner::Obliging)?;
    assert_eq!((calls.count(&Outcome::Completed), calls.count(&Outcome::Cancelled)), (10, 10));
    assert_eq!(calls.flaw(), None);
    Ok(())
}

#[test]
fn zones_have_their_backends_and_addresses() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::with_zones(forwarding, &[("uk", 2), ("germany", 1)])?;
        let names: Vec<_> = lab.backends.iter().map(|b| (b.name.as_str(), b.zone.as_str())).collect();
        assert_eq!(names, [("uk1", "uk"), ("uk2", "uk"), ("germany1", "germany")]);
        for zone in &lab.zones {
            let own = zone.service.map(|s| *s.ip()).into_iter();
            for address in own.chain(lab.backends.iter().map(|b| b.address)) {
                lab.client.run_words("ping", &format!("-c 1 -W 5 {address}"))?;
            }
        }
    }
    Ok(())
}
