//! A SIP server that does what each call wishes, and remembers it.

pub use super::manner::{Manner, Pings};

use super::{
    endpoint::{Endpoint, Loss},
    message::{Message, host_port, response, uri, user},
    seen::{Record, Seen},
    timers::{Repeat, Timers},
    wish::Wish,
};
use crate::{
    netns::Namespace,
    topology::{Backend, Lab, SIP_PORT},
};
use anyhow::{Result, anyhow};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What the Server header of every answer begins with; the backend's name follows.
pub const SIGNATURE: &str = "lab ";
/// How soon a server notices that it is to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// How servers behave.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// T1.
    pub t1: Duration,
    /// What gets lost.
    pub loss: Loss,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits { t1: Duration::from_millis(500), loss: Loss::NONE }
    }
}

/// What the threads of a server share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    manner: Manner,
    pings: Pings,
    record: Record,
    in_progress: u64,
}

impl Shared {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server. It stops when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts a server on a backend, on each address a call may come to.
    ///
    /// # Errors
    /// When an address is taken.
    pub fn start(backend: &Backend, habits: Habits) -> Result<Server> {
        Server::start_at(&backend.namespace, &backend.name, &backend.zone, &backend.reached_at, habits)
    }

    /// One for each backend of the lab.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_all(lab: &Lab, habits: Habits) -> Result<Vec<Server>> {
        lab.backends.iter().map(|backend| Server::start(backend, habits)).collect()
    }

    /// The same for addresses of any namespace.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_at(
        namespace: &Namespace,
        name: &str,
        zone: &str,
        addresses: &[Ipv4Addr],
        habits: Habits,
    ) -> Result<Server> {
        let shared = Arc::new(Shared::default());
        shared.books().record = Record { name: name.into(), zone: zone.into(), ..Record::default() };
        let mut server = Server { shared, threads: Vec::new() };
        for address in addresses {
            let endpoint = Endpoint::bind(namespace, SocketAddrV4::new(*address, SIP_PORT), habits.loss)?;
            let mut desk = Desk {
                endpoint,
                shared: server.shared.clone(),
                name: name.to_owned(),
                t1: habits.t1,
                callees: Vec::new(),
                numbers: HashMap::new(),
                timers: Timers::default(),
            };
            server.threads.push(thread::spawn(move || desk.serve()));
        }
        Ok(server)
    }

    /// What it makes of new calls from now on.
    pub fn behave(&self, manner: Manner) {
        self.shared.books().manner = manner;
    }

    /// What it makes of OPTIONS from now on.
    pub fn answer_pings(&self, pings: Pings) {
        self.shared.books().pings = pings;
    }

    /// Calls in progress, and calls so far.
    pub fn so_far(&self) -> (u64, usize) {
        let books = self.shared.books();
        (books.in_progress, books.record.calls.len())
    }

    /// Stops it and says what it has seen.
    ///
    /// # Errors
    /// When it could not go on; the error says why.
    pub fn stop(mut self) -> Result<Record> {
        self.end()?;
        Ok(std::mem::take(&mut self.shared.books().record))
    }

    /// As [`Server::stop`], of several.
    ///
    /// # Errors
    /// When one of them could not go on.
    pub fn stop_all(servers: Vec<Server>) -> Result<Vec<Record>> {
        servers.into_iter().map(Server::stop).collect()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(|t| t.join().map_err(|_| anyhow!("a server panicked"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has called `stop`.
        let _ = self.end();
    }
}

/// How far a call is.
#[derive(Debug)]
enum Phase {
    /// The wish was granted with a provisional answer at most; an alarm is set if a final one follows by itself.
    Open,
    /// Refused, until the ACK.
    Refused(Repeat),
    /// Answered, until the ACK.
    Answered(Repeat),
    /// Answered and acknowledged.
    Up,
    /// Over.
    Over,
}

/// One call.
struct Callee {
    phase: Phase,
    wish: Wish,
    branch: String,
    peer: SocketAddr,
    from_tag: String,
    to_tag: String,
    /// The INVITE of the last transaction.
    request: String,
    /// The last answer to it; empty if there is none.
    answer: String,
    /// Its place in the record.
    place: usize,
}

/// The server's side of one socket.
struct Desk {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    name: String,
    t1: Duration,
    callees: Vec<Callee>,
    numbers: HashMap<String, usize>,
    timers: Timers,
}

impl Desk {
    fn serve(&mut self) -> Result<()> {
        loop {
            let stop = self.shared.stop.load(Ordering::Relaxed);
            let now = Instant::now();
            while let Some(number) = self.timers.pop(now) {
                self.alarm(number, now)?;
            }
            // What had arrived before it was told to stop is still read.
            let until = if stop { now } else { self.timers.next(now + GLANCE) };
            let Some((datagram, source)) = self.endpoint.receive(until)? else {
                if stop {
                    return Ok(());
                }
                continue;
            };
            let text = datagram.to_owned();
            if let Some(message) = Message::read(&text)
                && let Some(method) = message.method()
            {
                self.request(method, &message, &String::from_utf8_lossy(&text), source)?;
            }
        }
    }

    fn request(&mut self, method: &str, message: &Message<'_>, text: &str, source: SocketAddr) -> Result<()> {
        let known = self.numbers.get(message.call_id()).copied();
        match (method, known) {
            ("INVITE", None) => self.first_invite(message, text, source),
            ("INVITE", Some(number)) => self.another_invite(number, message, text, source),
            ("ACK", Some(number)) => {
                self.acknowledge(number, message);
                Ok(())
            }
            ("ACK", None) => {
                self.shared.books().record.strangers += 1;
                Ok(())
            }
            ("BYE", Some(number)) => self.bye(number, message, source),
            ("CANCEL", Some(number)) => self.cancel(number, message, source),
            ("BYE" | "CANCEL", None) => self.refuse_stranger(message, source),
            _ => {
                let mut books = self.shared.books();
                *books.record.others.entry(method.to_owned()).or_default() += 1;
                let pings = if method == "OPTIONS" { books.pings } else { Pings::Well };
                drop(books);
                match pings {
                    Pings::Well => self.reply(message, "200 OK", "other", source),
                    Pings::Unavailable => self.reply(message, "503 Service Unavailable", "other", source),
                    Pings::Ignored => Ok(()),
                }
            }
        }
    }

    fn reply(&mut self, message: &Message<'_>, status: &str, to_tag: &str, peer: SocketAddr) -> Result<()> {
        let text = response(message, status, to_tag, &format!("Server: {SIGNATURE}{}\r\n", self.name));
        self.endpoint.send(text.as_bytes(), peer)
    }

    fn refuse_stranger(&mut self, message: &Message<'_>, source: SocketAddr) -> Result<()> {
        self.shared.books().record.strangers += 1;
        self.reply(message, "481 Call/Transaction Does Not Exist", "none", source)
    }

    fn first_invite(&mut self, message: &Message<'_>, text: &str, source: SocketAddr) -> Result<()> {
        let number = self.callees.len();
        let now = Instant::now();
        let mut books = self.shared.books();
        let place = books.record.calls.len();
        books.record.calls.push(Seen {
            id: message.call_id().to_owned(),
            sequence: message.sequence(),
            source,
            sent: message.sent().unwrap_or(now),
            at: now,
            invites: 0,
            transactions: 0,
            repeats: 0,
            acks: 0,
            byes: 0,
            cancels: 0,
            answered: false,
            ended: None,
            over: None,
        });
        drop(books);
        self.numbers.insert(message.call_id().to_owned(), number);
        self.callees.push(Callee {
            phase: Phase::Over,
            wish: user(uri(message.value("To"))).parse().unwrap_or(Wish::ANSWER),
            branch: String::new(),
            peer: source,
            from_tag: message.tag("From").unwrap_or_default().to_owned(),
            to_tag: format!("{}-{number}", self.name),
            request: String::new(),
            answer: String::new(),
            place,
        });
        self.open(number, message, text, source)
    }

    /// An INVITE of a call that is known: the same again, one in the dialog, or another attempt (RFC 3261 sections 8.1.3.5
    /// and 22.2).
    fn another_invite(
        &mut self,
        number: usize,
        message: &Message<'_>,
        text: &str,
        source: SocketAddr,
    ) -> Result<()> {
        let callee = &self.callees[number];
        if message.branch() == callee.branch {
            self.note(number, |seen| seen.invites += 1);
            return if callee.answer.is_empty() { Ok(()) } else { self.repeat(number) };
        }
        match (message.tag("To"), &callee.phase) {
            (Some(tag), Phase::Up | Phase::Answered(_)) if tag == callee.to_tag => {
                self.note(number, |seen| seen.transactions += 1);
                self.reply(message, "200 OK", "", source)
            }
            (Some(_), _) => self.refuse_stranger(message, source),
            (None, Phase::Over | Phase::Refused(_)) => self.open(number, message, text, source),
            (None, _) => self.reply(message, "482 Loop Detected", "loop", source),
        }
    }

    /// A new INVITE transaction: does what is wished.
    fn open(&mut self, number: usize, message: &Message<'_>, text: &str, source: SocketAddr) -> Result<()> {
        let callee = &mut self.callees[number];
        callee.phase = Phase::Open;
        callee.branch = message.branch().to_owned();
        callee.peer = source;
        callee.request = text.to_owned();
        callee.answer.clear();
        let wish = callee.wish;
        self.note(number, |seen| {
            seen.invites += 1;
            seen.transactions += 1;
            seen.over = None;
        });
        let mut books = self.shared.books();
        let manner = books.manner;
        books.in_progress += 1;
        books.record.peak = books.record.peak.max(books.in_progress);
        drop(books);
        match (manner, wish) {
            (Manner::Unavailable(after), _) => {
                let more = after.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
                self.refuse(number, "503 Service Unavailable", &more)
            }
            (Manner::Moved(target), _) => {
                let more = format!("Contact: <sip:{wish}@{target}>;q=0.5\r\n");
                self.refuse(number, "302 Moved Temporarily", &more)
            }
            (Manner::Deaf, _) | (_, Wish::Silence) => Ok(()),
            (_, Wish::Refuse) => self.refuse(number, "486 Busy Here", ""),
            (_, Wish::Ring) => self.answer(number, "180 Ringing", ""),
            (_, Wish::Challenge) if message.value("Authorization").is_empty() => {
                let more = "WWW-Authenticate: Digest realm=\"lab\", nonce=\"1\"\r\n";
                self.refuse(number, "401 Unauthorized", more)
            }
            (_, Wish::Answer(after)) if !after.is_zero() => {
                self.timers.set(number, Instant::now() + after);
                self.answer(number, "180 Ringing", "")
            }
            (_, Wish::Answer(_) | Wish::Challenge) => {
                self.answer(number, "180 Ringing", "")?;
                self.accept(number)
            }
        }
    }

    /// Answers the INVITE of a call and keeps the answer for its retransmissions.
    fn answer(&mut self, number: usize, status: &str, more: &str) -> Result<()> {
        let callee = &mut self.callees[number];
        let Some(request) = Message::read(callee.request.as_bytes()) else { return Ok(()) };
        // The balancer's address, so that later requests of the call go through it too.
        let target = request.start_uri().map(host_port).unwrap_or_default();
        let contact =
            if more.contains("Contact:") { String::new() } else { format!("Contact: <sip:{target}>\r\n") };
        let more = format!("{contact}Server: {SIGNATURE}{}\r\n{more}", self.name);
        callee.answer = response(&request, status, &callee.to_tag, &more);
        self.endpoint.send(callee.answer.as_bytes(), callee.peer)
    }

    fn repeat(&mut self, number: usize) -> Result<()> {
        self.note(number, |seen| seen.repeats += 1);
        let callee = &self.callees[number];
        self.endpoint.send(callee.answer.as_bytes(), callee.peer)
    }

    fn accept(&mut self, number: usize) -> Result<()> {
        self.answer(number, "200 OK", "")?;
        self.note(number, |seen| seen.answered = true);
        let now = Instant::now();
        let mut repeat = Repeat::up_to_t2(self.t1, now);
        self.timers.set(number, repeat.next(now).unwrap_or(now));
        self.callees[number].phase = Phase::Answered(repeat);
        Ok(())
    }

    fn refuse(&mut self, number: usize, status: &str, more: &str) -> Result<()> {
        self.over(number);
        let now = Instant::now();
        let mut repeat = Repeat::up_to_t2(self.t1, now);
        self.timers.set(number, repeat.next(now).unwrap_or(now));
        self.callees[number].phase = Phase::Refused(repeat);
        self.answer(number, status, more)
    }

    fn acknowledge(&mut self, number: usize, message: &Message<'_>) {
        self.note(number, |seen| seen.acks += 1);
        let callee = &mut self.callees[number];
        match callee.phase {
            Phase::Refused(_) if message.branch() == callee.branch => callee.phase = Phase::Over,
            Phase::Answered(_) if message.tag("To") == Some(&callee.to_tag) => callee.phase = Phase::Up,
            _ => return,
        }
        self.timers.clear(number);
    }

    fn bye(&mut self, number: usize, message: &Message<'_>, source: SocketAddr) -> Result<()> {
        let callee = &self.callees[number];
        let ours = message.tag("To") == Some(&callee.to_tag) && message.tag("From") == Some(&callee.from_tag);
        if !ours || matches!(callee.phase, Phase::Open | Phase::Refused(_)) {
            return self.refuse_stranger(message, source);
        }
        self.note(number, |seen| {
            seen.byes += 1;
            seen.ended = seen.ended.or(message.sent());
        });
        if !matches!(callee.phase, Phase::Over) {
            self.timers.clear(number);
            self.callees[number].phase = Phase::Over;
            self.over(number);
        }
        self.reply(message, "200 OK", "", source)
    }

    fn cancel(&mut self, number: usize, message: &Message<'_>, source: SocketAddr) -> Result<()> {
        let callee = &self.callees[number];
        if message.branch() != callee.branch {
            return self.refuse_stranger(message, source);
        }
        self.note(number, |seen| seen.cancels += 1);
        let tag = callee.to_tag.clone();
        let open = matches!(callee.phase, Phase::Open);
        self.reply(message, "200 OK", &tag, source)?;
        if open { self.refuse(number, "487 Request Terminated", "") } else { Ok(()) }
    }

    fn alarm(&mut self, number: usize, now: Instant) -> Result<()> {
        let callee = &mut self.callees[number];
        match &mut callee.phase {
            Phase::Open => self.accept(number),
            Phase::Refused(repeat) | Phase::Answered(repeat) => match repeat.next(now) {
                Some(at) => {
                    self.timers.set(number, at);
                    self.repeat(number)
                }
                // Nobody listens any more (RFC 3261 sections 13.3.1.4 and 17.2.1). A call without an ACK stays: its BYE
                // may still come.
                None => Ok(()),
            },
            Phase::Up | Phase::Over => Ok(()),
        }
    }

    /// A transaction or call has ended: the server's own channel is free.
    fn over(&self, number: usize) {
        let mut books = self.shared.books();
        books.in_progress -= 1;
        let place = self.callees[number].place;
        books.record.calls[place].over = Some(Instant::now());
    }

    fn note(&self, number: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut self.shared.books().record.calls[self.callees[number].place]);
    }
}
