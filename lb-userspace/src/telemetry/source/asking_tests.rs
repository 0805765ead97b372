//! Sources asked over the loopback: what is said to them, and what is made of their answers.

use super::*;
use crate::{config, core::controller::Reading};
use std::{fs, net::Ipv4Addr};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    time::sleep,
};

const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "open sesame";

/// A configuration with one source at a port of the loopback.
fn config(keys: &str) -> Config {
    let text = format!(
        "[node]\nname = 'lb1'\ninterfaces = ['eth0']\n[health]\nprobe = 'none'\n[[service]]\nname = 'trunks'\n\
         listen = ['203.0.113.10:5060/udp']\nzones = ['uk']\n[[backend]]\nname = 'sw1'\nzone = 'uk'\n\
         address = '10.0.0.11:5060'\n[[telemetry]]\nname = 'it'\nzone = 'uk'\n{keys}"
    );
    config::parse(&text, "f.toml").unwrap_or_else(|complaints| panic!("{complaints}")).config
}

/// A file with the password.
fn password() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    fs::write(&path, format!("{PASSWORD}\nnot this\n")).expect("a file");
    let path = path.display().to_string();
    (folder, path)
}

/// Asks until a reading is as wanted.
async fn until(sources: &Sources, wanted: impl Fn(&Reading) -> bool) -> Reading {
    let begun = Instant::now();
    loop {
        let reading = sources.board().readings().of("sw1").next().map(|(_, reading)| reading.clone());
        match reading {
            Some(reading) if wanted(&reading) => return reading,
            other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// What comes until a blank line.
async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !(bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n")) {
        bytes.push(stream.read_u8().await.expect("there is more"));
    }
    String::from_utf8(bytes).expect("text")
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("it listens");
}

fn play(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

#[test]
fn a_page_is_asked_for_with_name_and_password() {
    play(async {
        let (listener, port) = listener().await;
        let (_folder, path) = password();
        let config = config(&format!(
            "type = 'prometheus'\nurl = 'http://127.0.0.1:{port}/metrics?a=b'\nmap = {{ channels = 'calls' }}\n\
             username = 'sipsteer'\npassword_file = '{path}'\nlegs = 2\n"
        ));
        let mut sources = Sources::default();
        sources.ask(&config);
        let (mut stream, _) = listener.accept().await.expect("it asks");
        let request = head(&mut stream).await.to_lowercase();
        assert!(request.starts_with("get /metrics?a=b http/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
        assert!(request.contains("authorization: basic c2lwc3rlzxi6b3blbibzzxnhbwu=\r\n"), "{request}");
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncalls 41\n").await;
        let reading = until(&sources, |reading| reading.sample.is_some()).await;
        let sample = reading.sample.expect("it was seen");
        assert_eq!((sample.report.channels, sample.valid), (Some(21), Duration::from_secs(15)));
        assert_eq!((reading.trust, reading.trouble), (Trust::Measures, None));
    });
}

#[test]
fn answers_that_are_no_page_are_told() {
    play(async {
        let (listener, port) = listener().await;
        let config = config(&format!(
            "type = 'prometheus'\nurl = 'http://127.0.0.1:{port}/'\nmap = {{ channels = 'calls' }}\ninterval = '500ms'\n"
        ));
        let mut sources = Sources::default();
        sources.ask(&config);
        for (answer, trouble) in [
            (
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
                "HTTP: the answer is 401 Unauthorized",
            ),
            (
                "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
                "HTTP: the answer is 302 Found",
            ),
            ("SIP/2.0 200 OK\r\n\r\n", "HTTP: "),
            ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncalls\n\n", "line 1 is no metric: \"calls\""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncalls -1\n", "channels: calls: -1 is below zero"),
        ] {
            let (mut stream, _) = listener.accept().await.expect("it asks");
            head(&mut stream).await;
            send(&mut stream, answer).await;
            drop(stream);
            let said = |reading: &Reading| reading.trouble.as_ref().is_some_and(|t| t.starts_with(trouble));
            assert_eq!(until(&sources, said).await.sample, None);
        }
    });
}

#[test]
fn heartbeats_come_after_the_password_and_a_wrong_one_is_told() {
    play(async {
        let (listener, port) = listener().await;
        let (_folder, path) = password();
        let config =
            config(&format!("type = 'freeswitch'\naddress = '127.0.0.1:{port}'\npassword_file = '{path}'\n"));
        let mut sources = Sources::default();
        sources.ask(&config);

        let (mut stream, _) = listener.accept().await.expect("it connects");
        send(&mut stream, "Content-Type: auth/request\n\n").await;
        assert_eq!(head(&mut stream).await, format!("auth {PASSWORD}\n\n"));
        send(&mut stream, "Content-Type: command/reply\nReply-Text: -ERR invalid\n\n").await;
        let refused = until(&sources, |reading| reading.trouble.is_some()).await.trouble;
        assert_eq!(refused.as_deref(), Some("the password: it says \"-ERR invalid\""));

        let (mut stream, _) = listener.accept().await.expect("it comes again");
        send(&mut stream, "Content-Type: auth/request\n\n").await;
        head(&mut stream).await;
        send(&mut stream, "Content-Type: command/reply\nReply-Text: +OK accepted\n\n").await;
        assert_eq!(head(&mut stream).await, "event json HEARTBEAT\n\n");
        send(&mut stream, "Content-Type: command/reply\nReply-Text: +OK event listener enabled json\n\n")
            .await;
        let event =
            r#"{"Event-Name":"HEARTBEAT","Session-Count":"42","Max-Sessions":"2000","Idle-CPU":"75.0"}"#;
        send(
            &mut stream,
            &format!("Content-Length: {}\nContent-Type: text/event-json\n\n{event}", event.len()),
        )
        .await;
        let sample = until(&sources, |reading| reading.sample.is_some()).await.sample.expect("it was seen");
        assert_eq!((sample.report.channels, sample.report.max_channels), (Some(42), Some(2000)));
        assert_eq!((sample.report.cpu, sample.valid), (Some(0.25), Duration::from_secs(60)));
        drop(stream);
        let gone = until(&sources, |reading| reading.trouble.is_some()).await;
        assert_eq!(gone.trouble.as_deref(), Some("it closed the connection"));
        assert_eq!(gone.sample, Some(sample), "the last one stays until it is too old");
    });
}

#[test]
fn sources_that_are_no_longer_wanted_are_forgotten() {
    play(async {
        let mut sources = Sources::default();
        sources.ask(&config("type = 'push'\n"));
        assert_eq!(sources.board().readings().of("sw1").count(), 1);
        let mut other = config("type = 'push'\n");
        other.telemetry.clear();
        sources.ask(&other);
        assert_eq!(sources.board().readings().of("sw1").count(), 0);
    });
}
