//! The API over TCP: the same routes as on the socket, for those who show a token; bounded, whoever comes.

mod api;
mod certificates;
mod support;

use anyhow::{Context, Result, ensure};
use api::{Api, Stream, fuzz};
use certificates::{Authority, Signed, encrypt, write};
use lb_tests::{
    needs_bpf,
    process::{Process, wait_until},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::Duration,
};
use support::{BACKENDS, Bench, PATIENCE, Said};
use tokio_rustls::rustls::ClientConfig;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const READ_TOKEN: &str = "fedcba9876543210fedcba9876543210";
/// Where the API is, on the balancer's `front`: the neighbour sees it too.
const ADDRESS: &str = "10.0.0.1:9443";
/// Where it is without TLS.
const LOCAL: &str = "127.0.0.1:9080";

/// A bench with the files of an API.
struct Remote {
    bench: Bench,
    authority: Authority,
}

impl Remote {
    fn new() -> Result<Remote> {
        let remote = Remote { bench: Bench::new()?, authority: Authority::new("ours")? };
        let folder = remote.folder();
        write(folder, "token", 0o600, &format!("{TOKEN}\n"))?;
        write(folder, "read-token", 0o640, READ_TOKEN)?;
        remote.authority.write(folder, "ca.pem")?;
        remote.show(&remote.authority.sign("10.0.0.1")?)?;
        Ok(remote)
    }

    /// The same with a daemon that runs by this configuration.
    fn serving(config: fn(&Remote) -> String) -> Result<(Remote, Process)> {
        let remote = Remote::new()?;
        remote.bench.configure(&config(&remote))?;
        let daemon = remote.bench.start(&["--ephemeral"])?;
        Ok((remote, daemon))
    }

    fn folder(&self) -> &Path {
        self.bench.folder.path()
    }

    fn file(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    /// Puts a certificate where the daemon finds it.
    fn show(&self, signed: &Signed) -> Result<()> {
        write(self.folder(), "cert.pem", 0o644, &signed.certificate)?;
        write(self.folder(), "key.pem", 0o600, &signed.key).map(drop)
    }

    /// A configuration with these lines under `[api]`.
    fn config(&self, api: &str) -> String {
        format!("{}[api]\n{api}", self.bench.config(&["front"], &BACKENDS[..2]))
    }

    fn encrypted(&self) -> String {
        let [token, read, cert, key] =
            ["token", "read-token", "cert.pem", "key.pem"].map(|name| self.file(name));
        self.config(&format!(
            "listen = \"{ADDRESS}\"\ntoken_file = \"{token}\"\nread_token_file = \"{read}\"\ncertificate = \"{cert}\"\n\
             key = \"{key}\"\n"
        ))
    }

    fn plain(&self) -> String {
        self.config(&format!("listen = \"{LOCAL}\"\ntoken_file = \"{}\"\n", self.file("token")))
    }

    /// A connection from the neighbour, encrypted.
    fn connect(&self, config: &Arc<ClientConfig>) -> Result<Box<dyn Stream>> {
        let stream = self.bench.far.enter(|| TcpStream::connect(ADDRESS))??;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        Ok(Box::new(encrypt(stream, config, "10.0.0.1")?))
    }

    /// A connection on the balancer.
    fn connect_plainly(&self) -> Result<TcpStream> {
        let stream = self.bench.balancer.enter(|| TcpStream::connect(LOCAL))??;
        stream.set_read_timeout(Some(Duration::from_secs(40)))?;
        Ok(stream)
    }

    /// Runs a command on the neighbour, with `--api` and this token.
    fn ask(&self, token: &str, ca: &str, arguments: &[&str]) -> Result<Said> {
        let (token, ca) = (self.file(token), self.file(ca));
        let api = format!("https://{ADDRESS}");
        let way = ["--api", &api, "--token-file", &token, "--ca", &ca];
        self.bench.ask_by(self.bench.far.command(support::BINARY), &[arguments, &way].concat())
    }
}

#[test]
fn the_same_routes_as_on_the_socket_for_those_who_show_a_token() -> Result<()> {
    needs_bpf!();
    let (remote, daemon) = Remote::serving(Remote::encrypted)?;
    let trusted = remote.authority.trusted()?;
    let mut api = Api::by(|| remote.connect(&trusted), Some(TOKEN))?;
    let socket = Api::of(&remote.bench)?;
    assert_eq!(api.document(), socket.document());
    assert_eq!(api.document()["security"], json!([{}, { "token": [] }]));
    let scheme = &api.document()["components"]["securitySchemes"]["token"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));

    let before = socket.holds()?;
    let body = br#"{"change":"backend-will","name":"sw1","will":"draining"}"#;
    for (method, path) in api.operations() {
        let asked = path.replace("{name}", "sw1").replace("{call_id}", "a%2Fb");
        let body = (method == "post").then_some(&body[..]);
        for (token, status, code) in [
            (None, 401, "no_token"),
            (Some("wrong"), 401, "wrong_token"),
            (Some(READ_TOKEN), if method == "get" { 200 } else { 403 }, "may_only_look"),
        ] {
            api.show(token);
            let answer = api.ask(&method, &asked, body)?;
            ensure!(answer.status == status, "{method} {path} with {token:?}: {answer:?}");
            api.check(&method, &path, &answer)?;
            if status != 200 {
                assert_eq!(answer.json()?["error"]["code"], code, "{method} {path}");
            }
        }
    }
    assert_eq!(socket.holds()?, before, "nobody could change anything");
    // What is there and what is not is told to nobody without a token.
    api.show(None);
    assert_eq!(api.ask("get", "/nothing", None)?.status, 401);
    api.show(Some(TOKEN));
    assert_eq!(api.ask("get", "/nothing", None)?.status, 404);
    ensure!(api.ask("post", "/v1/change", Some(body))?.status == 200 && socket.holds()? != before);
    let count = std::env::var("SIPSTEER_FUZZ_REQUESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    fuzz(&api, &daemon, count)?;
    ensure!(daemon.log().contains("had no right token"), "{}", daemon.log());
    ensure!(!daemon.log().contains(TOKEN) && !daemon.log().contains(READ_TOKEN), "a token is in the log");
    Ok(())
}

#[test]
fn commands_say_the_same_from_elsewhere() -> Result<()> {
    needs_bpf!();
    let (remote, _daemon) = Remote::serving(Remote::encrypted)?;
    let bench = &remote.bench;
    let from_elsewhere = |arguments: &[&str]| -> Result<(i32, Value)> {
        let said = remote.ask("token", "ca.pem", &[arguments, &["--json"]].concat())?;
        let document = serde_json::from_str(&said.stdout);
        Ok((said.status, document.with_context(|| format!("{arguments:?}: {}", said.stderr))?))
    };
    for command in [
        &["backend", "drain", "sw1"][..],
        &["backend", "limit", "sw2", "max_cps=80"],
        &["backend", "weight", "sw2", "50", "--dry-run"],
        &["zone", "disable", "here", "--dry-run"],
        &["reload", "--confirm-within", "1h"],
        &["confirm"],
    ] {
        let (status, document) = from_elsewhere(command)?;
        ensure!(status == 0 && document["node"] == "lb1", "{command:?}: {document}");
    }
    for command in [
        &["status"][..],
        &["backend", "list"],
        &["backend", "list", "--zone", "here"],
        &["backend", "show", "sw1"],
        &["zone", "list"],
        &["service", "list"],
        &["counters"],
        &["dialog", "show", "a/b?c=%d@example.com"],
        &["backend", "list", "--zone", "nowhere"],
        &["dialog", "show", "two words"],
    ] {
        // Between the two, a second may end that something counts in.
        let mut both = None;
        wait_until("both say the same", PATIENCE, || {
            let (status, mut there) = from_elsewhere(command)?;
            let said = bench.ask(&[command, &["--json"]].concat())?;
            let mut here: Value = serde_json::from_str(&said.stdout)?;
            for document in [&mut there, &mut here] {
                let document = document.as_object_mut().context("an object")?;
                // Nobody was asked for its name where it failed.
                ["at", "node"].iter().for_each(|key| drop(document.remove(*key)));
                // What goes on meanwhile: packets of the neighbour discovery, and time.
                ["verdicts", "explanation"].iter().for_each(|key| drop(document.remove(*key)));
            }
            let same = (status, &there) == (said.status, &here);
            both = Some((there, here));
            Ok(same)
        })
        .with_context(|| format!("{command:?}: {both:?}"))?;
    }
    let text = remote.ask("read-token", "ca.pem", &["status", "--brief"])?.stdout;
    ensure!(text.starts_with("sipsteer ") && text.contains(" on lb1: "), "{text}");
    Ok(())
}

#[test]
fn what_is_wrong_with_the_way_is_told() -> Result<()> {
    needs_bpf!();
    let (remote, daemon) = Remote::serving(Remote::encrypted)?;
    Authority::new("another")?.write(remote.folder(), "other.pem")?;
    write(remote.folder(), "wrong", 0o600, &TOKEN.replace('0', "1"))?;
    write(remote.folder(), "open", 0o644, TOKEN)?;
    remote.ask("token", "other.pem", &["status"])?.refused(1, &["is not trusted", "UnknownIssuer", "--ca"]);
    remote.ask("wrong", "ca.pem", &["status"])?.refused(4, &["nobody has this token"]);
    remote.ask("read-token", "ca.pem", &["undo"])?.refused(4, &["may only look"]);
    remote.ask("open", "ca.pem", &["status"])?.refused(2, &["0644", "chmod 0640"]);
    remote.ask("token", "ca.pem", &["detach"])?.refused(2, &["remove --api"]);
    remote.ask("none", "ca.pem", &["status"])?.refused(2, &["cannot read", "make it"]);
    let ask = |arguments: &[&str]| remote.bench.ask(arguments);
    let token = remote.file("token");
    ask(&["status", "--token-file", &token])?.refused(2, &["without --api"]);
    ask(&["status", "--api", "https://10.0.0.1:9443"])?.refused(2, &["add --token-file"]);
    let plain = ["status", "--api", "http://10.0.0.1:9443", "--token-file", &token];
    ask(&plain)?.refused(2, &["for everybody to see"]);
    daemon.end();
    remote.ask("token", "ca.pem", &["status"])?.refused(3, &["no daemon answers at https://10.0.0.1:9443"]);
    Ok(())
}

#[test]
fn a_reload_brings_another_certificate_and_other_tokens_or_nothing() -> Result<()> {
    needs_bpf!();
    let remote = Remote::new()?;
    let bench = &remote.bench;
    let folder = remote.folder();
    write(folder, "token", 0o644, TOKEN)?;
    bench.configure(&remote.encrypted())?;
    let lines = remote.encrypted().lines().position(|line| line.starts_with("token_file")).context("it")? + 1;
    let place = format!("sipsteer.toml:{lines}:");
    bench.ask(&["run"])?.refused(1, &["bad-file", &place, "its mode is 0644", "chmod 0640"]);
    write(folder, "token", 0o600, TOKEN)?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let api = &bench.status()?["daemon"]["api"];
    assert_eq!((&api["listen"], &api["tls"], &api["deaf"]), (&json!(ADDRESS), &json!(true), &Value::Null));
    assert!(api["certificate_seconds"].as_i64() > Some(0), "{api}");

    // Refused, with everything that is wrong, and what held holds.
    write(folder, "token", 0o640, "tooshort1")?;
    write(folder, "key.pem", 0o600, &remote.authority.sign("10.0.0.1")?.key)?;
    bench.ask(&["reload"])?.refused(1, &["9 characters", "is not the key of the certificate", &place]);
    write(folder, "old", 0o600, TOKEN)?;
    assert_eq!(remote.ask("old", "ca.pem", &["backend", "list"])?.status, 0);

    // Another authority, another token: the old ones are worth nothing.
    let another = Authority::new("another")?;
    another.write(folder, "another.pem")?;
    remote.show(&another.sign("10.0.0.1")?)?;
    write(folder, "token", 0o640, &READ_TOKEN.to_uppercase())?;
    bench.json(&["reload"])?;
    remote.ask("old", "ca.pem", &["backend", "list"])?.refused(1, &["UnknownIssuer"]);
    remote.ask("old", "another.pem", &["backend", "list"])?.refused(4, &["nobody has this token"]);
    assert_eq!(remote.ask("token", "another.pem", &["backend", "list"])?.status, 0);

    // Another address, and then none: whoever asks for that where it is now is answered there.
    bench.configure(&remote.plain())?;
    let said = remote.ask("token", "another.pem", &["reload"])?;
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(remote.ask("token", "another.pem", &["backend", "list"])?.status, 3);
    let api = format!("http://{LOCAL}");
    let token = remote.file("token");
    let here = |command: &[&str]| {
        bench.ask(&[command, &["--api", api.as_str(), "--token-file", token.as_str()]].concat())
    };
    assert_eq!(here(&["zone", "list"])?.status, 0);
    bench.configure(&bench.config(&["front"], &BACKENDS[..2]))?;
    let said = here(&["reload"])?;
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(bench.status()?["daemon"]["api"], Value::Null);
    here(&["zone", "list"])?.refused(3, &["no daemon answers", "`[api]`"]);
    Ok(())
}

#[test]
fn an_ipv6_address_serves_too_and_a_certificate_out_of_time_is_told() -> Result<()> {
    needs_bpf!();
    let remote = Remote::new()?;
    let bench = &remote.bench;
    let listen = "[::1]:9443";
    bench.configure(&remote.encrypted().replace(ADDRESS, listen))?;
    remote.show(&remote.authority.sign("::1")?)?;
    let daemon = bench.start(&["--ephemeral"])?;
    ensure!(!daemon.log().contains("untimely"), "{}", daemon.log());
    let (api, token, ca) = (format!("https://{listen}"), remote.file("token"), remote.file("ca.pem"));
    let ask = |command: &[&str]| {
        bench.ask(
            &[command, &["--api", api.as_str(), "--token-file", token.as_str(), "--ca", ca.as_str()]]
                .concat(),
        )
    };
    let said = ask(&["zone", "list"])?;
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);

    remote.show(&remote.authority.sign_expired("::1")?)?;
    bench.json(&["reload"])?;
    let told = "expired on 2021-01-01T00:00:00Z";
    ensure!(daemon.log().contains("untimely") && daemon.log().contains(told), "{}", daemon.log());
    ask(&["zone", "list"])?.refused(1, &[&format!("at {api}"), "certificate expired"]);
    let attention = bench.status()?["attention"].to_string();
    ensure!(
        attention.contains("[::1]:9443 expired at 2021-01-01T00:00:00Z: put a new one there"),
        "{attention}"
    );
    let socket = UnixStream::connect(bench.run_dir().join("api.sock"))?;
    let metrics = answer(socket, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let moment = "\nsipsteer_api_certificate_expiry_timestamp_seconds{} 1609459200.0\n";
    ensure!(metrics.contains(moment), "{metrics}");
    let checked = bench.json(&["check", "--host", &bench.config_file().display().to_string()])?;
    assert_eq!((&checked["ok"], &checked["warnings"]), (&json!(true), &json!(2)), "{checked}");
    ensure!(checked["complaints"].to_string().contains(told), "{checked}");
    Ok(())
}

#[test]
fn files_that_are_gone_hinder_no_undoing() -> Result<()> {
    needs_bpf!();
    let (remote, daemon) = Remote::serving(Remote::plain)?;
    let bench = &remote.bench;
    remote.connect_plainly()?;
    bench.configure(&bench.config(&["front"], &BACKENDS))?;
    bench.json(&["reload", "--confirm-within", "1h"])?;
    fs::remove_file(remote.folder().join("token"))?;
    bench.json(&["undo"])?;
    let status = bench.status()?;
    let wanted = status["backends"].as_array().into_iter().flatten().filter(|b| b["will"] != "removed");
    assert_eq!(wanted.count(), 2, "what held before holds");
    assert_eq!(status["daemon"]["api"], Value::Null);
    ensure!(remote.connect_plainly().is_err(), "without a token there is no API");
    ensure!(daemon.log().contains("no API over TCP until the next reload"), "{}", daemon.log());
    bench.configure(&remote.plain())?;
    bench.ask(&["reload"])?.refused(1, &["cannot read", "make it"]);
    write(remote.folder(), "token", 0o600, TOKEN)?;
    bench.json(&["reload"])?;
    remote.connect_plainly()?;
    Ok(())
}

#[test]
fn an_address_that_somebody_else_has_is_told_and_taken_later() -> Result<()> {
    needs_bpf!();
    let remote = Remote::new()?;
    let bench = &remote.bench;
    let other = bench.balancer.enter(|| std::net::TcpListener::bind(LOCAL))??;
    bench.configure(&remote.plain())?;
    let _daemon = bench.start(&["--ephemeral"])?;
    let told = bench.status()?["attention"].to_string();
    ensure!(told.contains(&format!("no API at {LOCAL}: ")), "{told}");
    drop(other);
    wait_until("the address is taken", PATIENCE, || Ok(remote.connect_plainly().is_ok()))?;
    wait_until("it is told", PATIENCE, || Ok(bench.status()?["daemon"]["api"]["deaf"].is_null()))?;
    Ok(())
}

/// What is answered to bytes, as far as it comes.
fn answer(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    // The daemon may hang up on what it does not like.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn nobody_is_held_up_by_clients_that_are_slow_large_or_mad() -> Result<()> {
    needs_bpf!();
    let (remote, daemon) = Remote::serving(Remote::plain)?;
    let bench = &remote.bench;
    let head = format!("Host: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    for (bytes, status) in [
        (format!("GET /healthz HTTP/1.1\r\n{head}\r\n"), "200"),
        (format!("GET /healthz HTTP/1.1\r\n{head}X: {}\r\n\r\n", "x".repeat(20_000)), "431"),
        (format!("GET /healthz HTTP/1.1\r\n{head}{}\r\n", "X: y\r\n".repeat(70)), "431"),
        (format!("GET /{} HTTP/1.1\r\n{head}\r\n", "x".repeat(70_000)), "431"),
        (
            format!("POST /v1/change HTTP/1.1\r\n{head}Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000)),
            "422",
        ),
        (format!("POST /v1/change HTTP/1.1\r\n{head}Content-Length: x\r\n\r\n"), "400"),
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), "400"),
    ] {
        let said = answer(remote.connect_plainly()?, bytes.as_bytes());
        let told = said.lines().next().unwrap_or_default();
        let asked: String = bytes.chars().take(60).collect();
        // A large head may end the connection before its answer is read.
        ensure!(
            told.split(' ').nth(1) == Some(status) || (told.is_empty() && status == "431"),
            "{asked:?}: {told:?}"
        );
    }
    // More than there may be say nothing, or say it byte by byte.
    let mut silent = Vec::new();
    for number in 0..70 {
        let mut stream = remote.connect_plainly()?;
        if number % 2 == 0 {
            stream.write_all(b"GET /healthz HT")?;
        }
        silent.push(stream);
    }
    assert_eq!(bench.status()?["state"], "ok", "the socket answers meanwhile");
    // Places become free, since nobody may be silent for ever.
    let said = answer(remote.connect_plainly()?, format!("GET /healthz HTTP/1.1\r\n{head}\r\n").as_bytes());
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said:?}");
    let ended = silent[0].read(&mut [0; 64]);
    ensure!(
        !matches!(&ended, Err(e) if e.kind() == ErrorKind::WouldBlock),
        "the first one is still there: {ended:?}"
    );
    ensure!(daemon.status()?.is_none() && !daemon.log().contains("panicked"), "{}", daemon.last_words());
    // It ends while some are there.
    daemon.end();
    ensure!(fs::exists(bench.config_file())? && daemon.status()?.is_some_and(|status| status.success()));
    Ok(())
}
