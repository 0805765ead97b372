//! Stories for the decision core: who sends what to whom, on [`MemoryTables`].

use crate::memory::MemoryTables;
use lb_common::{
    decide::{
        Inbound, Inspect,
        reply::{Leaving, Outbound},
        steer::Steering,
        table,
    },
    limits::MAX_SERVICES_PER_BACKEND,
    map::{
        backend::BackendAddress,
        dialog::{Dialog, DialogKey, Phase},
        settings::Settings,
    },
    sip::{DialogHeaders, Kind, Method},
    verdict::Verdict,
};

/// Source hash of the caller of every story.
pub const CALLER: u64 = 0xca11_0000_0000_0001;
/// Source hash of somebody who has nothing to do with the call.
pub const STRANGER: u64 = 0xbad0_0000_0000_0002;
/// Hash of the branch of a call's first INVITE.
pub const BRANCH: u32 = 0xb1;

/// Short lifetimes, in ticks, all different.
pub fn settings() -> Settings {
    Settings {
        unconfirmed_limit: 1000,
        unanswered_ticks: 180,
        answered_ticks: 2000,
        ended_ticks: 32,
        subscribed_ticks: 700,
        ..Settings::default()
    }
}

/// A message, as far as the decision looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Call key, if it has a Call-ID.
    pub call_key: Option<u64>,
    /// To tag and branch.
    pub headers: DialogHeaders,
    /// Hash of the address it comes from; where it goes to, if a backend sent it.
    pub other_side: u64,
    /// The service it is sent to.
    pub service: u16,
    /// The listener it arrives at.
    pub listener: u8,
    /// One of the hashes that the ring may be asked with, see [`lb_common::map::zone::hash_by`].
    pub ring_keys: Option<(u8, u64)>,
    /// The seconds of its Retry-After.
    pub retry_after: Option<u32>,
}

impl Inspect for Message {
    fn kind(&self) -> Kind {
        self.kind
    }
    fn dialog_headers(&self) -> DialogHeaders {
        self.headers
    }
    fn ring_key(&self, hash_by: u8) -> Option<u64> {
        self.ring_keys.iter().find(|(by, _)| *by == hash_by).map(|(_, key)| *key)
    }
    fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }
}

/// A message of the caller to service 0.
pub fn message(kind: Kind, call_key: u64) -> Message {
    Message {
        kind,
        call_key: Some(call_key),
        headers: DialogHeaders { to_tag: 0, branch: BRANCH },
        other_side: CALLER,
        service: 0,
        listener: 0,
        ring_keys: None,
        retry_after: None,
    }
}

/// A request of the caller outside a dialog, with the first INVITE's branch.
pub fn request(method: Method, call_key: u64) -> Message {
    message(Kind::Request(method), call_key)
}

impl Message {
    /// The same with another branch.
    pub fn branch(mut self, branch: u32) -> Message {
        self.headers.branch = branch;
        self
    }
    /// The same inside a dialog.
    pub fn to_tag(mut self, to_tag: u32) -> Message {
        self.headers.to_tag = to_tag;
        self
    }
    /// The same from somebody else; to somebody else, if a backend sends it.
    pub fn by(mut self, other_side: u64) -> Message {
        self.other_side = other_side;
        self
    }
    /// The same at another listener.
    pub fn at(mut self, listener: u8) -> Message {
        self.listener = listener;
        self
    }
    /// The same to another service.
    pub fn to(mut self, service: u16) -> Message {
        self.service = service;
        self
    }
    /// The same without a Call-ID.
    pub fn without_call_id(mut self) -> Message {
        self.call_key = None;
        self
    }
}

/// A balancer and what happens at it.
pub struct Story {
    /// Its tables.
    pub tables: MemoryTables,
    /// Whether answers come back through it.
    pub sees_answers: bool,
}

impl Story {
    /// Service 0 with three backends, 0 to 2, and room for `capacity` dialogs.
    /// Answers do not come back through it (`l2`).
    pub fn with(settings: Settings, capacity: u32) -> Self {
        Story { tables: MemoryTables::new(settings, capacity).with_backends(3), sees_answers: false }
    }

    /// A caller's message arrives.
    pub fn arrives(&self, m: Message) -> Steering {
        let Message { call_key, service, listener, other_side: source, .. } = m;
        self.tables.steer(
            &Inbound { service, listener, tiers: 1, sees_answers: self.sees_answers, call_key, source },
            &m,
        )
    }

    /// A message leaves a backend that serves `services`.
    pub fn leaves(&self, backend: u16, services: &[u16], m: Message) -> Leaving {
        let mut from = BackendAddress { backend, count: services.len() as u16, ..BackendAddress::default() };
        assert!(services.len() <= MAX_SERVICES_PER_BACKEND);
        from.services[..services.len()].copy_from_slice(services);
        let outbound = Outbound { from: &from, call_key: m.call_key, destination: m.other_side };
        self.tables.reply(&outbound, &m)
    }

    /// The caller's INVITE arrives and is pinned; returns its backend.
    pub fn opens(&self, call_key: u64) -> u16 {
        let steering = self.arrives(request(Method::Invite, call_key));
        assert_eq!(steering.verdict, Verdict::SteeredNew);
        steering.backend
    }

    /// A call is opened and accepted; the other side's tag is `tag`. Returns its backend.
    pub fn answered(&self, call_key: u64, tag: u32) -> u16 {
        let backend = self.opens(call_key);
        if self.sees_answers {
            self.leaves(backend, &[0], message(Kind::Response(200), call_key).to_tag(tag));
        }
        self.arrives(request(Method::Ack, call_key).branch(BRANCH + 1).to_tag(tag));
        assert_eq!(self.phase(call_key), Some(Phase::Answered));
        backend
    }

    /// The dialog of a call of service 0.
    pub fn dialog(&self, call_key: u64) -> Option<Dialog> {
        self.dialog_of(call_key, 0)
    }

    /// The dialog of a call of a service.
    pub fn dialog_of(&self, call_key: u64, service: u16) -> Option<Dialog> {
        table::find(&&self.tables, &DialogKey::new(call_key, service)).map(|found| found.dialog)
    }

    /// Where a call of service 0 stands. `None`: it is not in the table.
    pub fn phase(&self, call_key: u64) -> Option<Phase> {
        self.dialog(call_key).map(|d| Phase::from_number(d.state.phase).expect("a phase"))
    }

    /// Time passes, and traffic that has nothing to do with the story keeps expiry going at every tick.
    pub fn passes(&self, ticks: u32) {
        for _ in 0..ticks {
            self.tables.pass(1);
            self.tables.tend();
        }
    }

    /// Time passes without any traffic.
    pub fn sleeps(&self, ticks: u32) {
        self.tables.pass(ticks);
    }
}

impl Story {
    /// A balancer with the usual settings.
    pub fn new() -> Story {
        Story::with(settings(), 256)
    }

    /// The same where answers come back through it (`nat`).
    pub fn seeing_answers() -> Story {
        Story { sees_answers: true, ..Story::new() }
    }
}

impl Default for Story {
    fn default() -> Self {
        Story::new()
    }
}
