//! The daemon's loop: one thread, woken by signals, the clock, the network and the socket.

use super::{
    api,
    reload::ReloadRequest,
    start::{self, Options},
};
use crate::{
    dataplane::netlink::{Event, Events},
    failure::Failure,
};
use futures_util::{FutureExt, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::pending, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

/// Time between two pushes to the kernel's queues.
const TICK: Duration = Duration::from_secs(1);
/// Time between two confirmations of all neighbours.
const REFRESH: Duration = Duration::from_secs(15);

/// Starts the daemon and runs it until it is told to stop.
///
/// # Errors
/// Why it did not start, or could not clean up.
pub fn run(options: Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::bad("runtime", format!("cannot start: {e}")))?;
    runtime.block_on(run_async(options))
}

async fn run_async(options: Options) -> Result<(), Failure> {
    raise_file_limit();
    // Before anything is attached, so that a signal during the start still cleans up what was done.
    let mut signals = Signals::new()?;
    let (places, ephemeral) = (options.places.clone(), options.ephemeral);
    let (mut daemon, events, mut ears) = tokio::select! {
        started = start::start(options) => started?,
        () = signals.stop() => return if ephemeral { crate::dataplane::remove(&places.pins).map(drop) } else { Ok(()) },
    };
    let mut events = Some(events);
    let (commands, mut inbox) = mpsc::channel(16);
    let within = api::Within::new(commands, places.pins.clone());
    api::serve(&places.socket(), within.clone())?;
    daemon.watching.connect(within.clone());
    daemon.serve_metrics();
    daemon.remote.connect(within);
    daemon.serve_api();
    daemon.announce_ready();
    tracing::info!("ready");

    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Skip);
    refresh.reset();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hangup.recv() => {
                // Told in the log; nobody waits for an answer.
                let _ = daemon.reload(&ReloadRequest::default()).await;
            }
            _ = tick.tick() => {
                if events.is_none() {
                    events = daemon.reconnect();
                }
                daemon.tick().await;
            }
            _ = refresh.tick() => daemon.refresh_neighbours().await,
            event = next(&mut events) => match event {
                Some(event) => {
                    daemon.on_event(event);
                    // A change of many routes is one change.
                    while let Some(Some(event)) = next(&mut events).now_or_never() {
                        daemon.on_event(event);
                    }
                    daemon.settle().await;
                }
                // Connected again at the next tick.
                None => events = None,
            },
            Some(heard) = ears.recv() => {
                // What comes at once is one change.
                let mut all = vec![heard];
                while let Ok(heard) = ears.try_recv() {
                    all.push(heard);
                }
                daemon.hear(all);
            }
            Some(command) = inbox.recv() => daemon.obey(command).await,
        }
    }
    daemon.announce_end();
    daemon.stop()
}

/// Lets us have as many sockets as we may: each backend that is probed has one, and the usual limit is 1,024.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, most) {
        tracing::debug!("cannot raise the limit on open files: {e}");
    }
}

/// The next event; `None` when the connection is lost, and nothing ever while there is none.
async fn next(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        let on =
            |kind| signal(kind).map_err(|e| Failure::bad("runtime", format!("cannot catch signals: {e}")));
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
