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

/// The running slow path.
pub struct SlowPath {
    shared: Arc<Mutex<Shared>>,
    tasks: BTreeMap<SocketAddr, JoinHandle<()>>,
    deaf: BTreeMap<SocketAddr, String>,
    heart: JoinHandle<()>,
}

impl std::fmt::Debug for SlowPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowPath")
            .field("listening", &self.tasks.keys())
            .field("deaf", &self.deaf)
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
            tally: Tally::default(),
            told: Tally::default(),
            clock,
        }));
        let heart = tokio::spawn(beat(shared.clone()));
        SlowPath { shared, tasks: BTreeMap::new(), deaf: BTreeMap::new(), heart }
    }

    /// Listens at the addresses of a directory and no others, and answers in this manner; sockets that stay are left alone.
    /// Where it cannot listen, the reason is logged and the service goes without answers.
    pub fn listen(&mut self, directory: Directory, manner: Manner) {
        let wanted: BTreeSet<SocketAddr> = directory.listeners.keys().copied().collect();
        lock(&self.shared).take(directory, manner);
        let gone: Vec<SocketAddr> = self.tasks.keys().filter(|a| !wanted.contains(a)).copied().collect();
        for address in gone {
            if let Some(task) = self.tasks.remove(&address) {
                task.abort();
            }
        }
        self.deaf.clear();
        for address in wanted {
            if self.tasks.contains_key(&address) {
                continue;
            }
            match bind(address) {
                Ok(socket) => {
                    lock(&self.shared).working.insert(address);
                    let task = tokio::spawn(answer_all(socket, address, self.shared.clone()));
                    self.tasks.insert(address, task);
                }
                Err(e) => {
                    let reason = why_deaf(&e);
                    tracing::error!(
                        "{address}/udp: cannot listen: {reason}; calls there that find no room, and OPTIONS to the \
                         service itself, get no answer"
                    );
                    self.deaf.insert(address, reason);
                }
            }
        }
        lock(&self.shared).show_life();
    }

    /// What it does.
    pub fn report(&self) -> Report {
        Report {
            listening: self.tasks.keys().copied().collect(),
            deaf: self.deaf.clone(),
            tally: lock(&self.shared).tally,
        }
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
        self.world.set_directory(directory);
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
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it (`ss -lunp` names it) and reload".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have the address; add it and reload".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "it is not allowed; a port below 1024 needs CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
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
