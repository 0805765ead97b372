//! One socket for messages that are written by hand.

use super::endpoint::{Endpoint, Loss};
use crate::netns::Namespace;
use anyhow::{Context, Result};
use std::{
    net::{SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody who sends messages and looks at what comes back.
pub struct Phone {
    endpoint: Endpoint,
    target: SocketAddr,
}

impl Phone {
    /// A phone at an address of a namespace, with port 0 at any port, that sends to `target`.
    ///
    /// # Errors
    /// When the address is taken or not there.
    pub fn new(namespace: &Namespace, address: SocketAddrV4, target: SocketAddrV4) -> Result<Phone> {
        Ok(Phone { endpoint: Endpoint::bind(namespace, address, Loss::NONE)?, target: target.into() })
    }

    /// Its address.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.endpoint.address()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When there is no way to the target.
    pub fn send(&mut self, message: &str) -> Result<()> {
        self.endpoint.send(message.as_bytes(), self.target)
    }

    /// The next message.
    ///
    /// # Errors
    /// When none comes.
    pub fn receive(&mut self) -> Result<String> {
        let next = self.within(PATIENCE)?;
        next.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))
    }

    /// The next message that is no provisional answer.
    ///
    /// # Errors
    /// When none comes.
    pub fn receive_final(&mut self) -> Result<String> {
        loop {
            let message = self.receive()?;
            if !message.starts_with("SIP/2.0 1") {
                return Ok(message);
            }
        }
    }

    /// The next message, or None if none comes within this time.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn within(&mut self, patience: Duration) -> Result<Option<String>> {
        let received = self.endpoint.receive(Instant::now() + patience)?;
        Ok(received.map(|(datagram, _)| String::from_utf8_lossy(datagram).into_owned()))
    }
}
