//! Named cases of the user in From, To and the request line, and both sides of every bound.

use lb_common::limits::{
    MAX_DIALOG_STEPS, MAX_DISPLAY_STEPS, MAX_METHOD, MAX_PARAMETER_LWS, MAX_USER, MAX_USER_STEPS,
};
use lb_tests::case::{read, user_hash};

/// The keys in a From header and in a To header with this text, which must be the same.
fn in_header(text: &str) -> Option<u64> {
    let both = [("From", "To"), ("f", "t")].map(|(from, to)| {
        let message = format!(
            "INVITE sips:host SIP/2.0\r\nVia: x\r\n{from}:{text}\r\n{to}:{text}\r\nCall-ID: a\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        read(message.as_bytes()).users
    });
    let [from, to, request] = both[0];
    assert_eq!(both[0], both[1], "{text:?}");
    assert_eq!((from, request), (to, None), "{text:?}");
    from
}

/// The key in a request line.
fn in_request(line: &str) -> Option<u64> {
    let message = format!("{line}\r\nVia: x\r\nFrom: <urn:x>\r\nTo: sip:host\r\nCall-ID: a\r\n\r\n");
    let [from, to, request] = read(message.as_bytes()).users;
    assert_eq!((from, to), (None, None));
    request
}

fn some(user: &str) -> Option<u64> {
    Some(user_hash(user))
}

#[test]
fn ordinary_headers() {
    for text in [
        " <sip:bob@h>",
        "<sip:bob@h>",
        " <SIP:bob@h>;tag=1",
        " <sips:bob@h:5061;transport=tcp>;tag=x@y",
        " <sip:bob:secret@h>",
        " <sip:bob:se;cret@h>",
        " <sip:bob;x=y@h>",
        " <sip:bob;x=y:z@h>;tag=1",
        " <tel:bob>",
        " <TEL:bob;phone-context=h@x>",
        " Bob <sip:bob@h>",
        " Bob B. <sip:bob@h>",
        " \"Bob\" <sip:bob@h>",
        " \"Bob\"<sip:bob@h>",
        " \"sip:no@h\" <sip:bob@h>",
        " \"<sip:no@h>\" <sip:bob@h>",
        " \"\\\"<sip:no@h>\" <sip:bob@h>",
        " \"\\\\\" <sip:bob@h>",
        " \"a;b,c\" <sip:bob@h>",
        " \"no@h\"\r\n <sip:bob@h>",
        "\r\n <sip:bob@h>",
        " Bob\r\n\tB. <sip:bob@h>",
        " sip:bob@h",
        " sip:bob@h;tag=1",
        "sips:bob@h",
        " sip:bob:secret@h;tag=x",
        " tel:bob",
        " tel:bob;tag=1",
        " <sip:bob@h>, <sip:no@h>",
        " <sip:bob@h@x>",
    ] {
        assert_eq!(in_header(text), some("bob"), "{text:?}");
    }
}

#[test]
fn users_are_their_bytes() {
    for user in [
        "Bob",
        "b%6Fb",
        "%62ob",
        "+1-201-555-0123",
        "a&b=c+d$e,f?g/h",
        "-_.!~*'()",
        "\u{fc}ber",
        "b\"ob",
        "b<ob",
    ] {
        assert_eq!(in_header(&format!(" <sip:{user}@h>;tag=1")), some(user), "{user}");
        assert_eq!(in_request(&format!("INVITE sip:{user}@h SIP/2.0")), some(user), "{user}");
    }
    assert_eq!(in_header(" <tel:+1-201-555-0123>"), some("+1-201-555-0123"));
    assert_ne!(some("bob"), some("Bob"));
}

#[test]
fn headers_without_a_user() {
    for text in [
        "",
        " ",
        " <>",
        " <sip:h>",
        " <sip:h:5060>;tag=no@h",
        " <sip:h>;x=\"no@h\"",
        " <sip:@h>",
        " <sip::secret@h>",
        " <sip:;x=y@h>",
        " <sip:no",
        " <sip:no @h>",
        " <sip:no\r\n @h>",
        " < sip:no@h>",
        " <sip :no@h>",
        " <sipx:no@h>",
        " <mailto:no@h>",
        " <urn:service:sos>",
        " <tel:>",
        " <tel:;x>",
        " <tel: no>",
        " sip:h;x=no@h",
        " sip:no;x=y@h",
        " sip:no,x@h",
        " sip:no?x@h",
        " sip:h",
        " tel:",
        " Bob sip:no@h",
        " \"Bob\" sip:no@h",
        " \"<sip:no@h>",
        " \"\\",
        " Bob, <sip:no@h>",
        " Bob; <sip:no@h>",
        " Bob\r\n<sip:no@h>",
        "\r\n",
    ] {
        assert_eq!(in_header(text), None, "{text:?}");
    }
}

#[test]
fn request_lines() {
    for line in [
        "INVITE sip:bob@h SIP/2.0",
        "ACK SIP:bob@h;transport=udp SIP/2.0",
        "OPTIONS sips:bob:secret@h:5061 SIP/2.0",
        "INVITE sip:bob;x=y@h?a=b SIP/2.0",
        "INVITE tel:bob SIP/2.0",
        "INVITE tel:bob;phone-context=x SIP/2.0",
        "X sip:bob@h SIP/2.0",
        "INVITE sip:bob@h",
        "INVITE tel:bob",
    ] {
        assert_eq!(in_request(line), some("bob"), "{line:?}");
    }
    for line in [
        "INVITE sip:h SIP/2.0",
        "INVITE sip:h;x=y SIP/2.0 no@h",
        "INVITE  sip:no@h SIP/2.0",
        "INVITE\tsip:no@h SIP/2.0",
        "INVITE <sip:no@h> SIP/2.0",
        "INVITE urn:service:sos SIP/2.0",
        "INVITE sip:@h SIP/2.0",
        "INVITE ",
        "INVITE",
        "SIP/2.0 200 sip:no@h",
    ] {
        assert_eq!(in_request(line), None, "{line:?}");
    }
}

#[test]
fn the_first_header_counts_and_its_place_does_not_matter() {
    for headers in [
        "From: <sip:a@h>\r\nTo: <sip:b@h>\r\nCall-ID: x\r\n",
        "Call-ID: x\r\nTo: <sip:b@h>\r\nFrom: <sip:a@h>\r\n",
        "To: <sip:b@h>\r\nCall-ID: x\r\nFrom : <sip:a@h>\r\n",
        "f:<sip:a@h>\r\nCall-ID: x\r\nFrom: <sip:no@h>\r\nt\t: <sip:b@h>\r\nTo: <sip:no@h>\r\n",
        "f:<sip:a@h>\r\nFrom: <sip:no@h>\r\nt: <sip:b@h>\r\nTo: <sip:no@h>\r\n",
        "From-X: <sip:no@h>\r\nX: y\r\n f: <sip:no@h>\r\ni: x\r\nFROM:<sip:a@h>\r\nT:<sip:b@h>\r\n",
    ] {
        for via in ["", "Via: x\r\n"] {
            let message = format!("INVITE sip:r@h SIP/2.0\r\n{headers}{via}\r\nFrom: <sip:no@h>\r\n");
            assert_eq!(read(message.as_bytes()).users, ["a", "b", "r"].map(some), "{message:?}");
        }
    }
    let twice =
        b"ACK x SIP/2.0\r\nFrom: <sip:h>\r\nTo: <sip:h>\r\nf: <sip:no@h>\r\nt: <sip:no@h>\r\ni: a\r\n\r\n";
    assert_eq!(read(twice).users, [None; 3]);
}

#[test]
fn users_at_every_place_before_the_end() {
    for pad in 0..80 {
        for header in ["f:<sip:bob@h>", "f:sip:bob@h", "f:tel:bob", "From: tel:bob;x"] {
            for end in ["\r\n\r\n", "\n", ""] {
                let message = format!("ACK x SIP/2.0\r\nX: {}\r\n{header}{end}", "p".repeat(pad));
                assert_eq!(read(message.as_bytes()).users[0], some("bob"), "{message:?}");
            }
        }
        let message = format!("ACK {}sip:bob@h", " ".repeat(pad));
        assert_eq!(read(message.as_bytes()).users[2], if pad == 0 { some("bob") } else { None });
    }
}

#[test]
fn every_length_up_to_the_bound_and_beyond() {
    for len in 1..=MAX_USER + 1 {
        let user = "u".repeat(len);
        let hashed = some(&user[..len.min(MAX_USER)]);
        assert_eq!(in_header(&format!(" <sip:{user}@h>")), hashed, "{len} bytes");
        assert_eq!(in_header(&format!(" <tel:{user}>")), hashed, "{len} bytes");
        assert_eq!(in_request(&format!("ACK sip:{user}@h SIP/2.0")), hashed, "{len} bytes");
    }
}

#[test]
fn the_way_to_the_at_is_bounded() {
    for (len, found) in [(8 * MAX_USER_STEPS - 1, true), (8 * MAX_USER_STEPS, false)] {
        let parameter = "x".repeat(len - "bob;".len());
        let expected = if found { some("bob") } else { None };
        assert_eq!(in_header(&format!(" <sip:bob;{parameter}@h>")), expected, "{len} bytes");
        assert_eq!(in_request(&format!("ACK sip:bob;{parameter}@h SIP/2.0")), expected, "{len} bytes");
    }
}

#[test]
fn the_way_to_the_angle_bracket_is_bounded() {
    // A step for each begun 8 bytes.
    for (len, found) in [(8 * MAX_DISPLAY_STEPS - 1, true), (8 * MAX_DISPLAY_STEPS, false)] {
        let expected = if found { some("bob") } else { None };
        assert_eq!(in_header(&format!("{}<sip:bob@h>", "x".repeat(len))), expected, "{len} bytes");
    }
    for (len, found) in [(MAX_PARAMETER_LWS, true), (MAX_PARAMETER_LWS + 1, false)] {
        let expected = if found { some("bob") } else { None };
        assert_eq!(in_header(&format!("{}<sip:bob@h>", " ".repeat(len))), expected, "{len} bytes");
    }
}

#[test]
fn the_method_before_a_uri_is_bounded() {
    for (len, found) in [(1, true), (MAX_METHOD - 1, true), (MAX_METHOD, false)] {
        let line = format!("{} sip:bob@h SIP/2.0", "M".repeat(len));
        assert_eq!(in_request(&line), if found { some("bob") } else { None }, "{len} bytes");
    }
}

#[test]
fn the_search_behind_the_call_id_is_bounded() {
    for (steps, expected) in [(MAX_DIALOG_STEPS, some("bob")), (MAX_DIALOG_STEPS + 1, None)] {
        // What is left of the line with the Call-ID is the first step.
        let filler = "a:b\n".repeat(steps - 1);
        let end = "x".repeat(64);
        let message = format!("ACK x SIP/2.0\r\nCall-ID: a\r\n{filler}From: <sip:bob@h>\r\n{end}");
        assert_eq!(read(message.as_bytes()).users[0], expected);
    }
}
