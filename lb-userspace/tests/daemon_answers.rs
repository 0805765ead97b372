//! What the daemon answers itself, at the service's address.

mod support;

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use lb_common::map::{
    name,
    zone::{Policy, Zone, zone_will},
};
use lb_tests::{needs_bpf, process::wait_until};
use rustix::process::Signal;
use sipsteer::dataplane::{clock::monotonic, loads::Loads, pins::PinDir};
use std::net::UdpSocket;
use support::{Bench, PATIENCE, SERVICE};

fn write<V: aya::Pod>(bench: &Bench, name: &str, value: V) -> Result<()> {
    let map = Map::from_map_data(MapData::from_pin(bench.pins.join(name))?)?;
    Ok(Array::try_from(map)?.set(0, value, 0)?)
}

fn answers_until(bench: &Bench) -> Result<u64> {
    Ok(Loads::open(&PinDir::new(&bench.pins))?.answers_until()?)
}

/// Sends a request to the service from the balancer itself, where no program is in between, and waits for the answer.
fn ask(bench: &Bench, request: &str) -> Result<String> {
    let exchange = || -> Result<String> {
        let client = UdpSocket::bind((SERVICE, 0))?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.send_to(request.as_bytes(), (SERVICE, 5060))?;
        let mut buffer = [0; 2000];
        let (length, from) = client.recv_from(&mut buffer).context("no answer")?;
        assert_eq!((from.ip().to_string(), from.port()), (SERVICE.to_owned(), 5060));
        Ok(String::from_utf8(buffer[..length].to_vec())?)
    };
    bench.balancer.enter(exchange)?
}

#[test]
fn an_invite_that_nobody_has_room_for_gets_its_answer_while_the_daemon_runs() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    assert!(answers_until(&bench)? > monotonic());
    let slow_path = &bench.status()?["daemon"]["slow_path"];
    assert_eq!(slow_path["listening"], serde_json::json!([format!("{SERVICE}:5060/udp")]));

    // A zone that is switched off.
    write(&bench, name::ZONES, Zone { will: zone_will::DISABLED, ..Zone::default() })?;
    write(&bench, name::POLICIES, Policy { tiers: 1, ..Policy::default() })?;
    let invite = format!(
        "INVITE sip:bob@{SERVICE} SIP/2.0\r\nVia: SIP/2.0/UDP phone.example.com;branch=z9hG4bK1;rport\r\n\
         Max-Forwards: 70\r\nTo: <sip:bob@{SERVICE}>\r\nFrom: <sip:alice@example.com>;tag=1\r\nCall-ID: 1\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:alice@phone.example.com>\r\nUser-Agent: a telephone\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = ask(&bench, &invite)?;
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    assert!(answer.contains(&format!(";received={SERVICE}")), "{answer}");
    assert_eq!(ask(&bench, &invite)?.lines().nth(3), answer.lines().nth(3), "the same To tag");
    let status = bench.status()?;
    assert_eq!(status["daemon"]["slow_path"]["answered"], serde_json::json!({"refused_draining": 2}));
    let told = bench.ask(&["status"])?.stdout;
    assert!(told.contains("ANSWERED  refused draining 2\n"), "{told}");

    daemon.signal(Signal::TERM)?;
    assert!(daemon.wait(PATIENCE)?.success());
    assert_eq!(answers_until(&bench)?, 0);
    Ok(())
}

#[test]
fn the_sign_of_life_is_given_again_and_again() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let daemon = bench.start(&[])?;
    let first = answers_until(&bench)?;
    wait_until("another sign of life", PATIENCE, || Ok(answers_until(&bench)? > first))?;
    daemon.end();
    Ok(())
}

#[test]
fn where_another_program_listens_the_daemon_says_so_and_goes_on() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let other = bench.balancer.enter(|| UdpSocket::bind((SERVICE, 5060)))??;
    let daemon = bench.start(&[])?;
    assert_eq!(answers_until(&bench)?, 0);
    let status = bench.status()?;
    let attention = status["attention"].to_string();
    assert!(attention.contains("another program listens there"), "{attention}");
    assert!(daemon.log().contains(&format!("{SERVICE}:5060/udp: cannot listen")), "{}", daemon.log());

    drop(other);
    assert_eq!(bench.ask(&["reload"])?.status, 0);
    assert!(answers_until(&bench)? > monotonic());
    assert_eq!(bench.status()?["state"], "ok");
    daemon.end();
    Ok(())
}
