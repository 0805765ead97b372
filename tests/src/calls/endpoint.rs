//! A UDP socket in a namespace, which may lose datagrams on purpose.

use crate::netns::Namespace;
use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::sockopt,
};
use std::{
    io::ErrorKind,
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

/// Datagrams that wait while the other side of the machine computes.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Largest datagram that is read.
const DATAGRAM: usize = 4096;

/// Which datagrams get lost; the same ones in every run.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    percent: u32,
    state: u64,
}

impl Loss {
    /// None.
    pub const NONE: Loss = Loss { percent: 0, state: 0 };

    /// So many of a hundred, each way.
    pub fn percent(percent: u32, seed: u64) -> Loss {
        Loss { percent, state: seed }
    }

    /// Whether anything may get lost.
    pub fn is_possible(&self) -> bool {
        self.percent > 0
    }

    /// Whether the next one is lost.
    fn strikes(&mut self) -> bool {
        // Knuth's constants; the upper bits are good enough for dice.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % 100 < u64::from(self.percent)
    }
}

/// A socket.
pub struct Endpoint {
    socket: UdpSocket,
    loss: Loss,
    buffer: Vec<u8>,
}

impl Endpoint {
    /// Binds an address of a namespace; with port 0 any port.
    ///
    /// # Errors
    /// When the address is taken or not there.
    pub fn bind(namespace: &Namespace, address: SocketAddrV4, loss: Loss) -> Result<Endpoint> {
        let socket = namespace.enter(|| UdpSocket::bind(address))?;
        let socket = socket.with_context(|| format!("cannot bind {address} in {}", namespace.name()))?;
        socket.set_nonblocking(true)?;
        // Root may have more than the system's maximum; others get that.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        Ok(Endpoint { socket, loss, buffer: vec![0; DATAGRAM] })
    }

    /// Its address.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends a datagram, unless it gets lost.
    ///
    /// # Errors
    /// When there is no way to the target.
    pub fn send(&mut self, datagram: &[u8], target: SocketAddr) -> Result<()> {
        if self.loss.strikes() {
            return Ok(());
        }
        loop {
            match self.socket.send_to(datagram, target) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, Duration::from_millis(10))?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).with_context(|| format!("cannot send to {target}")),
            }
        }
    }

    /// The next datagram and its source, or None at `until` or a little later.
    ///
    /// # Errors
    /// When the socket cannot be read.
    pub fn receive(&mut self, until: Instant) -> Result<Option<(&[u8], SocketAddr)>> {
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, source)) => {
                    if !self.loss.strikes() {
                        return Ok(Some((&self.buffer[..length], source)));
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.wait(PollFlags::IN, left)?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags, patience: Duration) -> Result<()> {
        let patience = Timespec::try_from(patience)?;
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_lost_as_was_asked_for() {
        let lost = |mut loss: Loss| (0..100_000).filter(|_| loss.strikes()).count();
        assert_eq!(lost(Loss::NONE), 0);
        for seed in 0..4 {
            let lost = lost(Loss::percent(5, seed));
            assert!((4_500..5_500).contains(&lost), "{lost}");
        }
    }
}
