//! Asks the daemon over its socket.

use super::api::{ErrorBody, TIME_LIMIT};
use crate::failure::{Failure, Kind};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::handshake,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{io, path::Path, time::Duration};
use tokio::{net::UnixStream, time::timeout};

/// Largest answer: the status of 1,024 backends takes half a megabyte.
const MAX_ANSWER: usize = 16 << 20;
/// How long a glance may take.
const GLANCE: Duration = Duration::from_secs(2);

/// Sends one request and reads the answer.
///
/// # Errors
/// [`Kind::NotRunning`] when nobody listens, [`Kind::Permission`] when the socket may not be opened, the daemon's own
/// failure, or [`Kind::TimedOut`].
pub fn call<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T, Failure> {
    call_with(socket, method, path, &())
}

/// The same with a document in the request.
///
/// # Errors
/// As [`call`].
pub fn call_with<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: &impl Serialize,
) -> Result<T, Failure> {
    // A little longer than the daemon allows itself, so that its own word comes first.
    call_within(socket, method, path, body, TIME_LIMIT + Duration::from_secs(2))
}

/// What the daemon adds to what the maps tell, if it answers soon: somebody looks because something may be wrong with it.
///
/// # Errors
/// As [`call`].
pub fn glance<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Failure> {
    call_within(socket, Method::GET, path, &(), GLANCE)
}

fn call_within<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: &impl Serialize,
    limit: Duration,
) -> Result<T, Failure> {
    let body = serde_json::to_vec(body)
        .map_err(|e| Failure::bad("internal", format!("cannot write the request as JSON: {e}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::bad("runtime", format!("cannot start: {e}")))?;
    runtime.block_on(async {
        match timeout(limit, exchange(socket, method, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                Kind::TimedOut,
                "timed_out",
                format!("the daemon did not answer within {} s", limit.as_secs()),
            )),
        }
    })
}

async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|e| unreachable(socket, &e))?;
    let broken =
        |e: &dyn std::fmt::Display| Failure::bad("api", format!("the daemon's answer is broken: {e}"));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "sipsteer")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| broken(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let good = answer.status().is_success();
    let body =
        Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| broken(&e))?.to_bytes();
    driver.abort();
    if good {
        return serde_json::from_slice(&body).map_err(|e| broken(&e));
    }
    let error: ErrorBody = serde_json::from_slice(&body).map_err(|e| broken(&e))?;
    Err(error.error)
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let message = format!("no daemon answers on {}: {error}", socket.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Kind::Permission, "permission", message)
            .remedy("run this as root, or as a member of the group that owns the socket"),
        _ => Failure::new(Kind::NotRunning, "not_running", message)
            .remedy("start it with `sipsteer run` (or `systemctl start sipsteer`)"),
    }
}
