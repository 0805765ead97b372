//! Who may use the API over TCP: whoever shows a token (RFC 6750). One opens everything, another one only lets look.

use super::api::ErrorBody;
use crate::{
    config::Access,
    failure::{Failure, Kind},
};
use axum::{
    Json,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use subtle::{Choice, ConstantTimeEq};
use tokio_rustls::TlsAcceptor;

/// Shortest time between two lines in the log about strangers.
const QUIET: Duration = Duration::from_secs(10);

/// The tokens and the certificate that hold now.
#[derive(Debug)]
pub(super) struct Gate(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    /// `None`: nobody gets in any more.
    access: Option<Access>,
    /// Strangers since they were last told of, and when that was.
    strangers: u64,
    told: Option<Instant>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Gate {
    pub(super) fn new(access: Access) -> Arc<Gate> {
        Arc::new(Gate(Mutex::new(Inside { access: Some(access), strangers: 0, told: None })))
    }

    /// From now on these hold; `None`: nothing opens it. Requests that were let in are not touched.
    pub(super) fn change(&self, access: Option<Access>) {
        self.inside().access = access;
    }

    /// How the next connection is encrypted; `None`: not at all.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.inside().access.as_ref()?.tls.clone().map(TlsAcceptor::from)
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Every change of it is whole, whoever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may go on.
    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (shown.next(), shown.next()) else { return Err(Refusal::NoToken) };
        let token = bearer(value.as_bytes()).ok_or(Refusal::NoToken)?;
        let inside = self.inside();
        let access = inside.access.as_ref().ok_or(Refusal::WrongToken)?;
        // Both, always: the time tells nothing but lengths.
        let full = access.token.as_bytes().ct_eq(token);
        let read = access.read_token.as_ref();
        let read = read.map_or(Choice::from(0), |read| read.as_bytes().ct_eq(token));
        match (bool::from(full), bool::from(read)) {
            (true, _) => Ok(()),
            (false, true) if [Method::GET, Method::HEAD].contains(method) => Ok(()),
            (false, true) => Err(Refusal::MayOnlyLook),
            (false, false) => Err(Refusal::WrongToken),
        }
    }

    /// Tells of a stranger, but not of each.
    fn note(&self, peer: Option<&Peer>) {
        let mut inside = self.inside();
        inside.strangers += 1;
        let now = Instant::now();
        if inside.told.is_none_or(|told| now.duration_since(told) >= QUIET) {
            let from = peer.map_or_else(|| "somebody".to_owned(), |peer| peer.0.to_string());
            let strangers = inside.strangers;
            tracing::warn!("{strangers} requests to the API had no right token, the latest from {from}");
            (inside.strangers, inside.told) = (0, Some(now));
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme's case is nobody's business (RFC 7235 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// Why a request does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoToken,
    WrongToken,
    MayOnlyLook,
}

impl Refusal {
    fn failure(self) -> Failure {
        let failure = |code, message: &str| Failure::new(Kind::Permission, code, message);
        match self {
            Refusal::NoToken => failure("no_token", "the API is for those who show a token").remedy(
                "send the header `Authorization: Bearer TOKEN` once, with the token in api.token_file",
            ),
            Refusal::WrongToken => failure("wrong_token", "nobody has this token")
                .remedy("send the token in api.token_file, or in api.read_token_file to look"),
            Refusal::MayOnlyLook => failure("may_only_look", "who has this token may only look")
                .remedy("send the token in api.token_file"),
        }
    }

    fn answer(self) -> Response {
        let body = Json(ErrorBody { error: self.failure() });
        // RFC 6750 section 3.
        let challenge = match self {
            Refusal::NoToken => "Bearer realm=\"sipsteer\"",
            Refusal::WrongToken => "Bearer realm=\"sipsteer\", error=\"invalid_token\"",
            Refusal::MayOnlyLook => "Bearer realm=\"sipsteer\", error=\"insufficient_scope\"",
        };
        let status = match self {
            Refusal::MayOnlyLook => StatusCode::FORBIDDEN,
            Refusal::NoToken | Refusal::WrongToken => StatusCode::UNAUTHORIZED,
        };
        (status, [(WWW_AUTHENTICATE, challenge)], body).into_response()
    }
}

/// Lets a request go on, or answers it.
pub(super) async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            gate.note(request.extensions().get::<Peer>());
            refusal.answer()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn gate(read_token: Option<&str>) -> Arc<Gate> {
        let listen = "127.0.0.1:9443".parse().unwrap();
        let read_token = read_token.map(str::to_owned);
        Gate::new(Access { listen, token: "full".to_owned(), read_token, tls: None, expires: None })
    }

    fn admit(gate: &Gate, method: &Method, values: &[&str]) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        gate.admit(method, &headers)
    }

    #[test]
    fn only_a_right_token_opens_and_only_once() {
        let gate = gate(Some("read"));
        let open = |values: &[&str]| admit(&gate, &Method::POST, values);
        assert_eq!(open(&["Bearer full"]), Ok(()));
        assert_eq!(open(&["bEARER full"]), Ok(()));
        for none in
            [&[][..], &["full"], &["Bearer"], &["Bearer "], &["Basic full"], &["Bearer full", "Bearer full"]]
        {
            assert_eq!(open(none), Err(Refusal::NoToken), "{none:?}");
        }
        for wrong in ["Bearer fulL", "Bearer ful", "Bearer fulll", "Bearer  full", "Bearer full "] {
            assert_eq!(open(&[wrong]), Err(Refusal::WrongToken), "{wrong:?}");
        }
    }

    #[test]
    fn who_may_look_may_only_look() {
        let gate = gate(Some("read"));
        let may = |method: Method| admit(&gate, &method, &["Bearer read"]);
        assert_eq!((may(Method::GET), may(Method::HEAD)), (Ok(()), Ok(())));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            assert_eq!(may(method), Err(Refusal::MayOnlyLook));
        }
        assert_eq!(admit(&self::gate(None), &Method::GET, &["Bearer read"]), Err(Refusal::WrongToken));
    }

    #[test]
    fn another_token_holds_at_once() {
        let gate = gate(None);
        let access = gate.inside().access.clone().unwrap();
        gate.change(Some(Access { token: "new".to_owned(), ..access }));
        assert_eq!(admit(&gate, &Method::GET, &["Bearer full"]), Err(Refusal::WrongToken));
        assert_eq!(admit(&gate, &Method::GET, &["Bearer new"]), Ok(()));
        gate.change(None);
        assert_eq!(admit(&gate, &Method::GET, &["Bearer new"]), Err(Refusal::WrongToken));
        assert!(gate.acceptor().is_none());
    }
}
