//! The API over TCP, where the configuration names an address. It has a thread of its own: what strangers make it compute and
//! wait for never holds up the daemon's loop.

use super::{
    api::{self, Within},
    daemon::Daemon,
    gate::Gate,
    guests,
};
use crate::{config::Access, view::status::ApiView, wall};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};
use tokio::{
    net::TcpListener,
    runtime::Builder,
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// Most connections at a time; further ones wait.
const CONNECTIONS: u32 = 64;

/// What listens, if anything.
#[derive(Debug, Default)]
pub(super) struct Remote {
    within: Option<Within>,
    wanted: Option<Access>,
    open: Option<Open>,
    deaf: Option<String>,
}

/// An address that is served.
#[derive(Debug)]
struct Open {
    address: SocketAddr,
    gate: Arc<Gate>,
    /// Dropped first, after which nobody else is let in.
    stop: Option<oneshot::Sender<()>>,
    /// Its other half is dropped when nobody listens any more.
    closed: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Frees the address. Who was let in gets an answer, also whoever asked for the change that led here.
impl Drop for Open {
    fn drop(&mut self) {
        self.stop = None;
        // Nothing is ever sent.
        let _ = self.closed.recv();
    }
}

impl Remote {
    /// Nothing listens yet.
    pub(super) fn new(wanted: Option<Access>) -> Remote {
        Remote { wanted, ..Remote::default() }
    }

    /// How requests get to the daemon.
    pub(super) fn connect(&mut self, within: Within) {
        self.within = Some(within);
    }

    /// From now on this is wanted.
    pub(super) fn want(&mut self, access: Option<Access>) {
        self.wanted = access;
        self.deaf = None;
        if let Some(open) = &self.open {
            open.gate.change(self.wanted.clone());
        }
    }

    pub(super) fn view(&self) -> Option<ApiView> {
        self.wanted.as_ref().map(|access| ApiView {
            listen: access.listen.to_string(),
            tls: access.tls.is_some(),
            certificate_expires: access.expires.map(|at| at.to_string()),
            certificate_seconds: access.expires.map(|at| at.as_second() - wall::now().as_second()),
            deaf: self.deaf.clone(),
        })
    }

    fn follow(&mut self) {
        let lives = |open: &Open| !open.thread.is_finished();
        let wanted = self.wanted.as_ref().map(|access| access.listen);
        if self.open.as_ref().is_some_and(|open| Some(open.address) == wanted && lives(open)) {
            return;
        }
        // Its address may be a part of the next one.
        self.open = None;
        let (Some(access), Some(within)) = (&self.wanted, &self.within) else { return };
        let (address, scheme) = (access.listen, if access.tls.is_some() { "https" } else { "http" });
        match Open::new(access, within) {
            Ok(open) => {
                tracing::info!("the API is served at {scheme}://{address}");
                (self.open, self.deaf) = (Some(open), None);
            }
            Err(e) => {
                if self.deaf.is_none() {
                    tracing::error!("no API at {address}, trying again every second: {e}");
                }
                self.deaf = Some(e.to_string());
            }
        }
    }
}

impl Daemon {
    /// Serves the API at the address of the configuration and nowhere else; tries again where that did not work.
    pub(super) fn serve_api(&mut self) {
        self.remote.follow();
    }
}

impl Open {
    fn new(access: &Access, within: &Within) -> io::Result<Open> {
        let listener = guests::listen(access.listen)?.into_std()?;
        let gate = Gate::new(access.clone());
        let router = api::guarded(within.clone(), gate.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (closing, closed) = mpsc::channel();
        let own = gate.clone();
        let thread = thread::Builder::new().name("api".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listener = match TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(e) => return tracing::error!("the API is not served: {e}"),
                };
                let room = Arc::new(Semaphore::new(CONNECTIONS as usize));
                tokio::select! {
                    _ = stopped => {}
                    () = guests::serve(listener, room.clone(), || own.acceptor(), router) => {}
                }
                drop(closing);
                // Whoever was let in has gone when the whole room is free.
                let _ = timeout(guests::LIFE, room.acquire_many(CONNECTIONS)).await;
            });
            // Who counts dialogs meanwhile is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Open { address: access.listen, gate, stop: Some(stop), closed, thread })
    }
}
