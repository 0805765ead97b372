//! What a server remembers of its calls.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

/// One Call-ID at one server.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The Call-ID.
    pub id: String,
    /// Number in the CSeq of the first INVITE that came: 1, unless the caller had tried elsewhere before.
    pub sequence: u32,
    /// Where that INVITE came from.
    pub source: SocketAddr,
    /// When the caller sent it for the first time, as its Timestamp says.
    pub sent: Instant,
    /// When it was read here.
    pub at: Instant,
    /// INVITEs, retransmissions included.
    pub invites: u32,
    /// INVITE transactions, told apart by their branches.
    pub transactions: u32,
    /// Answers to INVITEs that were sent again, since the INVITE came again or no ACK came in time.
    pub repeats: u32,
    /// ACKs: one for each final answer that arrived, repeats included (RFC 3261 section 17.1.1.2).
    pub acks: u32,
    /// BYEs.
    pub byes: u32,
    /// CANCELs.
    pub cancels: u32,
    /// Whether the call was answered with 200.
    pub answered: bool,
    /// When the caller says it sent the first BYE that came.
    pub ended: Option<Instant>,
    /// When it was over: refused, cancelled or ended.
    pub over: Option<Instant>,
}

/// What one server has seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The backend's name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its calls, in the order in which they came.
    pub calls: Vec<Seen>,
    /// Most calls in progress at a time.
    pub peak: u64,
    /// Requests of other methods, by method.
    pub others: BTreeMap<String, u64>,
    /// Requests that were refused because they belong to no call here (481).
    pub strangers: u64,
}

impl Record {
    /// The call of this Call-ID, if it came here.
    pub fn call(&self, id: &str) -> Option<&Seen> {
        self.calls.iter().find(|call| call.id == id)
    }
}
