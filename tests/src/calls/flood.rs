//! INVITEs of which no two belong together, from one source that waits for no answer; and a server that accepts them all.

use super::{
    endpoint::{Endpoint, Loss},
    message::Message,
    wish::Wish,
};
use crate::{
    netns::Namespace,
    topology::{Backend, SIP_PORT},
};
use anyhow::{Result, anyhow};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// INVITEs in a row before the clock is looked at.
const ROW: u64 = 16;

/// A flood. It stops when it is dropped.
pub struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    /// Starts sending this many INVITEs from an address to `target`, so many a second at most. The servers stay silent.
    ///
    /// # Errors
    /// When the address is not there.
    pub fn start(
        namespace: &Namespace,
        source: Ipv4Addr,
        target: SocketAddrV4,
        count: u64,
        per_second: u32,
    ) -> Result<Flood> {
        let mut endpoint = Endpoint::bind(namespace, SocketAddrV4::new(source, 0), Loss::NONE)?;
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, told) = (sent.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut number = 0;
            while number < count && !told.load(Ordering::Relaxed) {
                let due = start + Duration::from_secs_f64(number as f64 / f64::from(per_second));
                thread::sleep(due.saturating_duration_since(Instant::now()));
                for _ in 0..ROW.min(count - number) {
                    endpoint.send(invite(source, target, number).as_bytes(), target.into())?;
                    number += 1;
                }
                counter.store(number, Ordering::Relaxed);
            }
            Ok(())
        });
        Ok(Flood { sent, stop, thread: Some(thread) })
    }

    /// How many were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until all are sent.
    ///
    /// # Errors
    /// When one could not be sent.
    pub fn wait(mut self) -> Result<()> {
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().map_err(|_| anyhow!("the flood panicked"))?)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever wants to know how it ended has called `wait`.
            let _ = thread.join();
        }
    }
}

/// A server that answers every INVITE with 200, once, and forgets it: what fills a dialog table for hours. It stops when it
/// is dropped.
pub struct Sink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Sink {
    /// Starts it on a backend.
    ///
    /// # Errors
    /// When somebody else serves there.
    pub fn start(backend: &Backend) -> Result<Sink> {
        let address = SocketAddrV4::new(backend.listens_on, SIP_PORT);
        let mut endpoint = Endpoint::bind(&backend.namespace, address, Loss::NONE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let until = Instant::now() + Duration::from_millis(100);
                let Some((datagram, caller)) = endpoint.receive(until)? else { continue };
                if let Some(answer) = Message::read(datagram).and_then(|message| accepted(&message)) {
                    endpoint.send(answer.as_bytes(), caller)?;
                }
            }
            Ok(())
        });
        Ok(Sink { stop, thread: Some(thread) })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it did not do shows in the dialog table.
            let _ = thread.join();
        }
    }
}

fn accepted(message: &Message<'_>) -> Option<String> {
    if message.method() != Some("INVITE") {
        return None;
    }
    let value = |name| message.value(name);
    Some(format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=sink\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Content-Length: 0\r\n\r\n",
        value("Via"),
        value("From"),
        value("To"),
        value("Call-ID"),
        value("CSeq")
    ))
}

fn invite(source: Ipv4Addr, target: SocketAddrV4, number: u64) -> String {
    // An odd factor takes every number to another one, without any order.
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    format!(
        "INVITE sip:{0}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bK{random:x};rport\r\n\
         From: <sip:flood@{source}>;tag={number}\r\nTo: <sip:{0}@{target}>\r\nCall-ID: {random:016x}@{source}\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        Wish::Silence
    )
}
