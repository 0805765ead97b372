//! The API: HTTP over a Unix socket, JSON. Who may open the socket may use it.
//!
//! What each route takes and answers stands in [`super::openapi`], which a test compares with what is here.

use super::{
    change::{ChangeBody, ChangeRequest},
    listener::Door,
    openapi,
    reload::{ReloadBody, ReloadRequest},
    telemetry::PushBody,
};
use crate::{
    failure::{Failure, Kind},
    telemetry::push::Pushed,
    view::{
        backend::BackendDetail,
        counters::CountersView,
        health::HealthView,
        status::{ReadyView, Status},
    },
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Path as UrlPath, Request, State, rejection::JsonRejection},
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
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
pub const MAX_BODY: usize = 64 * 1024;
/// Longest time for an answer.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How metrics are written.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// What the socket asks of the daemon.
#[derive(Debug)]
pub enum Command {
    /// Take the configuration file anew, or tell what that would do.
    Reload(ReloadRequest, Answer<ReloadBody>),
    /// Keep the configuration that is on trial.
    Confirm(Answer<ConfirmBody>),
    /// Go back to the configuration before the one on trial.
    Undo(Answer<ReloadBody>),
    /// Change what operators want, or tell what that would do.
    Change(ChangeRequest, Answer<ChangeBody>),
    /// Tell how the backends are that are probed, by name.
    Health(Answer<BTreeMap<String, HealthView>>),
    /// Tell all of the backend of this name.
    Backend(String, Answer<BackendDetail>),
    /// Take a report about a backend.
    Push(Pushed, Answer<PushBody>),
    /// Tell the state.
    Status(Answer<Status>),
    /// Tell the counters.
    Counters(Answer<CountersView>),
    /// Tell the metrics.
    Metrics(Answer<String>),
    /// Say something.
    Alive(Answer<()>),
}

/// Hands commands to the daemon's loop.
pub type Commands = mpsc::Sender<Command>;

/// Body of an answer that is a failure.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The failure.
    pub error: Failure,
}

/// Body of the answer to a confirmation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmBody {
    /// Always true: otherwise there is an error.
    pub confirmed: bool,
}

/// Body of the answer of a daemon that is alive.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AliveBody {
    /// Always true: otherwise there is an error.
    pub alive: bool,
}

/// Listens on `socket` and hands what is asked to `commands`.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(socket: &Path, commands: Commands) -> Result<(), Failure> {
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
        .route("/v1/confirm", post(confirm))
        .route("/v1/undo", post(undo))
        .route("/v1/change", post(change))
        .route("/v1/status", get(status))
        .route("/v1/telemetry", post(push))
        .route("/v1/health", get(health))
        .route("/v1/backends/{name}", get(backend))
        .route("/v1/counters", get(counters))
        .route("/v1/openapi.json", get(document))
        .merge(watching());
    let router = finished(router, commands);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(Door(listener), router).await {
            tracing::error!("the API is gone: {e}");
        }
    });
    Ok(())
}

/// What may be asked over TCP too: it changes nothing and names no call.
pub(super) fn watching_only(commands: Commands) -> Router {
    finished(watching(), commands)
}

fn watching() -> Router<Commands> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

fn finished(router: Router<Commands>, commands: Commands) -> Router {
    router
        .fallback(not_there)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(commands)
}

async fn reload(State(commands): State<Commands>, request: Request) -> Response {
    // Without a body it is a plain reload.
    let empty = !request.headers().contains_key(CONTENT_TYPE)
        && request.headers().get(CONTENT_LENGTH).is_none_or(|length| length == "0");
    let request = if empty { Ok(ReloadRequest::default()) } else { body(request).await };
    match request {
        Ok(request) => told(ask(&commands, |answer| Command::Reload(request, answer)).await),
        Err(failure) => refuse(failure),
    }
}

async fn confirm(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Confirm).await)
}

async fn undo(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Undo).await)
}

async fn change(State(commands): State<Commands>, request: Request) -> Response {
    match body(request).await {
        Ok(request) => told(ask(&commands, |answer| Command::Change(request, answer)).await),
        Err(failure) => refuse(failure),
    }
}

async fn status(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Status).await)
}

async fn push(State(commands): State<Commands>, request: Request) -> Response {
    match body(request).await {
        Ok(request) => told(ask(&commands, |answer| Command::Push(request, answer)).await),
        Err(failure) => refuse(failure),
    }
}

async fn health(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Health).await)
}

async fn backend(State(commands): State<Commands>, UrlPath(name): UrlPath<String>) -> Response {
    told(ask(&commands, |answer| Command::Backend(name, answer)).await)
}

async fn counters(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Counters).await)
}

async fn document() -> Response {
    Json(openapi::document()).into_response()
}

async fn metrics(State(commands): State<Commands>) -> Response {
    match ask(&commands, Command::Metrics).await {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(failure) => refuse(failure),
    }
}

async fn healthz(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Alive).await.map(|()| AliveBody { alive: true }))
}

async fn readyz(State(commands): State<Commands>) -> Response {
    match ask(&commands, Command::Status).await {
        Ok(status) => {
            let view = ReadyView::of(&status);
            let code = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (code, Json(view)).into_response()
        }
        Err(failure) => refuse(failure),
    }
}

async fn not_there(request: Request) -> Response {
    let message = format!("there is nothing at {}", request.uri().path());
    let failure =
        Failure::new(Kind::Usage, "not_found", message).remedy("/v1/openapi.json lists what there is");
    (StatusCode::NOT_FOUND, Json(ErrorBody { error: failure })).into_response()
}

async fn wrong_method(request: Request) -> Response {
    let message = format!("{} is not answered at {}", request.method(), request.uri().path());
    let failure = Failure::new(Kind::Usage, "wrong_method", message)
        .remedy("/v1/openapi.json says by which method; what changes something is a POST");
    let allow = if request.method() == "POST" { "GET" } else { "POST" };
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allow)], Json(ErrorBody { error: failure })).into_response()
}

/// The document in a request: an object, since serde would take a list for one too.
async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let bad = |why: String| Failure::new(Kind::Usage, "bad_request", why);
    let json: Result<Json<Map<String, Value>>, JsonRejection> = Json::from_request(request, &()).await;
    let Json(fields) = json.map_err(|e| bad(e.body_text()))?;
    T::deserialize(Value::Object(fields))
        .map_err(|e| bad(format!("the document in the request is wrong: {e}")))
}

/// Puts a question to the daemon's loop and waits for the answer.
async fn ask<T>(commands: &Commands, question: impl FnOnce(Answer<T>) -> Command) -> Result<T, Failure> {
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

fn told<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(document) => Json(document).into_response(),
        Err(failure) => refuse(failure),
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
