//! A backend's answers in the real kernel: how long the program takes it for full after a 503 of its own, and which of them
//! show that it answers new calls.

use anyhow::{Result, ensure};
use lb_common::{
    map::{
        expiry::request,
        service::forwarding::{L2, NAT},
        settings::Settings,
        zone::{Policy, choice},
    },
    verdict::Verdict,
};
use lb_tests::{
    bench::{Bench, backend_address, settings, with_backends},
    needs_bpf,
    netns::Namespace,
    packet::{self, Request},
};
use std::net::{Ipv4Addr, SocketAddrV4};

const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);
const CALLER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 5060);
const SECOND: u64 = 1_000_000_000;
/// What counts without a Retry-After, in seconds.
const OTHERWISE: u64 = 7;

/// A balancer of one backend, in a namespace that forwards to the caller.
struct Stand {
    bench: Bench,
    balancer: Namespace,
    _caller: Namespace,
}

impl Stand {
    /// The backend's own word counts, or not.
    fn new(believes_retry_after: u8) -> Result<Stand> {
        let (balancer, caller) = (Namespace::new("balancer")?, Namespace::new("caller")?);
        balancer.connect("front", &caller, "eth0")?;
        balancer.ip("addr add 198.51.100.1/24 dev front")?;
        balancer.sysctl(&[("ipv4/ip_forward", "1")])?;
        let mut bench = with_backends(SERVICE, NAT, 1)?;
        let policy = Policy {
            tiers: 1,
            target: 1024,
            choice: choice::CONSISTENT,
            retries_refused: 1,
            believes_retry_after,
            full_after_refusal_ms: OTHERWISE as u32 * 1000,
            ..Policy::default()
        };
        bench.set_policy(0, &policy)?;
        Ok(Stand { bench, balancer, _caller: caller })
    }

    /// The program sees a packet.
    fn passes(&mut self, frame: &[u8]) -> Result<()> {
        let Stand { bench, balancer, .. } = self;
        balancer.enter(|| bench.run("sipsteer", frame))?.map(drop)
    }

    /// The caller's INVITE arrives.
    fn invite(&mut self, call_id: &str) -> Result<()> {
        self.passes(&packet::udp(CALLER, SERVICE, &Request::new("INVITE", call_id).bytes()))
    }

    /// The program's clock, in nanoseconds.
    fn clock(&mut self) -> Result<u64> {
        let outcome = self.bench.run("clock", &[0; request::LEN])?;
        Ok(u64::from_le_bytes(outcome.frame[8..16].try_into()?))
    }

    /// A call is refused by the backend, with these lines before and behind the Call-ID.
    fn refused(&mut self, status: u16, before: &str, behind: &str) -> Result<Refusal> {
        self.invite("refused")?;
        let text = String::from_utf8(packet::response(status, "INVITE", "refused"))?;
        let text = text.replace("Call-ID:", &format!("{before}Call-ID:"));
        let text = text.replace("Content-Length:", &format!("{behind}Content-Length:"));
        let from = self.clock()?;
        self.passes(&packet::udp(backend_address(0), CALLER, text.as_bytes()))?;
        let to = self.clock()?;
        let answers = [Verdict::Reply, Verdict::ReplyHostForwards].map(|verdict| self.bench.verdict(verdict));
        ensure!(answers.into_iter().sum::<Result<u64>>()? == 1, "{:?}", self.bench.verdicts()?);
        Ok(Refusal { from, to, until: self.bench.backend_load(0)?.full_until })
    }
}

/// What became of a refusal.
#[derive(Debug)]
struct Refusal {
    /// The clock before.
    from: u64,
    /// The clock afterwards.
    to: u64,
    /// The backend is full until then; 0: it is not.
    until: u64,
}

impl Refusal {
    /// Whether the backend counts as full for so many seconds, whenever in between the program looked at its clock.
    fn is_full_for(&self, seconds: u64) -> bool {
        let Refusal { from, to, until } = *self;
        if seconds == 0 {
            return until == 0;
        }
        (from + seconds * SECOND..=to + seconds * SECOND).contains(&until)
    }
}

#[test]
fn a_backend_says_how_long_it_is_full() -> Result<()> {
    needs_bpf!();
    let long = format!("Subject: {}\r\n", "x".repeat(1200));
    for (status, before, behind, seconds) in [
        (503, "", "Retry-After: 30\r\n", 30),
        (503, "Retry-After: 31 (busy);duration=5\r\n", "", 31),
        (302, "", "retry-after:32\r\n", 32),
        (503, "", "Retry-After: 3600\r\n", 60),
        (503, "", "Retry-After: 0\r\n", 0),
        (503, "", "", OTHERWISE),
        (503, "", "Retry-After: soon\r\n", OTHERWISE),
        (503, "", &format!("{long}Retry-After: 30\r\n"), OTHERWISE),
        (486, "", "Retry-After: 30\r\n", 0),
    ] {
        let refusal = Stand::new(1)?.refused(status, before, behind)?;
        assert!(refusal.is_full_for(seconds), "{status} {before:?} {behind:?}: {refusal:?}");
    }
    Ok(())
}

#[test]
fn a_time_that_is_set_counts_whatever_the_backend_says() -> Result<()> {
    needs_bpf!();
    let refusal = Stand::new(0)?.refused(503, "", "Retry-After: 30\r\n")?;
    assert!(refusal.is_full_for(OTHERWISE), "{refusal:?}");
    Ok(())
}

#[test]
fn a_backend_that_says_it_is_full_gets_no_call() -> Result<()> {
    needs_bpf!();
    let mut stand = Stand::new(1)?;
    stand.bench.set_answers_until(u64::MAX)?;
    assert!(stand.refused(503, "", "Retry-After: 60\r\n")?.is_full_for(60));
    stand.invite("next")?;
    assert_eq!(stand.bench.verdict(Verdict::RefusedFull)?, 1, "{:?}", stand.bench.verdicts()?);
    Ok(())
}

#[test]
fn signs_of_answers_are_counted_per_backend() -> Result<()> {
    needs_bpf!();
    let mut stand = Stand::new(0)?;
    let response =
        |status, method| packet::udp(backend_address(0), CALLER, &packet::response(status, method, "a"));
    let request = |request: Request<'_>| packet::udp(CALLER, SERVICE, &request.bytes());
    let invite = request(Request::new("INVITE", "a"));
    for (number, (frame, answered)) in [
        (invite.clone(), 0),
        (invite.clone(), 0),
        (response(100, "INVITE"), 1),
        (invite.clone(), 1),
        (response(180, "INVITE"), 2),
        (response(200, "INVITE"), 2),
        (request(Request::new("ACK", "a").branch("z9hG4bK-2").to_tag("t1")), 2),
        (request(Request::new("BYE", "a").to_tag("t1")), 2),
        (response(200, "BYE"), 2),
        (request(Request::new("INVITE", "b")), 2),
        (request(Request::new("ACK", "b")), 2),
    ]
    .iter()
    .enumerate()
    {
        stand.passes(frame)?;
        assert_eq!(stand.bench.backend_counter(0)?.answered, *answered, "packet {number}");
    }
    let counter = stand.bench.backend_counter(0)?;
    assert_eq!((counter.calls, counter.unpinned, counter.packets, counter.reply_packets), (2, 0, 7, 4));

    let mut bench = with_backends(SERVICE, L2, 1)?;
    for (number, (frame, answered)) in [
        (invite, 0),
        (request(Request::new("ACK", "a").branch("z9hG4bK-2").to_tag("t1")), 1),
        (request(Request::new("ACK", "a").branch("z9hG4bK-2").to_tag("t1")), 1),
        (request(Request::new("INVITE", "b")), 1),
        (request(Request::new("CANCEL", "b")), 1),
        (request(Request::new("ACK", "b").to_tag("t1")), 2),
        (request(Request::new("BYE", "a").to_tag("t1")), 2),
    ]
    .iter()
    .enumerate()
    {
        bench.run("sipsteer", frame)?;
        assert_eq!(bench.backend_counter(0)?.answered, *answered, "packet {number}");
    }
    // No more dialogs that nobody has confirmed: this one cannot be pinned, and its answer would not be known for one.
    bench.set_settings(&Settings { unconfirmed_limit: 0, ..settings() })?;
    bench.run("sipsteer", &request(Request::new("INVITE", "c")))?;
    bench.run("sipsteer", &request(Request::new("ACK", "c").to_tag("t1")))?;
    let counter = bench.backend_counter(0)?;
    assert_eq!((counter.calls, counter.unpinned, counter.answered, counter.packets), (3, 1, 2, 9));
    Ok(())
}
