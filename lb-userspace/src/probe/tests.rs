//! Probes of servers on the loopback that answer, do not, or come too late.

use super::*;
use std::net::Ipv4Addr;
use tokio::{
    net::{TcpListener, UdpSocket},
    time::timeout,
};

/// How long anything may take that should take a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

async fn server() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn probe(address: SocketAddr, probing: Probing) -> (Probe, mpsc::Receiver<Heard>) {
    let (ears, heard) = mpsc::channel(16);
    let algorithms = Algorithm::USUAL.to_vec();
    let target = Target { backend: "sw1".to_owned(), address, probing, algorithms };
    (Probe::start(target, Room::of(100), ears), heard)
}

async fn next(heard: &mut mpsc::Receiver<Heard>) -> Heard {
    timeout(PATIENCE, heard.recv()).await.unwrap().unwrap()
}

/// The next request at a server, and who asks.
async fn request(server: &UdpSocket) -> (String, SocketAddr) {
    let mut room = [0; 2048];
    let (length, source) = timeout(PATIENCE, server.recv_from(&mut room)).await.unwrap().unwrap();
    (String::from_utf8(room[..length].to_vec()).unwrap(), source)
}

fn answer(request: &str, status: &str) -> String {
    let kept: String =
        request.lines().filter(|l| l.starts_with("Via:")).map(|l| format!("{l};oc=50\r\n")).collect();
    format!("SIP/2.0 {status}\r\n{kept}CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
}

#[tokio::test]
async fn an_answer_is_told_with_its_code_and_as_it_came() {
    let (server, address) = server().await;
    let (_probe, mut heard) = probe(address, Probing::DEFAULT);
    let (text, source) = request(&server).await;
    assert!(text.starts_with("OPTIONS sip:127.0.0.1:"), "{text}");
    // What is provisional, of another probe or no SIP at all is no answer.
    for other in
        [answer(&text, "100 Trying"), answer("Via: SIP/2.0/UDP a;branch=b", "200 OK"), "x".to_owned()]
    {
        server.send_to(other.as_bytes(), source).await.unwrap();
    }
    let sent = answer(&text, "404 Not Found");
    server.send_to(sent.as_bytes(), source).await.unwrap();
    let told = next(&mut heard).await;
    assert!(matches!(told.outcome, Outcome::Answered { code: 404, .. }), "{told:?}");
    assert!(told.asked <= told.at);
    assert_eq!(told.answer, sent.as_bytes());
    assert!(String::from_utf8(told.answer).unwrap().contains(";oc=50"));
}

#[tokio::test]
async fn what_is_lost_is_sent_again_and_a_second_answer_says_nothing() {
    let (server, address) = server().await;
    let probing = Probing { timeout: Duration::from_secs(1), ..Probing::DEFAULT };
    let (_probe, mut heard) = probe(address, probing);
    let (first, _) = request(&server).await;
    let (second, source) = request(&server).await;
    assert_eq!(first, second, "the same request, not another one (RFC 3261 section 17.1.2.2)");
    for _ in 0..2 {
        server.send_to(answer(&second, "200 OK").as_bytes(), source).await.unwrap();
    }
    assert!(matches!(next(&mut heard).await.outcome, Outcome::Answered { code: 200, .. }));
    let (third, source) = request(&server).await;
    assert_ne!(third, second);
    server.send_to(answer(&third, "503 Service Unavailable").as_bytes(), source).await.unwrap();
    assert!(matches!(next(&mut heard).await.outcome, Outcome::Answered { code: 503, .. }));
}

#[tokio::test]
async fn silence_is_told_and_a_late_answer_after_it() {
    let (server, address) = server().await;
    let probing =
        Probing { interval: Duration::from_secs(60), timeout: Duration::from_millis(50), ..Probing::DEFAULT };
    let (probe, mut heard) = probe(address, probing);
    probe.hurry();
    let (text, source) = request(&server).await;
    let silence = next(&mut heard).await;
    assert_eq!((silence.outcome, silence.answer.len()), (Outcome::TimedOut, 0));
    server.send_to(answer(&text, "200 OK").as_bytes(), source).await.unwrap();
    let late = next(&mut heard).await;
    assert!(matches!(late.outcome, Outcome::Answered { code: 200, rtt } if rtt >= Duration::from_millis(50)));
    assert_eq!(late.asked, silence.asked, "it is the same probe");
}

#[tokio::test]
async fn a_port_that_nobody_has_refuses() {
    let (server, address) = server().await;
    drop(server);
    let (_asker, mut heard) = probe(address, Probing::DEFAULT);
    for _ in 0..2 {
        assert_eq!(next(&mut heard).await.outcome, Outcome::Refused);
    }
    let (_probe, mut heard) = probe(address, Probing { how: How::Tcp, ..Probing::DEFAULT });
    assert_eq!(next(&mut heard).await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn nobody_is_asked_twice_in_a_second_by_whoever_is_in_a_hurry() {
    let (server, address) = server().await;
    let (probe, mut heard) =
        probe(address, Probing { interval: Duration::from_secs(300), ..Probing::DEFAULT });
    probe.hurry();
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (text, source) = request(&server).await;
        server.send_to(answer(&text, "200 OK").as_bytes(), source).await.unwrap();
        asked.push(next(&mut heard).await.asked);
        probe.hurry();
    }
    // The clocks of timers and of what is told differ by the time that sending takes.
    assert!(asked[1] - asked[0] >= Duration::from_millis(900), "{asked:?}");
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (probe, mut heard) = probe(address, Probing { how: How::Tcp, ..Probing::DEFAULT });
    assert!(matches!(next(&mut heard).await.outcome, Outcome::Connected { .. }));
    assert_eq!(probe.target().address, address);
    drop(probe);
    assert!(timeout(PATIENCE, heard.recv()).await.unwrap().is_none(), "nobody is left who asks");
}

#[tokio::test]
async fn first_probes_are_spread_over_an_interval() {
    let due: Vec<Duration> = (0..1000)
        .map(|_| {
            let now = Instant::now();
            let mut pace = Pace { interval: Duration::from_secs(10), hurry: Arc::default(), due: now };
            pace.begin();
            pace.due - now
        })
        .collect();
    for second in 0..10 {
        let within = due.iter().filter(|d| d.as_secs() == second).count();
        assert!((40..200).contains(&within), "{within} of 1,000 in second {second}");
    }
    let mut pace = Pace { interval: Duration::from_secs(10), hurry: Arc::default(), due: Instant::now() };
    for _ in 0..100 {
        let sent = pace.went_out();
        assert!((Duration::from_secs(10)..=Duration::from_secs(11)).contains(&(pace.due - sent)));
    }
}
