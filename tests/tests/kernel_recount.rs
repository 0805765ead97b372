//! What is counted of calls in progress is set right in the real kernel, by as much as the packet says.

use lb_common::map::{
    expiry::request,
    recount::{NONE, Recount},
    service::forwarding,
};
use lb_tests::{
    bench::{Bench, action, with_backends},
    packet::{Request, udp},
};
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
const CALLER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 5060);
const ABORTED: u32 = 0;

/// Runs the program for these.
fn recount(bench: &mut Bench, by: i64, backend: u32, zone: u32) -> u32 {
    bench.run("recount", &Recount { by, backend, zone }.to_bytes()).expect("run").action
}

/// Calls in progress of backends 0 and 1, and of zones 0 and 1.
fn counted(bench: &Bench) -> [u64; 4] {
    let backend = |id| bench.backend_load(id).expect("load").channels;
    let zone = |number| bench.zone_load(number).expect("load").channels;
    [backend(0), backend(1), zone(0), zone(1)]
}

#[test]
fn only_what_the_packet_names_is_corrected_and_nothing_falls_below_zero() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = with_backends(SERVICE, forwarding::NAT, 2)?;
    for (by, backend, zone, after) in [
        (7, 0, NONE, [7, 0, 0, 0]),
        (5, NONE, 0, [7, 0, 5, 0]),
        (2, 1, 1, [7, 2, 5, 2]),
        (-3, 0, NONE, [4, 2, 5, 2]),
        (-4, 0, 0, [0, 2, 1, 2]),
        (-1, 0, 0, [0, 2, 0, 2]),
        (-100, 1, 1, [0, 0, 0, 0]),
        (i64::MIN, 0, 1, [0, 0, 0, 0]),
        (9, NONE, NONE, [0, 0, 0, 0]),
        // There are no such backends and zones.
        (9, 65_535, 65_535, [0, 0, 0, 0]),
    ] {
        assert_eq!(recount(&mut bench, by, backend, zone), action::PASS);
        assert_eq!(counted(&bench), after, "{by} to backend {backend} and zone {zone}");
    }
    Ok(())
}

#[test]
fn what_calls_count_meanwhile_and_everything_else_of_a_load_stays() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = with_backends(SERVICE, forwarding::NAT, 1)?;
    let call = |bench: &mut Bench, number: usize| {
        let invite = udp(CALLER, SERVICE, &Request::new("INVITE", &format!("call-{number}")).bytes());
        assert_eq!(bench.run("sipsteer", &invite).expect("run").action, action::TX);
    };
    call(&mut bench, 0);
    assert_eq!(recount(&mut bench, 10, 0, 0), action::PASS);
    call(&mut bench, 1);
    assert_eq!(recount(&mut bench, -10, 0, 0), action::PASS);
    let (load, zone) = (bench.backend_load(0)?, bench.zone_load(0)?);
    assert_eq!((load.channels, load.calls, zone.channels, zone.calls), (2, 2, 2, 2));
    assert!(load.rate > 0);
    Ok(())
}

#[test]
fn without_a_whole_request_nothing_is_done() -> anyhow::Result<()> {
    lb_tests::needs_bpf!();
    let mut bench = with_backends(SERVICE, forwarding::NAT, 1)?;
    let packet = Recount { by: 3, backend: 0, zone: 0 }.to_bytes();
    assert_eq!(bench.run("recount", &packet[..request::LEN - 1])?.action, ABORTED);
    assert_eq!(counted(&bench), [0; 4]);
    Ok(())
}
