//! Sources of telemetry with real parts: a page of metrics behind TLS and a password, and a server that answers probes with
//! what it says of its load (RFC 7339).

mod certificates;
mod support;

use anyhow::{Context, Result, bail, ensure};
use certificates::{Authority, write};
use lb_tests::{needs_bpf, process::wait_until};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use support::{BACKENDS, Bench, PATIENCE};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How soon a server notices what it is told.
const GLANCE: Duration = Duration::from_millis(20);

/// A server on a thread, which ends when this is dropped, and what it does now.
struct Server<T> {
    does: Arc<Mutex<T>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Server<T> {
    /// `serve` is called again and again with what it does now.
    fn start(does: T, serve: impl Fn(&Mutex<T>) + Send + 'static) -> Server<T> {
        let (does, stop) = (Arc::new(Mutex::new(does)), Arc::new(AtomicBool::new(false)));
        let (own, stopped) = (does.clone(), stop.clone());
        let thread = Some(thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                serve(&own);
            }
        }));
        Server { does, stop, thread }
    }

    /// From now on it does this.
    fn now(&self, does: T) {
        *locked(&self.does) = does;
    }
}

impl<T> Drop for Server<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `max_cps` of sw1 now, and why, a line for each reason.
fn told(bench: &Bench) -> Result<(u64, String)> {
    let document = bench.json(&["backend", "show", "sw1"])?;
    let limit = document["backend"]["max_cps"].as_u64().context("no limit")?;
    Ok((limit, document["explanation"].to_string()))
}

/// Waits until this holds of `max_cps` and the reasons.
fn until(bench: &Bench, what: &str, holds: impl Fn(u64, &str) -> bool) -> Result<()> {
    let mut last = None;
    wait_until(what, PATIENCE, || {
        let (limit, why) = told(bench)?;
        let done = holds(limit, &why);
        last = Some((limit, why));
        Ok(done)
    })
    .with_context(|| format!("{last:?}"))
}

/// Answers one client with a page, if it shows name and password.
fn page(stream: TcpStream, config: Arc<ServerConfig>) -> Result<()> {
    // "sipsteer" and "open sesame" (RFC 7617 section 2).
    const LOGIN: &str = "authorization: basic c2lwc3rlzxi6b3blbibzzxnhbwu=\r\n";
    const PAGE: &str = "# TYPE most gauge\nmost{of=\"cps\"} 20\n";
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 4096 && stream.read(&mut byte)? == 1, "no head");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    if head.contains(LOGIN) {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}", PAGE.len())?;
    } else {
        write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

#[test]
fn a_page_behind_tls_and_a_password_counts_as_long_as_both_are_right() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let folder = bench.folder.path();
    let (authority, stranger) = (Authority::new("ours")?, Authority::new("a stranger")?);
    let ca = authority.write(folder, "ca.pem")?;
    let password = write(folder, "password", 0o600, "open sesame\n")?;
    let good = authority.sign(BACKENDS[0])?.shown()?;
    let listener = bench.far.enter(|| TcpListener::bind((BACKENDS[0], 9443)))??;
    listener.set_nonblocking(true)?;
    let server = Server::start(good.clone(), move |config| match listener.accept() {
        // Whoever does not trust it hangs up.
        Ok((stream, _)) => drop(page(stream, locked(config).clone())),
        Err(_) => thread::sleep(GLANCE),
    });
    let source = format!(
        "[controller]\nwarm_up = \"0s\"\n[[telemetry]]\nname = \"page\"\ntype = \"prometheus\"\nbackends = [\"sw1\"]\n\
         url = \"https://{{host}}:9443/metrics\"\nmap = {{ max_cps = \"most{{of=\\\"cps\\\"}}\" }}\n\
         username = \"sipsteer\"\npassword_file = {password:?}\nca_file = {ca:?}\ninterval = \"500ms\"\nvalid = \"1s\"\n"
    );
    bench.configure(&(bench.config(&["front"], &BACKENDS[..1]) + &source))?;
    let daemon = bench.start(&["--ephemeral"])?;
    until(&bench, "the page counts", |limit, why| limit == 20 && why.contains("page: max_cps 20"))?;

    for (what, config, trouble) in [
        ("another authority's", stranger.sign(BACKENDS[0])?, "UnknownIssuer"),
        ("expired", authority.sign_expired(BACKENDS[0])?, "certificate expired"),
        ("another server's", authority.sign(BACKENDS[1])?, "certificate not valid for name"),
    ] {
        server.now(config.shown()?);
        until(&bench, what, |_, why| why.contains("page: stale, ") && why.contains(trouble))?;
        server.now(good.clone());
        until(&bench, "it counts again", |_, why| why.contains("page: max_cps 20"))?;
    }
    write(folder, "password", 0o600, "open says me\n")?;
    until(&bench, "a wrong password", |_, why| {
        why.contains("page: stale, ") && why.contains("HTTP: the answer is 401 Unauthorized")
    })?;
    let (limit, _) = told(&bench)?;
    ensure!(limit >= 20, "what it said last is forgotten, not taken for less: {limit}");
    ensure!(!daemon.log().contains("open sesame") && !daemon.log().contains("says me"), "{}", daemon.log());
    Ok(())
}

/// What a server does that is to say something by an algorithm that it was not offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// It says nothing: it chooses among those offered (RFC 7339 section 4.2).
    Polite,
    /// It says it all the same.
    Rude,
}

/// Answers probes as a server does that understands RFC 7339 and RFC 7415, with these parameters at the end of their Via.
fn answer_probe(socket: &UdpSocket, says: &Mutex<&'static str>, manners: Manners) -> Result<()> {
    let mut bytes = [0; 2048];
    let Ok((length, from)) = socket.recv_from(&mut bytes) else { return Ok(()) };
    let request = std::str::from_utf8(&bytes[..length])?;
    ensure!(request.starts_with("OPTIONS "), "{request}");
    let mut answer = String::from("SIP/2.0 200 OK\r\n");
    for line in request.split("\r\n") {
        let kept = ["From: ", "Call-ID: ", "CSeq: "].iter().any(|name| line.starts_with(name));
        if line.starts_with("Via: ") {
            // It must be asked for: `oc` without a value (RFC 7339 section 4.1), which the answer replaces.
            let (via, offered) = line.split_once(";oc;oc-algo=").context("no feedback is asked for")?;
            let says = locked(says);
            let chosen = says.contains("\"rate\"");
            let silent = match offered {
                "\"loss\"" => chosen && manners == Manners::Polite,
                "\"loss,rate\"" => false,
                _ => bail!("neither loss nor both are offered: {line}"),
            };
            answer.push_str(&format!("{via}{}\r\n", if silent { "" } else { *says }));
        } else if line.starts_with("To: ") {
            answer.push_str(&format!("{line};tag=1\r\n"));
        } else if kept {
            answer.push_str(&format!("{line}\r\n"));
        }
    }
    answer.push_str("Content-Length: 0\r\n\r\n");
    socket.send_to(answer.as_bytes(), from)?;
    Ok(())
}

/// A backend on the bench that answers probes.
fn answer_probes(bench: &Bench, manners: Manners) -> Result<Server<&'static str>> {
    let socket = bench.far.enter(|| UdpSocket::bind((BACKENDS[0], 5060)))??;
    socket.set_read_timeout(Some(GLANCE))?;
    Ok(Server::start("", move |says| {
        if let Err(e) = answer_probe(&socket, says, manners) {
            eprintln!("a probe: {e:#}");
        }
    }))
}

/// What answers to probes say is wanted.
const FEEDBACK: &str = "[health]\nprobe = \"options\"\n[controller]\nwarm_up = \"0s\"\n[[telemetry]]\n\
                        name = \"feedback\"\ntype = \"overload-control\"\nbackends = [\"sw1\"]\n";

#[test]
fn feedback_in_answers_to_probes_lowers_the_limit_to_a_tenth_at_most_and_expires() -> Result<()> {
    needs_bpf!();
    let bench = Bench::new()?;
    let server = answer_probes(&bench, Manners::Polite)?;
    bench.configure(&(bench.config(&["front"], &BACKENDS[..1]) + FEEDBACK))?;
    let _daemon = bench.start(&["--ephemeral"])?;
    until(&bench, "it is asked, and says nothing", |limit, why| {
        limit == 100 && why.contains("feedback: no sample yet")
    })?;
    // The sequence is the server's clock (RFC 7339 section 4.4); here it stands still, so each holds for its validity alone.
    server.now(";oc=60;oc-algo=\"loss\";oc-validity=10000;oc-seq=1.1");
    until(&bench, "60 % less", |limit, why| limit == 40 && why.contains("feedback: share 0.40"))?;
    server.now(";oc=100;oc-algo=\"loss\";oc-validity=3000;oc-seq=2.1");
    until(&bench, "a tenth is left", |limit, why| limit == 10 && why.contains("feedback: share 0.00"))?;
    // The same again is not news: it expires although answers go on.
    until(&bench, "it expires", |limit, why| limit > 10 && why.contains("feedback: stale, "))?;
    // It is no longer overloaded (RFC 7339 section 4.3).
    server.now(";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=4.1");
    until(&bench, "it rises", |limit, why| limit > 30 && why.contains("feedback: share 1.00"))?;
    // What makes no sense is passed over, and told.
    server.now(";oc=101;oc-algo=\"loss\";oc-validity=10000;oc-seq=5.1");
    until(&bench, "a loss of more than all", |limit, _| limit >= 30)?;
    Ok(())
}

#[test]
fn a_rate_is_offered_where_it_is_wanted_and_becomes_a_limit() -> Result<()> {
    needs_bpf!();
    const RATE: &str = ";oc=30;oc-algo=\"rate\";oc-validity=10000;oc-seq=1.1";
    let bench = Bench::new()?;
    let config = bench.config(&["front"], &BACKENDS[..1]) + FEEDBACK;
    bench.configure(&config)?;
    let rude = answer_probes(&bench, Manners::Rude)?;
    rude.now(RATE);
    let _daemon = bench.start(&["--ephemeral"])?;
    until(&bench, "what was not offered is refused", |limit, why| {
        limit == 100 && why.contains("feedback: no sample yet: oc-algo: ") && why.contains("was not offered")
    })?;
    drop(rude);

    let polite = answer_probes(&bench, Manners::Polite)?;
    polite.now(RATE);
    bench.configure(&(config + "algorithms = [\"loss\", \"rate\"]\n"))?;
    let said = bench.ask(&["reload"])?;
    ensure!(said.status == 0, "{}{}", said.stdout, said.stderr);
    until(&bench, "a rate", |limit, why| limit == 30 && why.contains("feedback: max_cps 30"))
}
