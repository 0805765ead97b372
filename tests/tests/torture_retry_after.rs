//! Named cases of Retry-After (RFC 3261 sections 20.33 and 25.1), and both sides of every bound.

use lb_common::limits::{MAX_RETRY_AFTER_DIGITS, MAX_RETRY_AFTER_SPACES, MAX_RETRY_AFTER_STEPS};
use lb_tests::case::{after_steps, read};

/// The Retry-After of an answer with these lines behind its start line.
fn retry_after(lines: &str) -> Option<u32> {
    read(format!("SIP/2.0 503 Service Unavailable\r\n{lines}").as_bytes()).retry_after
}

#[test]
fn the_examples_of_the_standard() {
    assert_eq!(retry_after("Retry-After: 18000;duration=3600\r\n\r\n"), Some(18000));
    assert_eq!(retry_after("Retry-After: 120 (I'm in a meeting)\r\n\r\n"), Some(120));
}

#[test]
fn before_and_behind_the_call_id_and_last_of_all() {
    let (via, id) = ("Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", "Call-ID: a@b\r\n");
    for lines in [
        format!("Retry-After: 2\r\n{via}{id}\r\n"),
        format!("{via}Retry-After: 2\r\n{id}\r\n"),
        format!("{via}{id}Retry-After: 2\r\nContent-Length: 0\r\n\r\n"),
        format!("{via}{id}Retry-After: 2\r\n\r\n"),
        format!("{via}{id}Retry-After:2\n\n"),
        format!("{via}{id}Retry-After: 2"),
    ] {
        assert_eq!(retry_after(&lines), Some(2), "{lines:?}");
    }
    assert_eq!(retry_after("Retry-After: 1\r\nRetry-After: 2\r\n\r\n"), Some(1), "the first counts");
    assert_eq!(retry_after("\r\nRetry-After: 2\r\n"), None, "a body has no headers");
    assert_eq!(retry_after("\nRetry-After: 2\r\n"), None);
    assert_eq!(retry_after("Subject: x\r\n Retry-After: 2\r\n\r\n"), None, "a line goes on");
}

#[test]
fn its_name_has_any_case_and_no_short_form() {
    for name in ["retry-after", "RETRY-AFTER", "rEtRy-AfTeR"] {
        assert_eq!(retry_after(&format!("{name}: 7\r\n\r\n")), Some(7), "{name}");
    }
    for name in
        ["Retry-Afte", "Retry-Afters", "Retry-After-Foo", "xRetry-After", "Retry After", "Retry\rAfter", "r"]
    {
        assert_eq!(retry_after(&format!("{name}: 7\r\n\r\n")), None, "{name}");
    }
    for other in ["Record-Route: <sip:a>", "Retry: 5", "Retry-A: 5", "Reason: x", "R: 5", "\rX: 1"] {
        assert_eq!(retry_after(&format!("{other}\r\nRetry-After: 7\r\n\r\n")), Some(7), "{other}");
    }
}

#[test]
fn white_space_within_bounds() {
    let white = |count: usize| " \t".repeat(count)[..count].to_owned();
    for (count, found) in
        [(0, Some(7)), (1, Some(7)), (MAX_RETRY_AFTER_SPACES, Some(7)), (MAX_RETRY_AFTER_SPACES + 1, None)]
    {
        assert_eq!(retry_after(&format!("Retry-After{}: 7\r\n\r\n", white(count))), found, "{count}");
        assert_eq!(retry_after(&format!("Retry-After:{}7\r\n\r\n", white(count))), found, "{count}");
    }
    assert_eq!(retry_after("Retry-After:\r\n 7\r\n\r\n"), None, "a fold is not followed");
}

#[test]
fn a_number_and_what_ends_it() {
    for (value, found) in [
        ("0", Some(0)),
        ("007", Some(7)),
        ("4294967295", Some(u32::MAX)),
        ("4294967296", Some(u32::MAX)),
        ("9999999999", Some(u32::MAX)),
        ("5(x)", Some(5)),
        ("5;duration=1", Some(5)),
        ("5 ;duration=1", Some(5)),
        ("5\t(x)", Some(5)),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("5x", None),
        ("5,6", None),
        ("5h", None),
        ("Mon, 01 Jan 2026 00:00:00 GMT", None),
    ] {
        assert_eq!(retry_after(&format!("Retry-After: {value}\r\n\r\n")), found, "{value:?}");
    }
    let zeros = |count: usize| "0".repeat(count - 1) + "5";
    let of = |digits: &str| retry_after(&format!("Retry-After: {digits}\r\n\r\n"));
    assert_eq!(of(&zeros(MAX_RETRY_AFTER_DIGITS)), Some(5));
    assert_eq!(of(&zeros(MAX_RETRY_AFTER_DIGITS + 1)), None);
}

#[test]
fn it_is_looked_for_as_far_as_the_steps_go() {
    // The start line costs three steps, a line of four bytes one.
    let at = |steps: usize| read(&after_steps(steps - 2, "Retry-After: 9\r\n")).retry_after;
    assert_eq!(at(MAX_RETRY_AFTER_STEPS), Some(9));
    assert_eq!(at(MAX_RETRY_AFTER_STEPS + 1), None);
}

#[test]
fn steps_that_end_inside_a_line_have_not_found_it() {
    for steps in MAX_RETRY_AFTER_STEPS - 6..MAX_RETRY_AFTER_STEPS {
        let message = after_steps(steps, "xxxxxxxxRetry-After: 9\r\n");
        assert_eq!(read(&message).retry_after, None, "{steps}");
    }
}
