//! Real sockets on the loopback interface, and a world made up.

use super::*;
use crate::{
    failure::Failure,
    slowpath::{
        message::Request,
        room::{Condition, Outlook, Target, Tier},
    },
};
use lb_common::sip::Method;
use tokio::time::timeout;

const KEY: HashKey = HashKey { k0: 7, k1: 11 };
const PATIENCE: Duration = Duration::from_secs(20);
const START: u64 = 50_000_000_000;

fn standing_clock() -> u64 {
    START
}

/// What the program would have been told, and what is asked for.
#[derive(Clone, Default)]
struct Made {
    until: Arc<Mutex<Vec<u64>>>,
    outlook: Arc<Mutex<Option<Arc<Outlook>>>>,
}

impl World for Made {
    fn outlook(&mut self, service: u16, _: u64) -> Option<Arc<Outlook>> {
        assert_eq!(service, 4);
        self.outlook.lock().unwrap().clone()
    }

    fn answers_until(&mut self, until: u64) -> Result<(), Failure> {
        self.until.lock().unwrap().push(until);
        Ok(())
    }

    fn set_directory(&mut self, _: Directory) {}
}

impl Made {
    fn last_word(&self) -> Option<u64> {
        self.until.lock().unwrap().last().copied()
    }

    fn stands(&self, first: Condition, second: Condition) {
        let tier = |redirect, condition| Tier {
            redirect,
            condition,
            settled: condition == Condition::Room,
            targets: vec![Target::Host("b.example.com".to_owned())],
        };
        let tiers = vec![tier(false, first), tier(true, second)];
        *self.outlook.lock().unwrap() = Some(Arc::new(Outlook { tiers, in_order: false }));
    }
}

/// An address that nobody listens at.
fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn directory(listeners: &[SocketAddr]) -> Directory {
    Directory { listeners: listeners.iter().map(|a| (*a, 4)).collect(), ..Directory::default() }
}

fn start(world: &Made) -> SlowPath {
    SlowPath::start(Box::new(world.clone()), KEY, standing_clock)
}

fn request(method: &str, call_id: &str) -> Vec<u8> {
    format!(
        "{method} sip:bob@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP pc.example.com;branch=z9hG4bK1;rport\r\n\
         To: <sip:bob@127.0.0.1>\r\nFrom: <sip:alice@127.0.0.1>;tag=1\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@127.0.0.1>\r\nMax-Forwards: 70\r\nUser-Agent: a telephone with a long name\r\n\r\n"
    )
    .into_bytes()
}

async fn ask(client: &UdpSocket, to: SocketAddr, request: &[u8]) -> String {
    client.send_to(request, to).await.unwrap();
    let mut buffer = vec![0; 2000];
    let (length, from) = timeout(PATIENCE, client.recv_from(&mut buffer)).await.expect("an answer").unwrap();
    assert_eq!(from, to, "it comes from where the request went");
    assert!(length <= request.len());
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn requests_are_answered_as_the_service_stands() {
    let (world, address) = (Made::default(), free_address());
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[address]), Manner::default());
    assert_eq!(world.last_word(), Some(START + HOLDS_NS));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = client.local_addr().unwrap().port();

    world.stands(Condition::Full, Condition::Room);
    let redirect = ask(&client, address, &request("INVITE", "a")).await;
    assert!(redirect.starts_with("SIP/2.0 302 "), "{redirect}");
    assert!(redirect.contains("<sip:bob@b.example.com>;q=1.0"), "{redirect}");
    assert!(redirect.contains(&format!(";rport={port};received=127.0.0.1")), "{redirect}");
    assert_eq!(ask(&client, address, &request("INVITE", "a")).await, redirect, "the same once more");
    assert!(ask(&client, address, &request("OPTIONS", "b")).await.starts_with("SIP/2.0 200 "));

    world.stands(Condition::Full, Condition::Full);
    assert!(ask(&client, address, &request("OPTIONS", "b")).await.starts_with("SIP/2.0 503 "));
    // What is not answered: the next thing that arrives is the answer to what comes behind it.
    for silent in
        [request("ACK", "c"), request("CANCEL", "c"), b"SIP/2.0 200 OK\r\n\r\n".to_vec(), b"x".to_vec()]
    {
        client.send_to(&silent, address).await.unwrap();
    }
    let refusal = ask(&client, address, &request("INVITE", "c")).await;
    assert!(refusal.starts_with("SIP/2.0 503 ") && refusal.contains("CSeq: 1 INVITE"), "{refusal}");

    let report = slow_path.report();
    assert_eq!(report.listening, [address]);
    let counted = |outcome| report.tally.of(outcome);
    assert_eq!(
        [Outcome::Redirected, Outcome::Alive, Outcome::OtherMethod, Outcome::Response, Outcome::Unfit]
            .map(counted),
        [2, 1, 2, 1, 1]
    );
}

#[tokio::test]
async fn a_listener_that_goes_is_closed_and_one_that_stays_is_left_alone() {
    let (world, first, second) = (Made::default(), free_address(), free_address());
    world.stands(Condition::Full, Condition::Full);
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[first]), Manner::default());
    slow_path.listen(directory(&[first, second]), Manner::default());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for address in [first, second] {
        assert!(ask(&client, address, &request("INVITE", "a")).await.starts_with("SIP/2.0 503 "));
    }
    slow_path.listen(directory(&[second]), Manner::default());
    assert_eq!(slow_path.report().listening, [second]);
    released(first).await;
    assert_eq!(world.last_word(), Some(START + HOLDS_NS));
    slow_path.listen(directory(&[]), Manner::default());
    assert_eq!(world.last_word(), Some(0), "nobody answers without a socket");
}

#[tokio::test]
async fn where_somebody_else_listens_there_are_no_answers_until_a_reload_finds_the_place_free() {
    let (world, other) = (Made::default(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let (taken, free) = (other.local_addr().unwrap(), free_address());
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[taken]), Manner::default());
    assert_eq!(world.last_word(), Some(0));
    slow_path.listen(directory(&[taken, free]), Manner::default());
    let report = slow_path.report();
    assert_eq!(report.listening, [free]);
    assert!(report.deaf[&taken].contains("another program listens there"), "{report:?}");
    drop(other);
    slow_path.listen(directory(&[taken, free]), Manner::default());
    assert_eq!((slow_path.report().listening.len(), slow_path.report().deaf.len()), (2, 0));
}

#[tokio::test]
async fn where_somebody_else_listened_there_are_answers_without_a_reload() {
    let (world, other) = (Made::default(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let taken = other.local_addr().unwrap();
    world.stands(Condition::Full, Condition::Full);
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[taken]), Manner::default());
    // Attempts in vain change nothing.
    sleep(FIRST_PAUSE * 2).await;
    assert_eq!((slow_path.report().listening.len(), slow_path.report().deaf.len()), (0, 1));
    assert_eq!(world.last_word(), Some(0));
    drop(other);
    let heard = async {
        while slow_path.report().listening != [taken] {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, heard).await.expect("it listens");
    assert_eq!(slow_path.report().deaf.len(), 0);
    assert_eq!(world.last_word(), Some(START + HOLDS_NS));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert!(ask(&client, taken, &request("INVITE", "a")).await.starts_with("SIP/2.0 503 "));
}

#[tokio::test]
async fn a_listener_that_goes_while_its_place_is_taken_is_not_waited_for() {
    let (world, other) = (Made::default(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    let taken = other.local_addr().unwrap();
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[taken]), Manner::default());
    slow_path.listen(directory(&[]), Manner::default());
    drop(other);
    sleep(FIRST_PAUSE * 2).await;
    assert_eq!(slow_path.report(), Report::default());
    assert_eq!(world.last_word(), Some(0));
}

#[test]
fn pauses_grow_to_some_seconds() {
    let pauses: Vec<u128> = pauses().take(8).map(|pause| pause.as_millis()).collect();
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
}

#[tokio::test]
async fn the_end_is_told_and_the_sockets_are_closed() {
    let (world, address) = (Made::default(), free_address());
    let mut slow_path = start(&world);
    slow_path.listen(directory(&[address]), Manner::default());
    assert_eq!(world.last_word(), Some(START + HOLDS_NS));
    drop(slow_path);
    assert_eq!(world.last_word(), Some(0));
    released(address).await;
}

/// Waits until an address can be bound again.
async fn released(address: SocketAddr) {
    let free = async {
        while std::net::UdpSocket::bind(address).is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, free).await.expect("the socket is closed");
}

#[test]
fn a_request_of_these_tests_is_one() {
    let bytes = request("INVITE", "x");
    assert_eq!(Request::read(&bytes, &KEY).map(|r| r.method), Ok(Method::Invite));
}
