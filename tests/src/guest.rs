//! Somebody who is logged in to a host, as by SSH: a TCP connection that has to live through whatever is done to it.

use crate::netns::Namespace;
use anyhow::{Context, Result, ensure};
use std::{
    io::{Read, Write, copy},
    net::{SocketAddrV4, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// How long an echo may take: TCP repeats what got lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A login.
pub struct Guest {
    stream: TcpStream,
    lines: u32,
}

impl Guest {
    /// Logs in from a namespace to an address of a host, where everything that comes is sent back.
    ///
    /// # Errors
    /// When the host does not have the address, or there is no way to it.
    pub fn log_in(host: &Namespace, address: SocketAddrV4, from: &Namespace) -> Result<Guest> {
        let listener = host.enter(|| TcpListener::bind(address))??;
        thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                // Its end is that of the guest.
                let _ = copy(&mut &stream, &mut &stream);
            }
        });
        let stream = from.enter(|| TcpStream::connect_timeout(&address.into(), PATIENCE))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Guest { stream, lines: 0 })
    }

    /// Types a line and waits for its echo.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn types(&mut self) -> Result<()> {
        self.lines += 1;
        let line = format!("line {:08}\n", self.lines);
        self.stream.write_all(line.as_bytes()).context("the login is broken")?;
        let mut echo = vec![0; line.len()];
        self.stream.read_exact(&mut echo).context("the login is dead")?;
        ensure!(echo == line.as_bytes(), "an echo of {:?}", String::from_utf8_lossy(&echo));
        Ok(())
    }
}
