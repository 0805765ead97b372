//! The HEARTBEAT event of FreeSWITCH as JSON: texts by header name.

use super::number::{amount, count, decimal, part};
use crate::core::report::Report;
use serde_json::{Map, Value};

/// Reads an event. `None`: it is another one.
///
/// `Session-Per-Sec` is what is left of the present second's limit, so it says nothing of the limit itself.
///
/// # Errors
/// When it is no JSON, or a number of it makes no sense.
pub fn parse(bytes: &[u8]) -> Result<Option<Report>, String> {
    let event: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|e| format!("the event is no JSON object: {e}"))?;
    if event.get("Event-Name").and_then(Value::as_str) != Some("HEARTBEAT") {
        return Ok(None);
    }
    let number = |name: &str| {
        let Some(value) = event.get(name) else { return Ok(None) };
        let number = match value {
            Value::String(text) => decimal(text),
            Value::Number(number) => amount(number.as_f64().unwrap_or(f64::NAN)),
            _ => Err("it is no number".to_owned()),
        };
        number.map(Some).map_err(|why| format!("{name}: {why}"))
    };
    let whole = |name: &str| number(name)?.map(count).transpose().map_err(|why| format!("{name}: {why}"));
    let idle = number("Idle-CPU")?.map(|percent| part(percent / 100.0)).transpose();
    let report = Report {
        channels: whole("Session-Count")?,
        max_channels: whole("Max-Sessions")?,
        cps: number("Session-Per-Sec-Last")?,
        cpu: idle.map_err(|why| format!("Idle-CPU: {why}"))?.map(|idle| 1.0 - idle),
        ..Report::default()
    };
    if report == Report::default() {
        return Err("the event has neither Session-Count nor Idle-CPU".to_owned());
    }
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENT: &str = r#"{"Event-Name":"HEARTBEAT","Event-Info":"System Ready","Session-Count":"42",
        "Max-Sessions":"2000","Session-Per-Sec":"30","Session-Per-Sec-Last":"7","Idle-CPU":"98.750000"}"#;

    #[test]
    fn a_heartbeat_is_read() {
        let report = parse(EVENT.as_bytes()).unwrap().unwrap();
        assert_eq!((report.channels, report.max_channels, report.cps), (Some(42), Some(2000), Some(7.0)));
        assert!((report.cpu.unwrap() - 0.0125).abs() < 1e-9);
        assert_eq!((report.max_cps, report.admits), (None, None));
        assert_eq!(parse(br#"{"Event-Name":"RE_SCHEDULE"}"#), Ok(None));
    }

    #[test]
    fn a_heartbeat_that_makes_no_sense_is_refused() {
        for (from, to, why) in [
            ("\"42\"", "\"-1\"", "Session-Count: \"-1\" is no number"),
            ("\"42\"", "[]", "Session-Count: it is no number"),
            ("98.750000", "101", "Idle-CPU: 1.01 is more than the whole"),
            ("\"2000\"", "1e300", "Max-Sessions"),
            ("{", "", "no JSON"),
        ] {
            let refused = parse(EVENT.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{to}: {refused}");
        }
        assert!(parse(br#"{"Event-Name":"HEARTBEAT"}"#).unwrap_err().contains("neither"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), value in any::<f64>()) {
            let _ = parse(&bytes);
            let _ = parse(EVENT.replace("42", &value.to_string()).as_bytes());
        }
    }
}
