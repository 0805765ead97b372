//! Answers of the slow path to collected, generated and hostile requests, read again by parsers that share no code with what
//! wrote them.

use anyhow::{Result, ensure};
use lb_common::{
    decide::own_tag,
    hash::HashKey,
    sip::{Bytes, Kind, Method, Noted, call_id, dialog_headers},
};
use lb_tests::{corpus, messages};
use proptest::prelude::*;
use sipsteer::{
    reference,
    slowpath::{
        answer::{self, Status},
        message::Request,
        room::{Choice, Target},
    },
};
use std::net::SocketAddr;

const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 200], 5099))
}

/// Builds each kind of answer to a message, if it can be answered, and looks at it. How many there were.
fn check(message: &[u8]) -> Result<usize> {
    let Ok(request) = Request::read(message, &KEY) else { return Ok(0) };
    let target = Target::Host("sip.example.net:5070".to_owned());
    let backend = Target::Backend(SocketAddr::from(([10, 0, 0, 1], 5060)));
    let choices = [Choice { target: &target, q: 1000 }, Choice { target: &backend, q: 900 }];
    let tag = own_tag::text(&KEY, request.call_key);
    let statuses = [
        (200, Status::Ok),
        (302, Status::MovedTemporarily(&choices)),
        (503, Status::ServiceUnavailable { retry_after: Some(1..=5) }),
    ];
    let mut answers = 0;
    for (code, status) in statuses {
        let Some(answer) = answer::build(&request, &status, source(), &tag) else { continue };
        ensure!(answer.len() <= message.len(), "{} bytes for {}", answer.len(), message.len());
        ensure!(
            answer::build(&request, &status, source(), &tag) == Some(answer.clone()),
            "not the same again"
        );
        let lines = lines_of(&answer)?;
        ensure!(lines[0].starts_with(format!("SIP/2.0 {code} ").as_bytes()), "the status line");
        let value = |long: &str, short: &str| only(&lines[1..], long, short);
        let vias: Vec<_> =
            lines[1..].iter().filter(|l| is_named(l, "Via", "v")).map(|l| value_of(l)).collect();
        ensure!(vias.len() == request.via_headers().count(), "{} Via headers", vias.len());
        let (ours, theirs) = (values_of(vias), values_of(request.via_headers()));
        ensure!(ours.len() == theirs.len(), "{} Via values", ours.len());
        ensure!(theirs.iter().zip(&ours).skip(1).all(|(theirs, ours)| same(theirs, ours)), "a Via changed");
        ensure!(same(request.from, value("From", "f")?), "From changed");
        ensure!(same(request.call_id, value("Call-ID", "i")?), "the Call-ID changed");
        ensure!(same(request.cseq, value("CSeq", "CSeq")?), "CSeq changed");
        ensure!(value("Content-Length", "l")? == b"0", "a body");
        let to = [request.to, b";tag=", &tag].concat();
        ensure!(request.to_tag || same(&to, value("To", "t")?), "To is not as it was, with our tag");
        ensure!(
            reference::read(&answer).kind == Kind::Response(code),
            "the reference parser sees another status"
        );
        answers += 1;
    }
    Ok(answers)
}

/// The lines of an answer. None is folded, and nothing in one ends a line for anybody.
fn lines_of(answer: &[u8]) -> Result<Vec<&[u8]>> {
    let text = answer.strip_suffix(b"\r\n\r\n");
    let Some(text) = text else { anyhow::bail!("it does not end with an empty line") };
    let mut lines = Vec::new();
    let mut rest = text;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = &rest[..end.unwrap_or(rest.len())];
        ensure!(!line.contains(&b'\r') && !line.contains(&b'\n'), "a line end in a line");
        ensure!(!line.is_empty() && line[0] != b' ' && line[0] != b'\t', "an empty or a folded line");
        ensure!(
            lines.is_empty() || OURS.iter().any(|n| name_of(line).eq_ignore_ascii_case(n.as_bytes())),
            "a header of the caller's: {line:?}"
        );
        lines.push(line);
        match end {
            Some(end) => rest = &rest[end + 2..],
            None => return Ok(lines),
        }
    }
}

/// Names of the headers that an answer may have.
const OURS: &[&str] = &[
    "Via",
    "v",
    "From",
    "f",
    "To",
    "t",
    "Call-ID",
    "i",
    "CSeq",
    "Contact",
    "m",
    "Content-Length",
    "l",
    "Retry-After",
    "Allow",
    "Accept",
];

fn name_of(line: &[u8]) -> &[u8] {
    line.split(|b| *b == b':').next().unwrap_or_default()
}

fn value_of(line: &[u8]) -> &[u8] {
    line[name_of(line).len() + 1..].trim_ascii()
}

fn is_named(line: &[u8], long: &str, short: &str) -> bool {
    [long, short].iter().any(|n| name_of(line).eq_ignore_ascii_case(n.as_bytes()))
}

fn only<'a>(lines: &[&'a [u8]], long: &str, short: &str) -> Result<&'a [u8]> {
    let all: Vec<_> = lines.iter().filter(|l| is_named(l, long, short)).collect();
    ensure!(all.len() == 1, "{} headers {long}", all.len());
    Ok(value_of(all[0]))
}

/// The values of headers: split at commas outside of quotes and angle brackets, byte by byte.
fn values_of<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut values = Vec::new();
    for value in headers {
        let (mut quoted, mut angle, mut start, mut at) = (false, false, 0, 0);
        while at < value.len() {
            match (value[at], quoted, angle) {
                (b'\\', true, _) => at += 1,
                (b'"', _, false) => quoted = !quoted,
                (b'<', false, _) => angle = true,
                (b'>', false, _) => angle = false,
                (b',', false, false) => {
                    values.push(&value[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        values.push(&value[start..]);
    }
    values
}

/// Whether two values are the same but for folds and white space.
fn same(theirs: &[u8], ours: &[u8]) -> bool {
    let bare = |value: &[u8]| value.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
    bare(theirs) == bare(ours)
}

fn all(messages: &[corpus::Message]) -> Result<(usize, usize)> {
    let (mut requests, mut answers) = (0, 0);
    for message in messages {
        let built = check(&message.bytes).map_err(|e| e.context(message.file.clone()))?;
        ensure!(built == 0 || message.kind == "request", "{} is a {}", message.file, message.kind);
        requests += usize::from(message.kind == "request");
        answers += built;
    }
    println!("{answers} answers to {requests} requests");
    Ok((requests, answers))
}

#[test]
fn own_messages_are_answered_well() -> Result<()> {
    let (_, answers) = all(&corpus::own()?)?;
    ensure!(answers > 30, "{answers} answers say little");
    Ok(())
}

#[test]
fn collected_messages_are_answered_well() -> Result<()> {
    let Some(messages) = corpus::collected("answers to collected messages")? else { return Ok(()) };
    let (requests, answers) = all(&messages)?;
    ensure!(answers > requests, "{answers} answers to {requests} requests say little");
    Ok(())
}

/// A whole request around some values.
fn request(method: Method, via: &str, from: &str, to: &str, call_id: &str, uri: &str) -> Vec<u8> {
    let name = if method == Method::Options { "OPTIONS" } else { "INVITE" };
    format!(
        "{name} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 \
         {name}\r\nUser-Agent: {}\r\n\r\n",
        "padding ".repeat(40)
    )
    .into_bytes()
}

/// Text of what parsers stumble over.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "\r",
        "\n",
        "\r\n",
        "\r\n ",
        "\n\t",
        "\r\r\n ",
        "\0",
        "\u{b}",
        "\u{85}",
        "\u{2028}",
        "\"",
        "\\",
        "<",
        ">",
        ";",
        ",",
        ":",
        "=",
        "%",
        "%0d%0a",
        "%0",
        "@",
        "?",
        "tag=x",
        ";tag=y",
        "Contact: <sip:evil@evil>",
        "X: y",
        "rport",
        "received=6.6.6.6",
        "sip:",
        "a",
        "b.example.com",
        " ",
        "\t",
        "é",
    ]);
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_the_caller_puts_a_line_into_an_answer(
        via in hostile(), from in hostile(), to in hostile(), call_id in hostile(), uri in hostile(), where_ in 0..6u8
    ) {
        let values = [&via, &from, &to, &call_id, &uri];
        let usual = ["h;branch=z9hG4bK1", "<sip:a@b>;tag=1", "<sip:c@d>", "1234@b", "sip:c@d"];
        // One of them is hostile, or all are.
        let text = |i: u8| if where_ == i || where_ == 5 {
            format!("{}{}", usual[usize::from(i)], values[usize::from(i)])
        } else {
            usual[usize::from(i)].to_owned()
        };
        for method in [Method::Invite, Method::Options] {
            let message = request(method, &text(0), &text(1), &text(2), &text(3), &text(4));
            check(&message).map_err(|e| TestCaseError::fail(format!("{e}: {:?}", String::from_utf8_lossy(&message))))?;
        }
    }

    #[test]
    fn damaged_requests_are_answered_well_or_not_at_all(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..5)
    ) {
        let mut message = request(
            Method::Invite,
            "h:5061;rport;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP a, SIP/2.0/UDP b;x=\",\"",
            "\"A\" <sip:a@b>;tag=1", "\"C \\\"\" <sip:c@d;x>", "1234@b", "sip:c;x=y@d;user=phone",
        );
        for (place, byte, kind) in changes {
            let at = place.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => drop(message.remove(at)),
            }
        }
        check(&message).map_err(|e| TestCaseError::fail(format!("{e}: {:?}", String::from_utf8_lossy(&message))))?;
    }

    #[test]
    fn generated_messages_are_answered_well_or_not_at_all(message in messages::damaged()) {
        check(&message).map_err(|e| TestCaseError::fail(e.to_string()))?;
    }
}

/// The generators above would prove nothing if all their requests were refused.
#[test]
fn hostile_requests_are_answered_now_and_then() -> Result<()> {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut answered = 0;
    for _ in 0..500 {
        let hostile = hostile().new_tree(&mut runner).expect("nothing is rejected").current();
        let to = format!("<sip:c@d>{hostile}");
        answered += usize::from(check(&request(Method::Invite, "h", "a", &to, "1", "sip:c@d"))? > 0);
    }
    ensure!(answered > 50 && answered < 450, "{answered} of 500");
    Ok(())
}

#[test]
fn the_ack_of_an_answer_is_known_by_its_tag() {
    let message =
        request(Method::Invite, "h;branch=z9hG4bK1", "a;tag=1", "\"T\" <sip:c@d>", "1234@b", "sip:c@d");
    let asked = Request::read(&message, &KEY).expect("it is a request");
    let tag = own_tag::text(&KEY, asked.call_key);
    let busy = Status::ServiceUnavailable { retry_after: None };
    let answer = answer::build(&asked, &busy, source(), &tag).expect("it fits");
    let noted = Noted::default();
    call_id(Bytes(&answer), 0, &noted);
    assert_eq!(dialog_headers(Bytes(&answer), &noted, &KEY).to_tag, own_tag::hash(&KEY, asked.call_key));
    assert_eq!(reference::read(&answer).to_tag, Some(&tag[..]));
}
