//! Named cases: a datagram read natively, by the reference parser and, where programs can be loaded, in the kernel.

use crate::{
    agreement::{self, Found, Scan},
    capability,
    probes::{MAX_DATAGRAM, Probes, SCAN},
};
use lb_common::hash::{HashKey, SipHash13, fold};
use std::sync::{LazyLock, Mutex, PoisonError};

const KEY: HashKey = HashKey::from_bytes(*b"named cases' key");

static PROBES: LazyLock<Option<Mutex<Probes>>> = LazyLock::new(|| {
    capability::given("the named cases in the kernel", capability::bpf_and_namespaces())
        .is_some()
        .then(|| Mutex::new(Probes::load(&SCAN, KEY).expect("the probes load")))
});

/// Reads a datagram three ways.
///
/// # Panics
/// If they do not agree.
pub fn read(datagram: &[u8]) -> Scan {
    agreement::check(datagram, &KEY);
    let scan = agreement::scan(datagram, &KEY);
    if let Some(probes) = PROBES.as_ref()
        && datagram.len() <= MAX_DATAGRAM
    {
        let kernel = probes.lock().unwrap_or_else(PoisonError::into_inner).scan(datagram);
        assert_eq!(kernel.expect("the probe runs"), scan, "kernel (left) and native scanner (right)");
    }
    scan
}

/// The Call-ID of a datagram: empty if its header has no value, `None` without a header.
///
/// # Panics
/// If the call key is not the hash of the value.
pub fn call_id(datagram: &[u8]) -> Option<String> {
    match read(datagram).call_id {
        Found::Value { at, len, hash } => {
            let value = &datagram[at..at + len];
            assert_eq!(hash, SipHash13::of(&KEY, value));
            Some(String::from_utf8_lossy(value).into_owned())
        }
        Found::Empty => Some(String::new()),
        Found::Absent => None,
    }
}

/// What a tag or branch of this value is hashed to.
pub fn hash(value: &str) -> u32 {
    fold(SipHash13::of(&KEY, value.as_bytes()))
}

/// The key of a user.
pub fn user_hash(user: &str) -> u64 {
    SipHash13::of(&KEY, user.as_bytes())
}

/// A message with a start line that costs a step and so many lines before `line`, and room enough behind it that its end is not
/// near.
pub fn after_steps(steps: usize, line: &str) -> Vec<u8> {
    let filler = "a:b\n".repeat(steps - 1);
    format!("INVITE sip:b SIP/2.0\r\n{filler}{line}{}", "x".repeat(64)).into_bytes()
}
