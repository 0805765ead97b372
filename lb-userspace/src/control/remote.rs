//! The API over TCP, where the configuration names an address. It has a thread of its own: what strangers make it compute and
//! wait for never holds up the daemon's loop.
//!
//! A connection carries one request, and everything about it is bounded: how many there are, how long each may take, how large
//! its head and its body may be.

use super::{
    api::{self, Within},
    daemon::Daemon,
    gate::{Gate, Peer},
    listener::listen,
};
use crate::{config::Access, view::status::ApiView};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Builder,
    sync::{Semaphore, oneshot},
    time::{sleep, timeout},
};

/// Most connections at a time; further ones wait.
const CONNECTIONS: usize = 64;
/// Longest time until a connection is encrypted, and again until its request's head is there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest life of a connection: the time for an answer, and some for its way.
const LIFE: Duration = Duration::from_secs(api::TIME_LIMIT.as_secs() + 15);
/// Largest head of a request, in bytes, and most header fields.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// How long to wait after nobody could be let in, mostly because there is no file descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

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
    /// Dropped first, which ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It panicked, and said so.
            let _ = thread.join();
        }
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
        if let (Some(open), Some(access)) = (&self.open, &self.wanted) {
            open.gate.change(access.clone());
        }
    }

    pub(super) fn view(&self) -> Option<ApiView> {
        self.wanted.as_ref().map(|access| ApiView {
            listen: access.listen.to_string(),
            tls: access.tls.is_some(),
            deaf: self.deaf.clone(),
        })
    }

    fn follow(&mut self) {
        let lives = |open: &Open| open.thread.as_ref().is_some_and(|thread| !thread.is_finished());
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
        let listener = listen(access.listen)?.into_std()?;
        let gate = Gate::new(access.clone());
        let router = api::guarded(within.clone(), gate.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let own = gate.clone();
        let thread = thread::Builder::new().name("api".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    ended = serve(listener, own, router) => if let Err(e) = ended {
                        tracing::error!("the API is no longer served: {e}");
                    },
                }
            });
            // Who counts dialogs meanwhile is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Open { address: access.listen, gate, stop: Some(stop), thread: Some(thread) })
    }
}

/// Lets people in, so many at a time.
async fn serve(listener: TcpListener, gate: Arc<Gate>, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Nobody closes the semaphore.
        let place = room.clone().acquire_owned().await.ok();
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!("nobody can be let in to the API: {e}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let router = router.clone().layer(Extension(Peer(from)));
        let gate = gate.clone();
        tokio::spawn(async move {
            match timeout(LIFE, encrypted(stream, &gate, router)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::debug!("a connection to the API from {from}: {why}"),
                Err(_) => tracing::debug!("a connection to the API from {from} took too long"),
            }
            drop(place);
        });
    }
}

async fn encrypted(stream: TcpStream, gate: &Gate, router: Router) -> Result<(), String> {
    match gate.acceptor() {
        Some(acceptor) => {
            let stream = timeout(PATIENCE, acceptor.accept(stream)).await;
            let stream = stream.map_err(|_| "nothing comes".to_owned())?.map_err(|e| format!("TLS: {e}"))?;
            exchange(stream, router).await
        }
        None => exchange(stream, router).await,
    }
}

/// One request and its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    router: Router,
) -> Result<(), String> {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    connection.await.map_err(|e| e.to_string())
}
