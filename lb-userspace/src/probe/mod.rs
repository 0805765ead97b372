//! Probes: the daemon asks every backend whether it is well, from its own address. What the answers mean is the business of
//! [`crate::core::health`].
//!
//! * [`message`]: the OPTIONS and reading its answer. * [`options`], [`tcp`]: asking. * [`room`]: how many at a
//!   time. * This file: one task for each backend.
//!
//! Answers go to a port of the daemon, which is no service's, so the program leaves them to the host. Time is monotonic
//! throughout: nothing here asks what time it is.

pub mod message;
mod options;
mod room;
mod tcp;

pub use room::Room;

use crate::{
    config::{Algorithm, How, Probing},
    core::health::Outcome,
    dataplane::clock::{monotonic, steady as now},
};
use rustix::rand::{GetRandomFlags, getrandom};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::Instant,
};

/// No backend is asked more often than this, whoever is in a hurry.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the backend.
    pub backend: String,
    /// Its address.
    pub address: SocketAddr,
    /// How it is asked.
    pub probing: Probing,
    /// How it may say what it can take.
    pub algorithms: Vec<Algorithm>,
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who was asked.
    pub target: Arc<Target>,
    /// When it was asked, on the daemon's steady clock: what an answer says was true after that.
    pub asked: Duration,
    /// When this was known.
    pub at: Duration,
    /// What became of it.
    pub outcome: Outcome,
    /// The answer as it came, cut at some kilobytes: what a server says about its load stands in it (RFC 7339 section 4).
    /// Empty: there is none.
    pub answer: Vec<u8>,
}

/// A backend that is asked again and again, until this is dropped.
#[derive(Debug)]
pub struct Probe {
    target: Arc<Target>,
    hurry: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Probe {
    /// Starts asking. What comes of it goes to `ears`. To be called within a runtime.
    pub fn start(target: Target, room: Room, ears: mpsc::Sender<Heard>) -> Probe {
        let (target, hurry) = (Arc::new(target), Arc::new(Notify::new()));
        let teller = Teller { target: target.clone(), room, ears };
        let pace = Pace { interval: target.probing.interval, hurry: hurry.clone(), due: Instant::now() };
        let task = match target.probing.how {
            How::Options => tokio::spawn(options::ask_for_ever(teller, pace)),
            How::Tcp => tokio::spawn(tcp::ask_for_ever(teller, pace)),
        };
        Probe { target, hurry, task }
    }

    /// Who is asked, and how.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks at once, or a second after the latest probe.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what became of probes.
struct Teller {
    target: Arc<Target>,
    room: Room,
    ears: mpsc::Sender<Heard>,
}

impl Teller {
    /// Nobody listens when the daemon is about to end.
    async fn tell(&self, asked: Duration, outcome: Outcome, answer: Vec<u8>) {
        let (target, at) = (self.target.clone(), now());
        let _ = self.ears.send(Heard { target, asked, at, outcome, answer }).await;
    }
}

/// When the next probe is due.
struct Pace {
    interval: Duration,
    hurry: Arc<Notify>,
    due: Instant,
}

impl Pace {
    /// The first probe, somewhere within an interval: those of a thousand backends are spread over it.
    fn begin(&mut self) {
        self.due = Instant::now() + self.interval.mul_f64(random_ratio());
    }

    /// The probe after one that goes out now. Somewhat later each time, so that probes do not fall into step with each other
    /// or with whatever else happens every second. What a stopped process missed is not made up for.
    fn went_out(&mut self) -> Instant {
        let sent = Instant::now();
        self.due = sent + self.interval + (self.interval / 10).mul_f64(random_ratio());
        sent
    }

    /// Waits until it is due, or somebody is in a hurry.
    async fn wait(&self, sent: Option<Instant>) {
        let least = sent.map_or_else(Instant::now, |sent| (sent + LEAST_INTERVAL).min(self.due));
        tokio::select! {
            () = tokio::time::sleep_until(self.due) => {}
            () = self.hurry.notified() => tokio::time::sleep_until(least).await,
        }
    }
}

/// Random bytes. The kernel has some as soon as it runs a daemon; without them, the clock's will do: they have to differ from
/// others, not to be secret.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(N) {
        let clock = monotonic().wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        bytes.iter_mut().zip(clock.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
    bytes
}

/// From 0 to 1.
fn random_ratio() -> f64 {
    f64::from(u32::from_le_bytes(random())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
