//! Agents: a TCP connection, perhaps something to say first, and one line back.

use super::{Desk, now};
use crate::{
    config::{Place, Source},
    core::report::{Report, Sample},
    telemetry::agent,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Asks again and again. A line says what changed since the last one, as long as that may be believed.
pub(super) async fn run(desk: Desk, first: Duration, weight: u16) {
    let mut last: Option<Sample> = None;
    let mut ticks = desk.ticks(first);
    loop {
        ticks.tick().await;
        let taken = now();
        let bytes = desk.in_time(line(&desk)).await;
        let report = bytes.and_then(|bytes| agent::parse(&bytes, weight)).map(|line| {
            let before = last.filter(|sample| sample.holds(taken)).map_or(Report::default(), |s| s.report);
            agent::over(&before, line)
        });
        if let Ok(report) = report {
            last = Some(Sample { taken, valid: desk.telemetry.valid, report });
        }
        desk.hand_in(taken, report);
    }
}

/// Connects to a place, for a backend at this address.
pub(super) async fn connect(place: &Place, backend: SocketAddr) -> Result<TcpStream, String> {
    let host = place.host_for(backend);
    let cannot = |e: std::io::Error| format!("cannot connect to {host}:{}: {e}", place.port);
    TcpStream::connect((host.as_str(), place.port)).await.map_err(cannot)
}

/// What comes before the first end of line, or before the agent closes.
async fn line(desk: &Desk) -> Result<Vec<u8>, String> {
    let Source::Agent { address, send } = &desk.telemetry.source else {
        return Err("it is no agent".to_owned());
    };
    let mut stream = connect(address, desk.address).await?;
    let broken = |e: std::io::Error| format!("the connection broke: {e}");
    stream.write_all(send.as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 256];
    while bytes.len() < agent::LONGEST_LINE && !bytes.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        match stream.read(&mut piece).await.map_err(broken)? {
            0 => break,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
    Ok(bytes)
}
