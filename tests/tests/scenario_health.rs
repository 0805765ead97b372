//! Backends that are not well in other ways than being dead, and what becomes of the calls.

use anyhow::{Context, Result};
use lb_common::{
    map::backend::health::{DOWN, DRAINING, UP},
    verdict::Verdict,
};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        outcome::Outcome,
        server::{Habits, Manner, Pings, Server},
    },
    configuration::Limits,
    daemon::{Config, Node},
    needs_bpf,
    packet::Request,
    process::{Process, wait_until},
    topology::{Backend, CLIENT, Forwarding, Lab},
};
use serde_json::Value;
use sipsteer::core::health::witness::FORGOTTEN;
use std::{
    net::UdpSocket,
    thread::sleep,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn probed(lab: &Lab, more: &str) -> Config {
    Config::of(lab).with(&format!("[health]\nprobe = \"options\"\n{more}"))
}

/// Waits until the program knows a backend as of this health.
fn until(node: &Node<'_>, name: &str, health: u8) -> Result<()> {
    wait_until(&format!("{name} is of health {health}"), PATIENCE, || Ok(node.health(name)? == health))
        .with_context(|| node.succeed(&["backend", "show", name]).unwrap_or_default())
}

/// What the daemon says of the health of a backend.
fn told(node: &Node<'_>, name: &str) -> Result<Value> {
    Ok(node.json(&["backend", "show", name])?["health"].clone())
}

/// Starts servers that do as they are asked, and a daemon that has heard from each of them.
fn begin<'l>(lab: &'l Lab, config: &Config) -> Result<(Vec<Server>, Node<'l>, Process)> {
    let start = |b: &Backend| {
        // Where calls come to another address, probes still go to its own.
        let mut addresses = b.reached_at.clone();
        addresses.extend((!b.reached_at.contains(&b.address)).then_some(b.address));
        Server::start_at(&b.namespace, &b.name, &b.zone, &addresses, Habits::default())
    };
    let servers = lab.backends.iter().map(start).collect::<Result<Vec<_>>>()?;
    let node = Node::new(lab, config)?;
    let daemon = node.start(&["--ephemeral"])?;
    until_probed(&node, lab)?;
    Ok((servers, node, daemon))
}

/// Waits until every backend has answered a probe.
fn until_probed(node: &Node<'_>, lab: &Lab) -> Result<()> {
    wait_until("every backend has answered a probe", PATIENCE, || {
        let all = node.json(&["backend", "list"])?;
        let answered = |b: &Backend| all["health"][&b.name]["last_outcome"] == "200";
        Ok(lab.backends.iter().all(answered))
    })
}

#[test]
fn answers_to_probes_reach_the_daemon_untouched_and_probes_are_few() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let begun = Instant::now();
        let (servers, node, _daemon) = begin(&lab, &probed(&lab, ""))?;
        sleep(Duration::from_secs(2));
        let health = told(&node, "sw1")?;
        assert_eq!((&health["health"], &health["probes_lost"]), (&"up".into(), &0.into()), "{health}");
        assert!(health["last_rtt_seconds"].as_f64().is_some_and(|rtt| rtt > 0.0), "{health}");
        assert_eq!(node.packets(Verdict::Reply)? + node.packets(Verdict::ReplyNew)?, 0);
        let list = node.succeed(&["backend", "list"])?;
        assert!(list.contains("enabled  up "), "{list}");
        for record in Server::stop_all(servers)? {
            let probes = record.others.get("OPTIONS").copied().unwrap_or_default();
            let seconds = begun.elapsed().as_secs() + 1;
            assert!((1..=seconds).contains(&probes), "{probes} probes in {seconds} s");
        }
    }
    Ok(())
}

#[test]
fn a_backend_that_answers_503_is_drained_and_its_calls_stay() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let (servers, node, _daemon) = begin(&lab, &probed(&lab, "[controller]\nwarm_up = \"0s\"\n"))?;
    let staying = Caller::start(&lab, &Plan::calls("staying", 60, 200).until_told())?;
    wait_until("the calls are up", PATIENCE, || Ok(staying.so_far().up == 60))?;
    let before = servers[0].so_far().0;
    assert!(before > 10, "calls are spread");

    servers[0].answer_pings(Pings::Unavailable);
    until(&node, "sw1", DRAINING)?;
    let health = told(&node, "sw1")?;
    assert_eq!(health["reason"], "it answers 503 to probes");
    let others = Caller::start(&lab, &Plan::calls("others", 60, 200))?.wait()?;
    assert_eq!(others.count(&Outcome::Completed), 60);
    assert!(others.0.iter().all(|call| call.by() == Some("sw2")), "a drained backend gets no new call");
    assert_eq!(servers[0].so_far().0, before, "its calls stay");
    assert_eq!(node.packets(Verdict::SteeredMoved)?, 0);

    let status = node.ask(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("Look at: backend sw1 gets no new calls: it answers 503 to probes"), "{status}");
    servers[0].answer_pings(Pings::Well);
    until(&node, "sw1", UP)?;
    staying.hang_up();
    let stayed = staying.wait()?;
    assert_eq!(stayed.count(&Outcome::Completed), 60, "{:?}", stayed.outcomes());
    let again = Caller::start(&lab, &Plan::calls("again", 60, 200))?.wait()?;
    assert!(again.0.iter().filter(|call| call.by() == Some("sw1")).count() > 10, "it gets calls again");
    let strangers: u64 = Server::stop_all(servers)?.iter().map(|record| record.strangers).sum();
    assert_eq!(strangers, 0, "every message of a call came to its server");
    Ok(())
}

#[test]
fn a_black_hole_that_answers_probes_gets_no_more_calls() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let (servers, node, daemon) = begin(&lab, &probed(&lab, ""))?;
    servers[0].behave(Manner::Deaf);
    let begun = Instant::now();
    let plan = Plan { t1: Duration::from_millis(100), ..Plan::calls("lost", 600, 50) };
    let calls = Caller::start(&lab, &plan)?;
    until(&node, "sw1", DRAINING)?;
    println!("a black hole was drained after {} ms", begun.elapsed().as_millis());
    let health = told(&node, "sw1")?;
    assert_eq!(health["suspected"], true, "{health}");
    assert_eq!(health["last_outcome"], "200", "{health}");
    assert!(health["held_seconds"].as_u64() > Some(0), "{health}");
    let reason = health["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("it answers probes, but answered none of "), "{reason}");
    let list = node.succeed(&["backend", "list"])?;
    assert!(list.contains("draining, suspected"), "{list}");

    let after = Caller::start(&lab, &Plan::calls("after", 60, 100))?.wait()?;
    assert_eq!(after.count(&Outcome::Completed), 60, "{}", daemon.last_words());
    let others = calls.wait()?;
    let lost = others.count(&Outcome::TimedOut);
    assert_eq!(others.count(&Outcome::Completed) + lost, 600, "{:?}", others.outcomes());
    let swallowed = servers[0].so_far().1;
    assert_eq!(lost, swallowed, "only what the black hole got was lost");
    assert!(daemon.log().contains("backend sw1: suspected: "), "{}", daemon.log());
    Ok(())
}

#[test]
fn one_that_swallows_only_new_calls_gets_no_more_of_them_and_keeps_the_others() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let (servers, node, daemon) = begin(&lab, &probed(&lab, ""))?;
    let staying = Caller::start(&lab, &Plan::calls("staying", 90, 300).until_told())?;
    wait_until("the calls are up", PATIENCE, || Ok(staying.so_far().up == 90))?;
    let before = servers[0].so_far();
    assert!(before.0 > 10, "calls are spread");
    let counters = || Ok::<_, anyhow::Error>(node.json(&["backend", "show", "sw1"])?["backend"].clone());
    let counted = counters()?;
    assert!(counted["answered"].as_u64() >= counted["calls"].as_u64(), "{counted}");

    servers[0].behave(Manner::Deaf);
    let begun = Instant::now();
    let lost = Caller::start(&lab, &Plan::calls("lost", 2000, 50))?;
    // Meanwhile it answers everything else, faster than anybody looks.
    let socket = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)))??;
    let mut sent = 0;
    wait_until("it is drained", PATIENCE, || {
        for _ in 0..6 {
            sent += 1;
            let message = Request::new("MESSAGE", &format!("meanwhile-{sent}")).bytes();
            socket.send_to(&message, lab.service())?;
        }
        Ok(node.health("sw1")? == DRAINING)
    })
    .with_context(|| daemon.log())?;
    println!("one that swallows new calls was drained after {} ms", begun.elapsed().as_millis());
    drop(lost);
    let reason = told(&node, "sw1")?["reason"].clone();
    assert!(
        reason.as_str().is_some_and(|r| r.starts_with("it answers probes, but answered none of ")),
        "{reason}"
    );
    let counted = (counted["answered"].clone(), counters()?);
    assert_eq!(counted.0, counted.1["answered"], "nothing that it said was taken for an answer");
    let swallowed = servers[0].so_far().1;
    assert!(swallowed >= before.1 + 5, "it got new calls");

    let after = Caller::start(&lab, &Plan::calls("after", 60, 200))?.wait()?;
    assert_eq!(after.count(&Outcome::Completed), 60, "{}", daemon.log());
    assert_eq!(servers[0].so_far().1, swallowed, "a drained backend gets no new call");
    staying.hang_up();
    let stayed = staying.wait()?;
    assert_eq!(stayed.count(&Outcome::Completed), 90, "{:?}", stayed.outcomes());
    assert_eq!(node.packets(Verdict::SteeredMoved)?, 0);
    let records = Server::stop_all(servers)?;
    assert_eq!(
        records.iter().map(|record| record.strangers).sum::<u64>(),
        0,
        "every call ended at its server"
    );
    assert!(
        records[0].others.get("MESSAGE") > Some(&0),
        "it answered other requests: {:?}",
        records[0].others
    );
    Ok(())
}

/// R5: where answers pass elsewhere, the callers' ACKs tell that there were any.
#[test]
fn one_whose_answers_pass_elsewhere_is_found_out_by_missing_acks() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::L2, 3)?;
    let (servers, node, daemon) = begin(&lab, &probed(&lab, ""))?;
    let staying = Caller::start(&lab, &Plan::calls("staying", 90, 300).until_told())?;
    wait_until("the calls are up", PATIENCE, || Ok(staying.so_far().up == 90))?;
    let before = servers[0].so_far();
    assert!(before.0 > 10, "calls are spread");

    servers[0].behave(Manner::Deaf);
    let begun = Instant::now();
    // Callers give up after 6.4 s, so that the test does not wait for them; the backend is judged after 32 s all the same.
    let plan = Plan { t1: Duration::from_millis(100), ..Plan::calls("lost", 1_000, 20) };
    let lost = Caller::start(&lab, &plan)?;
    wait_until("it is drained", FORGOTTEN + PATIENCE, || Ok(node.health("sw1")? == DRAINING))
        .with_context(|| daemon.log())?;
    let took = begun.elapsed();
    println!("one whose calls see no ACK was drained after {} ms", took.as_millis());
    assert!(took >= FORGOTTEN, "an INVITE may ring as long: {}", daemon.log());
    let reason = told(&node, "sw1")?["reason"].clone();
    assert!(
        reason
            .as_str()
            .is_some_and(|r| r.starts_with("it answers probes, but its callers acknowledged no answer to ")),
        "{reason}"
    );
    let swallowed = servers[0].so_far().1;
    let after = Caller::start(&lab, &Plan::calls("after", 60, 200))?.wait()?;
    assert_eq!(after.count(&Outcome::Completed), 60, "{}", daemon.log());
    assert_eq!(servers[0].so_far().1, swallowed, "a drained backend gets no new call");
    let others = lost.wait()?;
    let gone = others.count(&Outcome::TimedOut);
    assert_eq!(others.count(&Outcome::Completed) + gone, 1_000, "{:?}", others.outcomes());
    assert_eq!(before.1 + gone, swallowed, "only what the black hole got was lost");
    staying.hang_up();
    let stayed = staying.wait()?;
    assert_eq!(stayed.count(&Outcome::Completed), 90, "{:?}", stayed.outcomes());
    let strangers: u64 = Server::stop_all(servers)?.iter().map(|record| record.strangers).sum();
    assert_eq!(strangers, 0, "every call ended at its server");
    Ok(())
}

#[test]
fn a_firewall_that_eats_the_probes_of_all_costs_no_call() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let (servers, node, daemon) = begin(&lab, &probed(&lab, ""))?;
    let calls = Caller::start(&lab, &Plan::calls("meanwhile", 700, 100))?;
    servers.iter().for_each(|server| server.answer_pings(Pings::Ignored));
    let told = "answer no probes, but calls are answered: probes are not believed";
    wait_until("it is told", PATIENCE, || Ok(daemon.log().contains(told)))?;
    let status = node.ask(&["status"])?;
    assert!(String::from_utf8_lossy(&status.stdout).contains(told), "{}", daemon.log());
    assert_eq!(calls.wait()?.count(&Outcome::Completed), 700, "{}", daemon.log());
    for name in ["sw1", "sw2", "sw3"] {
        assert_eq!(node.health(name)?, UP, "{}", daemon.log());
    }
    servers.iter().for_each(|server| server.answer_pings(Pings::Well));
    wait_until("it is over", PATIENCE, || Ok(daemon.log().contains("probes are believed again")))?;
    assert_eq!(daemon.log().matches(told).count(), 1, "one alarm: {}", daemon.log());
    assert_eq!(daemon.log().matches(" -> ").count(), 0, "nobody fell: {}", daemon.log());
    Ok(())
}

#[test]
fn all_that_die_at_once_are_found_out_by_their_calls() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let (servers, node, daemon) = begin(&lab, &probed(&lab, ""))?;
    for server in &servers {
        server.answer_pings(Pings::Ignored);
        server.behave(Manner::Deaf);
    }
    let doubt = "all at once, and no call has shown yet that they are dead";
    wait_until("nobody believes it", PATIENCE, || Ok(daemon.log().contains(doubt)))?;
    assert_eq!([node.health("sw1")?, node.health("sw2")?], [UP; 2]);
    let lost = Caller::start(&lab, &Plan::calls("lost", 40, 20))?;
    until(&node, "sw1", DOWN)?;
    until(&node, "sw2", DOWN)?;
    let refused = Caller::start(&lab, &Plan::calls("refused", 20, 20))?.wait()?;
    assert_eq!(refused.count(&Outcome::Refused(503)), 20, "{:?}", refused.outcomes());
    drop(lost);
    for server in &servers {
        server.answer_pings(Pings::Well);
        server.behave(Manner::Obliging);
    }
    until(&node, "sw1", UP)?;
    Ok(())
}

#[test]
fn a_returning_backend_warms_up_below_its_limit() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let whole = 40;
    let config = probed(&lab, "[controller]\nwarm_up = \"4s\"\n").limit("sw1", Limits::cps(whole, 4));
    let (servers, node, _daemon) = begin(&lab, &config)?;
    servers[0].answer_pings(Pings::Ignored);
    until(&node, "sw1", DOWN)?;
    let calls = Caller::start(&lab, &Plan::calls("calls", 800, 100))?;
    let before = servers[0].so_far().1;
    servers[0].answer_pings(Pings::Well);
    until(&node, "sw1", UP)?;
    // What it may get, as often as the daemon can be asked.
    let mut limits = vec![];
    wait_until("it has its whole limit", PATIENCE, || {
        let (asked, show) = (Instant::now(), node.json(&["backend", "show", "sw1"])?);
        let limit = show["backend"]["max_cps"].as_u64().unwrap_or_default();
        limits.push((asked, Instant::now(), limit));
        Ok(limit == u64::from(whole))
    })?;
    assert_eq!(calls.wait()?.count(&Outcome::Completed), 800);
    let records = Server::stop_all(servers)?;
    let mut sent: Vec<Instant> = records[0].calls[before..].iter().map(|call| call.sent).collect();
    sent.sort();
    let second = Duration::from_secs(1);
    let mut most = Vec::new();
    for (index, first) in sent.iter().enumerate() {
        let of_second = sent[index..].iter().take_while(|at| **at < *first + second).count() as u64;
        // The limits that held in this second, and one look more on either side.
        let began = limits.iter().rposition(|(_, answered, _)| answered < first).unwrap_or(0);
        let ended =
            limits.iter().position(|(asked, ..)| *asked > *first + second).unwrap_or(limits.len() - 1);
        let limit = limits[began..=ended].iter().map(|look| look.2).max().unwrap_or_default();
        assert!(of_second <= limit + 4 + 1, "{of_second} calls in a second of {limit}: {limits:?}");
        most.push((of_second, limit));
    }
    println!(
        "new calls in the second after each call, and the limit: {:?}",
        most.iter().step_by(8).collect::<Vec<_>>()
    );
    let (cold, warm) = (limits.first(), most.iter().map(|(calls, _)| *calls).max());
    assert!(cold.is_some_and(|look| look.2 <= 10), "it begins at a tenth: {limits:?}");
    assert!(warm > Some(u64::from(whole) / 2), "it gets its share in the end: {most:?}");
    Ok(())
}

#[test]
fn a_dead_backend_stays_down_through_a_reload_and_the_death_of_the_daemon() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &probed(&lab, ""))?;
    let first = node.start(&[])?;
    servers[0].answer_pings(Pings::Ignored);
    until(&node, "sw1", DOWN)?;
    node.configure(&probed(&lab, "rise = 3"))?;
    node.succeed(&["reload"])?;
    assert_eq!(node.health("sw1")?, DOWN);
    let unknown = node.ask(&["backend", "show", "sw9"])?;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no backend"));
    first.kill()?;
    assert_eq!(node.health("sw1")?, DOWN);
    let left = node.json(&["backend", "show", "sw1"])?;
    assert_eq!(
        (&left["backend"]["health"], &left["health"]),
        (&"down".into(), &Value::Null),
        "from the maps"
    );
    assert_eq!(node.ask(&["backend", "show", "sw9"])?.status.code(), Some(1));

    let second = node.spawn(&["--ephemeral"])?;
    wait_until("the second daemon has probed it", PATIENCE, || {
        assert_eq!(node.health("sw1")?, DOWN, "{}", second.last_words());
        let list = node.json(&["backend", "list"])?;
        Ok(list["health"]["sw1"]["probes"].as_u64() >= Some(2))
    })?;
    assert_eq!(told(&node, "sw1")?["reason"], "an earlier daemon left it so");
    servers[0].answer_pings(Pings::Well);
    until(&node, "sw1", UP)?;

    // Whoever is not probed is up, whatever was known before.
    servers[0].answer_pings(Pings::Ignored);
    until(&node, "sw1", DOWN)?;
    node.configure(&Config::of(&lab).with("[health]\nprobe = \"none\""))?;
    node.succeed(&["reload"])?;
    until(&node, "sw1", UP)?;
    assert_eq!(told(&node, "sw1")?, Value::Null);
    Ok(())
}

#[test]
fn a_backend_that_comes_and_goes_every_second_is_held_down() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    // Without damping it would follow every change.
    let config = probed(&lab, "rise = 1\nfall = 1\ntimeout = \"200ms\"");
    let (servers, node, daemon) = begin(&lab, &config)?;
    let turn = |pings, manner| {
        servers[0].answer_pings(pings);
        servers[0].behave(manner);
        sleep(Duration::from_secs(1));
    };
    let begun = Instant::now();
    while told(&node, "sw1")?["held_seconds"].is_null() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", daemon.log());
        turn(Pings::Ignored, Manner::Deaf);
        turn(Pings::Well, Manner::Obliging);
    }
    println!("held down after {} s of flapping", begun.elapsed().as_secs());
    let falls = || daemon.log().matches("backend sw1: up -> ").count();
    let so_far = falls();
    let calls = Caller::start(&lab, &Plan::calls("meanwhile", 100, 20))?;
    for _ in 0..3 {
        turn(Pings::Well, Manner::Obliging);
        turn(Pings::Ignored, Manner::Deaf);
    }
    assert_eq!(calls.wait()?.count(&Outcome::Completed), 100, "it is left alone while it is held");
    assert_eq!(falls(), so_far, "{}", daemon.log());
    let status = node.ask(&["status"])?;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("it gets no new calls for another"), "{status}");
    Ok(())
}
