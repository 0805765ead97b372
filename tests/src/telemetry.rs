//! A source of telemetry beside a backend that says what it is told to say, or fails in ways of its own; and what the daemon
//! makes of it.

use crate::{daemon::Node, process::wait_until, topology::Backend};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Port of every source here.
pub const PORT: u16 = 9707;
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon a source notices what it is told.
const GLANCE: Duration = Duration::from_millis(10);

/// What a source says to everybody who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A page of HTTP, once it was asked for.
    Page(String),
    /// A line, at once.
    Line(String),
    /// The same page, but so much later.
    Late(Duration, String),
    /// Nothing; the connection stays open.
    Nothing,
    /// Nothing; the connection is closed at once.
    Closed,
}

/// What the threads of a source share.
struct Shared {
    stop: AtomicBool,
    says: Mutex<Says>,
}

impl Shared {
    fn says(&self) -> MutexGuard<'_, Says> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running source. Its port is closed when it is dropped.
pub struct Source {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts one at a backend's own address.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(backend: &Backend, says: Says) -> Result<Source> {
        let listener = backend.namespace.enter(|| TcpListener::bind((backend.address, PORT)))??;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), says: Mutex::new(says) });
        let own = shared.clone();
        let thread = Some(thread::spawn(move || serve(&listener, &own)));
        Ok(Source { shared, thread })
    }

    /// From now on it says this.
    pub fn say(&self, says: Says) {
        *self.shared.says() = says;
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => match shared.says().clone() {
                Says::Nothing => open.push(stream),
                Says::Closed => drop(stream),
                says => drop(thread::spawn(move || answer(stream, &says))),
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(GLANCE),
            Err(_) => return,
        }
    }
}

/// Whoever asked may be gone.
fn answer(mut stream: TcpStream, says: &Says) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let page = |page: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{page}", page.len())
    };
    let text = match says {
        Says::Line(line) => line.clone(),
        Says::Page(text) => {
            until_blank_line(&mut stream);
            page(text)
        }
        Says::Late(delay, text) => {
            until_blank_line(&mut stream);
            thread::sleep(*delay);
            page(text)
        }
        Says::Nothing | Says::Closed => return,
    };
    let _ = stream.write_all(text.as_bytes());
}

fn until_blank_line(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && seen.len() < 4096 && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        seen.push(byte[0]);
    }
}

/// What the daemon says of a backend: its weight and health in the maps, and what came from what.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its weight now.
    pub weight: u64,
    /// Most calls in progress now; `None` is unlimited.
    pub max_channels: Option<u64>,
    /// up, draining or down.
    pub health: String,
    /// A line for each input: `input -> effect`.
    pub because: String,
}

/// Asks the daemon about a backend.
///
/// # Errors
/// When `backend show` fails or its document is not as promised.
pub fn told(node: &Node<'_>, backend: &str) -> Result<Told> {
    let mut document = Value::Null;
    // A daemon that is slow to answer is passed over, and the maps do not tell why.
    wait_until("the daemon says what came from what", PATIENCE, || {
        document = node.json(&["backend", "show", backend])?;
        Ok(document["explanation"].is_array())
    })?;
    let view = &document["backend"];
    let lines =
        document["explanation"].as_array().context("`backend show --json` has no list `explanation`")?;
    let line = |line: &Value| {
        format!("{} -> {}", line["input"].as_str().unwrap_or("?"), line["effect"].as_str().unwrap_or("?"))
    };
    Ok(Told {
        weight: view["weight"].as_u64().context("no weight")?,
        max_channels: view["max_channels"].as_u64(),
        health: view["health"].as_str().context("no health")?.to_owned(),
        because: lines.iter().map(line).collect::<Vec<_>>().join("\n"),
    })
}

/// Sends a request with a JSON document to the daemon's socket. Status and body of the answer.
///
/// # Errors
/// When nobody answers.
pub fn post(run: &Path, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(run.join("api.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sipsteer\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    parts(&mut stream)
}

/// Asks a backend's HTTP server for a page, within its namespace.
///
/// # Errors
/// When nobody answers.
pub fn page(backend: &Backend, port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = backend.namespace.enter(|| TcpStream::connect((backend.listens_on, port)))??;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
    parts(&mut stream)
}

fn parts(stream: &mut impl Read) -> Result<(u16, String)> {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("Content-Length").then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
                return Ok((status.context("no status")?, body.to_owned()));
            }
        }
        let read = stream.read(&mut piece)?;
        ensure!(read > 0, "the answer ends early: {text:?}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
}
