//! Every collected message, natively and in the kernel, against an independent parser's answer in the manifest.
//!
//! The rule (DESIGN: "What is the Call-ID") takes the value up to the first white space, the manifest joins folded lines with a
//! space and goes on to the end of the line: the manifest's value is cut at its first white space to compare.

use anyhow::{Result, ensure};
use lb_common::{
    hash::{HashKey, SipHash13},
    limits::MAX_CALL_ID,
    sip::Kind,
};
use lb_tests::{
    agreement::{self, Found, Scan},
    corpus::{self, Message},
    needs_bpf,
    probes::{MAX_DATAGRAM, Probes, SCAN},
};

const KEY: HashKey = HashKey::from_bytes(*b"torture test key");

/// Messages that are read differently from what the manifest says, and why.
const DIVERGENCES: &[(&str, &str)] = &[
    (
        "derived/offset-4096.sip",
        "129 steps before the Call-ID, MAX_SCAN_STEPS are 128; larger than any XDP frame",
    ),
    ("derived/many-headers-64.sip", "64 Via headers before the Call-ID cost 130 steps"),
    ("derived/many-headers-65.sip", "65 Via headers before the Call-ID cost 132 steps"),
    (
        "derived/many-headers-100.sip",
        "100 Via headers before the Call-ID cost 202 steps; larger than any XDP frame",
    ),
    ("real/osip-sip85", "5,920 bytes before the Call-ID cost 187 steps; larger than any XDP frame"),
];

#[test]
fn own_messages_natively() -> Result<()> {
    natively(&corpus::own()?, false)
}

#[test]
fn collected_messages_natively() -> Result<()> {
    corpus::collected("every collected message natively")?
        .map_or(Ok(()), |messages| natively(&messages, true))
}

#[test]
fn own_messages_in_the_kernel() -> Result<()> {
    in_the_kernel(&corpus::own()?)
}

#[test]
fn collected_messages_in_the_kernel() -> Result<()> {
    corpus::collected("every collected message in the kernel")?
        .map_or(Ok(()), |messages| in_the_kernel(&messages))
}

/// Compares with the manifest and with the reference parser. With `all`, every divergence must show.
fn natively(messages: &[Message], all: bool) -> Result<()> {
    let mut wrong = Vec::new();
    let mut diverged = 0;
    for message in messages {
        agreement::check(&message.bytes, &KEY);
        let scan = agreement::scan(&message.bytes, &KEY);
        let same = same_call_id(message, scan.call_id) && same_kind(message, scan.kind);
        match (same, DIVERGENCES.iter().find(|(file, _reason)| *file == message.file)) {
            (true, None) => {}
            (false, Some(_)) => diverged += 1,
            (true, Some(_)) => {
                wrong.push(format!("{}: does not diverge any more: remove its row", message.file));
            }
            (false, None) => {
                wrong.push(format!("{}: {scan:?}, expected {:?}", message.file, expected(message)));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {} messages:\n{}", wrong.len(), messages.len(), wrong.join("\n"));
    ensure!(!all || diverged == DIVERGENCES.len(), "a row of DIVERGENCES names a file that is not there");
    println!("{} messages, of which {diverged} diverge for a reason", messages.len());
    Ok(())
}

/// Compares the kernel with the native scanner, which the other tests compare with everything else.
fn in_the_kernel(messages: &[Message]) -> Result<()> {
    needs_bpf!();
    let mut probes = Probes::load(&SCAN, KEY)?;
    let (fit, large): (Vec<_>, Vec<_>) =
        messages.iter().partition(|message| message.bytes.len() <= MAX_DATAGRAM);
    for message in &fit {
        let native = agreement::scan(&message.bytes, &KEY);
        let kernel = probes.scan(&message.bytes)?;
        ensure!(native == kernel, "{}: {native:?} natively, {kernel:?} in the kernel", message.file);
    }
    println!("{} messages; {} of more than {MAX_DATAGRAM} bytes ran natively only", fit.len(), large.len());
    for message in large {
        println!("  {} ({} bytes)", message.file, message.bytes.len());
    }
    Ok(())
}

/// The value of the rule.
fn expected(message: &Message) -> Option<&[u8]> {
    let value = message.call_id.as_deref()?;
    let end = value.iter().position(|b| b" \t\r\n".contains(b)).unwrap_or(value.len());
    Some(&value[..end.min(MAX_CALL_ID)])
}

fn same_call_id(message: &Message, found: Found) -> bool {
    match (expected(message), found) {
        (None, Found::Absent) => true,
        (Some(value), Found::Empty) => value.is_empty(),
        (Some(value), Found::Value { at, len, hash }) => {
            message.bytes.get(at..at + len) == Some(value) && hash == SipHash13::of(&KEY, value)
        }
        _ => false,
    }
}

/// What the manifest calls garbage may still begin like a message: only its start line is looked at here, not all of it.
fn same_kind(message: &Message, kind: Kind) -> bool {
    match (message.kind.as_str(), kind) {
        ("request", Kind::Request(method)) => {
            let name = format!("{method:?}").to_uppercase();
            name == "OTHER" || message.method.as_deref() == Some(&name)
        }
        ("response", Kind::Response(code)) => message.status == Some(i64::from(code)),
        ("garbage", _) => true,
        _ => false,
    }
}

/// The scan type is compared as a whole above; this keeps a new field from being forgotten there.
#[test]
fn a_scan_compares_all_its_fields() {
    let scan =
        agreement::scan(b"ACK sip:r@h SIP/2.0\nf:<sip:f@h>\nt:<sip:t@h>;tag=1\nv:z;branch=2\ni:3\n\n", &KEY);
    let Scan { kind: _, call_id: _, to_tag, branch, users, retry_after } = scan;
    let [from, to, request] = users;
    assert!(from.is_some() && to.is_some() && request.is_some(), "{users:?}");
    for other in [
        Scan { to_tag: to_tag ^ 2, ..scan },
        Scan { branch: branch ^ 2, ..scan },
        Scan { users: [None, to, request], ..scan },
        Scan { users: [from, None, request], ..scan },
        Scan { users: [from, to, None], ..scan },
        Scan { retry_after: retry_after.xor(Some(1)), ..scan },
    ] {
        assert_ne!(scan, other);
    }
}
