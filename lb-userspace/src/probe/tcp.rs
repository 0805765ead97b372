//! Asks one backend by opening a TCP connection, and closes it again.

use super::{Pace, Teller, now};
use crate::core::health::Outcome;
use std::io;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

pub(super) async fn ask_for_ever(teller: Teller, mut pace: Pace) {
    pace.begin();
    pace.wait(None).await;
    loop {
        let sent = pace.went_out();
        let place = teller.room.moment().await;
        let (begun, asked) = (Instant::now(), now());
        let target = &teller.target;
        let outcome =
            match timeout_at(begun + target.probing.timeout, TcpStream::connect(target.address)).await {
                Ok(Ok(_)) => Outcome::Connected { rtt: begun.elapsed() },
                Ok(Err(e)) => failed(&e),
                Err(_) => Outcome::TimedOut,
            };
        drop(place);
        teller.tell(asked, outcome, Vec::new()).await;
        pace.wait(Some(sent)).await;
    }
}

/// What an error says of the backend, and what only of this host.
fn failed(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Outcome::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Outcome::TimedOut,
        _ => Outcome::NotAsked(error.to_string()),
    }
}
