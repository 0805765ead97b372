//! The event socket of FreeSWITCH: one connection that stays, authenticated by a password, on which heartbeats come.

use super::{Desk, http, line, now};
use crate::{config::Source, telemetry::heartbeat};
use std::time::Duration;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

/// Largest head of a message, and its largest body.
const LARGEST_HEAD: usize = 16 * 1024;
const LARGEST_BODY: usize = 256 * 1024;
/// Time between two attempts to connect.
const AGAIN: Duration = Duration::from_secs(2);

/// Listens, and connects anew whenever that ends.
pub(super) async fn run(desk: Desk, first: Duration) {
    sleep(first).await;
    loop {
        let trouble = listen(&desk).await;
        desk.hand_in(now(), Err(trouble));
        sleep(AGAIN).await;
    }
}

/// Hands in heartbeats until something breaks, and says what that was.
async fn listen(desk: &Desk) -> String {
    let limit = desk.telemetry.timeout;
    let mut socket = match timeout(limit, open(desk)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(trouble)) => return trouble,
        Err(_) => return format!("no answer within {limit:?}"),
    };
    loop {
        let valid = desk.telemetry.valid;
        let message = match timeout(valid, socket.message()).await {
            Ok(Ok(message)) => message,
            Ok(Err(trouble)) => return trouble,
            Err(_) => return format!("no heartbeat within {valid:?}"),
        };
        match message.kind.as_str() {
            "text/event-json" => match heartbeat::parse(&message.body) {
                Ok(Some(report)) => desk.hand_in(now(), Ok(report)),
                Ok(None) => {}
                Err(trouble) => desk.hand_in(now(), Err(trouble)),
            },
            "text/disconnect-notice" => return "it ended the connection".to_owned(),
            _ => {}
        }
    }
}

/// Connects, shows the password and asks for heartbeats.
async fn open(desk: &Desk) -> Result<Socket, String> {
    let Source::Freeswitch { address, password_file } = &desk.telemetry.source else {
        return Err("it is no event socket".to_owned());
    };
    let password = http::password(password_file).await?;
    let stream = line::connect(address, desk.address).await?;
    let mut socket = Socket(BufReader::new(stream));
    let greeting = socket.message().await?;
    if greeting.kind != "auth/request" {
        return Err(format!("it does not ask for a password but greets with {:?}", greeting.kind));
    }
    socket.command(&format!("auth {password}")).await.map_err(|why| format!("the password: {why}"))?;
    socket.command("event json HEARTBEAT").await.map_err(|why| format!("asking for heartbeats: {why}"))?;
    Ok(socket)
}

/// A message: its `Content-Type`, its `Reply-Text` and its body.
#[derive(Default)]
struct Message {
    kind: String,
    reply: String,
    body: Vec<u8>,
}

struct Socket(BufReader<TcpStream>);

impl Socket {
    async fn command(&mut self, command: &str) -> Result<(), String> {
        let text = format!("{command}\n\n");
        self.0.get_mut().write_all(text.as_bytes()).await.map_err(|e| e.to_string())?;
        // Events may come before the reply.
        loop {
            let message = self.message().await?;
            match message.kind.as_str() {
                "command/reply" if message.reply.starts_with("+OK") => return Ok(()),
                "command/reply" => return Err(format!("it says {:?}", message.reply)),
                "text/disconnect-notice" => return Err("it ended the connection".to_owned()),
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Result<Message, String> {
        let mut message = Message::default();
        let (mut length, mut head) = (0, 0);
        loop {
            let mut line = Vec::new();
            let most = (LARGEST_HEAD - head) as u64;
            let read = (&mut self.0).take(most).read_until(b'\n', &mut line).await;
            head += read.map_err(|e| format!("the connection broke: {e}"))?;
            if line.pop() != Some(b'\n') {
                return Err(if head < LARGEST_HEAD {
                    "it closed the connection"
                } else {
                    "a head has no end"
                }
                .to_owned());
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim();
            if line.is_empty() && message.kind.is_empty() {
                continue;
            }
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some(("Content-Type", kind)) => message.kind = kind.to_owned(),
                Some(("Reply-Text", reply)) => message.reply = reply.chars().take(80).collect(),
                Some(("Content-Length", number)) => {
                    let fits = number.parse().ok().filter(|length| *length <= LARGEST_BODY);
                    length = fits.ok_or_else(|| format!("a body of {number:.20?} bytes is not read"))?;
                }
                _ => {}
            }
        }
        message.body = vec![0; length];
        self.0.read_exact(&mut message.body).await.map_err(|e| format!("the connection broke: {e}"))?;
        Ok(message)
    }
}
