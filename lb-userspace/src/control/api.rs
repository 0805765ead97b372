//! The API: HTTP over a Unix socket, JSON. Who may open the socket may use it.

use super::{
    change::{ChangeBody, ChangeRequest},
    telemetry::PushBody,
};
use crate::{
    core::summary::Summary,
    failure::{Failure, Kind},
    telemetry::push::Pushed,
    view::{backend::BackendDetail, health::HealthView, status::Status},
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path as UrlPath, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Largest request body; ours are one change of one thing.
const MAX_BODY: usize = 64 * 1024;
/// Longest time for an answer.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// What the socket asks of the daemon.
#[derive(Debug)]
pub enum Command {
    /// Take the configuration file anew.
    Reload(oneshot::Sender<Result<Summary, Failure>>),
    /// Change what operators want, or tell what that would do.
    Change(ChangeRequest, oneshot::Sender<Result<ChangeBody, Failure>>),
    /// Tell how the backends are that are probed, by name.
    Health(oneshot::Sender<Result<BTreeMap<String, HealthView>, Failure>>),
    /// Tell all of the backend of this name.
    Backend(String, oneshot::Sender<Result<BackendDetail, Failure>>),
    /// Take a report about a backend.
    Push(Pushed, oneshot::Sender<Result<PushBody, Failure>>),
    /// Tell the state.
    Status(oneshot::Sender<Result<Status, Failure>>),
}

/// Body of an answer that is a failure.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The failure.
    pub error: Failure,
}

/// Body of the answer to a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReloadBody {
    /// What changed, as a sentence.
    pub changes: String,
    /// What changed, by name.
    pub plan: serde_json::Value,
}

/// Listens on `socket` and hands what is asked to `commands`.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(socket: &Path, commands: mpsc::Sender<Command>) -> Result<(), Failure> {
    let cannot = |e: io::Error| Failure::bad("socket", format!("cannot listen on {}: {e}", socket.display()));
    // The lock says that no other daemon runs, so a socket that is there is a dead one's.
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(cannot)?;
    fs::set_permissions(socket, Permissions::from_mode(0o660)).map_err(cannot)?;
    let router = Router::new()
        .route("/v1/reload", post(reload))
        .route("/v1/change", post(change))
        .route("/v1/status", get(status))
        .route("/v1/telemetry", post(push))
        .route("/v1/health", get(health))
        .route("/v1/backends/{name}", get(backend))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(commands);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, router).await {
            tracing::error!("the API is gone: {e}");
        }
    });
    Ok(())
}

async fn reload(State(commands): State<mpsc::Sender<Command>>) -> Response {
    match ask(&commands, Command::Reload).await {
        Ok(summary) => {
            let plan = serde_json::to_value(&summary).unwrap_or_default();
            Json(ReloadBody { changes: summary.to_string(), plan }).into_response()
        }
        Err(failure) => refuse(failure),
    }
}

async fn change(
    State(commands): State<mpsc::Sender<Command>>,
    request: Result<Json<ChangeRequest>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(e) => return refuse(Failure::new(Kind::Usage, "bad_request", e.body_text())),
    };
    match ask(&commands, |answer| Command::Change(request, answer)).await {
        Ok(body) => Json(body).into_response(),
        Err(failure) => refuse(failure),
    }
}

async fn push(
    State(commands): State<mpsc::Sender<Command>>,
    request: Result<Json<Pushed>, JsonRejection>,
) -> Response {
    let request = match request {
        Ok(Json(request)) => request,
        Err(e) => return refuse(Failure::new(Kind::Usage, "bad_request", e.body_text())),
    };
    match ask(&commands, |answer| Command::Push(request, answer)).await {
        Ok(body) => Json(body).into_response(),
        Err(failure) => refuse(failure),
    }
}

async fn status(State(commands): State<mpsc::Sender<Command>>) -> Response {
    match ask(&commands, Command::Status).await {
        Ok(status) => Json(status).into_response(),
        Err(failure) => refuse(failure),
    }
}

async fn health(State(commands): State<mpsc::Sender<Command>>) -> Response {
    match ask(&commands, Command::Health).await {
        Ok(health) => Json(health).into_response(),
        Err(failure) => refuse(failure),
    }
}

async fn backend(State(commands): State<mpsc::Sender<Command>>, UrlPath(name): UrlPath<String>) -> Response {
    match ask(&commands, |answer| Command::Backend(name, answer)).await {
        Ok(detail) => Json(detail).into_response(),
        Err(failure) => refuse(failure),
    }
}

/// Puts a question to the daemon's loop and waits for the answer.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    question: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command,
) -> Result<T, Failure> {
    let stopping = || Failure::new(Kind::NotRunning, "stopping", "the daemon is stopping");
    let (answer, answered) = oneshot::channel();
    let wait = async {
        commands.send(question(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    };
    match timeout(TIME_LIMIT, wait).await {
        Ok(result) => result,
        Err(_) => Err(Failure::new(
            Kind::TimedOut,
            "timed_out",
            format!("the daemon did not answer within {} s", TIME_LIMIT.as_secs()),
        )),
    }
}

fn refuse(failure: Failure) -> Response {
    let status = match failure.kind {
        Kind::Bad | Kind::Usage => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::NotRunning => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Permission => StatusCode::FORBIDDEN,
        Kind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
    };
    (status, Json(ErrorBody { error: failure })).into_response()
}
