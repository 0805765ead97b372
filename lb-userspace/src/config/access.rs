//! The files that `[api]` names: who may use the API over TCP, and what the daemon shows to clients. Every complaint at once.

use super::{
    api::{Api, Identity},
    complaint::{Code, Complaints},
    load::Loaded,
    report::{Report, Words, quoted, words},
    untimely::{expires, untimely},
};
use jiff::Timestamp;
use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Arc,
};
use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use toml_span::Span;

/// Shortest and longest token.
const TOKEN: [usize; 2] = [32, 512];
/// Largest file: a chain of certificates takes some kilobytes.
const LARGEST: u64 = 256 * 1024;
/// What makes a token.
const MAKE: &str = "make one with `openssl rand -hex 32`";

/// What opens the API over TCP.
#[derive(Clone)]
pub struct Access {
    /// Where it is served.
    pub listen: SocketAddr,
    /// Whoever has it may do anything.
    pub token: String,
    /// Whoever has it may look.
    pub read_token: Option<String>,
    /// How connections are encrypted; `None`: not at all.
    pub tls: Option<Arc<ServerConfig>>,
    /// The last moment at which the daemon's certificate is valid; `None`: it has none, or that is not known.
    pub expires: Option<Timestamp>,
}

/// Without the tokens: logs are no place for them.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Reads the files that `[api]` of a configuration names; `None`: there is no `[api]`. `file_name` is what complaints call the
/// configuration, and `now` the time of day. With it comes what somebody should know about these files.
///
/// # Errors
/// Every file that cannot be used.
pub fn access(
    loaded: &Loaded,
    file_name: &str,
    now: Timestamp,
) -> Result<(Option<Access>, Complaints), Complaints> {
    let Some(api) = &loaded.config.api else { return Ok((None, Complaints::default())) };
    let mut report = Report::new(file_name, &loaded.text);
    let access = read(api, &loaded.text, now, &mut report);
    let refused = report.refuses();
    let complaints = report.finish(false);
    match access {
        Some(access) if !refused => Ok((Some(access), complaints)),
        _ => Err(complaints),
    }
}

fn read(api: &Api, text: &str, now: Timestamp, report: &mut Report<'_>) -> Option<Access> {
    // It was parsed before; a value's place is found again.
    let root = toml_span::parse(text).ok();
    let place = |key: &str| {
        let value = root.as_ref().and_then(|root| root.pointer(&format!("/api/{key}")));
        value.map(|value| value.span).unwrap_or_default()
    };
    let mut told = |key: &str, result: Result<String, Words>| {
        result.map_err(|words| report.error(Code::BadFile, place(key), words)).ok()
    };
    let full = told("token_file", token(&api.token_file));
    let read_token = api.read_token_file.as_deref().map(|path| told("read_token_file", token(path)));
    if let (Some(full), Some(Some(read))) = (&full, &read_token)
        && full == read
    {
        let words = words(
            "the token in this file is the one in `token_file`",
            "whoever may look could change everything",
            MAKE,
        );
        report.error(Code::BadFile, place("read_token_file"), words);
    }
    let tls = api.identity.as_ref().map(|identity| tls(identity, now, place, report));
    // The outer `None`: not named; the inner: not usable, and told.
    let read_token = match read_token {
        Some(read) => Some(read?),
        None => None,
    };
    let (tls, expires) = match tls {
        Some(tls) => tls.map(|(tls, expires)| (Some(Arc::new(tls)), expires))?,
        None => (None, None),
    };
    Some(Access { listen: api.listen, token: full?, read_token, tls, expires })
}

fn tls(
    identity: &Identity,
    now: Timestamp,
    place: impl Fn(&str) -> Span,
    report: &mut Report<'_>,
) -> Option<(ServerConfig, Option<Timestamp>)> {
    let chain = certificates(&identity.certificate)
        .map_err(|words| report.error(Code::BadFile, place("certificate"), words));
    let key = key(&identity.key).map_err(|words| report.error(Code::BadFile, place("key"), words));
    for words in chain.iter().flatten().filter_map(|one| untimely(one, now, &shown(&identity.certificate))) {
        report.warn(Code::Untimely, place("certificate"), words);
    }
    let chain = chain.ok()?;
    let expires = expires(&chain);
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key.ok()?);
    config
        .map_err(|e| {
            let message = format!("{} is not the key of the certificate", shown(&identity.key));
            let remedy = "name the two files that were made together; the daemon's own certificate is the first in its file";
            report.error(Code::BadFile, place("key"), words(message, format!("TLS: {e}"), remedy));
        })
        .ok()
        .map(|config| (config, expires))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Words> {
    let bytes = contents(path, Secrecy::Public)?;
    let remedy = "name a PEM file with the daemon's certificate and those between it and its authority";
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain =
        chain.map_err(|e| words(format!("{} is no certificate", shown(path)), e.to_string(), remedy))?;
    if chain.is_empty() {
        let message = format!("{} holds no certificate", shown(path));
        return Err(words(message, "no part of it begins with BEGIN CERTIFICATE", remedy));
    }
    Ok(chain)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Words> {
    let bytes = contents(path, Secrecy::Secret)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| {
        let message = format!("{} holds no private key", shown(path));
        words(message, e.to_string(), "name a PEM file with the key of the certificate, without a passphrase")
    })
}

/// The token in a file, which nobody else may read.
///
/// # Errors
/// Why it cannot be used: what, why and what to do.
pub fn token(path: &Path) -> Result<String, Words> {
    let bytes = contents(path, Secrecy::Secret)?;
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim_ascii();
    // What a header can carry (RFC 6750 section 2.1, b68token).
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let [least, most] = TOKEN;
    let reason = if !token.bytes().all(fits) {
        "a token is one line of letters, digits and - . _ ~ + / =".to_owned()
    } else if token.len() < least {
        format!("it has {} characters, which can be guessed: {least} is the least", token.len())
    } else if token.len() > most {
        format!("it has {} characters, and {most} is the most", token.len())
    } else {
        return Ok(token.to_owned());
    };
    Err(words(format!("{} holds no token", shown(path)), reason, MAKE))
}

/// Whether others may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Secret,
    Public,
}

impl Secrecy {
    /// Permissions that it must not have.
    const fn forbidden(self) -> u32 {
        match self {
            Secrecy::Secret => 0o027,
            Secrecy::Public => 0o022,
        }
    }
}

fn contents(path: &Path, secrecy: Secrecy) -> Result<Vec<u8>, Words> {
    let unreadable = |e: &io::Error| {
        let remedy = match e.kind() {
            io::ErrorKind::NotFound => "make it, or name another one",
            io::ErrorKind::PermissionDenied => {
                "let the daemon's group read it: `chgrp sipsteer` and `chmod 0640`"
            }
            _ => "check the file and the disk it lies on",
        };
        words(format!("cannot read {}", shown(path)), e.to_string(), remedy)
    };
    // A pipe would make everybody wait for whoever writes to it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|e| unreadable(&e))?;
    let metadata = file.metadata().map_err(|e| unreadable(&e))?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        let (message, remedy) = (format!("{} cannot be used", shown(path)), "name the file itself");
        return Err(words(message, format!("it is no plain file of at most {} KB", LARGEST >> 10), remedy));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & secrecy.forbidden() != 0 {
        let (may, reason, right) = match secrecy {
            Secrecy::Secret => ("read or written", "it would be no secret", "0640"),
            Secrecy::Public => ("written", "others could put theirs in its place", "0644"),
        };
        let message = format!("{} may be {may} by others: its mode is {mode:04o}", shown(path));
        return Err(words(message, reason, format!("run `chmod {right} {}`", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
