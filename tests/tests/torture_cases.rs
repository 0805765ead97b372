//! Named cases: what RFC 3261 allows and what it does not, and both sides of every bound. Each is read natively, by the
//! reference parser and, where programs can be loaded, in the kernel.

use lb_common::{
    hash::{HashKey, SipHash13, fold},
    limits::{
        MAX_CALL_ID, MAX_DIALOG_STEPS, MAX_LEADING, MAX_LWS, MAX_METHOD, MAX_PARAMETER, MAX_PARAMETER_LWS,
        MAX_PARAMETER_STEPS, MAX_SCAN_STEPS, SCAN_BLOCK,
    },
    sip::{Kind, Method},
};
use lb_tests::{
    agreement::{self, Found, Scan},
    capability,
    probes::{MAX_DATAGRAM, Probes},
};
use std::sync::{LazyLock, Mutex};

const KEY: HashKey = HashKey::from_bytes(*b"named cases' key");

static PROBES: LazyLock<Option<Mutex<Probes>>> = LazyLock::new(|| {
    capability::may_run("the named cases in the kernel")
        .then(|| Mutex::new(Probes::load(&["whole"], KEY).expect("the probes load")))
});

/// Reads a datagram three ways, which must agree.
fn read(datagram: &[u8]) -> Scan {
    agreement::check(datagram, &KEY);
    let scan = agreement::scan(datagram, &KEY);
    if let Some(probes) = PROBES.as_ref()
        && datagram.len() <= MAX_DATAGRAM
    {
        let kernel = probes.lock().expect("no test panics while it holds the probes").scan(datagram);
        assert_eq!(kernel.expect("the probe runs"), scan, "kernel and native scanner");
    }
    scan
}

/// The Call-ID of a message with these lines behind its start line.
fn call_id(lines: &str) -> Option<String> {
    call_id_of(format!("INVITE sip:b@example.com SIP/2.0\r\n{lines}").as_bytes())
}

/// `Some` with the value, empty for an empty one; `None` without a header.
fn call_id_of(datagram: &[u8]) -> Option<String> {
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

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn kind(datagram: impl AsRef<[u8]>) -> Kind {
    read(datagram.as_ref()).kind
}

fn hash(value: &str) -> u32 {
    fold(SipHash13::of(&KEY, value.as_bytes()))
}

fn to_tag(header: &str) -> u32 {
    read(format!("ACK sip:b@example.com SIP/2.0\r\n{header}\r\nCSeq: 1 ACK\r\n\r\n").as_bytes()).to_tag
}

fn branch(headers: &str) -> u32 {
    read(format!("ACK sip:b@example.com SIP/2.0\r\n{headers}\r\nCSeq: 1 ACK\r\n\r\n").as_bytes()).branch
}

mod names {
    use super::*;

    #[test]
    fn long_and_short_in_any_case() {
        for name in ["Call-ID", "call-id", "CALL-ID", "cAlL-iD", "Call-Id", "i", "I"] {
            assert_eq!(call_id(&format!("Via: x\r\n{name}: a@b\r\n\r\n")), some("a@b"), "{name}");
        }
    }

    #[test]
    fn near_misses_do_not_stop_the_search() {
        for line in [
            "xCall-ID: no",
            "Call-IDx: no",
            "Call-ID; no",
            "Call-ID no",
            "Call-ID",
            "Call-I: no",
            "Call\rID: no",
            "CallMID: no",
            "i; no",
            "i foo: no",
            "i\tfoo: no",
            "ii: no",
            "I-D: no",
            " Call-ID: no",
            "\tCall-ID: no",
            " i: no",
            "Call-Info: no",
            "X: Call-ID: no",
            "Call-ID                                    no: no",
            "Call-ID\r\n : no",
        ] {
            assert_eq!(call_id(&format!("{line}\r\nCall-ID: yes\r\n\r\n")), some("yes"), "{line:?}");
            assert_eq!(call_id(&format!("{line}\r\n\r\n")), None, "{line:?}");
        }
    }

    #[test]
    fn white_space_before_the_colon() {
        for len in [1, 7, 8, 9, 15, 16, 17, 64, 300] {
            let white = " \t".repeat(len)[..len].to_owned();
            assert_eq!(call_id(&format!("Call-ID{white}: a\r\n\r\n")), some("a"), "{len} bytes");
            assert_eq!(call_id(&format!("i{white}:a")), some("a"), "{len} bytes, then the end");
            assert_eq!(
                call_id(&format!("i{white}x: a\r\ni: b\r\n\r\n")),
                some("b"),
                "{len} bytes, then no colon"
            );
        }
    }

    #[test]
    fn the_first_of_two_wins_even_if_empty() {
        assert_eq!(call_id("Call-ID: a\r\ni: b\r\n\r\n"), some("a"));
        assert_eq!(call_id("i: b\r\nCall-ID: a\r\n\r\n"), some("b"));
        assert_eq!(call_id("Call-ID:\r\ni: b\r\n\r\n"), some(""));
    }

    #[test]
    fn the_start_line_is_no_header() {
        assert_eq!(call_id_of(b"i: a\r\n\r\n"), None);
        assert_eq!(call_id_of(b"i: a\r\ni: b\r\n\r\n"), some("b"));
    }
}

mod values {
    use super::*;

    #[test]
    fn folds_before_the_value() {
        for white in ["", " ", "\t", "\r\n ", "\r\n\t", "\n ", " \r\n \r\n ", "\n\t\n\t", "  \r\n   "] {
            assert_eq!(call_id(&format!("Call-ID:{white}a@b\r\n\r\n")), some("a@b"), "{white:?}");
        }
    }

    #[test]
    fn what_ends_a_value() {
        for end in [" ", "\t", "\r", "\n", "\r\n", " x", "\r\n folded", "\rx"] {
            assert_eq!(call_id(&format!("Call-ID: a@b{end}\r\n\r\n")), some("a@b"), "{end:?}");
        }
        for inside in [
            "\0",
            "\u{b}",
            "\u{c}",
            "\u{1f}",
            "\u{7f}",
            "ä",
            ",",
            ";",
            "\"",
            "<>",
            "()[]{}\\/?",
            "\u{1}\u{8}\u{e}",
        ] {
            assert_eq!(
                call_id(&format!("Call-ID: 1234{inside}5678\r\n\r\n")),
                some(&format!("1234{inside}5678"))
            );
        }
    }

    #[test]
    fn empty_ones() {
        for line in [
            "Call-ID:",
            "Call-ID: ",
            "Call-ID:\t \t",
            "Call-ID: \r",
            "Call-ID: \rx",
            "Call-ID:\r\n ",
            "Call-ID:\r\n \r\n ",
        ] {
            assert_eq!(call_id(&format!("{line}\r\nX: y\r\n\r\n")), some(""), "{line:?}");
            assert_eq!(call_id(line), some(""), "{line:?}, then the end");
        }
        assert_eq!(call_id("Call-ID:\r\n\r\n a"), some(""), "an empty line is no fold");
    }

    #[test]
    fn every_length_up_to_the_bound_and_beyond() {
        for len in (1..=40).chain(MAX_CALL_ID - 9..=MAX_CALL_ID) {
            let value: String = ('!'..='~').cycle().take(len).collect();
            for end in ["\r\n\r\n", ""] {
                assert_eq!(call_id(&format!("Call-ID: {value}{end}")), some(&value));
            }
        }
        let longest = "x".repeat(MAX_CALL_ID);
        for more in ["y", "yy", "yyyyyyyyy"] {
            assert_eq!(
                call_id(&format!("Call-ID: {longest}{more}\r\n\r\n")),
                some(&longest),
                "hashed so far"
            );
        }
    }

    #[test]
    fn white_space_before_a_value_is_bounded() {
        for (len, value) in [(MAX_LWS - 1, "a"), (MAX_LWS, "a"), (MAX_LWS + 1, "")] {
            assert_eq!(call_id(&format!("Call-ID:{}a\r\n\r\n", " ".repeat(len))), some(value), "{len} bytes");
        }
    }
}

mod header_section {
    use super::*;

    #[test]
    fn the_body_is_never_searched() {
        for empty in ["\r\n", "\n"] {
            assert_eq!(call_id(&format!("Via: x\r\n{empty}Call-ID: body\r\n\r\n")), None);
        }
    }

    #[test]
    fn what_is_no_empty_line() {
        for line in ["\r\r\n", " \r\n", " \n", "\t\n", "\0\r\n", "\rx\r\n"] {
            assert_eq!(call_id(&format!("Via: x\r\n{line}Call-ID: a\r\n\r\n")), some("a"), "{line:?}");
        }
    }

    #[test]
    fn bare_line_feeds_end_lines_and_bare_carriage_returns_do_not() {
        assert_eq!(call_id_of(b"INVITE x SIP/2.0\nVia: y\nCall-ID: a\n\n"), some("a"));
        assert_eq!(call_id_of(b"INVITE x SIP/2.0\rVia: y\rCall-ID: a\r\r"), None);
    }

    #[test]
    fn the_end_of_the_datagram_ends_the_last_line() {
        let message = "OPTIONS x SIP/2.0\r\nVia: a\r\nCall-ID: abcdefghij";
        for len in 0..=message.len() {
            let cut = &message[..len];
            let expected = cut.find("Call-ID:").map(|at| cut[at + 8..].trim().to_owned());
            assert_eq!(call_id_of(cut.as_bytes()), expected, "{len} bytes");
        }
    }

    #[test]
    fn a_header_in_the_last_bytes() {
        for line in ["i:a", "i: a", "i:abc", "i:abcd", "i:abcde", "i :ab", "I\t:\tx", "Call-ID:a"] {
            let value = line.rsplit([':', ' ', '\t']).next().expect("rsplit gives one at least");
            for pad in 0..80 {
                assert_eq!(
                    call_id(&format!("X: {}\r\n{line}", "y".repeat(pad))),
                    some(value),
                    "{line} behind {pad}"
                );
            }
        }
    }

    #[test]
    fn every_offset() {
        for pad in 0..200 {
            for (before, after) in [("", ""), ("a:b\r\n", "\r\n"), ("c\n", "\r\nTo: x\r\n\r\n")] {
                let message = format!("{before}X:{}\r\nCall-ID: v{pad}@h{after}", "p".repeat(pad));
                assert_eq!(call_id(&message), some(&format!("v{pad}@h")), "{message:?}");
            }
        }
    }

    #[test]
    fn two_messages_in_a_datagram_are_the_first() {
        let one = "BYE x SIP/2.0\r\nCall-ID: a\r\n\r\n";
        let two = "BYE x SIP/2.0\r\nCall-ID: b\r\n\r\n";
        assert_eq!(call_id_of(format!("{one}{two}").as_bytes()), some("a"));
    }

    /// A start line of one step, then lines of one step each.
    fn after_steps(steps: usize, line: &str) -> Vec<u8> {
        let mut message = "INVITE sip:b SIP/2.0\r\n".to_owned();
        message.push_str(&"a:b\n".repeat(steps - 1));
        message.push_str(line);
        message.push_str(&"x".repeat(SCAN_BLOCK));
        message.into_bytes()
    }

    #[test]
    fn the_search_for_the_call_id_is_bounded() {
        assert_eq!(call_id_of(&after_steps(MAX_SCAN_STEPS - 1, "Call-ID: a\r\n")), some("a"));
        assert_eq!(call_id_of(&after_steps(MAX_SCAN_STEPS, "Call-ID: a\r\n")), some("a"));
        assert_eq!(call_id_of(&after_steps(MAX_SCAN_STEPS + 1, "Call-ID: a\r\n")), None);
        assert_eq!(
            call_id_of(&after_steps(MAX_SCAN_STEPS, "Call-ID : a\r\n")),
            None,
            "white space costs a step"
        );
        assert_eq!(call_id_of(&after_steps(MAX_SCAN_STEPS - 1, "Call-ID : a\r\n")), some("a"));
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
}

mod start_lines {
    use super::*;

    #[test]
    fn methods() {
        let methods = [
            ("INVITE", Method::Invite),
            ("ACK", Method::Ack),
            ("BYE", Method::Bye),
            ("CANCEL", Method::Cancel),
            ("REGISTER", Method::Register),
            ("OPTIONS", Method::Options),
            ("PRACK", Method::Prack),
            ("UPDATE", Method::Update),
            ("SUBSCRIBE", Method::Subscribe),
            ("NOTIFY", Method::Notify),
            ("PUBLISH", Method::Publish),
            ("INFO", Method::Info),
            ("REFER", Method::Refer),
            ("MESSAGE", Method::Message),
        ];
        for (name, method) in methods {
            assert_eq!(kind(format!("{name} sip:x SIP/2.0\r\n\r\n")), Kind::Request(method));
            assert_eq!(kind(format!("{name} ")), Kind::Request(method), "and nothing more");
            assert_eq!(kind(name.to_string()), Kind::NotSip, "without SP");
            assert_eq!(kind(format!("{name}S x")), Kind::Request(Method::Other));
            assert_eq!(
                kind(format!("{} x", name.to_lowercase())),
                Kind::Request(Method::Other),
                "case matters"
            );
            assert_eq!(kind(format!("{} x", &name[1..])), Kind::Request(Method::Other));
        }
    }

    #[test]
    fn tokens() {
        assert_eq!(
            kind("!interesting-Method0123456789_*+`.%indeed'~ sip:x SIP/2.0"),
            Kind::Request(Method::Other)
        );
        for byte in (0..=255u8).filter(|byte| *byte != b' ') {
            let token = byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
            let expected = if token { Kind::Request(Method::Other) } else { Kind::NotSip };
            assert_eq!(kind([b'A', byte, b'A', b' ']), expected, "{byte:#x}");
        }
        assert_eq!(kind(" INVITE x"), Kind::NotSip);
        let long = "M".repeat(MAX_METHOD);
        assert_eq!(kind(&long[1..]), Kind::NotSip, "no SP in sight");
        assert_eq!(kind(format!("{} x", &long[1..])), Kind::Request(Method::Other));
        assert_eq!(kind(format!("{long}(")), Kind::Request(Method::Other), "looked at so far");
        assert_eq!(kind(format!("{}(", &long[1..])), Kind::NotSip);
    }

    #[test]
    fn responses() {
        for (line, code) in [
            ("SIP/2.0 200 OK", 200),
            ("sip/2.0 180 Ringing", 180),
            ("SiP/2.0 699", 699),
            ("SIP/2.0 100\r\n", 100),
        ] {
            assert_eq!(kind(line), Kind::Response(code), "{line}");
        }
        for line in [
            "SIP/2.0 20",
            "SIP/2.0 2000 x",
            "SIP/2.0  200",
            "SIP/2.1 200 x",
            "SIP/2.0\t200",
            "SIP/2.0 2x0",
            "SIP/2.0 -12",
            "SIP/2.0",
        ] {
            assert_eq!(kind(line), Kind::NotSip, "{line}");
        }
    }

    #[test]
    fn keep_alives() {
        for datagram in [&b""[..], b"\r\n", b"\r\n\r\n", b"\n", b"\0", b"\0\0\0\0", b"\r\n\0", b"\0\r\n"] {
            assert_eq!(kind(datagram), Kind::KeepAlive, "{datagram:?}");
        }
        for byte in [b'\r', b'\n'] {
            assert_eq!(kind(vec![byte; MAX_LEADING]), Kind::KeepAlive);
            assert_eq!(kind(vec![byte; MAX_LEADING + 1]), Kind::NotSip);
        }
        assert_eq!(kind(vec![0; MAX_LEADING - 1]), Kind::KeepAlive);
        assert_eq!(kind(vec![0; MAX_LEADING]), Kind::NotSip);
        assert_eq!(kind(b"\0\0x"), Kind::NotSip);
        assert_eq!(kind(b"\0INVITE x SIP/2.0"), Kind::NotSip);
    }

    #[test]
    fn empty_lines_before_a_message() {
        for len in [1, 2, 4, MAX_LEADING] {
            let message = "\n".repeat(len) + "BYE x SIP/2.0\r\ni: a\r\n\r\n";
            assert_eq!(kind(&message), Kind::Request(Method::Bye), "{len}");
            assert_eq!(call_id_of(message.as_bytes()), some("a"), "{len}");
        }
        assert_eq!(kind("\n".repeat(MAX_LEADING + 1) + "BYE x SIP/2.0\r\n"), Kind::NotSip);
    }

    #[test]
    fn stun() {
        let mut message = *b"\x00\x01\x00\x00\x21\x12\xa4\x42transaction ";
        assert_eq!(kind(message), Kind::Stun);
        message[0] = 0x3f;
        assert_eq!(kind(message), Kind::Stun);
        message[0] = 0x40;
        assert_eq!(kind(message), Kind::NotSip, "the first two bits are not 0");
        message[0] = 0;
        message[7] ^= 1;
        assert_eq!(kind(message), Kind::NotSip, "not the cookie");
        assert_eq!(kind(&b"\x00\x01\x00\x00\x21\x12\xa4"[..]), Kind::NotSip, "too short");
    }
}

mod dialog_headers {
    use super::*;

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
        for (len, found) in
            [(8 * (MAX_PARAMETER_STEPS - 1) - 1, true), (8 * (MAX_PARAMETER_STEPS - 1), false)]
        {
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
}
