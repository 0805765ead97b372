//! Connections from anywhere, over TCP. Each carries one request, and everything about it is bounded: how many there are, how
//! long each may take, how large the head of its request may be.

use super::{api::TIME_LIMIT, gate::Peer};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// Longest time until a connection is encrypted, and again until its request's head is there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest life of a connection: the time for an answer, and some for its way.
pub(super) const LIFE: Duration = Duration::from_secs(TIME_LIMIT.as_secs() + 15);
/// Largest head of a request, in bytes, and most header fields.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
/// Connections that the kernel lets wait.
const BACKLOG: u32 = 64;
/// How long to wait after nobody could be let in, mostly because there is no file descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

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

/// Lets people in for ever, as many at a time as there is room for; further ones wait. `acceptor` says how the next one is
/// encrypted.
pub(super) async fn serve(
    listener: TcpListener,
    room: Arc<Semaphore>,
    acceptor: impl Fn() -> Option<TlsAcceptor>,
    router: Router,
) {
    loop {
        // Nobody closes the semaphore.
        let place = room.clone().acquire_owned().await.ok();
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!("nobody can be let in, calls are steered as before: {e}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let router = router.clone().layer(Extension(Peer(from)));
        let acceptor = acceptor();
        tokio::spawn(async move {
            match timeout(LIFE, encrypted(stream, acceptor, router)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::debug!("a connection from {from}: {why}"),
                Err(_) => tracing::debug!("a connection from {from} took too long"),
            }
            drop(place);
        });
    }
}

async fn encrypted(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) -> Result<(), String> {
    let Some(acceptor) = acceptor else { return exchange(stream, router).await };
    let stream = timeout(PATIENCE, acceptor.accept(stream)).await;
    exchange(stream.map_err(|_| "nothing comes".to_owned())?.map_err(|e| format!("TLS: {e}"))?, router).await
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
