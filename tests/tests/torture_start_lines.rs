//! Named cases of the start line: methods, responses, keep-alives, STUN, and both sides of every bound.

use lb_common::{
    limits::{MAX_LEADING, MAX_METHOD},
    sip::{Kind, Method},
};
use lb_tests::case::{call_id, read};

fn kind(datagram: impl AsRef<[u8]>) -> Kind {
    read(datagram.as_ref()).kind
}

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
        assert_eq!(kind(name), Kind::NotSip, "without SP");
        assert_eq!(kind(format!("{name}S x")), Kind::Request(Method::Other));
        assert_eq!(kind(format!("{} x", name.to_lowercase())), Kind::Request(Method::Other), "case matters");
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
        assert_eq!(call_id(message.as_bytes()).as_deref(), Some("a"), "{len}");
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
