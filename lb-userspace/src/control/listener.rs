//! Letting people in: at the daemon's socket, and over TCP, where the configuration names an address for metrics: there is no
//! login there, so nothing can be changed.

use super::{
    api::{self, Within},
    daemon::Daemon,
    guests,
};
use crate::view::status::MetricsView;
use axum::serve::Listener;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream, unix},
    sync::Semaphore,
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

/// Most connections for metrics at a time. Prometheus needs one.
const CONNECTIONS: usize = 16;

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
        match guests::listen(address) {
            Ok(listener) => {
                tracing::info!("metrics are served at http://{address}/metrics");
                let router = api::watching_only(within.clone());
                let room = Arc::new(Semaphore::new(CONNECTIONS));
                self.task = Some(tokio::spawn(guests::serve(listener, room, || None, router)));
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
