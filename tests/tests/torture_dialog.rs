//! Named cases of the To tag and the topmost Via's branch, and both sides of every bound.

use lb_common::limits::{MAX_DIALOG_STEPS, MAX_PARAMETER, MAX_PARAMETER_LWS, MAX_PARAMETER_STEPS};
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
fn the_search_for_to_and_via_is_bounded() {
    for (more, found) in [(0, true), (1, false)] {
        let tag = read(&after_steps(MAX_DIALOG_STEPS + more, "To: <x>;tag=1\r\n")).to_tag;
        assert_eq!(tag, if found { hash("1") } else { 0 });
        let branch = read(&after_steps(MAX_DIALOG_STEPS + more, "Via: x;branch=1\r\n")).branch;
        assert_eq!(branch, if found { hash("1") } else { 0 });
    }
}
