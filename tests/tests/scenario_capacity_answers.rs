//! What the balancer answers itself, and what it makes of a server that refuses calls itself.

use anyhow::{Context, Result};
use lb_common::verdict::Verdict;
use lb_tests::{
    calls::{
        caller::{Caller, Plan},
        message::{Message, compact, contacts},
        outcome::{Outcome, flaw},
        phone::Phone,
        server::{Habits, Manner, Server},
        wish::Wish,
    },
    daemon::{Config, Limits, Node},
    needs_bpf,
    process::wait_until,
    sipp::{self, Load, scenario::Scenario},
    topology::{CLIENT, Forwarding, Lab},
};
use sipsteer::dataplane::clock::monotonic;
use std::{collections::BTreeMap, net::SocketAddrV4, time::Duration};

const PATIENCE: Duration = Duration::from_secs(30);
const PHONE: SocketAddrV4 = SocketAddrV4::new(CLIENT, 5070);
/// Long enough that what was not answered by then will not be.
const SILENCE: Duration = Duration::from_millis(300);

/// A request outside a dialog, with this many bytes of padding.
fn request(method: &str, call_id: &str, service: SocketAddrV4, padding: usize) -> String {
    format!(
        "{method} sip:{0}@{service} SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE};branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice\" <sip:alice@{CLIENT}>;tag=a-{call_id}\r\nTo: <sip:{0}@{service}>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 {method}\r\nContact: <sip:alice@{PHONE}>\r\nSubject: {1}\r\n\
         Content-Length: 0\r\n\r\n",
        Wish::ANSWER,
        "x".repeat(padding)
    )
}

/// The ACK of a refused request of [`request`] (RFC 3261 section 17.1.1.3).
fn acknowledgement(call_id: &str, service: SocketAddrV4, answer: &Message<'_>) -> String {
    let to = answer.value("To");
    request("ACK", call_id, service, 0)
        .replace(&format!("To: <sip:{}@{service}>", Wish::ANSWER), &format!("To: {to}"))
}

/// Sends a request and checks that the answer is one to it, no larger, and goes where it came from.
fn answer_to(phone: &mut Phone, text: &str) -> Result<String> {
    phone.send(text)?;
    let answer = phone.receive()?;
    let (asked, answered) = (Message::read(text.as_bytes()), Message::read(answer.as_bytes()));
    let (asked, answered) =
        (asked.context("not SIP")?, answered.with_context(|| format!("not SIP: {answer}"))?);
    assert_eq!(flaw(&answered, &asked), None, "{text}\n{answer}");
    assert!(answer.len() <= text.len(), "{} bytes for {}", answer.len(), text.len());
    let via = answered.value("Via");
    assert!(via.contains(&format!("rport={}", PHONE.port())), "RFC 3581 section 4: {via}");
    assert!(via.contains(&format!("received={CLIENT}")), "{via}");
    Ok(answer)
}

/// Takes every channel, until it is dropped or told to end.
fn occupy(lab: &Lab, calls: usize) -> Result<Caller> {
    let caller = Caller::start(lab, &Plan::calls("occupant", calls, 100).until_told())?;
    wait_until("every channel is taken", PATIENCE, || Ok(caller.so_far().up == calls))?;
    Ok(caller)
}

#[test]
fn a_full_service_says_so_and_says_it_again_in_the_same_words() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(1)))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let service = lab.service();
        let mut phone = Phone::new(&lab.client, PHONE, service)?;

        let options = answer_to(&mut phone, &request("OPTIONS", "o1", service, 200))?;
        assert!(options.starts_with("SIP/2.0 200"), "{options}");
        let occupant = occupy(&lab, 2)?;
        let options = answer_to(&mut phone, &request("OPTIONS", "o2", service, 200))?;
        assert!(options.starts_with("SIP/2.0 503"), "{options}");

        for short in [false, true] {
            let id = format!("full-{short}");
            let mut text = request("INVITE", &id, service, 200);
            if short {
                text = compact(&text);
            }
            let first = answer_to(&mut phone, &text)?;
            assert!(first.starts_with("SIP/2.0 503"), "{first}");
            assert_eq!(answer_to(&mut phone, &text)?, first, "a retransmission gets the same answer");
            let absorbed = node.packets(Verdict::AbsorbedAck)?;
            let answer = Message::read(first.as_bytes()).context("not SIP")?;
            phone.send(&acknowledgement(&id, service, &answer))?;
            assert_eq!(phone.within(SILENCE)?, None, "an ACK is never answered");
            assert_eq!(node.packets(Verdict::AbsorbedAck)?, absorbed + 1);
        }
        assert_eq!(node.channels()?, 2, "what is refused takes no channel");

        assert_eq!(occupant.wait()?.count(&Outcome::Completed), 2);
        wait_until("the channels are free", PATIENCE, || Ok(node.channels()? == 0))?;
        // Room that has just opened counts after a moment.
        wait_until("OPTIONS are answered with 200", PATIENCE, || {
            Ok(answer_to(&mut phone, &request("OPTIONS", "o3", service, 200))?.starts_with("SIP/2.0 200"))
        })?;
        let records = Server::stop_all(servers)?;
        let (calls, strangers): (usize, u64) =
            (records.iter().map(|r| r.calls.len()).sum(), records.iter().map(|r| r.strangers).sum());
        assert_eq!((calls, strangers), (2, 0), "{forwarding}: nothing of this reached a server");
        assert!(records.iter().all(|record| record.others.is_empty()));
    }
    Ok(())
}

#[test]
fn a_redirect_is_repeated_word_by_word_and_names_the_user_that_was_called() -> Result<()> {
    needs_bpf!();
    let lab = Lab::with_zones(Forwarding::Nat, &[("uk", 1), ("germany", 1)])?;
    let _servers = Server::start_all(&lab, Habits::default())?;
    let config = Config::of(&lab).trunks("overflow = \"redirect\"").limit("uk", Limits::channels(1));
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    let service = lab.service();
    let _occupant = occupy(&lab, 1)?;
    let germany = lab.zone("germany")?.service.context("no address")?;
    let mut phone = Phone::new(&lab.client, PHONE, service)?;
    for short in [false, true] {
        let mut text = request("INVITE", &format!("moved-{short}"), service, 300);
        if short {
            text = compact(&text);
        }
        let first = answer_to(&mut phone, &text)?;
        assert!(first.starts_with("SIP/2.0 302"), "{first}");
        let answer = Message::read(first.as_bytes()).context("not SIP")?;
        assert_eq!(contacts(&answer), [format!("sip:{}@{germany}", Wish::ANSWER)]);
        assert_eq!(answer_to(&mut phone, &text)?, first);
    }
    // There is room, though not here.
    let options = answer_to(&mut phone, &request("OPTIONS", "o1", service, 200))?;
    assert!(options.starts_with("SIP/2.0 200"), "{options}");
    Ok(())
}

#[test]
fn nobody_gets_more_bytes_or_messages_than_he_sent() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let _servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(1)))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let _occupant = occupy(&lab, 1)?;
    let mut phone = Phone::new(&lab.client, PHONE, lab.service())?;
    let mut sizes = BTreeMap::new();
    for (number, padding) in (0..200).step_by(25).enumerate() {
        for method in ["INVITE", "OPTIONS"] {
            let id = format!("small-{method}-{number}");
            let text = request(method, &id, lab.service(), padding);
            phone.send(&text)?;
            sizes.insert(id, text.len());
        }
    }
    let mut answers = 0;
    while let Some(answer) = phone.within(SILENCE)? {
        let id = Message::read(answer.as_bytes()).context("not SIP")?.call_id().to_owned();
        let asked = sizes.remove(&id).with_context(|| format!("a second answer to {id}"))?;
        assert!(answer.len() <= asked, "{id}: {} bytes for {asked}", answer.len());
        answers += 1;
    }
    assert!(answers > 0);
    Ok(())
}

#[test]
fn options_may_be_left_to_the_servers() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).trunks("options = \"forward\""))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let mut phone = Phone::new(&lab.client, PHONE, lab.service())?;
    phone.send(&request("OPTIONS", "o1", lab.service(), 0))?;
    assert!(phone.receive()?.starts_with("SIP/2.0 200"));
    assert_eq!(Server::stop_all(servers)?[0].others.get("OPTIONS"), Some(&1));
    Ok(())
}

#[test]
fn what_belongs_to_a_call_is_never_refused() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let _servers = Server::start_all(&lab, Habits::default())?;
        let node = Node::new(&lab, &Config::of(&lab).limited(Limits::channels(2)))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let service = lab.service();
        let mut phone = Phone::new(&lab.client, PHONE, service)?;
        let invite = request("INVITE", "mine", service, 0);
        phone.send(&invite)?;
        let answer = phone.receive_final()?;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        let to = Message::read(answer.as_bytes()).context("not SIP")?.value("To").to_owned();
        let _occupant = occupy(&lab, 3)?;
        assert_eq!(node.channels()?, 4);

        // The first INVITE again, and one in the dialog: both are the server's to answer.
        phone.send(&invite)?;
        assert!(phone.receive_final()?.starts_with("SIP/2.0 200"), "{forwarding}");
        let plain = format!("To: <sip:{}@{service}>", Wish::ANSWER);
        let inside = invite.replace(&plain, &format!("To: {to}")).replace("z9hG4bK", "z9hG4bK-again");
        phone.send(&inside)?;
        loop {
            let answer = phone.receive_final()?;
            assert!(answer.starts_with("SIP/2.0 200"), "{forwarding}: {answer}");
            if answer.contains("z9hG4bK-again") {
                break;
            }
        }
        assert_eq!(node.channels()?, 4, "neither is a new call");
        assert_eq!(node.packets(Verdict::RefusedFull)?, 0);
    }
    Ok(())
}

#[test]
fn a_call_that_a_server_refuses_goes_elsewhere_when_it_is_tried_again() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let node = Node::new(&lab, &Config::of(&lab).trunks("retry_refused = true"))?;
    let _daemon = node.start(&["--ephemeral"])?;
    servers[0].behave(Manner::Unavailable(None));
    let calls = Caller::start(&lab, &Plan { tries: 2, ..Plan::calls("again", 60, 100) })?.wait()?;
    assert_eq!(calls.count(&Outcome::Completed), 60, "{:?}", calls.outcomes());
    assert!(calls.answers(503).count() > 10, "many calls met the first server first");
    assert!(calls.answers(503).all(|answer| answer.by.as_deref() == Some("sw1")));
    let records = Server::stop_all(servers)?;
    assert!(records[0].calls.iter().all(|seen| seen.transactions == 1), "none was tried there twice");
    assert_eq!(records[1].calls.len(), 60);
    wait_until("every channel is free", PATIENCE, || Ok(node.channels()? == 0))?;
    Ok(())
}

#[test]
fn a_server_that_refuses_counts_as_full_for_a_while() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let servers = Server::start_all(&lab, Habits::default())?;
    let config = Config::of(&lab).trunks("retry_refused = true").trunks("full_after_refusal = 600");
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    servers[0].behave(Manner::Unavailable(Some(600)));
    // One after the other, so that each knows of the refusal before it.
    for number in 0..30 {
        let plan = Plan { tries: 2, ..Plan::calls(&format!("one-{number}"), 1, 1) }.holding(Duration::ZERO);
        let calls = Caller::start(&lab, &plan)?.wait()?;
        assert_eq!(calls.count(&Outcome::Completed), 1, "{:?}", calls.outcomes());
    }
    let seen: Vec<usize> = Server::stop_all(servers)?.iter().map(|record| record.calls.len()).collect();
    assert_eq!(seen, [1, 30], "after its first refusal it is left alone");
    Ok(())
}

#[test]
fn a_server_says_itself_for_how_long_it_is_full() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    // The Retry-After of SIPp's 503 is 2.
    let server = sipp::Server::start(&lab, &lab.backends[0], Scenario::Unavailable, PATIENCE)?;
    let config = Config::of(&lab).trunks("full_after_refusal = \"retry-after\"");
    let node = Node::new(&lab, &config)?;
    let _daemon = node.start(&["--ephemeral"])?;
    let refused = Load::calls(1, 1).of(Scenario::Unavailable);
    let before = monotonic();
    assert_eq!(sipp::Caller::start(&lab, &refused)?.wait()?.ok, 1);
    let after = monotonic();
    let load = node.loads()?["sw1"];
    assert_eq!(load.refusals, 1);
    let said = Duration::from_secs(2).as_nanos() as u64;
    let until = load.full_until;
    assert!((before + said..=after + said).contains(&until), "{before} {after} {until}");
    // Until then nobody asks it, whoever wants to: the balancer says 503.
    wait_until("it is asked again", PATIENCE, || {
        assert_eq!(sipp::Caller::start(&lab, &refused)?.wait()?.ok, 1);
        Ok(node.loads()?["sw1"].refusals == 2)
    })?;
    assert!(monotonic() >= until);
    assert_eq!(server.stop()?.calls, 2);
    Ok(())
}
