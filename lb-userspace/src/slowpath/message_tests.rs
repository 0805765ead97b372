//! What can be answered, and what not.

use super::*;
use lb_common::hash::SipHash13;
use proptest::prelude::*;

const KEY: HashKey = HashKey { k0: 7, k1: 11 };

const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.example.com:5066;branch=z9hG4bK776;rport\r\n\
    Via: SIP/2.0/UDP a.example.com;branch=1, SIP/2.0/UDP b.example.com;branch=2\r\n\
    Max-Forwards: 70\r\n\
    To: Bob <sip:bob@example.com>\r\n\
    From: Alice <sip:alice@example.com>;tag=1928301774\r\n\
    Call-ID: a84b4c76e66710@pc33.example.com\r\n\
    CSeq: 314159 INVITE\r\n\
    Content-Length: 4\r\n\
    \r\n\
    v=0\n";

fn read(text: &str) -> Result<Request<'_>, Unfit> {
    Request::read(text.as_bytes(), &KEY)
}

/// [`INVITE`] with another text in it.
fn with(from: &str, to: &str) -> Result<(), Unfit> {
    let text = INVITE.replace(from, to);
    assert_ne!(text, INVITE, "{from} is not in it");
    read(&text).map(drop)
}

#[test]
fn an_invite_has_all_its_parts() {
    let request = read(INVITE).unwrap();
    assert_eq!(request.method, Method::Invite);
    assert_eq!(request.uri, b"sip:bob@example.com");
    assert_eq!(request.top_via.host, b"pc33.example.com");
    assert_eq!(request.via_headers().count(), 2);
    assert_eq!(request.vias().count(), 3);
    assert_eq!(request.from, b"Alice <sip:alice@example.com>;tag=1928301774");
    assert_eq!((request.to, request.to_tag), (&b"Bob <sip:bob@example.com>"[..], false));
    assert_eq!(request.call_id, b"a84b4c76e66710@pc33.example.com");
    assert_eq!(request.call_key, SipHash13::of(&KEY, request.call_id));
    assert_eq!(request.cseq, b"314159 INVITE");
    assert_eq!(request.size, INVITE.len());
}

#[test]
fn the_forms_that_rfc_3261_allows_are_read() {
    let compact = INVITE
        .replace("Via:", "v :")
        .replace("To:", "t:")
        .replace("From: Alice", "F\t:\r\n Alice")
        .replace("Call-ID: ", "i:")
        .replace("CSeq: 314159 ", "cSEQ: 0314159\r\n\t")
        .replace("Content-Length", "l");
    let request = read(&compact).unwrap();
    assert_eq!(request.vias().count(), 3);
    assert_eq!(request.call_key, read(INVITE).unwrap().call_key);
    assert!(read(&INVITE.replace("\r\n", "\n")).is_ok(), "bare LF");
    assert!(read(&format!("\r\n\r\n{INVITE}")).is_ok(), "empty lines in front");
    assert!(read(&format!("{INVITE}more")).is_ok(), "bytes behind the body");
    assert!(with("SIP/2.0\r\nVia", "sip/2.0\r\nVia").is_ok());
    assert!(with("Content-Length: 4\r\n", "").is_ok());
    assert!(with("Content-Length: 4", "Content-Length: 0").is_ok());
}

#[test]
fn a_request_without_what_an_answer_repeats_is_unfit() {
    for (from, to, why) in [
        ("SIP/2.0\r\nVia", "SIP/2.0 \r\nVia", Unfit::StartLine),
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", Unfit::StartLine),
        ("INVITE sip", "INVITE  sip", Unfit::StartLine),
        ("bob@example.com SIP", "bob example.com SIP", Unfit::StartLine),
        ("2.0\r\nVia", "2.0\r\n Via", Unfit::StartLine),
        ("\r\n\r\nv=0\n", "\r\n", Unfit::Endless),
        ("Length: 4", "Length: 5", Unfit::ContentLength),
        ("Length: 4", "Length: -4", Unfit::ContentLength),
        ("Length: 4", "Length:", Unfit::ContentLength),
        ("Length: 4", "Length: 99999999999999999999", Unfit::ContentLength),
        ("From:", "X:", Unfit::From),
        ("Max-Forwards: 70", "f: <sip:x@y>", Unfit::From),
        ("Alice", "Al\rice", Unfit::From),
        ("To:", "X:", Unfit::To),
        ("To: Bob <sip:bob@example.com>", "To:", Unfit::To),
        ("To: Bob", "To: \"Bob", Unfit::To),
        ("Bob <", "Bob\r\r\n <", Unfit::To),
        ("Call-ID:", "X:", Unfit::CallId),
        ("Max-Forwards: 70", "i: x", Unfit::CallId),
        ("CSeq:", "X:", Unfit::CSeq),
        ("314159 INVITE", "314159 OPTIONS", Unfit::CSeq),
        ("314159 INVITE", "314159", Unfit::CSeq),
        ("314159 INVITE", "2147483648 INVITE", Unfit::CSeq),
        ("314159 INVITE", "-1 INVITE", Unfit::CSeq),
        ("SIP/2.0/UDP pc33.example.com:5066", "SIP/2.0/UDP ", Unfit::Via),
        ("branch=1", "branch=\r1", Unfit::Via),
    ] {
        assert_eq!(with(from, to), Err(why), "{to:?}");
    }
    assert!(with("314159 INVITE", "2147483647 INVITE").is_ok());
    assert_eq!(read(&INVITE.replace("Via:", "X:")).map(drop), Err(Unfit::Via));
}

#[test]
fn what_is_no_request_says_so() {
    assert_eq!(read("SIP/2.0 200 OK\r\n\r\n").map(drop), Err(Unfit::Response));
    assert_eq!(read("\r\n\r\n").map(drop), Err(Unfit::KeepAlive));
    assert_eq!(read("<html>\r\n\r\n").map(drop), Err(Unfit::NotSip));
    assert_eq!(read("").map(drop), Err(Unfit::KeepAlive));
}

#[test]
fn a_to_tag_is_seen_where_it_is_one() {
    for (to, tagged) in [
        ("<sip:bob@example.com>;tag=x", true),
        ("sip:bob@example.com ; x=y ; TAG = x", true),
        ("<sip:bob@example.com>;tag", true),
        ("<sip:bob@example.com;tag=x>", false),
        ("\"a;tag=x\" <sip:bob@example.com>;tagged=1", false),
    ] {
        let text = INVITE.replace("Bob <sip:bob@example.com>", to);
        assert_eq!(read(&text).unwrap().to_tag, tagged, "{to}");
    }
}

/// A Call-ID that the program gives up on: an answer would carry a tag that it does not know again in the ACK.
#[test]
fn a_call_id_that_the_program_does_not_find_is_none() {
    let lines = |count: usize| format!("Max-Forwards: 70\r\n{}", "a:b\r\n".repeat(count));
    assert!(with("Max-Forwards: 70\r\n", &lines(60)).is_ok());
    assert_eq!(with("Max-Forwards: 70\r\n", &lines(200)), Err(Unfit::CallId));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Request::read(&bytes, &KEY);
    }

    #[test]
    fn damaged_messages_are_read_without_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6)
    ) {
        let mut message = INVITE.as_bytes().to_vec();
        for (place, byte, kind) in changes {
            let at = place.index(message.len());
            match kind {
                0 => message[at] = byte,
                1 => message.insert(at, byte),
                _ => drop(message.remove(at)),
            }
        }
        if let Ok(request) = Request::read(&message, &KEY) {
            prop_assert!(request.vias().count() >= 1);
            prop_assert!(!request.uri.is_empty());
        }
    }
}
