//! Asks one backend by SIP OPTIONS over UDP, each time from its own connected socket: the kernel lets only packets of that
//! address in, and hands over what ICMP says of it.

use super::{
    Pace, Target, Teller,
    message::{Answer, Mark, options},
    now, random,
    room::Place,
};
use crate::core::health::Outcome;
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// Longest datagram that is kept; of a longer one the rest is cut off.
const MAX_ANSWER: usize = 4096;
/// Probes whose late answers are still known.
const REMEMBERED: usize = 4;
/// After so many silent probes in a row another socket is made: the daemon's address may be another one by now.
const PATIENCE: u32 = 4;

/// A probe that went out.
struct Sent {
    branch: String,
    at: Instant,
    asked: Duration,
    over: bool,
}

/// What came to the socket.
enum Came {
    /// A final answer to the probe of this index.
    Answer(usize, u16, Vec<u8>),
    /// ICMP says that nobody listens.
    Refusal,
    /// Anything else.
    Noise,
    /// The socket is of no use any more.
    Broken(io::Error),
}

/// One backend.
struct Asker {
    teller: Teller,
    socket: Option<UdpSocket>,
    /// The right to it.
    place: Option<Place>,
    /// The newest last.
    sent: VecDeque<Sent>,
    silent: u32,
}

pub(super) async fn ask_for_ever(teller: Teller, mut pace: Pace) {
    let mut asker = Asker { teller, socket: None, place: None, sent: VecDeque::new(), silent: 0 };
    pace.begin();
    pace.wait(None).await;
    loop {
        let sent = pace.went_out();
        match asker.ask().await {
            Ok(outcome) => asker.silent = if outcome { 0 } else { asker.silent + 1 },
            Err(e) => {
                asker.close();
                asker.teller.tell(now(), Outcome::NotAsked(e.to_string()), Vec::new()).await;
            }
        }
        if asker.place.as_ref().is_some_and(|place| !place.keeps) {
            // Another backend wants it; what comes late is lost.
            asker.close();
        }
        let waiting = pace.wait(Some(sent));
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = &mut waiting => break,
                came = came(asker.socket.as_ref(), &asker.sent) => asker.hear_late(came).await,
            }
        }
    }
}

impl Asker {
    /// One probe, to its answer or its end; false: there was none.
    async fn ask(&mut self) -> io::Result<bool> {
        if self.silent >= PATIENCE {
            self.close();
            self.silent = 0;
        }
        if self.place.is_none() {
            self.place = Some(self.teller.room.place().await);
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(&self.teller.target).await?,
        };
        let socket = self.socket.insert(socket);
        let mark = Mark::new(random());
        let text = options(&self.teller.target, socket.local_addr()?, &mark);
        send(socket, text.as_bytes()).await?;
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        let asked = now();
        let sent = Instant::now();
        self.sent.push_back(Sent { branch: mark.branch(), at: sent, asked, over: false });

        let timeout = self.teller.target.probing.timeout;
        // What is lost on the way is sent again, once (RFC 3261 section 17.1.2.2 has it after T1, here after less).
        let (mut again, end) = (Some(sent + timeout / 2), sent + timeout);
        loop {
            let alarm = again.unwrap_or(end);
            let came = tokio::select! {
                // First what has come: a process that was stopped finds answers and alarms at the same time.
                biased;
                came = came(self.socket.as_ref(), &self.sent) => came,
                () = sleep_until(alarm) => {
                    if again.take().is_some() && Instant::now() < end {
                        if let Some(socket) = &self.socket {
                            send(socket, text.as_bytes()).await?;
                        }
                        continue;
                    }
                    self.over(asked, Outcome::TimedOut).await;
                    return Ok(false);
                }
            };
            match came {
                Came::Answer(index, code, answer) => {
                    let latest = index + 1 == self.sent.len();
                    self.answered(index, code, answer).await;
                    if latest {
                        return Ok(true);
                    }
                }
                Came::Refusal => {
                    self.over(asked, Outcome::Refused).await;
                    return Ok(false);
                }
                Came::Noise => {}
                Came::Broken(e) => return Err(e),
            }
        }
    }

    async fn over(&mut self, asked: Duration, outcome: Outcome) {
        self.teller.tell(asked, outcome, Vec::new()).await;
    }

    /// The first answer to a probe counts; what is sent twice may be answered twice.
    async fn answered(&mut self, index: usize, code: u16, answer: Vec<u8>) {
        let Some(probe) = self.sent.get_mut(index).filter(|probe| !probe.over) else { return };
        probe.over = true;
        let (asked, rtt) = (probe.asked, probe.at.elapsed());
        self.teller.tell(asked, Outcome::Answered { code, rtt }, answer).await;
    }

    /// Something came while no probe is under way.
    async fn hear_late(&mut self, came: Came) {
        match came {
            Came::Answer(index, code, answer) => self.answered(index, code, answer).await,
            // It belongs to a probe that was told of as silent.
            Came::Refusal | Came::Noise => {}
            Came::Broken(_) => self.close(),
        }
    }

    fn close(&mut self) {
        (self.socket, self.place) = (None, None);
    }
}

/// A socket of our own that only this backend can send to.
async fn connect(target: &Target) -> io::Result<UdpSocket> {
    let any: IpAddr = match target.address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target.address).await?;
    Ok(socket)
}

/// Sends. What ICMP said of an earlier packet is told here by the kernel, and the packet does not go out.
async fn send(socket: &UdpSocket, text: &[u8]) -> io::Result<()> {
    match socket.send(text).await {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => socket.send(text).await.map(drop),
        other => other.map(drop),
    }
}

/// Waits for the next datagram; for ever without a socket.
async fn came(socket: Option<&UdpSocket>, sent: &VecDeque<Sent>) -> Came {
    let Some(socket) = socket else { return std::future::pending().await };
    let mut room = [0; MAX_ANSWER];
    let length = match socket.recv(&mut room).await {
        Ok(length) => length,
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Came::Refusal,
        Err(e) => return Came::Broken(e),
    };
    let datagram = &room[..length];
    let Some(answer) = Answer::read(datagram).filter(|answer| answer.code >= 200) else { return Came::Noise };
    match sent.iter().position(|probe| answer.is_to(&probe.branch)) {
        Some(index) => Came::Answer(index, answer.code, datagram.to_vec()),
        None => Came::Noise,
    }
}
