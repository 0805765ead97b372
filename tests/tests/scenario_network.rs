//! The network around the balancer: backends that call out, MAC addresses that change, datagrams that are no SIP.

use anyhow::Result;
use lb_common::verdict::Verdict;
use lb_tests::{
    daemon::{Config, Node},
    needs_bpf,
    process::wait_until,
    sipp::{Caller, Load, Server, scenario::Scenario},
    topology::{CLIENT, DEVICE, Forwarding, Lab, SIP_PORT},
};
use std::{
    net::{SocketAddrV4, UdpSocket},
    time::Duration,
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
