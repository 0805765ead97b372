//! Named cases of the Call-ID: what RFC 3261 allows and what it does not, and both sides of every bound.

use lb_common::limits::{MAX_CALL_ID, MAX_LWS, MAX_SCAN_STEPS};
use lb_tests::case::{after_steps, call_id as call_id_of};

/// The Call-ID of a message with these lines behind its start line.
fn call_id(lines: &str) -> Option<String> {
    call_id_of(format!("INVITE sip:b@example.com SIP/2.0\r\n{lines}").as_bytes())
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
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
}
