//! The program in the kernel: a frame in, a verdict and a frame out.

use lb_common::{
    limits,
    map::{
        backend::{health, will},
        dialog::Phase,
        service::forwarding::{L2, NAT},
    },
    verdict::Verdict,
};
use lb_tests::{
    bench::{self, Bench, action, backend_address, backend_mac, with_backends},
    packet::{self, BALANCER_MAC, Request, SENDER_MAC},
};
use std::net::SocketAddrV4;

const SERVICE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(192, 0, 2, 1), 5060);
const CALLER: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(198, 51, 100, 7), 5060);

fn frame(payload: &[u8]) -> Vec<u8> {
    packet::udp(CALLER, SERVICE, payload)
}

fn send(bench: &mut Bench, payload: &[u8]) -> bench::Outcome {
    bench.run("sipsteer", &frame(payload)).expect("test run")
}

/// The backend that a frame was sent to in `l2`.
fn backend_of(outcome: &bench::Outcome) -> u16 {
    let mac = packet::read(&outcome.frame).destination_mac;
    assert_eq!(&mac[..4], &backend_mac(0)[..4], "not sent to a backend");
    u16::from_be_bytes([mac[4], mac[5]])
}

#[track_caller]
fn assert_verdicts(bench: &Bench, expected: &[(Verdict, u64)]) {
    assert_eq!(bench.verdicts().expect("verdicts"), expected);
}

#[test]
fn l2_changes_mac_addresses_and_ttl_and_nothing_else() {
    let mut bench = with_backends(SERVICE, L2, 1).expect("bench");
    let invite = Request::new("INVITE", "a").bytes();
    let outcome = send(&mut bench, &invite);
    assert_eq!(outcome.action, action::TX);
    let (before, after) = (packet::read(&frame(&invite)), packet::read(&outcome.frame));
    assert_eq!((after.destination_mac, after.source_mac, after.ttl), (backend_mac(0), BALANCER_MAC, 63));
    assert_eq!(
        (after.source, after.destination, &after.payload),
        (before.source, before.destination, &invite)
    );
    assert_verdicts(&bench, &[(Verdict::SteeredNew, 1)]);
}

#[test]
fn nat_rewrites_the_destination_with_true_checksums() {
    let mut bench = with_backends(SERVICE, NAT, 1).expect("bench");
    let invite = Request::new("INVITE", "a").bytes();
    let outcome = send(&mut bench, &invite);
    assert_eq!(outcome.action, action::TX);
    let after = packet::read(&outcome.frame);
    assert_eq!((after.source, after.destination), (CALLER, backend_address(0)));
    assert_eq!((after.destination_mac, after.ttl, after.payload), (backend_mac(0), 63, invite));
}

#[test]
fn nat_leaves_a_datagram_without_checksum_without_one() {
    let mut bench = with_backends(SERVICE, NAT, 1).expect("bench");
    let mut frame = frame(&Request::new("INVITE", "a").bytes());
    frame[40..42].fill(0);
    let outcome = bench.run("sipsteer", &frame).expect("test run");
    assert_eq!(&outcome.frame[40..42], &[0, 0]);
    assert_eq!(packet::read(&outcome.frame).destination, backend_address(0));
}

#[test]
fn ip_options_are_stepped_over() {
    let mut bench = with_backends(SERVICE, NAT, 1).expect("bench");
    for options in [4usize, 20, 40] {
        let payload = Request::new("INVITE", "with-options").bytes();
        let frame = packet::udp_with_options(CALLER, SERVICE, &vec![1; options], &payload);
        let outcome = bench.run("sipsteer", &frame).expect("test run");
        let after = packet::read(&outcome.frame);
        assert_eq!(
            (after.destination, after.payload),
            (backend_address(0), payload),
            "{options} bytes of options"
        );
    }
}

#[test]
fn every_message_of_a_call_follows_the_pin_when_the_ring_has_changed() {
    let mut bench = with_backends(SERVICE, L2, 8).expect("bench");
    for call in 0..50 {
        let id = format!("call-{call}@example");
        bench.set_ring(0, |slot| slot % 8).expect("ring");
        let pinned = backend_of(&send(&mut bench, &Request::new("INVITE", &id).bytes()));
        bench.set_ring(0, |slot| (slot + 1) % 8).expect("ring");
        for method in ["INVITE", "ACK", "INFO", "UPDATE", "BYE", "CANCEL", "PRACK", "OPTIONS"] {
            let message = Request::new(method, &id).branch("z9hG4bK-2").to_tag("t1").bytes();
            assert_eq!(backend_of(&send(&mut bench, &message)), pinned, "{method} of {id}");
        }
        assert_eq!(backend_of(&send(&mut bench, &packet::response(200, "OPTIONS", &id))), pinned);
    }
    assert_verdicts(&bench, &[(Verdict::SteeredPinned, 50 * 9), (Verdict::SteeredNew, 50)]);
}

#[test]
fn messages_inside_unknown_dialogs_go_to_the_rings_choice_and_are_not_remembered() {
    let mut bench = with_backends(SERVICE, L2, 8).expect("bench");
    let opened = backend_of(&send(&mut bench, &Request::new("INVITE", "x").bytes()));
    let mut other = with_backends(SERVICE, L2, 8).expect("bench");
    for method in ["INVITE", "ACK", "BYE", "SUBSCRIBE"] {
        let outcome = send(&mut other, &Request::new(method, "x").to_tag("t1").bytes());
        assert_eq!(backend_of(&outcome), opened, "{method}: another balancer chooses the same");
    }
    let outcome = send(&mut other, &packet::response(200, "INVITE", "x"));
    assert_eq!(backend_of(&outcome), opened);
    assert_verdicts(&other, &[(Verdict::SteeredRing, 5)]);
    assert!(other.dialogs().expect("dialogs").is_empty());
}

#[test]
fn a_call_passes_through_its_phases() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let phase = |bench: &Bench| {
        let dialogs = bench.dialogs().expect("dialogs");
        assert_eq!(dialogs.len(), 1);
        Phase::from_number(dialogs[0].1.state.phase).expect("phase")
    };
    send(&mut bench, &Request::new("INVITE", "c").branch("z9hG4bK-i").bytes());
    assert_eq!(phase(&bench), Phase::Unanswered);
    send(&mut bench, &Request::new("ACK", "c").branch("z9hG4bK-i").to_tag("t").bytes());
    assert_eq!(phase(&bench), Phase::Ended, "the ACK of a refusal has the INVITE's branch");
    send(&mut bench, &Request::new("INVITE", "c").branch("z9hG4bK-j").bytes());
    assert_eq!(phase(&bench), Phase::Unanswered, "with credentials");
    send(&mut bench, &Request::new("ACK", "c").branch("z9hG4bK-k").to_tag("t").bytes());
    assert_eq!(phase(&bench), Phase::Answered, "the ACK of a 2xx has a branch of its own");
    let tally = bench.tally().expect("tally");
    assert_eq!((tally.entries, tally.unconfirmed), (1, 0));
    send(&mut bench, &Request::new("BYE", "c").branch("z9hG4bK-l").to_tag("t").bytes());
    assert_eq!(phase(&bench), Phase::Ended);
}

#[test]
fn a_forged_bye_changes_nothing_but_one_with_the_to_tag_is_believed() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let stranger = SocketAddrV4::new([203, 0, 113, 66].into(), 5060);
    send(&mut bench, &Request::new("INVITE", "c").branch("z9hG4bK-i").bytes());
    send(&mut bench, &Request::new("ACK", "c").branch("z9hG4bK-k").to_tag("secret").bytes());
    let phase = |bench: &Bench| bench.dialogs().expect("dialogs")[0].1.state.phase;
    for tag in [None, Some("guess")] {
        let mut bye = Request::new("BYE", "c").branch("z9hG4bK-l");
        bye.to_tag = tag;
        bench.run("sipsteer", &packet::udp(stranger, SERVICE, &bye.bytes())).expect("test run");
        assert_eq!(phase(&bench), Phase::Answered as u8, "{tag:?}");
    }
    let bye = Request::new("BYE", "c").branch("z9hG4bK-l").to_tag("secret").bytes();
    bench.run("sipsteer", &packet::udp(stranger, SERVICE, &bye)).expect("test run");
    assert_eq!(phase(&bench), Phase::Ended as u8);
}

#[test]
fn draining_keeps_its_dialogs_disabled_and_down_do_not() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    bench.set_ring(0, |_| 0).expect("ring");
    send(&mut bench, &Request::new("INVITE", "c").bytes());
    bench.set_ring(0, |_| 1).expect("ring");
    let retransmitted = Request::new("INVITE", "c").bytes();
    let mut sw0 = bench::backend(0, backend_address(0));
    for (will, health, stays) in [
        (will::ENABLED, health::UP, true),
        (will::DRAINING, health::UP, true),
        (will::REMOVED, health::UP, true),
        (will::DRAINING, health::DOWN, false),
    ] {
        (sw0.will, sw0.health) = (will, health);
        bench.set_backend(0, &sw0).expect("backend");
        let outcome = send(&mut bench, &retransmitted);
        assert_eq!(backend_of(&outcome), if stays { 0 } else { 1 }, "will {will} health {health}");
    }
    // It moved, and stays where it is when the old backend returns.
    (sw0.will, sw0.health) = (will::ENABLED, health::UP);
    bench.set_backend(0, &sw0).expect("backend");
    assert_eq!(backend_of(&send(&mut bench, &retransmitted)), 1);
    assert_eq!(bench.verdict(Verdict::SteeredMoved).expect("verdict"), 1);
}

#[test]
fn a_disabled_backend_moves_its_dialogs() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    bench.set_ring(0, |_| 0).expect("ring");
    send(&mut bench, &Request::new("INVITE", "c").bytes());
    bench.set_ring(0, |_| 1).expect("ring");
    assert_eq!(bench.backend_load(0).expect("load").channels, 1);
    let mut sw0 = bench::backend(0, backend_address(0));
    sw0.will = will::DISABLED;
    bench.set_backend(0, &sw0).expect("backend");
    assert_eq!(backend_of(&send(&mut bench, &Request::new("BYE", "c").to_tag("t").bytes())), 1);
    assert_verdicts(&bench, &[(Verdict::SteeredNew, 1), (Verdict::SteeredMoved, 1)]);
    // The call has ended, and is no call of the other one.
    assert_eq!(bench.dialogs().expect("dialogs")[0].1.state.phase, Phase::Ended as u8);
    assert_eq!([0, 1].map(|id| bench.backend_load(id).expect("load").channels), [0, 0]);
}

#[test]
fn without_a_call_id_the_source_decides() {
    let mut bench = with_backends(SERVICE, L2, 8).expect("bench");
    let mut message = Request::new("INVITE", "");
    message.call_id = None;
    let mut seen = std::collections::HashSet::new();
    for port in 5000..5064 {
        let source = SocketAddrV4::new(*CALLER.ip(), port);
        let packet = packet::udp(source, SERVICE, &message.bytes());
        let first = backend_of(&bench.run("sipsteer", &packet).expect("test run"));
        let again = backend_of(&bench.run("sipsteer", &packet).expect("test run"));
        assert_eq!(first, again, "a retransmission meets the same backend");
        seen.insert(first);
    }
    assert!(seen.len() >= 6, "64 sources over 8 backends, only {seen:?}");
    assert_verdicts(&bench, &[(Verdict::SteeredSource, 128)]);
}

#[test]
fn keep_alives_and_stun_are_steered_and_never_counted_as_malformed() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    for payload in [&b"\r\n\r\n"[..], b"\r\n", b"\0\0\0\0", b"", &stun] {
        assert_eq!(send(&mut bench, payload).action, action::TX, "{payload:?}");
    }
    assert_verdicts(&bench, &[(Verdict::SteeredKeepAlive, 5)]);
}

#[test]
fn ethernet_padding_is_not_part_of_the_message() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let mut padded = frame(b"\r\n\r\n");
    padded.resize(60, b'x');
    let outcome = bench.run("sipsteer", &padded).expect("test run");
    assert_eq!((outcome.action, outcome.frame.len()), (action::TX, 46));
    assert_verdicts(&bench, &[(Verdict::SteeredKeepAlive, 1)]);
}

#[test]
fn what_is_not_sip_is_dropped_what_has_a_call_id_is_steered() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    assert_eq!(
        send(&mut bench, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").action,
        action::TX,
        "a token and a space"
    );
    assert_eq!(send(&mut bench, b"{\"json\": true}").action, action::DROP);
    assert_eq!(send(&mut bench, &[0xff; 300]).action, action::DROP);
    assert_eq!(send(&mut bench, b"<x>\r\nCall-ID: a\r\n\r\n").action, action::TX);
    assert_eq!(bench.verdict(Verdict::DroppedNotSip).expect("verdict"), 2);
    assert!(bench.dialogs().expect("dialogs").iter().all(|(k, _)| k.service == 0));
}

#[test]
fn lengths_that_contradict_one_another_are_dropped() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let whole = frame(&Request::new("INVITE", "c").bytes());
    let mut udp_too_long = whole.clone();
    udp_too_long[38..40].copy_from_slice(&60_000u16.to_be_bytes());
    let mut udp_too_short = whole.clone();
    udp_too_short[38..40].copy_from_slice(&7u16.to_be_bytes());
    let truncated = whole[..whole.len() - 1].to_vec();
    for packet in [udp_too_long, udp_too_short, truncated] {
        assert_eq!(bench.run("sipsteer", &packet).expect("test run").action, action::DROP);
    }
    assert_verdicts(&bench, &[(Verdict::DroppedMalformed, 3)]);
}

#[test]
fn ttl_on_both_sides_of_its_edge() {
    let mut bench = with_backends(SERVICE, L2, 2).expect("bench");
    let mut packet = frame(&Request::new("INVITE", "c").bytes());
    for (ttl, expected) in [(2, action::TX), (1, action::DROP), (0, action::DROP)] {
        packet[22] = ttl;
        packet[24..26].fill(0);
        let sum = lb_common::wire::checksum::of(&packet[14..34]).to_ne_bytes();
        packet[24..26].copy_from_slice(&sum);
        assert_eq!(bench.run("sipsteer", &packet).expect("test run").action, expected, "TTL {ttl}");
    }
    assert_verdicts(&bench, &[(Verdict::SteeredNew, 1), (Verdict::DroppedTtl, 2)]);
}

#[test]
fn mtu_on_both_sides_of_its_edge() {
    for (mode, over, verdict) in
        [(L2, action::DROP, Verdict::DroppedTooBig), (NAT, action::PASS, Verdict::HostForwards)]
    {
        let mut bench = with_backends(SERVICE, mode, 1).expect("bench");
        let packet = frame(&Request::new("INVITE", "c").bytes());
        let mut sw0 = bench::backend(0, backend_address(0));
        sw0.next_hop.mtu = (packet.len() - 14) as u16;
        bench.set_backend(0, &sw0).expect("backend");
        assert_eq!(bench.run("sipsteer", &packet).expect("test run").action, action::TX);
        sw0.next_hop.mtu -= 1;
        bench.set_backend(0, &sw0).expect("backend");
        assert_eq!(bench.run("sipsteer", &packet).expect("test run").action, over);
        assert_eq!(bench.verdict(verdict).expect("verdict"), 1);
    }
}

#[test]
fn an_unresolved_next_hop_is_the_hosts_work_in_nat_and_a_drop_in_l2() {
    for (mode, expected, verdict) in
        [(L2, action::DROP, Verdict::DroppedNoNeighbour), (NAT, action::PASS, Verdict::HostForwards)]
    {
        let mut bench = with_backends(SERVICE, mode, 1).expect("bench");
        let mut sw0 = bench::backend(0, backend_address(0));
        sw0.next_hop = Default::default();
        bench.set_backend(0, &sw0).expect("backend");
        let outcome = send(&mut bench, &Request::new("INVITE", "c").bytes());
        assert_eq!(outcome.action, expected);
        assert_eq!(bench.verdict(verdict).expect("verdict"), 1);
        if mode == NAT {
            let seen = packet::read(&outcome.frame);
            assert_eq!(
                (seen.destination, seen.destination_mac, seen.ttl),
                (backend_address(0), BALANCER_MAC, 64)
            );
            assert_eq!(seen.source_mac, SENDER_MAC, "the host must take the frame as its own");
        }
    }
}

#[test]
fn a_next_hop_behind_another_interface_is_a_redirect() {
    let mut bench = with_backends(SERVICE, L2, 1).expect("bench");
    let mut sw0 = bench::backend(0, backend_address(0));
    sw0.next_hop.ifindex = 99;
    bench.set_backend(0, &sw0).expect("backend");
    let outcome = send(&mut bench, &Request::new("INVITE", "c").bytes());
    assert_eq!(outcome.action, action::DROP, "interface 99 is not one of ours");
    assert_eq!(bench.verdict(Verdict::DroppedNoNeighbour).expect("verdict"), 1);
}

#[test]
fn no_backend_at_all() {
    let mut bench = Bench::load(sipsteer::OBJECT, 1024).expect("bench");
    bench.add_service(0, SERVICE, L2).expect("service");
    assert_eq!(send(&mut bench, &Request::new("INVITE", "c").bytes()).action, action::DROP);
    assert_verdicts(&bench, &[(Verdict::RefusedDown, 1)]);
    assert_eq!(send(&mut bench, &Request::new("REGISTER", "r").bytes()).action, action::DROP);
    assert_verdicts(&bench, &[(Verdict::DroppedNoBackend, 1), (Verdict::RefusedDown, 1)]);
}

#[test]
fn other_traffic_is_untouched() {
    let mut bench = with_backends(SERVICE, NAT, 2).expect("bench");
    let sip = Request::new("INVITE", "c").bytes();
    let other_port = packet::udp(CALLER, SocketAddrV4::new(*SERVICE.ip(), 5061), &sip);
    let other_host = packet::udp(CALLER, SocketAddrV4::new([192, 0, 2, 2].into(), 5060), &sip);
    let mut arp = vec![0u8; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut ipv6 = vec![0u8; 80];
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut tcp = frame(&sip);
    tcp[23] = 6;
    let mut icmp = frame(&sip);
    icmp[23] = 1;
    let short = vec![0u8; 14];
    for (name, packet) in [
        ("port", other_port),
        ("host", other_host),
        ("arp", arp),
        ("ipv6", ipv6),
        ("tcp", tcp),
        ("icmp", icmp),
        ("short", short),
    ] {
        let outcome = bench.run("sipsteer", &packet).expect("test run");
        assert_eq!((outcome.action, &outcome.frame), (action::PASS, &packet), "{name}");
    }
    assert_verdicts(&bench, &[(Verdict::NotOurs, 7)]);
}

#[test]
fn fragments_go_to_the_host_and_are_counted() {
    let mut bench = with_backends(SERVICE, NAT, 2).expect("bench");
    let mut packet = frame(&Request::new("INVITE", "c").bytes());
    packet[20] = 0x20;
    let outcome = bench.run("sipsteer", &packet).expect("test run");
    assert_eq!((outcome.action, &outcome.frame), (action::PASS, &packet));
    assert_verdicts(&bench, &[(Verdict::PassedFragment, 1)]);
}

#[test]
fn the_same_call_id_in_two_services_is_two_dialogs() {
    let mut bench = with_backends(SERVICE, L2, 4).expect("bench");
    let second = SocketAddrV4::new([192, 0, 2, 9].into(), 5080);
    bench.add_service(1, second, L2).expect("service");
    bench.set_ring(1, |_| 3).expect("ring");
    bench.set_ring(0, |_| 1).expect("ring");
    let invite = Request::new("INVITE", "same").bytes();
    assert_eq!(backend_of(&send(&mut bench, &invite)), 1);
    let outcome = bench.run("sipsteer", &packet::udp(CALLER, second, &invite)).expect("test run");
    assert_eq!(backend_of(&outcome), 3);
    assert_eq!(bench.dialogs().expect("dialogs").len(), 2);
}

#[test]
fn a_ring_that_names_no_backend_of_ours_is_no_ring() {
    let mut bench = with_backends(SERVICE, L2, 1).expect("bench");
    bench.set_ring_alone(0, |_| limits::MAX_BACKENDS).expect("ring");
    assert_eq!(send(&mut bench, &Request::new("REGISTER", "c").bytes()).action, action::DROP);
    assert_verdicts(&bench, &[(Verdict::DroppedNoBackend, 1)]);
}
