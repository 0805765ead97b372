//! What `[controller]` and `[[telemetry]]` are made of: how backends are fed, and who says how they are.

use crate::telemetry::mapping::Mapping;
use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// `[controller]`, all optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// `warm_up`: time in which a backend that came up gets from a tenth of its share to the whole.
    pub warm_up: Duration,
    /// `cpu_target`: how busy its processors may be before it gets less, in units of 1/1024.
    pub cpu_target: u16,
    /// `panic_threshold`: part of a service's backends that has to answer probes for the others to be taken for dead whatever
    /// calls say, in units of 1/1024.
    pub panic_threshold: u16,
}

impl Default for Control {
    fn default() -> Control {
        Control { warm_up: Duration::from_secs(30), cpu_target: 819, panic_threshold: 512 }
    }
}

/// `[[telemetry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Unique name.
    pub name: String,
    /// `type`, and what belongs to it.
    pub source: Source,
    /// `backends`, or those of `zone`.
    pub backends: Vec<String>,
    /// `interval`: time between two questions.
    pub interval: Duration,
    /// `timeout`: longest time for an answer.
    pub timeout: Duration,
    /// `valid`: how long an answer is believed, from the question on.
    pub valid: Duration,
    /// `legs`: how many channels of the server a call takes.
    pub legs: u32,
}

/// `type` of a `[[telemetry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `prometheus`: a page of metrics over HTTP.
    Prometheus {
        /// `url`.
        url: Url,
        /// `profile`, and `map` over it.
        mapping: Mapping,
        /// `username` and `password_file`.
        login: Option<Login>,
        /// `ca_file`: whose certificates count instead of the host's.
        ca_file: Option<PathBuf>,
    },
    /// `agent`: HAProxy's agent-check over TCP.
    Agent {
        /// `address`.
        address: Place,
        /// `send`: what is sent first.
        send: String,
    },
    /// `freeswitch`: HEARTBEAT of its event socket.
    Freeswitch {
        /// `address`.
        address: Place,
        /// `password_file`.
        password_file: PathBuf,
    },
    /// `overload-control`: what answers to probes say (RFC 7339).
    OverloadControl {
        /// `algorithms`: what probes offer, `loss` among it.
        algorithms: Vec<Algorithm>,
    },
    /// `push`: reports that come by the API.
    Push,
}

/// How a server says what it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Which part of the requests it does not want (RFC 7339 section 7).
    Loss,
    /// How many requests it wants in a second (RFC 7415).
    Rate,
}

/// Name and password for HTTP's basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `username`.
    pub username: String,
    /// `password_file`: read for every question, so that it may be changed.
    pub password_file: PathBuf,
}

/// An `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub tls: bool,
    /// Host and port.
    pub place: Place,
    /// Path and query, from the slash on.
    pub path: String,
}

/// Host and port, of which the host may be `{host}`: the address of the backend in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `None`: that of the backend.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

impl Place {
    /// What stands for `{host}` in a configuration.
    pub const HOST: &'static str = "{host}";

    /// Reads `host:port`; without a port it is `usual`, where there is one. An IPv6 address stands in brackets (RFC 3986 section
    /// 3.2.2).
    pub fn parse(text: &str, usual: Option<u16>) -> Result<Place, &'static str> {
        let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)),
            None => (text, usual),
        };
        let port = port.ok_or("the port is missing, or is not from 1 to 65535")?;
        if host == Place::HOST {
            return Ok(Place { host: None, port });
        }
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr =
                address.parse().map_err(|_| "what stands in brackets is no IPv6 address")?;
            return Ok(Place { host: Some(address.to_string()), port });
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let right = !host.is_empty() && host.len() <= 253 && host.chars().all(fits);
        if !right {
            return Err("the host is no name and no address");
        }
        Ok(Place { host: Some(host.to_owned()), port })
    }

    /// The host's name or address for a backend at this address.
    pub fn host_for(&self, backend: SocketAddr) -> String {
        self.host.clone().unwrap_or_else(|| backend.ip().to_string())
    }
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("it does not start with http:// or https://")?;
        let (tls, usual) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err("it does not start with http:// or https://"),
        };
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if place.contains('@') {
            return Err("it holds a user, who belongs into `username` and `password_file`");
        }
        let path = if path.is_empty() { "/" } else { path };
        if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err("the path holds blanks, a # or other characters that must be escaped");
        }
        Ok(Url { tls, place: Place::parse(place, Some(usual))?, path: path.to_owned() })
    }
}

impl Source {
    /// As the configuration has it.
    pub const fn word(&self) -> &'static str {
        match self {
            Source::Prometheus { .. } => "prometheus",
            Source::Agent { .. } => "agent",
            Source::Freeswitch { .. } => "freeswitch",
            Source::OverloadControl { .. } => "overload-control",
            Source::Push => "push",
        }
    }
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::Loss, Algorithm::Rate];
    /// What is offered if nobody says otherwise.
    pub const USUAL: [Algorithm; 1] = [Algorithm::Loss];

    /// Its name in `oc-algo` (RFC 7339 section 4.2).
    pub const fn word(self) -> &'static str {
        match self {
            Algorithm::Loss => "loss",
            Algorithm::Rate => "rate",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{}:{}", host.as_deref().unwrap_or(Place::HOST), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_urls_name_the_backend_or_another() {
        let backend = "10.0.0.11:5060".parse().unwrap();
        for (text, tls, at, path) in [
            ("http://{host}:9090/metrics", false, "10.0.0.11:9090", "/metrics"),
            ("https://{host}", true, "10.0.0.11:443", "/"),
            ("http://monitor.example.com/a?b=c/d", false, "monitor.example.com:80", "/a?b=c/d"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.tls, url.path.as_str()), (tls, path), "{text}");
            assert_eq!(format!("{}:{}", url.place.host_for(backend), url.place.port), at);
        }
        for wrong in [
            "",
            "{host}/metrics",
            "ftp://a",
            "http://",
            "http://a:0/",
            "http://a:x/",
            "http://a b/",
            "http://u:p@a/",
            "http://a/b c",
            "http://a/#b",
            "http://{hostess}/",
            "http://[::1/",
            "http://::1]/",
            "http://[]/",
            "http://[10.0.0.1]/",
            "http://[::1]x/",
            "http://[::1]:0/",
            "http://[fe80::1%eth0]/",
            "http://::1:80/",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Place::parse("{host}:8021", None).unwrap().to_string(), "{host}:8021");
        for (text, host, shown) in [
            ("http://[::1]/", "::1", "[::1]:80"),
            ("https://[2001:DB8:0::1]:9443", "2001:db8::1", "[2001:db8::1]:9443"),
        ] {
            let place = Url::parse(text).unwrap().place;
            assert_eq!((place.host_for(backend).as_str(), place.to_string().as_str()), (host, shown));
        }
        assert!(Place::parse("[::1]", None).is_err(), "it has no port");
        assert!(Place::parse("{host}", None).is_err() && Place::parse("", Some(1)).is_err());
    }
}
