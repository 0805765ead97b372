//! The line by which an agent beside a server says how it is, as HAProxy's agent-check reads it; two words are ours.
//!
//! Words are separated by blanks, tabs or commas, in any order. `N%` and `weight:N`: share of new calls. `maxconn:N`: most
//! channels. `up`, `ready`: calls are welcome. `drain`: no new ones. `maint`, `down`, `fail`, `stopped`, perhaps with a
//! `#description`: nothing. Ours: `channels:N`, `cps:N`. Words that are not known are passed over, as HAProxy does.

use super::number::{count, decimal, shown};
use crate::core::report::{Admits, Report};

/// Longest line.
pub const LONGEST_LINE: usize = 1024;
/// Largest absolute weight.
const MOST_WEIGHT: f64 = 256.0;

/// Reads the first line of what an agent of a backend with this weight sent.
///
/// # Errors
/// When no word of it is known, or a number makes no sense.
pub fn parse(bytes: &[u8], configured: u16) -> Result<Report, String> {
    let end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    let line = &bytes[..end.min(LONGEST_LINE)];
    let Ok(line) = std::str::from_utf8(line) else { return Err("the line is no text".to_owned()) };
    // A description goes to the end of the line.
    let words = line.split('#').next().unwrap_or_default();
    let mut report = Report::default();
    let mut known = false;
    for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        known |= take(word, configured, &mut report).map_err(|why| format!("{}: {why}", shown(word)))?;
    }
    if known { Ok(report) } else { Err(format!("no word of {} is known", shown(line))) }
}

/// Takes one word; whether it is known.
fn take(word: &str, configured: u16, report: &mut Report) -> Result<bool, String> {
    let strictest = |before: Option<Admits>, now: Admits| match (before, now) {
        (Some(Admits::Nothing), _) | (_, Admits::Nothing) => Some(Admits::Nothing),
        (Some(Admits::Drain), _) | (_, Admits::Drain) => Some(Admits::Drain),
        _ => Some(Admits::Calls),
    };
    let state = match word {
        "up" | "ready" => Some(Admits::Calls),
        "drain" => Some(Admits::Drain),
        "maint" | "down" | "fail" | "stopped" => Some(Admits::Nothing),
        _ => None,
    };
    if let Some(state) = state {
        report.admits = strictest(report.admits, state);
        return Ok(true);
    }
    if let Some(percent) = word.strip_suffix('%') {
        let percent = percent.strip_prefix("weight:").unwrap_or(percent);
        // More than the whole is what is configured: words only lower.
        report.share = Some((decimal(percent)? / 100.0).min(1.0));
        return Ok(true);
    }
    match word.split_once(':') {
        Some(("weight", weight)) => {
            let weight = decimal(weight)?;
            if weight > MOST_WEIGHT {
                return Err(format!("a weight is {MOST_WEIGHT} at most"));
            }
            report.share = Some((weight / f64::from(configured.max(1))).min(1.0));
        }
        Some(("maxconn", limit)) => report.max_channels = Some(count(decimal(limit)?)?),
        Some(("channels", channels)) => report.channels = Some(count(decimal(channels)?)?),
        Some(("cps", cps)) => report.cps = Some(decimal(cps)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// What holds after a line: what it does not mention is as before.
#[must_use]
pub fn over(before: &Report, line: Report) -> Report {
    Report {
        channels: line.channels.or(before.channels),
        max_channels: line.max_channels.or(before.max_channels),
        cps: line.cps.or(before.cps),
        max_cps: line.max_cps.or(before.max_cps),
        cpu: line.cpu.or(before.cpu),
        share: line.share.or(before.share),
        admits: line.admits.or(before.admits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Report {
        parse(line.as_bytes(), 100).unwrap_or_else(|why| panic!("{line}: {why}"))
    }

    #[test]
    fn every_word_of_the_grammar() {
        let share = |share| Report { share: Some(share), ..Report::default() };
        let admits = |admits| Report { admits: Some(admits), ..Report::default() };
        for (line, report) in [
            ("75%\n", share(0.75)),
            ("weight:25\r\n50%\n", share(0.25)),
            ("weight:50%", share(0.5)),
            ("150%", share(1.0)),
            ("weight:256", share(1.0)),
            ("0%", share(0.0)),
            ("maxconn:30", Report { max_channels: Some(30), ..Report::default() }),
            ("up", admits(Admits::Calls)),
            ("ready", admits(Admits::Calls)),
            ("drain", admits(Admits::Drain)),
            ("maint", admits(Admits::Nothing)),
            ("down#disk full, 100%", admits(Admits::Nothing)),
            ("fail #x", admits(Admits::Nothing)),
            ("stopped", admits(Admits::Nothing)),
            ("up drain", admits(Admits::Drain)),
            ("drain up", admits(Admits::Drain)),
            ("channels:12,cps:3.5", Report { channels: Some(12), cps: Some(3.5), ..Report::default() }),
            (
                "\tready, 50%,,maxconn:7 later:3\n",
                Report { share: Some(0.5), max_channels: Some(7), ..admits(Admits::Calls) },
            ),
        ] {
            assert_eq!(read(line), report, "{line:?}");
        }
        assert_eq!(parse(b"weight:100", 400).unwrap().share, Some(0.25));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for (line, why) in [
            ("", "no word"),
            ("\n75%", "no word"),
            ("hello there", "no word of \"hello there\" is known"),
            ("HTTP/1.0 400 Bad request\r\n", "no word"),
            ("-5%", "\"-5%\": \"-5\" is no number"),
            ("NaN%", "no number"),
            ("weight:257", "256 at most"),
            ("maxconn:", "no number"),
            ("up maxconn:99999999999", "more than anybody"),
        ] {
            let refused = parse(line.as_bytes(), 100).unwrap_err();
            assert!(refused.contains(why), "{line:?}: {refused}");
        }
        assert_eq!(parse(b"\xff\n", 100), Err("the line is no text".to_owned()));
    }

    #[test]
    fn what_is_not_mentioned_is_as_before() {
        let before = read("drain 50% channels:3");
        assert_eq!(over(&before, read("ready")), read("ready 50% channels:3"));
        assert_eq!(over(&before, read("channels:4")).admits, Some(Admits::Drain));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), weight in any::<u16>()) {
            let _ = parse(&bytes, weight);
        }

        #[test]
        fn any_words_give_a_report_that_makes_sense(line in "((up|drain|down|weight:|maxconn:|cps:|[0-9.%#,x]){0,3} ){0,4}") {
            if let Ok(report) = parse(line.as_bytes(), 100) {
                prop_assert!(report.share.is_none_or(|share| (0.0..=1.0).contains(&share)));
                prop_assert!(report.cps.is_none_or(f64::is_finite));
            }
        }
    }
}
