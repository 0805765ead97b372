//! Pages of metrics over HTTP/1.1: one connection a page, no redirects, a bound on everything.

use super::{Desk, now};
use crate::{
    config::{Login, Place, Source, Url},
    failure::chain,
    tls,
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::handshake,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, path::Path, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Largest page.
const LARGEST_PAGE: usize = 4 << 20;
/// Largest file with a password.
const LARGEST_PASSWORD: usize = 1024;

/// Reads the page again and again.
pub(super) async fn run(desk: Desk, first: Duration) {
    let Some(mut reader) = desk.reader() else { return };
    let mut ticks = desk.ticks(first);
    loop {
        ticks.tick().await;
        let taken = now();
        let text = desk.in_time(page(&desk)).await;
        desk.hand_in(taken, text.and_then(|text| reader.read(&text, taken)));
    }
}

async fn page(desk: &Desk) -> Result<String, String> {
    let Source::Prometheus { url, login, ca_file, .. } = &desk.telemetry.source else {
        return Err("it has no page".to_owned());
    };
    let stream = connect(url, desk.address).await?;
    let host = url.place.host_for(desk.address);
    if url.tls {
        exchange(tls::encrypt(stream, &host, ca_file.as_deref()).await?, url, &host, login.as_ref()).await
    } else {
        exchange(stream, url, &host, login.as_ref()).await
    }
}

async fn connect(url: &Url, backend: SocketAddr) -> Result<TcpStream, String> {
    super::line::connect(&url.place, backend).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Url,
    host: &str,
    login: Option<&Login>,
) -> Result<String, String> {
    let broken = |e: &hyper::Error| format!("HTTP: {}", chain(e));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let mut request = Request::builder()
        .uri(&url.path)
        .header(HOST, Place { host: Some(host.to_owned()), ..url.place }.to_string())
        .header(USER_AGENT, concat!("sipsteer/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "text/plain")
        .header(CONNECTION, "close");
    if let Some(login) = login {
        let password = password(&login.password_file).await?;
        request = request.header(AUTHORIZATION, basic(&login.username, &password)?);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| format!("HTTP: {e}"))?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("HTTP: the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LARGEST_PAGE).collect().await;
        let body = body.map_err(|e| format!("HTTP: the page: {e}"))?.to_bytes();
        String::from_utf8(body.into()).map_err(|_| "the page is no UTF-8".to_owned())
    };
    // The connection makes progress beside it, and both end when either of them is dropped.
    tokio::pin!(asking);
    tokio::select! {
        biased;
        page = &mut asking => page,
        ended = connection => match ended {
            // What was received before the end may still be read.
            Ok(()) => asking.await,
            Err(e) => Err(broken(&e)),
        },
    }
}

/// The first line of a file.
pub(super) async fn password(path: &Path) -> Result<String, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", path.display());
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(owned)).await;
    let text = read.map_err(|e| cannot(&e))?.map_err(|e| cannot(&e))?;
    let line = text.lines().next().unwrap_or_default();
    match line.len() {
        0 => Err(cannot(&"its first line is empty")),
        LARGEST_PASSWORD.. => Err(cannot(&"its first line is too long for a password")),
        _ => Ok(line.to_owned()),
    }
}

/// RFC 7617 section 2.
fn basic(username: &str, password: &str) -> Result<HeaderValue, String> {
    let encoded = base64(format!("{username}:{password}").as_bytes());
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, at| word << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfcs() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        let value = basic("Aladdin", "open sesame").unwrap();
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(value.is_sensitive());
    }
}
