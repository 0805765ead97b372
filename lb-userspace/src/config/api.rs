//! What `[api]` is made of: where the API is served over TCP, and what opens it.

use std::{net::SocketAddr, path::PathBuf};

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// `listen`: a loopback address, unless there is a certificate.
    pub listen: SocketAddr,
    /// `token_file`: whoever has this token may do anything.
    pub token_file: PathBuf,
    /// `read_token_file`: whoever has this token may look.
    pub read_token_file: Option<PathBuf>,
    /// `certificate` and `key`; `None`: nothing is encrypted.
    pub identity: Option<Identity>,
}

/// What the daemon shows to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `certificate`: PEM, the daemon's own first.
    pub certificate: PathBuf,
    /// `key`: PEM.
    pub key: PathBuf,
}
