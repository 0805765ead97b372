//! The network around the balancer: backends that call out, MAC addresses that change, datagrams that are no SIP.

use anyhow::{Context, Result};
use lb_common::verdict::Verdict;
use lb_tests::{
    daemon::{Config, Node},
    guest::Guest,
    needs_bpf,
    netns::Namespace,
    process::{Process, wait_until},
    program::attached,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{BACK, CLIENT, DEVICE, FRONT, Forwarding, Lab, SIP_PORT},
};
use std::{
    net::{SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

const LIFETIME: Duration = Duration::from_secs(90);

#[test]
fn a_backend_calls_out_and_the_answers_find_it() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 3)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    // The phone that is called; the backends themselves call, from the port they serve.
    let phone = Server::start_at(&lab, &lab.client, "phone", CLIENT, Scenario::Call, LIFETIME)?;
    let target = SocketAddrV4::new(CLIENT, SIP_PORT);
    for backend in &lab.backends {
        let source = SocketAddrV4::new(backend.address, SIP_PORT);
        let made =
            Caller::start_to(&lab, &backend.namespace, source, target, &Load::calls(100, 100))?.wait()?;
        assert_eq!((made.ok, made.failed), (100, 0), "{}: {:?}", backend.name, node.verdicts()?);
    }
    // The first calls may be left to the host, until the phone's MAC address is known.
    assert!(node.packets(Verdict::ReplyNew)? > 200, "{:?}", node.verdicts()?);
    assert_eq!(phone.stop()?.calls, 300);
    Ok(())
}

#[test]
fn a_backend_whose_mac_address_changes_keeps_working() -> Result<()> {
    needs_bpf!();
    for forwarding in [Forwarding::Nat, Forwarding::L2] {
        let lab = Lab::new(forwarding, 2)?;
        let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
        let node = Node::new(&lab, &Config::of(&lab))?;
        let _daemon = node.start(&["--ephemeral"])?;
        let backend = &lab.backends[0];
        let other = "02:00:00:00:00:99";
        // As a machine that takes over an address does, it announces itself.
        backend.namespace.sysctl(&[("ipv4/conf/eth0/arp_notify", "1")])?;
        backend.namespace.ip(&format!("link set {DEVICE} address {other}"))?;
        wait_until("the balancer knows the new address", Duration::from_secs(20), || {
            let list = node.json(&["backend", "list"])?;
            Ok(list["backends"].as_array().is_some_and(|b| b.iter().any(|b| b["next_hop"]["mac"] == other)))
        })?;
        let made = Caller::start(&lab, &Load::calls(300, 300))?.wait()?;
        assert_eq!((made.ok, made.failed), (300, 0), "{forwarding}: {:?}", node.verdicts()?);
    }
    Ok(())
}

#[test]
fn garbage_disturbs_nobody() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    let caller = Caller::start(&lab, &Load::calls(600, 200))?;

    // Datagrams that are no SIP, and SIP cut at every length.
    let message: &[u8] =
        b"INVITE sip:bob@203.0.113.10 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.2:5090;branch=z9hG4bKx\r\n\
        Call-ID: cut@203.0.113.2\r\nCSeq: 1 INVITE\r\n\r\n";
    let noise: Vec<Vec<u8>> =
        (1..200_u32).map(|n| (0..n).map(|i| (n * 31 + i * 17 + 128) as u8).collect()).collect();
    let socket = lab.client.enter(|| UdpSocket::bind((CLIENT, 5090)))??;
    let service = lab.service();
    for datagram in noise.iter().map(Vec::as_slice).chain((0..message.len()).map(|end| &message[..end])) {
        socket.send_to(datagram, service)?;
    }
    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (600, 0), "{:?}", node.verdicts()?);
    assert!(node.packets(Verdict::DroppedNotSip)? > 100, "{:?}", node.verdicts()?);
    assert_eq!(node.packets(Verdict::PassedBroken)?, 0);
    Ok(())
}

#[test]
fn other_traffic_to_the_host_is_left_alone() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 1)?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let _daemon = node.start(&["--ephemeral"])?;
    // Another port of the service's address, and ICMP.
    let service = lab.service();
    let theirs = SocketAddrV4::new(*service.ip(), 5999);
    let host = lab.balancer.enter(|| UdpSocket::bind(theirs))??;
    host.set_read_timeout(Some(Duration::from_secs(5)))?;
    let client = lab.client.enter(|| UdpSocket::bind((CLIENT, 0)))??;
    client.send_to(b"INVITE sip:not@for.us SIP/2.0\r\nCall-ID: x\r\n\r\n", theirs)?;
    let mut buffer = [0; 64];
    let (length, from) = host.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..6], from), (&b"INVITE"[..], client.local_addr()?), "{length} bytes");
    lab.client.run_words("ping", &format!("-c 3 -i 0.2 -W 2 {}", service.ip()))?;
    Ok(())
}

/// Waits until the daemon has said this, and prints how long that took.
fn told(daemon: &Process, words: &str) -> Result<()> {
    let start = Instant::now();
    wait_until(words, Duration::from_secs(20), || Ok(daemon.log().contains(words)))
        .with_context(|| daemon.last_words())?;
    println!("{words:?} after {} ms", start.elapsed().as_millis());
    Ok(())
}

fn rename(lab: &Lab, from: &str, to: &str) -> Result<()> {
    for words in [format!("{from} down"), format!("{from} name {to}"), format!("{to} up")] {
        lab.balancer.ip(&format!("link set {words}"))?;
    }
    Ok(())
}

fn change_mode(node: &Node<'_>, lab: &Lab, mode: &str) -> Result<()> {
    node.configure(&Config::of(lab).in_mode(mode))?;
    node.succeed(&["reload"])?;
    for interface in [FRONT, BACK] {
        assert_eq!(attached(&lab.balancer, interface)?.map(|a| a.mode), Some(mode), "{interface}");
    }
    Ok(())
}

/// R3: calls and a login go on while interfaces are resized, renamed, down, enslaved, elsewhere, deleted, reset, and in another
/// mode.
#[test]
fn what_befalls_interfaces_costs_no_call() -> Result<()> {
    needs_bpf!();
    let lab = Lab::new(Forwarding::Nat, 2)?;
    let elsewhere = Namespace::new("elsewhere")?;
    let _servers = Server::start_all(&lab, Scenario::Call, LIFETIME)?;
    let node = Node::new(&lab, &Config::of(&lab))?;
    let daemon = node.start(&["--ephemeral"])?;
    let mut guest = Guest::log_in(&lab.balancer, "203.0.113.1:2222".parse()?, &lab.client)?;
    let link = || -> Result<_> { Ok(node.status()?["interfaces"][1]["link"].clone()) };
    let front = attached(&lab.balancer, FRONT)?;
    let caller = Caller::start(&lab, &Load::calls(400, 100).holding(Duration::from_secs(1)))?;
    let ip = |words: &str| lab.balancer.ip(words).map(drop);

    ip("link set front mtu 1400")?;
    ip("link set front mtu 1500")?;
    guest.types()?;

    rename(&lab, FRONT, "edge")?;
    told(&daemon, "front: is called edge now")?;
    guest.types()?;
    node.configure(&Config::of(&lab).on(&["edge", BACK]))?;
    node.succeed(&["reload"])?;
    assert_eq!(attached(&lab.balancer, "edge")?, front);
    rename(&lab, "edge", FRONT)?;
    node.configure(&Config::of(&lab))?;
    node.succeed(&["reload"])?;
    assert_eq!(attached(&lab.balancer, FRONT)?, front);
    guest.types()?;

    for mode in ["generic", "native"] {
        change_mode(&node, &lab, mode)?;
        guest.types()?;
    }
    let back = link()?;

    ip("link set back down")?;
    told(&daemon, "back: is down; no call comes or goes by it until `ip link set back up`")?;
    ip("link set back up")?;

    ip("link add br0 type bridge")?;
    ip("link set back master br0")?;
    told(&daemon, "back: is a port of br0 now and steers calls as before")?;
    ip("link set back nomaster")?;
    guest.types()?;

    ip(&format!("link set back netns {}", elsewhere.name()))?;
    told(&daemon, "back: the interface is gone to another network namespace")?;
    elsewhere.ip(&format!("link set back netns {}", lab.balancer.name()))?;
    lab.address_back()?;
    ip("link set back up")?;
    assert_eq!(link()?, back, "it was never taken off");
    guest.types()?;

    ip("link del back")?;
    told(&daemon, "back: the interface is gone; it is attached to again when")?;
    let _far = lab.plug_back(2)?;
    wait_until(
        "it is attached to",
        Duration::from_secs(20),
        || Ok(attached(&lab.balancer, BACK)?.is_some()),
    )?;
    let program = attached(&lab.balancer, BACK)?;

    // A reset of the driver: its rings are made anew.
    for queues in [1, 2] {
        lab.balancer.run_words("ethtool", &format!("-L back rx 2 tx {queues}"))?;
        assert_eq!(attached(&lab.balancer, BACK)?, program);
    }
    guest.types()?;

    let made = caller.wait()?;
    assert_eq!((made.ok, made.failed), (400, 0), "{:?}; {}", node.verdicts()?, daemon.last_words());
    let after = Caller::start(&lab, &Load::calls(100, 200))?.wait()?;
    assert_eq!((after.ok, after.failed), (100, 0), "{:?}", node.verdicts()?);
    guest.types()?;
    wait_until("all is well", Duration::from_secs(20), || Ok(node.status()?["state"] == "ok"))
}
