//! Asks the daemon, over its socket or over TCP.

use super::api::{ErrorBody, TIME_LIMIT};
use crate::{
    config::{Url, token},
    failure::{Failure, Kind},
    tls,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::handshake,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Largest answer: the status of 1,024 backends takes half a megabyte.
const MAX_ANSWER: usize = 16 << 20;
/// How long a glance may take.
const GLANCE: Duration = Duration::from_secs(2);

/// The way to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its socket, on this host.
    Socket(PathBuf),
    /// Its address, anywhere.
    Remote(Remote),
}

/// A daemon that is reached over TCP.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    url: Url,
    token: String,
    ca_file: Option<PathBuf>,
}

/// Without the token.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Socket(path) => write!(f, "on {}", path.display()),
            Way::Remote(remote) => {
                write!(f, "at http{}://{}", if remote.url.tls { "s" } else { "" }, remote.url.place)
            }
        }
    }
}

impl Remote {
    /// A daemon at `https://host:port`, or at `http://` of this host's loopback; `ca_file`: whose certificates count instead
    /// of the host's.
    ///
    /// # Errors
    /// When the address cannot be used, or the token's file.
    pub fn new(address: &str, token_file: &Path, ca_file: Option<PathBuf>) -> Result<Remote, Failure> {
        let wrong = |why: &str| {
            Failure::new(Kind::Usage, "api_address", format!("{address:?} is no address of an API: {why}"))
                .remedy("write for instance --api https://lb1.example.com:9443")
        };
        let url = Url::parse(address).map_err(wrong)?;
        if url.path != "/" {
            return Err(wrong("it has a path"));
        }
        let host =
            url.place.host.clone().ok_or_else(|| wrong("there is no backend whose host it could be"))?;
        if !url.tls && !is_loopback(&host) {
            return Err(wrong("the token would cross the network for everybody to see"));
        }
        let token = token(token_file).map_err(|words| {
            let message = format!("{}: {}", words.message, words.reason);
            Failure::new(Kind::Usage, "token_file", message).remedy(words.remedy)
        })?;
        Ok(Remote { url, token, ca_file })
    }

    fn host(&self) -> &str {
        self.url.place.host.as_deref().unwrap_or_default()
    }
}

/// Whether nothing leaves this host.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Sends one request and reads the answer.
///
/// # Errors
/// [`Kind::NotRunning`] when nobody listens, [`Kind::Permission`] when the socket may not be opened or the token is wrong, the
/// daemon's own failure, or [`Kind::TimedOut`].
pub fn call<T: DeserializeOwned>(way: &Way, method: Method, path: &str) -> Result<T, Failure> {
    call_with(way, method, path, &())
}

/// The same with a document in the request.
///
/// # Errors
/// As [`call`].
pub fn call_with<T: DeserializeOwned>(
    way: &Way,
    method: Method,
    path: &str,
    body: &impl Serialize,
) -> Result<T, Failure> {
    // A little longer than the daemon allows itself, so that its own word comes first.
    call_within(way, method, path, body, TIME_LIMIT + Duration::from_secs(2))
}

/// What the daemon adds to what the maps tell, if it answers soon: somebody looks because something may be wrong with it.
///
/// # Errors
/// As [`call`].
pub fn glance<T: DeserializeOwned>(way: &Way, path: &str) -> Result<T, Failure> {
    call_within(way, Method::GET, path, &(), GLANCE)
}

/// A part of a path, in percent-encoding (RFC 3986 section 2.1).
pub fn encoded(part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    part.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn call_within<T: DeserializeOwned>(
    way: &Way,
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
    let request = request(way, method, path, body)?;
    runtime.block_on(async {
        let asking = async {
            let bytes = send(way, request).await?;
            serde_json::from_slice(&bytes).map_err(|e| broken(&e))
        };
        match timeout(limit, asking).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                Kind::TimedOut,
                "timed_out",
                format!("the daemon did not answer within {} s", limit.as_secs()),
            )),
        }
    })
}

fn request(way: &Way, method: Method, path: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    request = match way {
        Way::Socket(_) => request.header(HOST, "sipsteer"),
        Way::Remote(remote) => {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", remote.token)).map_err(|e| broken(&e))?;
            value.set_sensitive(true);
            request.header(HOST, remote.url.place.to_string()).header(AUTHORIZATION, value)
        }
    };
    request.body(Full::new(Bytes::from(body))).map_err(|e| broken(&e))
}

async fn send(way: &Way, request: Request<Full<Bytes>>) -> Result<Bytes, Failure> {
    match way {
        Way::Socket(path) => {
            exchange(UnixStream::connect(path).await.map_err(|e| unreachable(way, &e))?, request).await
        }
        Way::Remote(remote) => {
            let place = (remote.host(), remote.url.place.port);
            let stream = TcpStream::connect(place).await.map_err(|e| unreachable(way, &e))?;
            if !remote.url.tls {
                return exchange(stream, request).await;
            }
            let encrypted = tls::encrypt(stream, remote.host(), remote.ca_file.as_deref()).await;
            let encrypted = encrypted.map_err(|why| {
                Failure::bad("tls", format!("the daemon {way} is not trusted: {why}")).remedy(
                    "name the file with the certificate of its authority by `--ca`, and the daemon as that certifies it",
                )
            })?;
            exchange(encrypted, request).await
        }
    }
}

fn broken(e: &dyn fmt::Display) -> Failure {
    Failure::bad("api", format!("the daemon's answer is broken: {e}"))
}

/// The body of a good answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Bytes, Failure> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let good = answer.status().is_success();
    let body =
        Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| broken(&e))?.to_bytes();
    driver.abort();
    if good {
        return Ok(body);
    }
    let error: ErrorBody = serde_json::from_slice(&body).map_err(|e| broken(&e))?;
    Err(error.error)
}

fn unreachable(way: &Way, error: &io::Error) -> Failure {
    let message = format!("no daemon answers {way}: {error}");
    match (way, error.kind()) {
        (Way::Socket(_), io::ErrorKind::PermissionDenied) => {
            Failure::new(Kind::Permission, "permission", message)
                .remedy("run this as root, or as a member of the group that owns the socket")
        }
        (Way::Socket(_), _) => Failure::new(Kind::NotRunning, "not_running", message)
            .remedy("start it with `sipsteer run` (or `systemctl start sipsteer`)"),
        (Way::Remote(_), _) => Failure::new(Kind::NotRunning, "not_running", message)
            .remedy("check the address, and that `[api]` of that daemon's configuration names it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_token_goes_to_loopbacks_and_through_tls_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let way =
            |address: &str| Remote::new(address, &path, None).map(|remote| Way::Remote(remote).to_string());
        for (address, told) in [
            ("https://lb1.example.com:9443", "at https://lb1.example.com:9443"),
            ("https://10.0.0.1/", "at https://10.0.0.1:443"),
            ("http://127.0.0.1:9443", "at http://127.0.0.1:9443"),
            ("http://localhost:9443", "at http://localhost:9443"),
        ] {
            assert_eq!(way(address).unwrap(), told);
        }
        for wrong in [
            "lb1:9443",
            "http://lb1.example.com:9443",
            "http://10.0.0.1:9443",
            "https://lb1/v1",
            "https://{host}:1",
            "ftp://127.0.0.1:1",
        ] {
            let failure = way(wrong).unwrap_err();
            assert_eq!((failure.code.as_ref(), failure.kind), ("api_address", Kind::Usage), "{wrong}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let failure = way("https://lb1:1").unwrap_err();
        assert!(failure.to_string().contains("chmod 0640"), "{failure}");
        let remote = Remote { url: Url::parse("https://a").unwrap(), token: "secret".into(), ca_file: None };
        assert!(!format!("{:?}", Way::Remote(remote)).contains("secret"));
    }

    #[test]
    fn a_part_of_a_path_stays_one() {
        assert_eq!(encoded("a-1.b_c~"), "a-1.b_c~");
        assert_eq!(encoded("../x?y=1%#ü"), "..%2Fx%3Fy%3D1%25%23%C3%BC");
    }
}
