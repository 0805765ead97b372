//! Answers byte by byte, and as small as they have to be.

use super::*;
use crate::slowpath::room::Target;
use lb_common::{hash::HashKey, sip::Method};

const KEY: HashKey = HashKey { k0: 7, k1: 11 };
const TAG: &[u8; own_tag::LEN] = b"0123456789abcdef";

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776;rport;received=6.6.6.6\r\n\
    v: SIP/2.0/UDP a.example.com;branch=1,\r\n SIP/2.0/UDP b.example.com;branch=2\r\n\
    Max-Forwards: 70\r\n\
    To: Bob <sip:bob@example.com>\r\n\
    From: Alice\r\n\t<sip:alice@example.com>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710@pc33.example.com\r\n\
    CSeq: 314159 INVITE\r\n\
    User-Agent: a telephone with a long name that nobody needs\r\n\
    Contact: <sip:alice@pc33.example.com>\r\n\
    Content-Length: 0\r\n\
    \r\n";

const BUSY: Status<'_> = Status::ServiceUnavailable { retry_after: None };

fn source() -> SocketAddr {
    "192.0.2.9:5071".parse().unwrap()
}

fn answer_to(text: &str, status: &Status<'_>) -> Option<String> {
    let request = Request::read(text.as_bytes(), &KEY).unwrap();
    let answer = build(&request, status, source(), TAG)?;
    assert!(answer.len() <= text.len());
    Some(String::from_utf8(answer).unwrap())
}

/// [`INVITE`], longer by this many bytes.
fn padded(by: usize) -> String {
    INVITE.replace("nobody needs", &format!("nobody needs{}", "!".repeat(by)))
}

#[test]
fn a_503_repeats_what_belongs_to_the_transaction() {
    let expected = "SIP/2.0 503 Service Unavailable\r\n\
        Via: SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776;rport=5071;received=192.0.2.9\r\n\
        Via: SIP/2.0/UDP a.example.com;branch=1, SIP/2.0/UDP b.example.com;branch=2\r\n\
        From: Alice <sip:alice@example.com>;tag=1928301774\r\n\
        To: Bob <sip:bob@example.com>;tag=0123456789abcdef\r\n\
        Call-ID: a84b4c76e66710@pc33.example.com\r\n\
        CSeq: 314159 INVITE\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(answer_to(INVITE, &BUSY).unwrap(), expected);
}

#[test]
fn received_and_rport_are_added_only_where_they_belong() {
    let via = |sent_by: &str| {
        let text = INVITE.replace("pc33.example.com:5066;branch=z9hG4bK776;rport;received=6.6.6.6", sent_by);
        let answer = answer_to(&text, &BUSY).unwrap();
        answer.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(via("192.0.2.9:5071;branch=x"), "Via: SIP/2.0/UDP 192.0.2.9:5071;branch=x");
    assert_eq!(via("192.0.2.9:1;branch=x"), "Via: SIP/2.0/UDP 192.0.2.9:1;branch=x");
    assert_eq!(via("192.0.2.8;branch=x"), "Via: SIP/2.0/UDP 192.0.2.8;branch=x;received=192.0.2.9");
    assert_eq!(
        via("192.0.2.9;rport;branch=x"),
        "Via: SIP/2.0/UDP 192.0.2.9;rport=5071;branch=x;received=192.0.2.9"
    );
    assert_eq!(via("192.0.2.9;rport="), "Via: SIP/2.0/UDP 192.0.2.9;rport=5071;received=192.0.2.9");
    assert_eq!(via("192.0.2.9;rport=1"), "Via: SIP/2.0/UDP 192.0.2.9;rport=1");
    assert_eq!(
        via("a;branch=x , SIP/2.0/UDP b"),
        "Via: SIP/2.0/UDP a;branch=x;received=192.0.2.9, SIP/2.0/UDP b"
    );
}

#[test]
fn a_302_names_contacts_in_order() {
    let (host, backend) =
        (Target::Host("sip.de.example.com".to_owned()), Target::Backend("10.0.0.1:5060".parse().unwrap()));
    let choices = [Choice { target: &host, q: 1000 }, Choice { target: &backend, q: 900 }];
    let answer = answer_to(&padded(100), &Status::MovedTemporarily(&choices)).unwrap();
    assert!(answer.starts_with("SIP/2.0 302 Moved Temporarily\r\n"));
    let contact = "\r\nContact: <sip:bob@sip.de.example.com>;q=1.0, <sip:bob@10.0.0.1:5060>;q=0.9\r\n";
    assert!(answer.contains(contact), "{answer}");
}

/// Every form of an answer is taken exactly as long as the one before does not fit.
#[test]
fn an_answer_gets_shorter_as_its_request_does() {
    let targets: Vec<Target> =
        (1..=3).map(|i| Target::Backend(SocketAddr::from(([10, 0, 0, i], 5060)))).collect();
    let choices: Vec<Choice<'_>> = targets.iter().map(|target| Choice { target, q: 1000 }).collect();
    let redirect = Status::MovedTemporarily(&choices);
    // From the largest request to one that is too small for any answer; only the padding differs.
    let long = padded(300).replace("Max-Forwards: 70\r\n", "");
    let mut sizes = Vec::new();
    for cut in 0..long.len() {
        let pad = long.find("a telephone").unwrap();
        let Some(text) = long.get(..pad).zip(long.get(pad + cut..)).map(|(a, b)| format!("{a}{b}")) else {
            break;
        };
        if !text.contains("\r\nContact") {
            break;
        }
        if let Some(answer) = answer_to(&text, &redirect) {
            let contacts = answer.matches("<sip:bob@10.").count();
            let compact = answer.contains("\r\nm:");
            let phrase = answer.contains("Moved");
            sizes.push((contacts, compact, phrase));
        }
    }
    sizes.dedup();
    assert_eq!(
        sizes,
        [(3, false, true), (3, true, true), (3, true, false), (2, true, false)],
        "the shortest request leaves room for two"
    );
}

#[test]
fn no_answer_is_larger_than_its_request() {
    let least = "OPTIONS sip:h SIP/2.0\nv:SIP/2.0/UDP h;rport\nf:a\nt:b\ni:c\nCSeq:1 OPTIONS\n\n";
    assert_eq!(answer_to(least, &Status::Ok), None);
    let request = |pad: usize| least.replace("f:a", &format!("X:{}\nf:a", "x".repeat(pad)));
    let fits = (0..200).find(|pad| answer_to(&request(*pad), &Status::Ok).is_some()).unwrap();
    let answer = answer_to(&request(fits), &Status::Ok).unwrap();
    assert_eq!(answer.len(), request(fits).len(), "it fits exactly");
    assert!(answer.starts_with("SIP/2.0 200 \r\nv:SIP/2.0/UDP h;rport=5071;received=192.0.2.9\r\n"));
}

#[test]
fn options_are_told_what_is_allowed_if_there_is_room() {
    let options = padded(60).replace("INVITE", "OPTIONS");
    let answer = answer_to(&options, &Status::Ok).unwrap();
    assert!(answer.contains("\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\nAccept: application/sdp\r\n"));
    assert_eq!(Request::read(options.as_bytes(), &KEY).unwrap().method, Method::Options);
    let short = options.replace("a telephone with a long name that nobody needs", "");
    let short = short.replace(&"!".repeat(60), "");
    let answer = answer_to(&short, &Status::Ok).unwrap();
    assert!(answer.starts_with("SIP/2.0 200 OK\r\nVia: ") && !answer.contains("Allow"), "{answer}");
}

#[test]
fn retry_after_is_within_its_bounds_and_follows_the_tag() {
    let status = Status::ServiceUnavailable { retry_after: Some(1..=5) };
    let answer = answer_to(&padded(60), &status).unwrap();
    // 0x0123456789abcdef modulo 5 is 0.
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    let mut seen = std::collections::BTreeSet::new();
    for call_key in 0..100 {
        seen.insert(within(&(2..=4), &own_tag::text(&KEY, call_key)));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(within(&(3..=3), TAG), 3);
}
