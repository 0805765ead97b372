//! The API: HTTP over a Unix socket, JSON. Who may open the socket may use it; over TCP, who shows a token.
//!
//! What each route takes and answers stands in [`super::openapi`], which a test compares with what is here.

use super::{
    change::{ChangeBody, ChangeRequest},
    gate::{self, Gate},
    listener::Door,
    openapi,
    reload::{ReloadBody, ReloadRequest},
    telemetry::PushBody,
};
use crate::{
    dataplane::{maps::Maps, pins::PinDir},
    failure::{Failure, Kind},
    telemetry::push::Pushed,
    view::{
        backend::BackendDetail,
        backends::count_dialogs,
        counters::CountersView,
        facts::Facts,
        health::HealthView,
        lists::{BackendList, DialogList, ServiceList, ZoneList},
        status::{ReadyView, Status},
    },
};
use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRef, FromRequest, Path as UrlPath, Request, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE},
    },
    middleware,
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
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
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
    /// Tell all backends, without their dialogs.
    Backends(Answer<BackendList>),
    /// Tell all zones.
    Zones(Answer<ZoneList>),
    /// Tell all services.
    Services(Answer<ServiceList>),
    /// Tell what is known of this Call-ID.
    Dialog(String, Answer<DialogList>),
    /// Tell what the maps do not say.
    Facts(Answer<Facts>),
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

/// What requests find within.
#[derive(Clone, Debug)]
pub struct Within {
    commands: Commands,
    pins: PinDir,
    /// Who counts dialogs: that takes a while, and one at a time does.
    counting: Arc<Semaphore>,
}

impl Within {
    /// The way to a daemon's loop, and where its maps are.
    pub fn new(commands: Commands, pins: PinDir) -> Within {
        Within { commands, pins, counting: Arc::new(Semaphore::new(1)) }
    }
}

impl FromRef<Within> for Commands {
    fn from_ref(within: &Within) -> Commands {
        within.commands.clone()
    }
}

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

/// Listens on `socket` and hands on what is asked.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(socket: &Path, within: Within) -> Result<(), Failure> {
    let cannot = |e: io::Error| Failure::bad("socket", format!("cannot listen on {}: {e}", socket.display()));
    // The lock says that no other daemon runs, so a socket that is there is a dead one's.
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(cannot(e)),
        _ => {}
    }
    let listener = UnixListener::bind(socket).map_err(cannot)?;
    fs::set_permissions(socket, Permissions::from_mode(0o660)).map_err(cannot)?;
    let router = finished(everything(), within);
    tokio::spawn(async move {
        if let Err(e) = axum::serve(Door(listener), router).await {
            tracing::error!("the API is gone: {e}");
        }
    });
    Ok(())
}

/// Everything, for those whom the gate lets in.
pub(super) fn guarded(within: Within, gate: Arc<Gate>) -> Router {
    // Before anything else is looked at, also of what is not there.
    finished(everything(), within).layer(middleware::from_fn_with_state(gate, gate::check))
}

/// What may be asked without a login: it changes nothing and names no call.
pub(super) fn watching_only(within: Within) -> Router {
    finished(watching(), within)
}

fn everything() -> Router<Within> {
    Router::new()
        .route("/v1/reload", post(reload))
        .route("/v1/confirm", post(confirm))
        .route("/v1/undo", post(undo))
        .route("/v1/change", post(change))
        .route("/v1/status", get(status))
        .route("/v1/facts", get(facts))
        .route("/v1/telemetry", post(push))
        .route("/v1/health", get(health))
        .route("/v1/backends", get(backends))
        .route("/v1/backends/{name}", get(backend))
        .route("/v1/zones", get(zones))
        .route("/v1/services", get(services))
        .route("/v1/dialogs/{call_id}", get(dialog))
        .route("/v1/counters", get(counters))
        .route("/v1/openapi.json", get(document))
        .merge(watching())
}

fn watching() -> Router<Within> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

fn finished(router: Router<Within>, within: Within) -> Router {
    router
        .fallback(not_there)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(within)
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

async fn backends(State(within): State<Within>) -> Response {
    let list = ask(&within.commands, Command::Backends).await;
    told(match list {
        Ok(list) => counted(&within, list).await,
        Err(failure) => Err(failure),
    })
}

/// The list with its dialogs, counted beside the daemon's loop: a million of them takes a quarter of a second.
async fn counted(within: &Within, mut list: BackendList) -> Result<BackendList, Failure> {
    // Nobody closes the semaphore.
    let turn = within.counting.clone().acquire_owned().await.ok();
    let pins = within.pins.clone();
    let count = move || {
        let _turn = turn;
        count_dialogs(&Maps::open(&pins)?, &mut list.backends)?;
        Ok(list)
    };
    spawn_blocking(count)
        .await
        .unwrap_or_else(|e| Err(Failure::bad("internal", format!("cannot count dialogs: {e}"))))
}

/// A name in a path, which percent-encoding may have made anything.
type Named = Result<UrlPath<String>, PathRejection>;

fn name(named: Named) -> Result<String, Failure> {
    named.map(|UrlPath(name)| name).map_err(|e| Failure::new(Kind::Usage, "bad_request", e.body_text()))
}

async fn backend(State(commands): State<Commands>, named: Named) -> Response {
    match name(named) {
        Ok(name) => told(ask(&commands, |answer| Command::Backend(name, answer)).await),
        Err(failure) => refuse(failure),
    }
}

async fn zones(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Zones).await)
}

async fn services(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Services).await)
}

async fn dialog(State(commands): State<Commands>, named: Named) -> Response {
    match name(named) {
        Ok(call_id) => told(ask(&commands, |answer| Command::Dialog(call_id, answer)).await),
        Err(failure) => refuse(failure),
    }
}

async fn facts(State(commands): State<Commands>) -> Response {
    told(ask(&commands, Command::Facts).await)
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
