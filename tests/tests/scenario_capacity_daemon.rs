//! What the balancer answers itself, with its daemon, without it, and after a reload.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    map::{name, settings::SlowPath},
    verdict::Verdict,
};
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        message::Message,
        phone::Phone,
        server::{Habits, Server},
        wish::Wish,
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    topology::{CLIENT, Forwarding, Lab},
};
use sipsteer::dataplane::clock::monotonic;
use std::{net::SocketAddrV4, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const PHONE: SocketAddrV4 = SocketAddrV4::new(CLIENT, 5070);
/// Long enough that what was not answered by then will not be.
const SILENCE: Duration = Duration::from_millis(300);
/// Longest time until the program takes a daemon that died for gone.
const GONE_NS: u64 = 4_000_000_000;

/// A request outside a dialog, with room for every header of its answer.
fn request(method: &str, call_id: &str, service: SocketAddrV4) -> String {
    format!(
        "{method} sip:{0}@{service} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@{CLIENT}>;tag=a-{call_id}\r\nTo: <sip:{0}@{service}>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:alice@{PHONE}>\r\nSubject: {1}\r\n\
         Content-Length: 0\r\n\r\n",
        Wish::ANSWER,
        "x".repeat(300)
    )
}

/// Sends a request and returns its answer, if there is one.
fn ask(phone: &mut Phone, text: &str) -> Result<Option<String>> {
    let of_this = |answer: &str| {
        Message::read(text.as_bytes()).zip(Message::read(answer.as_bytes())).is_some_and(
            |(asked, answered)| {
                asked.call_id() == answered.call_id() && asked.value("CSeq") == answered.value("CSeq")
            },
        )
    };
    phone.send(text)?;
    while let Some(answer) = phone.within(SILENCE)? {
        if of_this(&answer) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// Sends a request again and again until its answer has this status.
fn until_answered(phone: &mut Phone, text: &str, status: &str) -> Result<String> {
    let mut last = None;
    wait_until(&format!("an answer {status}"), PATIENCE, || {
        last = ask(phone, text)?;
        Ok(last.as_ref().is_some_and(|answer| answer.starts_with(&format!("SIP/2.0 {status}"))))
    })
    .with_context(|| format!("the last answer was {last:?}"))?;
    last.context("no answer")
}

fn answers_until(node: &Node<'_>) -> Result<u64> {
    let map = MapData::from_pin(node.pins.join(name::SLOW_PATH))?;
    let slow_path: Array<MapData, SlowPath> = Map::Array(map).try_into()?;
    Ok(slow_path.get(&0, 0)?.answers_until)
}

/// Kills the daemon while every channel is taken: with it an INVITE gets `status`, without it nothing, and OPTIONS go to a
/// server. The next daemon answers again.
fn outlive(lab: &Lab, config: &Config, status: &str) -> Result<()> {
    let servers = Server::start_all(lab, Habits::default())?;
    let node = Node::new(lab, config)?;
    let daemon = node.start(&[])?;
    let service = lab.service();
    let mut phone = Phone::new(&lab.client, PHONE, service)?;
    let occupant = Caller::start(lab, &Plan::calls("occupant", 1, 100).until_told())?;
    wait_until("every channel is taken", PATIENCE, || Ok(occupant.so_far().up == 1))?;
    until_answered(&mut phone, &request("INVITE", "with", service), status)?;
    let options = request("OPTIONS", "options", service);
    until_answered(&mut phone, &options, if status == "302" { "200" } else { "503" })?;
    assert!(node.packets(Verdict::AnsweredOptions)? > 0);

    daemon.kill()?;
    let left = answers_until(&node)?.saturating_sub(monotonic());
    assert!(left <= GONE_NS, "{left} ns");
    wait_until("the daemon counts as gone", PATIENCE, || Ok(answers_until(&node)? < monotonic()))?;
    let answered = node.packets(Verdict::AnsweredOptions)?;
    // A server says that it is well, whatever its limits: requests that open no call have none.
    until_answered(&mut phone, &options, "200")?;
    assert_eq!(node.packets(Verdict::AnsweredOptions)?, answered, "a server answered");
    let of = |node: &Node<'_>| -> Result<u64> {
        Ok(node.packets(Verdict::RefusedFull)? + node.packets(Verdict::Redirected)?)
    };
    let before = of(&node)?;
    assert_eq!(ask(&mut phone, &request("INVITE", "without", service))?, None);
    assert_eq!(of(&node)?, before + 1);
    assert_eq!(node.channels()?, 1);

    // Its state is not well while a zone is full, so it is its sign of life that is waited for.
    let _next = node.spawn(&["--ephemeral"])?;
    wait_until("the next daemon answers", PATIENCE, || Ok(answers_until(&node)? > monotonic()))?;
    until_answered(&mut phone, &request("INVITE", "again", service), status)?;
    drop(occupant);
    let records = Server::stop_all(servers)?;
    let options: u64 = records.iter().filter_map(|record| record.others.get("OPTIONS")).copied().sum();
    assert!(options > 0, "OPTIONS reached a server while there was no daemon");
    Ok(())
}

#[test]
fn without_the_daemon_refused_calls_get_no_answer_and_options_go_to_a_server() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    outlive(&lab, &Config::of(&lab).limited(Limits::channels(1)), "503")
}

#[test]
fn without_the_daemon_redirected_calls_get_no_answer_either() -> Result<()> {
    needs_bpf!();
    let lab = Lab::with_zones(Forwarding::Nat, &[("uk", 1), ("germany", 1)])?;
    let config = Config::of(&lab).trunks("overflow = \"redirect\"").limit("uk", Limits::channels(1));
    outlive(&lab, &config, "302")
}

#[test]
fn a_zone_elsewhere_is_named_by_its_address_and_a_reload_names_another() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let _servers = Server::start_all(&lab, Habits::default())?;
    let elsewhere = |address: &str| {
        let home = &lab.zones[0].name;
        Config::of(&lab)
            .limited(Limits::channels(0))
            .trunks(&format!("zones = [\"{home}\", {{ zone = \"elsewhere\", overflow = \"redirect\" }}]"))
            .with(&format!("[[zone]]\nname = \"elsewhere\"\naddress = \"{address}\""))
    };
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    node.configure(&elsewhere("sip.a.example.com"))?;
    node.succeed(&["reload"])?;
    let service = lab.service();
    let mut phone = Phone::new(&lab.client, PHONE, service)?;
    let answer = until_answered(&mut phone, &request("INVITE", "first", service), "302")?;
    assert!(answer.contains("@sip.a.example.com>"), "{answer}");
    until_answered(&mut phone, &request("OPTIONS", "options", service), "200")?;

    node.configure(&elsewhere("sip.b.example.com:5070"))?;
    node.succeed(&["reload"])?;
    let answer = until_answered(&mut phone, &request("INVITE", "second", service), "302")?;
    assert!(answer.contains("@sip.b.example.com:5070>"), "{answer}");
    Ok(())
}

#[test]
fn a_reload_changes_how_many_answers_go_out_and_what_a_refusal_says() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let full = || Config::of(&lab).limited(Limits::channels(0));
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    node.configure(&full().with("[answers]\nper_source = 1"))?;
    node.succeed(&["reload"])?;
    let service = lab.service();
    let mut phone = Phone::new(&lab.client, PHONE, service)?;
    let invite = |number: u32| request("INVITE", &format!("call-{number}"), service);
    let plain = until_answered(&mut phone, &invite(0), "503")?;
    assert!(!plain.contains("Retry-After"), "{plain}");
    for number in 1..20 {
        phone.send(&invite(number))?;
    }
    wait_until("a source got its share", PATIENCE, || {
        let status = node.ask(&["status", "--json"])?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        Ok(status["daemon"]["slow_path"]["not_answered"]["over_source_limit"].as_u64() > Some(0))
    })?;

    let trusted = format!("[answers]\nper_source = 1\ntrusted = [\"{CLIENT}\"]");
    node.configure(&full().with(&trusted).trunks("retry_after = 7"))?;
    node.succeed(&["reload"])?;
    for number in 100..140 {
        let answer = ask(&mut phone, &invite(number))?.with_context(|| format!("no answer to {number}"))?;
        assert!(answer.contains("\r\nRetry-After: 7\r\n"), "{answer}");
    }
    Ok(())
}
