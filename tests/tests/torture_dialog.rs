//! Named cases of the To tag and the topmost Via's branch, and both sides of every bound.

use lb_common::limits::{
    MAX_DIALOG_STEPS, MAX_PARAMETER, MAX_PARAMETER_LWS, MAX_PARAMETER_STEPS, MAX_SCAN_STEPS,
};
use lb_tests::case::{after_steps, hash, read};

fn to_tag(header: &str) -> u32 {
    read(format!("ACK sip:b@example.com SIP/2.0\r\n{header}\r\nCSeq: 1 ACK\r\n\r\n").as_bytes()).to_tag
}

fn branch(headers: &str) -> u32 {
    read(format!("ACK sip:b@example.com SIP/2.0\r\n{headers}\r\nCSeq: 1 ACK\r\n\r\n").as_bytes()).branch
}

#[test]
fn ordinary_forms() {
    for header in [
        "To: <sip:b@h>;tag=xyz",
        "To: \"Bob\" <sip:b@h>;tag=xyz",
        "To: Bob <sip:b@h>;tag=xyz",
        "to:<sip:b@h>;TAG=xyz",
        "t: sip:b@h;tag=xyz",
        "T:sip:b@h;Tag=xyz;x=y",
        "To: <sip:b@h>;x=y;tag=xyz",
        "To: <sip:b@h;tag=no>;tag=xyz",
        "To: \";tag=no\" <sip:b@h>;tag=xyz",
        "To: \"\\\";tag=no\" <sip:b@h>;tag=xyz",
        "To: \"\\\\\" <sip:b@h>;tag=xyz",
        "To: \"<\" <sip:b@h>;tag=xyz",
        "To: <sip:b@h>;x=\";tag=no\";tag=xyz",
        "To: <sip:b@h> ; tag = xyz",
        "To: <sip:b@h>\r\n ;tag=xyz",
        "To: <sip:b@h>;\r\n\ttag=xyz",
        "To: <sip:b@h>;tag\r\n =\r\n xyz",
        "To:\r\n <sip:b@h>;tag=xyz",
        "To :\t<sip:b@h>;tag=xyz",
        "To: <sip:b@h>;tag=xyz ;x",
        "To: <sip:b@h>;tag=xyz;tag=no",
        "To: <sip:b@h>;tagx=no;xtag=no;tag=xyz",
        "To: <sip:b@h>;;tag=xyz",
        "X: y\r\nTo: <sip:b@h>;tag=xyz",
        "Topic: no;tag=no\r\nTo: <sip:b@h>;tag=xyz",
        "X: y\r\n To: z;tag=no\r\nTo: <sip:b@h>;tag=xyz",
    ] {
        assert_eq!(to_tag(header), hash("xyz"), "{header:?}");
    }
}

#[test]
fn no_tag() {
    for header in [
        "X: y",
        "From: <sip:b@h>;tag=no",
        "To: <sip:b@h>",
        "To: <sip:b@h;tag=no>",
        "To: \";tag=no\" <sip:b@h>",
        "To: \"\\\";tag=no",
        "To: <sip:b@h>;tag=",
        "To: <sip:b@h>;tag=;tag=no",
        "To: <sip:b@h>;tag",
        "To: <sip:b@h>;tag;tag=no",
        "To: <sip:b@h>;tagx=no",
        "To: <sip:b@h>\r\n;tag=no",
        "To: <sip:b@h>\r\nTo: <sip:b@h>;tag=no",
        "To <sip:b@h>;tag=no",
        "To:\r\nX: y;tag=no",
        "X: y\r\n\r\nTo: <sip:b@h>;tag=no",
        "To: <sip:b@h>tag=no",
    ] {
        assert_eq!(to_tag(header), 0, "{header:?}");
    }
}

#[test]
fn branches() {
    for headers in [
        "Via: SIP/2.0/UDP h:5060;branch=z9hG4bKa",
        "v: SIP/2.0/UDP h;rport;BRANCH=z9hG4bKa;received=192.0.2.1",
        "Via: SIP / 2.0 / UDP h ; branch = z9hG4bKa",
        "Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKa",
        "Via: SIP/2.0/UDP h;branch=z9hG4bKa,SIP/2.0/TCP x;branch=no",
        "Via: SIP/2.0/UDP h;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP x;branch=no",
        "Via: SIP/2.0/UDP h;x=\",\";branch=z9hG4bKa",
        "To: x;branch=no\r\nVia: SIP/2.0/UDP h\r\n ;branch=z9hG4bKa",
    ] {
        assert_eq!(branch(headers), hash("z9hG4bKa"), "{headers:?}");
    }
    for headers in [
        "Via: SIP/2.0/UDP h",
        "Via: SIP/2.0/UDP h,SIP/2.0/UDP x;branch=no",
        "Via: x\r\nVia: y;branch=no",
        "X: y",
    ] {
        assert_eq!(branch(headers), 0, "{headers:?}");
    }
}

#[test]
fn to_at_every_place_before_the_end() {
    for pad in 0..80 {
        for end in ["\r\n\r\n", "\n\n", "\r\n", ""] {
            let message = format!("ACK x SIP/2.0\r\nX: {}\r\nTo: <y>;tag=1{end}", "p".repeat(pad));
            assert_eq!(read(message.as_bytes()).to_tag, hash("1"), "{message:?}");
        }
    }
}

#[test]
fn white_space_is_bounded() {
    for (len, found) in [(MAX_PARAMETER_LWS, true), (MAX_PARAMETER_LWS + 1, false)] {
        let white = " ".repeat(len);
        for header in
            [format!("To{white}: x;tag=1"), format!("To: x;tag{white}=1"), format!("To: x;tag={white}1")]
        {
            assert_eq!(to_tag(&header), if found { hash("1") } else { 0 }, "{header:?}");
        }
    }
}

#[test]
fn the_reading_of_a_header_is_bounded() {
    // A step for each begun 8 bytes up to the semicolon, and one for the name.
    for (len, found) in [(8 * (MAX_PARAMETER_STEPS - 1) - 1, true), (8 * (MAX_PARAMETER_STEPS - 1), false)] {
        let header = format!("To:{};tag=1", "x".repeat(len));
        assert_eq!(to_tag(&header), if found { hash("1") } else { 0 }, "{len} bytes");
    }
}

#[test]
fn long_values_are_hashed_so_far() {
    let longest = "x".repeat(MAX_PARAMETER);
    assert_eq!(to_tag(&format!("To: y;tag={longest}")), hash(&longest));
    assert_eq!(to_tag(&format!("To: y;tag={longest}z")), hash(&longest));
    assert_eq!(to_tag(&format!("To: y;tag={}", &longest[1..])), hash(&longest[1..]));
}

#[test]
fn headers_on_both_sides_of_the_call_id() {
    const CALL_ID: &str = "Call-ID: a\r\n";
    for headers in [
        format!("Via: x;branch=b\r\nTo: <x>;tag=t\r\n{CALL_ID}"),
        format!("Via: x;branch=b\r\n{CALL_ID}To: <x>;tag=t\r\n"),
        format!("To: <x>;tag=t\r\n{CALL_ID}Via: x;branch=b\r\n"),
        format!("{CALL_ID}Via: x;branch=b\r\nTo: <x>;tag=t\r\n"),
        format!("To: <x>;tag=t\r\nv:x;branch=b\r\n{CALL_ID}t: <y>;tag=no\r\nVia: y;branch=no\r\n"),
        format!("To: <x>;tag=t\r\nt: <y>;tag=no\r\n{CALL_ID}v:x;branch=b\r\nVia: y;branch=no\r\n"),
        format!("Topic: y;tag=no\r\nVia-X: y;branch=no\r\n{CALL_ID}T\t:<x>;tag=t\r\nV :x;branch=b\r\n"),
        format!("Call-ID:\r\nt:<x>;tag=t\r\nv:x;branch=b\r\n{CALL_ID}"),
    ] {
        let scan = read(format!("ACK sip:b@h SIP/2.0\r\n{headers}\r\n").as_bytes());
        assert_eq!((scan.to_tag, scan.branch), (hash("t"), hash("b")), "{headers:?}");
    }
    let body =
        read(format!("ACK sip:b@h SIP/2.0\r\n{CALL_ID}\r\nTo: <x>;tag=t\r\nv:x;branch=b\r\n").as_bytes());
    assert_eq!((body.to_tag, body.branch), (0, 0));
}

#[test]
fn what_the_search_for_the_call_id_passes_is_found() {
    for (steps, found) in [(MAX_SCAN_STEPS, true), (MAX_SCAN_STEPS + 1, false)] {
        let tag = read(&after_steps(steps, "To: <x>;tag=1\r\n")).to_tag;
        assert_eq!(tag, if found { hash("1") } else { 0 });
        let branch = read(&after_steps(steps, "Via: x;branch=1\r\n")).branch;
        assert_eq!(branch, if found { hash("1") } else { 0 });
    }
}

#[test]
fn the_search_behind_the_call_id_is_bounded() {
    for (steps, found) in [(MAX_DIALOG_STEPS, true), (MAX_DIALOG_STEPS + 1, false)] {
        // What is left of the line with the Call-ID is the first step.
        let filler = "a:b\n".repeat(steps - 1);
        for (header, of) in [("To: <x>;tag=1", 0), ("Via: x;branch=1", 1)] {
            let end = "x".repeat(64);
            let message = format!("ACK x SIP/2.0\r\nCall-ID: a\r\n{filler}{header}\r\n{end}");
            let scan = read(message.as_bytes());
            assert_eq!([scan.to_tag, scan.branch][of], if found { hash("1") } else { 0 }, "{header}");
        }
    }
}
