//! Letting people in: at the daemon's socket, and over TCP, where the configuration names an address for metrics: there is no
//! login there, so nothing can be changed.

use super::{
    api::{self, Within},
    daemon::Daemon,
};
use crate::view::status::MetricsView;
use axum::{Router, serve::Listener};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream, unix},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::sleep,
};

/// How long to wait after nobody could be let in, mostly because there is no file descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// The daemon's socket.
pub(super) struct Door(pub(super) UnixListener);

impl Listener for Door {
    type Io = UnixStream;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (UnixStream, unix::SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(e) => {
                    tracing::error!("commands cannot be let in, calls are steered as before: {e}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.0.local_addr()
    }
}

/// Most connections at a time; further ones wait. Prometheus keeps one.
const CONNECTIONS: usize = 16;
/// Connections that the kernel lets wait.
const BACKLOG: u32 = 64;

/// What listens, if anything.
#[derive(Debug, Default)]
pub(super) struct Watching {
    within: Option<Within>,
    wanted: Option<SocketAddr>,
    task: Option<JoinHandle<()>>,
    deaf: Option<String>,
}

impl Watching {
    /// How requests get to the daemon.
    pub(super) fn connect(&mut self, within: Within) {
        self.within = Some(within);
    }

    pub(super) fn view(&self) -> Option<MetricsView> {
        self.wanted.map(|address| MetricsView { listen: address.to_string(), deaf: self.deaf.clone() })
    }

    fn follow(&mut self, wanted: Option<SocketAddr>) {
        let lives = self.task.as_ref().is_some_and(|task| !task.is_finished());
        if self.wanted == wanted && (lives || wanted.is_none()) {
            return;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let (Some(address), Some(within)) = (wanted, &self.within) else {
            (self.wanted, self.deaf) = (wanted, None);
            return;
        };
        let told = self.wanted == wanted && self.deaf.is_some();
        self.wanted = wanted;
        match listen(address) {
            Ok(listener) => {
                tracing::info!("metrics are served at http://{address}/metrics");
                self.task = Some(tokio::spawn(serve(listener, api::watching_only(within.clone()))));
                self.deaf = None;
            }
            Err(e) => {
                if !told {
                    tracing::error!("no metrics at {address}, trying again every second: {e}");
                }
                self.deaf = Some(e.to_string());
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Daemon {
    /// Serves metrics at the address of the configuration and nowhere else; tries again where that did not work.
    pub(super) fn serve_metrics(&mut self) {
        self.watching.follow(self.config.metrics);
    }
}

/// Listens at an address.
///
/// # Errors
/// The kernel's: somebody else listens there, or it is no address of this host.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A daemon that was just replaced leaves connections behind.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    if let Err(e) = axum::serve(Bounded { listener, room }, router).await {
        tracing::error!("metrics are no longer served: {e}");
    }
}

/// Takes so many connections and no more, so that strangers cannot use up the daemon's file descriptors.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let permit = self.room.clone().acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, _permit: permit }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(&self.listener)
    }
}

/// A connection and its place among those that there may be.
struct Connection {
    stream: TcpStream,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
