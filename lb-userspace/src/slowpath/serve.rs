//! The sockets: one per listener, bound to the service's address, so that answers leave from where the request arrived
//! (RFC 3581 section 4); and the sign of life that the program waits for before it hands requests over.

use super::{
    responder::{Manner, Responder},
    tally::{Outcome, Tally},
    world::{Directory, World},
};
use lb_common::hash::HashKey;
use rustix::net::sockopt;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep},
};

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// How long one holds: two may be late.
const HOLDS_NS: u64 = 3_000_000_000;
/// Largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// Room for datagrams that wait for the daemon, in bytes: what 10,000 a second bring while it looks at all dialogs.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Pause after a socket failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause before it is tried once more to listen where that was not possible; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// It grows no further: so late, at most, are answers after whatever stood in the way is gone.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The running slow path.
pub struct SlowPath {
    shared: Arc<Mutex<Shared>>,
    tasks: BTreeMap<SocketAddr, JoinHandle<()>>,
    heart: JoinHandle<()>,
}

impl std::fmt::Debug for SlowPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowPath")
            .field("wanted", &self.tasks.keys())
            .field("deaf", &lock(&self.shared).deaf)
            .finish_non_exhaustive()
    }
}

/// What the sockets share. Held for one datagram at a time and never across an await.
struct Shared {
    world: Box<dyn World>,
    responder: Responder,
    services: BTreeMap<SocketAddr, u16>,
    /// Listeners whose socket works.
    working: BTreeSet<SocketAddr>,
    /// Listeners without a socket, and why.
    deaf: BTreeMap<SocketAddr, String>,
    tally: Tally,
    told: Tally,
    clock: fn() -> u64,
}

/// What the slow path does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Addresses that are listened at.
    pub listening: Vec<SocketAddr>,
    /// Addresses that are not, and why.
    pub deaf: BTreeMap<SocketAddr, String>,
    /// What became of the packets.
    pub tally: Tally,
}

impl SlowPath {
    /// Starts with no sockets. `clock` tells monotonic nanoseconds. To be called within a runtime.
    pub fn start(world: Box<dyn World>, key: HashKey, clock: fn() -> u64) -> SlowPath {
        let shared = Arc::new(Mutex::new(Shared {
            world,
            responder: Responder::new(key, Manner::default()),
            services: BTreeMap::new(),
            working: BTreeSet::new(),
            deaf: BTreeMap::new(),
            tally: Tally::default(),
            told: Tally::default(),
            clock,
        }));
        let heart = tokio::spawn(beat(shared.clone()));
        SlowPath { shared, tasks: BTreeMap::new(), heart }
    }

    /// Listens at the addresses of a directory and no others, and answers in this manner; sockets that stay are left alone.
    /// Where it cannot listen, the reason is logged, and the service goes without answers until a further attempt succeeds.
    pub fn listen(&mut self, directory: Directory, manner: Manner) {
        let wanted: BTreeSet<SocketAddr> = directory.listeners.keys().copied().collect();
        lock(&self.shared).take(directory, manner);
        // Those that wait for their next attempt have it now.
        let deaf: BTreeSet<SocketAddr> = lock(&self.shared).deaf.keys().copied().collect();
        self.tasks.retain(|address, task| {
            let stays = wanted.contains(address) && !deaf.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in wanted {
            self.tasks.entry(address).or_insert_with(|| {
                let socket = lock(&self.shared).bind(address);
                tokio::spawn(serve(socket, address, self.shared.clone()))
            });
        }
        lock(&self.shared).show_life();
    }

    /// What it does.
    pub fn report(&self) -> Report {
        let shared = lock(&self.shared);
        let listening = self.tasks.keys().filter(|address| !shared.deaf.contains_key(address));
        Report { listening: listening.copied().collect(), deaf: shared.deaf.clone(), tally: shared.tally }
    }
}

impl Drop for SlowPath {
    /// Tells the program that nobody answers any more, and closes the sockets.
    fn drop(&mut self) {
        self.heart.abort();
        for task in self.tasks.values() {
            task.abort();
        }
        let mut shared = lock(&self.shared);
        shared.working.clear();
        shared.show_life();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing in it is left half done by a panic.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn take(&mut self, directory: Directory, manner: Manner) {
        self.responder.set_manner(manner);
        self.services.clone_from(&directory.listeners);
        self.working.retain(|address| directory.listeners.contains_key(address));
        self.deaf.retain(|address, _| directory.listeners.contains_key(address));
        self.world.set_directory(directory);
    }

    /// Opens the socket of a listener. What is in the way is logged when it is new, and that nothing is any more.
    fn bind(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let error = match bind(address) {
            Ok(socket) => {
                if self.deaf.remove(&address).is_some() {
                    tracing::info!("{address}/udp: listening now");
                }
                self.working.insert(address);
                return Some(socket);
            }
            Err(error) => error,
        };
        let reason = why_deaf(&error);
        if self.deaf.get(&address) != Some(&reason) {
            tracing::error!(
                "{address}/udp: cannot listen: {reason}; until then calls there that find no room, and OPTIONS to the \
                 service itself, get no answer"
            );
        }
        self.deaf.insert(address, reason);
        None
    }

    /// Tells the program that requests are answered for some seconds, or that they are not.
    fn show_life(&mut self) {
        let until = if self.working.is_empty() { 0 } else { (self.clock)() + HOLDS_NS };
        if let Err(failure) = self.world.answers_until(until) {
            tracing::error!("{failure}");
        }
    }

    /// One line a second for each thing that came about.
    fn tell(&mut self) {
        for (outcome, count) in self.tally.since(&self.told).seen() {
            let sentence = outcome.sentence().trim();
            match outcome {
                Outcome::OverSourceLimit | Outcome::OverTotalLimit | Outcome::NotKnown | Outcome::NotSent => {
                    tracing::warn!("slow path, {count} in a second: {sentence}");
                }
                outcome if outcome.answered() => tracing::info!("slow path, {count} in a second: {sentence}"),
                _ => tracing::debug!("slow path, {count} in a second: {sentence}"),
            }
        }
        self.told = self.tally;
    }

    fn answer(&mut self, at: SocketAddr, datagram: &[u8], source: SocketAddr) -> Option<(Outcome, Vec<u8>)> {
        let now = (self.clock)();
        // A listener that has just gone; its socket goes with it.
        let service = self.services.get(&at).copied()?;
        let world = &mut self.world;
        let outlook = || world.outlook(service, now);
        let (outcome, answer) = self.responder.answer(datagram, service, source, now, outlook);
        if answer.is_none() {
            self.tally.count(outcome);
        }
        answer.map(|answer| (outcome, answer))
    }
}

/// Shows life every second, and tells what came about.
async fn beat(shared: Arc<Mutex<Shared>>) {
    let mut interval = interval(BEAT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let mut shared = lock(&shared);
        shared.show_life();
        shared.tell();
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    // Beyond the host's usual limit only with CAP_NET_ADMIN; without it the usual has to do.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
    }
    UdpSocket::from_std(socket)
}

fn why_deaf(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it (`ss -lunp` names it)".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this host does not have the address; add it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "it is not allowed; a port below 1024 needs CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The pauses between attempts to listen.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)))
}

/// Waits for a socket if there is none, then answers what arrives there, for ever.
async fn serve(mut socket: Option<UdpSocket>, at: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let mut pauses = pauses();
    let socket = loop {
        if let Some(socket) = socket {
            break socket;
        }
        sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        let mut shared = lock(&shared);
        socket = shared.bind(at);
        if socket.is_some() {
            shared.show_life();
        }
    };
    answer_all(socket, at, shared).await;
}

/// Answers what arrives at one socket, for ever.
async fn answer_all(socket: UdpSocket, at: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let (length, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(e) => {
                tracing::error!("{at}/udp: cannot receive: {e}");
                lock(&shared).working.remove(&at);
                sleep(PAUSE).await;
                lock(&shared).working.insert(at);
                continue;
            }
        };
        let Some((outcome, answer)) = lock(&shared).answer(at, &buffer[..length], source) else { continue };
        // Sent once or not at all: whoever wants it asks again.
        let sent = socket.try_send_to(&answer, source);
        let outcome = if sent.is_ok() { outcome } else { Outcome::NotSent };
        lock(&shared).tally.count(outcome);
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
