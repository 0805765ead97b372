//! Many calls at a time, in the open loop: each begins when its time has come, whatever became of the others.

use super::{
    dialogue::{Alarm, Dialogue, Reaction},
    endpoint::{Endpoint, Loss},
    message::Message,
    outcome::Calls,
    timers::Timers,
    wish::Wish,
};
use crate::{
    netns::Namespace,
    topology::{CLIENT, Lab},
};
use anyhow::{Context, Result, anyhow, ensure};
use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How soon a caller notices that it is to hang up or to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// Beyond this, calls that are held until they are told to end are an error.
const LONGEST: Duration = Duration::from_secs(600);
/// How long answers are still acknowledged after the last call is over, in units of T1: an answer whose ACK was lost comes
/// again after 1, 3 and 7 of them.
const AFTERWARDS: u32 = 8;

/// Calls to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Part of the Call-IDs: two plans in one test need two names. The same name gives the same Call-IDs in every run.
    pub name: String,
    /// How many calls.
    pub calls: usize,
    /// Time from the beginning of one call to that of the next.
    pub interval: Duration,
    /// When the first call begins.
    pub offset: Duration,
    /// What they want, in turn.
    pub wishes: Vec<Wish>,
    /// How long an answered call lasts; None: that one, and one that rings, until [`Caller::hang_up`].
    pub hold: Option<Duration>,
    /// Whether a 302 is followed.
    pub follow: bool,
    /// How often a call is tried where a 503 was the answer.
    pub tries: u32,
    /// T1.
    pub t1: Duration,
    /// What gets lost.
    pub loss: Loss,
    /// Whether header names are compact.
    pub compact: bool,
}

impl Plan {
    /// Calls of 100 ms that are answered at once, so many a second. Redirects are followed.
    pub fn calls(name: &str, calls: usize, rate: u32) -> Plan {
        Plan {
            name: name.to_owned(),
            calls,
            interval: Duration::from_secs(1) / rate,
            offset: Duration::ZERO,
            wishes: vec![Wish::ANSWER],
            hold: Some(Duration::from_millis(100)),
            follow: true,
            tries: 1,
            t1: Duration::from_millis(500),
            loss: Loss::NONE,
            compact: false,
        }
    }

    /// The same with other wishes.
    #[must_use]
    pub fn wishing(self, wishes: &[Wish]) -> Plan {
        Plan { wishes: wishes.to_vec(), ..self }
    }

    /// The same with calls of another length.
    #[must_use]
    pub fn holding(self, hold: Duration) -> Plan {
        Plan { hold: Some(hold), ..self }
    }

    /// The same with calls that last until [`Caller::hang_up`].
    #[must_use]
    pub fn until_told(self) -> Plan {
        Plan { hold: None, ..self }
    }

    /// The Call-ID of the call of this number.
    pub fn call_id(&self, number: usize, host: Ipv4Addr) -> String {
        format!("{}-{number}@{host}", self.name)
    }

    /// When the call of this number begins.
    fn begins(&self, number: usize) -> Duration {
        self.offset + self.interval.mul_f64(number as f64)
    }

    /// How long to listen after the last call is over.
    fn afterwards(&self) -> Duration {
        if self.loss.is_possible() { self.t1 * AFTERWARDS } else { Duration::ZERO }
    }

    /// When everything must be over, or something is wrong with the caller itself.
    fn patience(&self) -> Duration {
        self.hold.map_or(LONGEST, |hold| {
            self.begins(self.calls) + hold + self.t1 * 64 * 4 + Duration::from_secs(60)
        })
    }
}

/// How far a caller is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls that have begun.
    pub begun: usize,
    /// Calls that are answered and not ended, and those that ring until they are told.
    pub up: usize,
    /// Calls that are over.
    pub over: usize,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    hang_up: AtomicBool,
    begun: AtomicUsize,
    up: AtomicUsize,
    over: AtomicUsize,
}

impl Shared {
    fn progress(&self) -> Progress {
        let count = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        Progress { begun: count(&self.begun), up: count(&self.up), over: count(&self.over) }
    }
}

/// A caller at work. It stops when it is dropped.
pub struct Caller {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Calls>>>,
}

impl Caller {
    /// Starts calling the lab's service from its client.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(lab: &Lab, plan: &Plan) -> Result<Caller> {
        Caller::start_to(&lab.client, CLIENT, lab.service(), plan)
    }

    /// Starts calling `target` from `source`, an address of `namespace`.
    ///
    /// # Errors
    /// When the address is not there.
    pub fn start_to(
        namespace: &Namespace,
        source: Ipv4Addr,
        target: SocketAddrV4,
        plan: &Plan,
    ) -> Result<Caller> {
        ensure!(!plan.wishes.is_empty(), "the calls of a plan want nothing");
        // Timestamps cannot be earlier than this.
        super::epoch();
        let endpoint = Endpoint::bind(namespace, SocketAddrV4::new(source, 0), plan.loss)?;
        let SocketAddr::V4(local) = endpoint.address()? else { return Err(anyhow!("no IPv4 address")) };
        let shared = Arc::new(Shared::default());
        let mut line = Line {
            plan: Arc::new(plan.clone()),
            endpoint,
            local,
            target: target.into(),
            shared: shared.clone(),
            dialogues: Vec::new(),
            numbers: HashMap::new(),
            timers: Timers::default(),
            up: HashSet::new(),
            over: HashSet::new(),
        };
        let thread = thread::spawn(move || line.call());
        Ok(Caller { shared, thread: Some(thread) })
    }

    /// How far it is.
    pub fn so_far(&self) -> Progress {
        self.shared.progress()
    }

    /// Whether it is still calling.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends every call of a plan without a length that is answered or rings, and from now on as soon as it does.
    pub fn hang_up(&self) {
        self.shared.hang_up.store(true, Ordering::Relaxed);
    }

    /// Waits until every call is over, and says what became of them. Calls that are held until told end now.
    ///
    /// # Errors
    /// When the caller could not go on; failed calls are no error.
    pub fn wait(mut self) -> Result<Calls> {
        self.hang_up();
        let thread = self.thread.take().context("the caller has ended already")?;
        thread.join().map_err(|_| anyhow!("the caller panicked"))?
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wants to know how it ended has called `wait`.
            let _ = thread.join();
        }
    }
}

/// The caller's thread.
struct Line {
    plan: Arc<Plan>,
    endpoint: Endpoint,
    local: SocketAddrV4,
    target: SocketAddr,
    shared: Arc<Shared>,
    dialogues: Vec<Dialogue>,
    numbers: HashMap<String, usize>,
    timers: Timers,
    up: HashSet<usize>,
    over: HashSet<usize>,
}

impl Line {
    fn call(&mut self) -> Result<Calls> {
        let start = Instant::now();
        let mut over_since = None;
        loop {
            let now = Instant::now();
            let due = self.begin_what_is_due(start, now)?;
            while let Some(number) = self.timers.pop(now) {
                let reaction = self.dialogues[number].alarm(now);
                self.react(number, &reaction)?;
            }
            if self.plan.hold.is_none() && self.shared.hang_up.load(Ordering::Relaxed) {
                self.hang_up_what_is_up(now)?;
            }
            if self.shared.over.load(Ordering::Relaxed) == self.plan.calls {
                let since = *over_since.get_or_insert(now);
                if now >= since + self.plan.afterwards() {
                    break;
                }
            }
            if self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            ensure!(
                now < start + self.plan.patience(),
                "the caller has not ended: {:?}",
                self.shared.progress()
            );
            let until = self.timers.next(due.unwrap_or(now + GLANCE).min(now + GLANCE));
            self.listen(until)?;
        }
        Ok(Calls(self.dialogues.drain(..).map(Dialogue::into_call).collect()))
    }

    /// Begins the calls whose time has come; returns when the next one is due.
    fn begin_what_is_due(&mut self, start: Instant, now: Instant) -> Result<Option<Instant>> {
        while self.dialogues.len() < self.plan.calls {
            let number = self.dialogues.len();
            let due = start + self.plan.begins(number);
            if due > now {
                return Ok(Some(due));
            }
            let mut dialogue = Dialogue::new(&self.plan, number, self.local, self.target);
            let reaction = dialogue.begin(Instant::now());
            self.numbers.insert(self.plan.call_id(number, *self.local.ip()), number);
            self.dialogues.push(dialogue);
            self.shared.begun.fetch_add(1, Ordering::Relaxed);
            self.react(number, &reaction)?;
        }
        Ok(None)
    }

    fn hang_up_what_is_up(&mut self, now: Instant) -> Result<()> {
        let numbers: Vec<usize> = self.up.iter().copied().collect();
        for number in numbers {
            let reaction = self.dialogues[number].hang_up(now);
            self.react(number, &reaction)?;
        }
        Ok(())
    }

    fn listen(&mut self, until: Instant) -> Result<()> {
        let Some((datagram, _)) = self.endpoint.receive(until)? else { return Ok(()) };
        let datagram = datagram.to_owned();
        let Some(message) = Message::read(&datagram) else { return Ok(()) };
        if message.status().is_none() {
            return Ok(());
        }
        let Some(number) = self.numbers.get(message.call_id()).copied() else { return Ok(()) };
        let reaction = self.dialogues[number].receive(&message, Instant::now());
        self.react(number, &reaction)
    }

    fn react(&mut self, number: usize, reaction: &Reaction) -> Result<()> {
        for (text, target) in &reaction.send {
            self.endpoint.send(text.as_bytes(), *target)?;
        }
        match reaction.alarm {
            Alarm::Keep => {}
            Alarm::Off => self.timers.clear(number),
            Alarm::At(at) => self.timers.set(number, at),
        }
        if self.dialogues[number].is_up() {
            self.up.insert(number);
        } else {
            self.up.remove(&number);
        }
        self.shared.up.store(self.up.len(), Ordering::Relaxed);
        if self.dialogues[number].is_over() && self.over.insert(number) {
            self.shared.over.store(self.over.len(), Ordering::Relaxed);
        }
        Ok(())
    }
}
