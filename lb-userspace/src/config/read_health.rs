//! `[health]` and `[backend.health]`, which have the same keys: every key by itself.

use super::{
    complaint::Code,
    draft::ProbingDraft,
    probing::{Accepted, How},
    report::{Report, quoted, words},
    section::{Section, integer, text, wrong_type},
    values::{self, Choice, choice},
};
use std::{ops::RangeInclusive, time::Duration};
use toml_span::{Span, Spanned, Value};

/// What `probe` may be; `None`: nothing.
const HOW: &[Choice<Option<How>>] =
    &[("options", Some(Some(How::Options))), ("tcp", Some(Some(How::Tcp))), ("none", Some(None))];
/// Bounds of `interval`. No backend is asked more than once a second.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];
/// Bounds of `timeout`.
const TIMEOUTS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(30)];
/// Most of `rise` and `fall`.
const MAX_ROW: u32 = 100;
/// Longest `user`.
const MAX_USER: usize = 64;

/// Reads a table of the two.
pub(super) fn read_health(
    name: &'static str,
    value: &Value<'_>,
    report: &mut Report<'_>,
) -> Option<ProbingDraft> {
    const KEYS: &[&str] = &["probe", "interval", "timeout", "rise", "fall", "accept", "user", "from"];
    let health = Section::new(name, value, KEYS, report)?;
    let row = "it is counted in probes, one after the other";
    let probe = health.get("probe").and_then(|v| choice(v, "probe", HOW, "", report));
    let interval = health.get("interval").and_then(|v| bounded(v, "interval", INTERVALS, report));
    let timeout = health.get("timeout").and_then(|v| bounded(v, "timeout", TIMEOUTS, report));
    let rise = health.get("rise").and_then(|v| integer(v, 1, MAX_ROW, row, report));
    let fall = health.get("fall").and_then(|v| integer(v, 1, MAX_ROW, row, report));
    let accept = health.get("accept").and_then(|v| accepted(v, report));
    let user = health.get("user").and_then(|v| text(v, "\"ping\"", report)).and_then(|t| user(&t, report));
    let from = health.get("from").and_then(|v| text(v, "\"lb1.example.com\"", report));
    let from = from.and_then(|t| values::host(&t, report));
    let of_options = ["accept", "user", "from"];
    let of_options = of_options.into_iter().filter_map(|key| Some((key, health.key_span(key)?))).collect();
    Some(ProbingDraft { probe, interval, timeout, rise, fall, accept, user, from, of_options })
}

/// A duration within bounds, both included.
fn bounded(
    value: &Value<'_>,
    key: &str,
    [least, most]: [Duration; 2],
    report: &mut Report<'_>,
) -> Option<Spanned<Duration>> {
    let duration = values::duration(value, report)?;
    if (least..=most).contains(&duration.value) {
        return Some(duration);
    }
    let message = format!("`{key}` is not between {least:?} and {most:?}");
    let reason = match duration.value < least {
        true if key == "interval" => "no backend is asked more than once a second",
        true => "a server and the network need some time",
        false => "a dead backend would get calls all that time",
    };
    let remedy = format!("write {least:?} to {most:?}");
    report.error(Code::OutOfRange, duration.span, words(message, reason, remedy));
    None
}

/// Status codes, or whole classes of them.
fn accepted(value: &Value<'_>, report: &mut Report<'_>) -> Option<Accepted> {
    const REMEDY: &str = "write for instance [200, 404] or [\"2xx\", \"4xx\"]";
    let Some(items) = value.as_array() else {
        wrong_type(value, "a list of status codes", REMEDY, report);
        return None;
    };
    if items.is_empty() {
        let words = words("no answer would be good", "the backend would never be up", REMEDY);
        report.error(Code::OutOfRange, value.span, words);
        return None;
    }
    let codes: Vec<_> = items.iter().map(|item| codes(item, REMEDY, report)).collect();
    codes.into_iter().collect::<Option<_>>().map(Accepted)
}

fn codes(item: &Value<'_>, remedy: &str, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    const REASON: &str = "a final answer has one of these codes (RFC 3261 section 21)";
    let Some(text) = item.as_str() else {
        if item.as_integer().is_none() {
            wrong_type(item, "a status code", remedy, report);
            return None;
        }
        return integer(item, 200, 699, REASON, report).map(|code| code as u16..=code as u16);
    };
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    match class.filter(|class| (2..=6).contains(class)) {
        Some(class) => Some(class * 100..=class * 100 + 99),
        None => {
            let message = format!("{} is not a class of status codes", quoted(text));
            report.error(Code::UnknownValue, item.span, words(message, REASON, remedy));
            None
        }
    }
}

/// The user of a SIP URI that needs no escapes (RFC 3261 section 25.1, `unreserved` and `user-unreserved`).
fn user(text: &Spanned<&str>, report: &mut Report<'_>) -> Option<String> {
    let value = text.value;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
    if (1..=MAX_USER).contains(&value.len()) && value.chars().all(plain) {
        return Some(value.to_owned());
    }
    let message = format!("{} cannot be the user of a SIP URI", quoted(value));
    let reason = "it stands in the request URI as it is";
    let remedy = format!("use 1 to {MAX_USER} letters, digits, dots, dashes and the like, or remove the key");
    report.error(Code::BadName, text.span, words(message, reason, remedy));
    None
}

/// What must hold between the values of a table, seen with those of `[health]` where it says nothing.
pub(super) fn check(own: &ProbingDraft, base: &ProbingDraft, report: &mut Report<'_>) {
    let probing = own.over(base);
    if let Some(probing) = &probing
        && probing.timeout > probing.interval
        && let Some(span) = own.timeout.as_ref().or(own.interval.as_ref()).map(|v| v.span)
    {
        let (timeout, interval) = (probing.timeout, probing.interval);
        let message = format!("`timeout` is {timeout:?}, longer than `interval`, {interval:?}");
        let remedy = format!("write `timeout = \"{interval:?}\"` or less, or a longer `interval`");
        let words = words(message, "one probe is over before the next goes out", remedy);
        report.error(Code::OutOfRange, span, words);
    }
    if probing.is_some_and(|p| p.how == How::Tcp) {
        for (key, span) in &own.of_options {
            let message = format!("`{key}` has no effect with a TCP probe");
            let reason = "nothing is asked over the connection, it only has to stand";
            let remedy = "remove it, or write `probe = \"options\"`";
            report.warn(Code::NoEffect, *span, words(message, reason, remedy));
        }
    }
}

/// Says so if nobody looks whether backends are alive and nobody has decided that.
pub(super) fn check_absent(probed: bool, report: &mut Report<'_>) {
    if !probed {
        let message = "no backend is probed, so one that dies keeps getting calls";
        let remedy =
            "add `[health]` with `probe = \"options\"`, or with `probe = \"none\"` if that is what you want";
        report.warn(Code::NotProbed, Span::default(), words(message, "there is no [health]", remedy));
    }
}
