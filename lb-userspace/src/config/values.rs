//! Values with a meaning: names, addresses, durations, words from a list.

use super::{
    FullAfterRefusal, MAX_ANSWERS_PER_SOURCE, MAX_LIMIT, NoPrefix, Prefix,
    complaint::Code,
    report::{Report, Words, nearest, quoted, words},
    section,
};
use lb_common::limits;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    ops::RangeInclusive,
    time::Duration,
};
use toml_span::{Span, Spanned, Value};

/// Longest Retry-After that we give, in seconds.
const MAX_RETRY_AFTER: u32 = 30;
/// Longest time that a backend may count as full after its own refusal, in seconds.
const MAX_FULL_SECONDS: u32 = 3600;

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Callers send to it.
    Listener,
    /// A backend has it.
    Backend,
}

/// A name: 1 to 32 of `A-Z a-z 0-9 . _ -`, so that it fits maps, metrics and command lines unescaped.
pub(super) fn name(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<Spanned<String>> {
    let value = text.value;
    let odd = value.chars().find(|c| !(c.is_ascii_alphanumeric() || ".-_".contains(*c)));
    let problem = if value.is_empty() {
        "the name is empty".to_owned()
    } else if let Some(odd) = odd {
        format!("the name contains {odd:?}")
    } else if value.len() > limits::NAME_LEN {
        format!("the name has {} characters", value.len())
    } else {
        return Some(Spanned::with_span(value.to_owned(), text.span));
    };
    let reason = "names stand in maps, metrics and command lines";
    let remedy = format!("use 1 to {} letters, digits, dots, dashes and underscores", limits::NAME_LEN);
    report.error(Code::BadName, text.span, words(problem, reason, remedy));
    None
}

/// The name of a network interface, as the kernel allows it: 1 to 15 bytes without slash, colon and blanks.
pub(super) fn interface(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<Spanned<String>> {
    let value = text.value;
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if !value.is_empty() && value.len() <= 15 && !value.contains(odd) && value != "." && value != ".." {
        return Some(Spanned::with_span(value.to_owned(), text.span));
    }
    let message = format!("{} cannot be an interface", quoted(value));
    let reason = "interfaces have 1 to 15 characters, no slash, colon or blank";
    report.error(Code::BadName, text.span, words(message, reason, "write a name that `ip link` shows"));
    None
}

/// An address of a listener, `address:port/udp`.
pub(super) fn listener(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<Spanned<SocketAddr>> {
    let Some((socket, transport)) = text.value.rsplit_once('/') else {
        let address = socket_address(text.value, Use::Listener, text.span, report)?;
        let remedy = format!("write \"{address}/udp\"");
        let message = "the transport is missing";
        report.error(Code::BadAddress, text.span, words(message, "callers send over one transport", remedy));
        return None;
    };
    let address = socket_address(socket, Use::Listener, text.span, report);
    let transport_ok = match transport {
        "udp" => true,
        "tcp" | "tls" | "ws" | "wss" | "sctp" => {
            let message = format!("SIP over {transport} is not supported yet");
            let remedy = "use \"/udp\", or keep this listener away from sipsteer for now";
            report.error(Code::NotYet, text.span, words(message, "this version steers UDP", remedy));
            false
        }
        other => {
            let message = format!("{} is not a transport", quoted(other));
            report.error(
                Code::UnknownValue,
                text.span,
                words(message, "unknown transport", "write \"/udp\""),
            );
            false
        }
    };
    address.filter(|_| transport_ok).map(|address| Spanned::with_span(address, text.span))
}

/// An address of a backend, `address:port`.
pub(super) fn backend(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<Spanned<SocketAddr>> {
    let value = text.value;
    if let Some((socket, transport)) = value.rsplit_once('/') {
        let message = format!("a backend's address has no transport: {}", quoted(value));
        let reason = if transport == "udp" {
            "a call reaches its backend over the transport it came by"
        } else {
            "this version steers UDP, and a backend's address has no suffix"
        };
        let remedy = format!("write {}", quoted(socket));
        report.error(Code::BadAddress, text.span, words(message, reason, remedy));
        return None;
    }
    let address = socket_address(value, Use::Backend, text.span, report)?;
    Some(Spanned::with_span(address, text.span))
}

/// An IPv4 address and port that packets can go to.
fn socket_address(text: &str, what: Use, span: Span, report: &mut Report<'_>) -> Option<SocketAddr> {
    let (code, words) = match text.parse::<SocketAddrV4>() {
        Ok(address) => match unusable(address, what) {
            None => return Some(address.into()),
            Some(words) => (Code::BadAddress, words),
        },
        Err(_) => no_socket_address(text),
    };
    report.error(code, span, words);
    None
}

/// Why no packet can go to an address, if that is so.
fn unusable(address: SocketAddrV4, what: Use) -> Option<Words> {
    let ip = *address.ip();
    if address.port() == 0 {
        let remedy = format!("write the port, for instance \"{ip}:5060\"");
        return Some(words("port 0 is no port", "nothing can be sent there", remedy));
    }
    let (kind, reason) = match ip.octets() {
        [127, ..] => {
            ("a loopback address", "such packets never pass a network interface, where sipsteer sits")
        }
        [0, ..] if what == Use::Listener => {
            ("not one address", "packets are compared with the very address they are sent to")
        }
        [0, ..] => ("not one address", "nothing can be sent there"),
        [224..=239, ..] => ("a multicast address", "a call has one backend"),
        [240..=255, ..] if ip == Ipv4Addr::BROADCAST => ("the broadcast address", "a call has one backend"),
        [240..=255, ..] => ("a reserved address", "nothing can be sent there"),
        _ => return None,
    };
    let remedy = match what {
        Use::Listener => "write the address callers send to; list several if there are several",
        Use::Backend => "write the backend's own address in the network",
    };
    Some(words(format!("{ip} is {kind}"), reason, remedy))
}

/// Why a text is no address and port.
fn no_socket_address(text: &str) -> (Code, Words) {
    let unbracketed = text.trim_start_matches('[').split(']').next().unwrap_or_default();
    if text.parse::<SocketAddrV6>().is_ok() || matches!(unbracketed.parse(), Ok(IpAddr::V6(_))) {
        let message = format!("IPv6 is not supported yet: {}", quoted(text));
        return (Code::NotYet, words(message, "this version steers IPv4", "use an IPv4 address for now"));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        let remedy = format!("write \"{ip}:5060\" if it is SIP's usual port");
        return (
            Code::BadAddress,
            words(format!("{ip} has no port"), "the port is part of the address", remedy),
        );
    }
    let message = format!("{} is not an address and port", quoted(text));
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
    if host.contains(|c: char| c.is_ascii_alphabetic()) {
        let reason = "names are not looked up: they could mean another machine tomorrow";
        return (
            Code::BadAddress,
            words(message, reason, "write the IPv4 address itself, as in \"10.0.0.11:5060\""),
        );
    }
    (Code::BadAddress, words(message, "not of the form a.b.c.d:port", "write it as in \"10.0.0.11:5060\""))
}

/// Where other balancers may send callers to: a host name or IPv4 address, perhaps with a port.
pub(super) fn host(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<String> {
    let (host, port) =
        text.value.split_once(':').map_or((text.value, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if host.len() <= 253 && host.split('.').all(label) && port_ok {
        return Some(text.value.to_owned());
    }
    let message = format!("{} is not a host or host:port", quoted(text.value));
    let remedy = "write it as in \"sip.uk.example.com:5060\"";
    report.error(Code::BadAddress, text.span, words(message, "it is what callers are sent to", remedy));
    None
}

/// A duration in text: a whole number and `ms`, `s`, `m` or `h`.
pub(super) fn duration(value: &Value<'_>, report: &mut Report<'_>) -> Option<Spanned<Duration>> {
    const REMEDY: &str = "write a whole number and a unit: \"500ms\", \"32s\", \"3m\" or \"12h\"";
    let Some(text) = value.as_str() else {
        section::wrong_type(value, "a duration in quotes", REMEDY, report);
        return None;
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let total =
        milliseconds.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    if total.is_none() {
        let message = format!("{} is not a duration", quoted(text));
        let reason = match milliseconds {
            None if !number.is_empty() => "the unit is missing or unknown",
            _ => "it does not start with a whole number that can be counted",
        };
        report.error(Code::BadDuration, value.span, words(message, reason, REMEDY));
    }
    total.map(|total| Spanned::with_span(Duration::from_millis(total), value.span))
}

/// A limit: a whole number or "unlimited", which is `None`.
pub(super) fn limit(value: &Value<'_>, report: &mut Report<'_>) -> Option<Option<u32>> {
    const REMEDY: &str = "write a whole number, 0 for no new calls at all, or \"unlimited\"";
    let reason = "a limit is counted in calls; beyond this it is none";
    or_unlimited(value, REMEDY, report, |report| section::integer(value, 0, MAX_LIMIT, reason, report))
}

/// Answers per second to one source: a whole number or "unlimited", which is `None`.
pub(super) fn answers_per_source(value: &Value<'_>, report: &mut Report<'_>) -> Option<Option<u32>> {
    let remedy = format!("write a whole number from 1 to {MAX_ANSWERS_PER_SOURCE}, or \"unlimited\"");
    let reason = "it is counted in answers per second; nothing at all would leave callers without a word";
    or_unlimited(value, &remedy, report, |report| {
        section::integer(value, 1, MAX_ANSWERS_PER_SOURCE, reason, report)
    })
}

/// "unlimited", which is `None`, or what `number` reads.
fn or_unlimited<'r>(
    value: &Value<'_>,
    remedy: &str,
    report: &mut Report<'r>,
    number: impl FnOnce(&mut Report<'r>) -> Option<u32>,
) -> Option<Option<u32>> {
    match value.as_str() {
        Some("unlimited") => Some(None),
        Some(text) => {
            let message = format!("{} is not a limit", quoted(text));
            let (code, reason) = match text.parse::<u32>() {
                Ok(_) => (Code::WrongType, "numbers stand without quotes"),
                Err(_) => (Code::UnknownValue, "the only word for a limit is \"unlimited\""),
            };
            report.error(code, value.span, words(message, reason, remedy));
            None
        }
        None if value.as_integer().is_none() => {
            section::wrong_type(value, "a whole number or \"unlimited\"", remedy, report);
            None
        }
        None => number(report).map(Some),
    }
}

/// A network of IPv4 addresses, `a.b.c.d/length`, or one address.
pub(super) fn prefix(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<Spanned<Prefix>> {
    let why = match text.value.parse() {
        Ok(prefix) => return Some(Spanned::with_span(prefix, text.span)),
        Err(why) => why,
    };
    let address = text.value.split('/').next().unwrap_or_default();
    if address.parse::<Ipv6Addr>().is_ok() {
        let message = format!("IPv6 is not supported yet: {}", quoted(text.value));
        let words = words(message, "this version steers IPv4", "remove it for now");
        report.error(Code::NotYet, text.span, words);
        return None;
    }
    let remedy = match why {
        NoPrefix::Host(network) => format!("write \"{network}\", or \"{address}\" for that address alone"),
        NoPrefix::Length => "for every source write `per_source = \"unlimited\"`".to_owned(),
        NoPrefix::Form => "write for instance \"198.51.100.0/24\" or \"203.0.113.7\"".to_owned(),
    };
    let message = format!("{} is not a network of IPv4 addresses", quoted(text.value));
    report.error(Code::BadAddress, text.span, words(message, why.to_string(), remedy));
    None
}

/// A number with or without a fraction within bounds, both included, in units of 1/1024.
pub(super) fn ratio(
    value: &Value<'_>,
    [least, most]: [f64; 2],
    reason: &str,
    report: &mut Report<'_>,
) -> Option<u16> {
    let remedy = format!("write a number from {least} to {most}");
    let number = value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
    let Some(number) = number else {
        section::wrong_type(value, "a number", &remedy, report);
        return None;
    };
    if (least..=most).contains(&number) {
        return Some((number * 1024.0).round() as u16);
    }
    let message = format!("{number} is not between {least} and {most}");
    report.error(Code::OutOfRange, value.span, words(message, reason, remedy));
    None
}

/// Seconds of a Retry-After: a number, or a list of the least and the most, among which one is drawn.
pub(super) fn retry_after(value: &Value<'_>, report: &mut Report<'_>) -> Option<RangeInclusive<u32>> {
    const REASON: &str =
        "callers stay away for that long, and the moment passes sooner (RFC 3261 section 21.5.4)";
    let mut seconds = |value: &Value<'_>| section::integer(value, 1, MAX_RETRY_AFTER, REASON, report);
    let Some(items) = value.as_array() else {
        return seconds(value).map(|seconds| seconds..=seconds);
    };
    let [least, most] = items.as_slice() else {
        let remedy = "write two numbers, as in [1, 5], or one without brackets";
        section::wrong_type(value, "a number or a list of two", remedy, report);
        return None;
    };
    let (least, most) = seconds(least).zip(seconds(most))?;
    if least > most {
        let message = format!("{least} is more than {most}");
        let remedy = format!("write [{most}, {least}]");
        report.error(Code::OutOfRange, value.span, words(message, "the least comes first", remedy));
        return None;
    }
    Some(least..=most)
}

/// How long a backend counts as full after its own refusal: seconds, or "retry-after" for what it says itself.
pub(super) fn full_after_refusal(value: &Value<'_>, report: &mut Report<'_>) -> Option<FullAfterRefusal> {
    const REASON: &str = "it is counted in seconds; 0: a backend that refuses a call does not count as full";
    let remedy = format!("write a whole number from 0 to {MAX_FULL_SECONDS}, or \"retry-after\"");
    match value.as_str() {
        Some("retry-after") => Some(FullAfterRefusal::RetryAfter),
        Some(text) => {
            let message = format!("{} is no time to count as full for", quoted(text));
            let reason = "the only word for it is \"retry-after\"; numbers stand without quotes and unit";
            report.error(Code::UnknownValue, value.span, words(message, reason, remedy));
            None
        }
        None if value.as_integer().is_none() => {
            section::wrong_type(value, "a whole number or \"retry-after\"", &remedy, report);
            None
        }
        None => {
            let seconds = section::integer(value, 0, MAX_FULL_SECONDS, REASON, report)?;
            Some(FullAfterRefusal::For(Duration::from_secs(seconds.into())))
        }
    }
}

/// A word and what it means; `None`: planned, but not in this version.
pub(super) type Choice<T> = (&'static str, Option<T>);

/// One word of several. Of those not in this version, `not_yet` says what is missing.
pub(super) fn choice<T: Copy>(
    value: &Value<'_>,
    key: &str,
    choices: &[Choice<T>],
    not_yet: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    let possible: Vec<&str> =
        choices.iter().filter(|(_, meaning)| meaning.is_some()).map(|(word, _)| *word).collect();
    let listed = possible.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
    let Spanned { value: text, span } = section::text(value, &listed, report)?;
    match choices.iter().find(|(word, _)| *word == text) {
        Some((_, Some(meaning))) => Some(*meaning),
        Some((word, None)) => {
            let message = format!("{key} = \"{word}\" is not in this version");
            report.error(Code::NotYet, span, words(message, not_yet, format!("write {listed}")));
            None
        }
        None => {
            let remedy = match nearest(text, &possible) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write {listed}"),
            };
            let message = format!("{} is no {key}", quoted(text));
            report.error(Code::UnknownValue, span, words(message, format!("possible are {listed}"), remedy));
            None
        }
    }
}
