//! From a page of metrics to a report: which series is which figure, ready-made for some servers.

use super::{
    exposition,
    number::{amount, count, part},
    selector::{Function, Selector},
};
use crate::core::report::Report;
use std::{collections::BTreeMap, time::Duration};

/// A figure of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// [`Report::channels`].
    Channels,
    /// [`Report::max_channels`].
    MaxChannels,
    /// [`Report::cps`].
    Cps,
    /// [`Report::max_cps`].
    MaxCps,
    /// [`Report::cpu`].
    Cpu,
    /// [`Report::share`].
    Share,
}

impl Figure {
    /// All of them, by the name that the configuration has for them.
    pub const NAMES: [(&'static str, Figure); 6] = [
        ("channels", Figure::Channels),
        ("max_channels", Figure::MaxChannels),
        ("cps", Figure::Cps),
        ("max_cps", Figure::MaxCps),
        ("cpu", Figure::Cpu),
        ("share", Figure::Share),
    ];

    fn name(self) -> &'static str {
        Figure::NAMES.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }
}

/// Which series is which figure.
pub type Mapping = BTreeMap<Figure, Selector>;

/// Ready-made mappings, by name.
pub const PROFILES: [(&str, &[(Figure, &str)]); 3] = [
    // Module xhttp_prom with the statistics of the module dialog.
    (
        "kamailio",
        &[
            (Figure::Channels, "kamailio_dialog_active_dialogs"),
            (Figure::Cps, "rate(kamailio_dialog_processed_dialogs)"),
        ],
    ),
    // res_prometheus.
    (
        "asterisk",
        &[(Figure::Channels, "sum(asterisk_calls_count)"), (Figure::Cps, "rate(asterisk_calls_sum)")],
    ),
    // freeswitch_exporter.
    (
        "freeswitch",
        &[
            (Figure::Channels, "freeswitch_current_sessions"),
            (Figure::MaxChannels, "freeswitch_max_sessions"),
            (Figure::Cps, "rate(freeswitch_sessions_total)"),
            (Figure::MaxCps, "freeswitch_max_sps"),
            (Figure::Cpu, "idle_percent(freeswitch_current_idle_cpu)"),
        ],
    ),
];

/// A ready-made mapping.
pub fn profile(name: &str) -> Option<Mapping> {
    let (_, figures) = PROFILES.iter().find(|(known, _)| *known == name)?;
    let parsed = figures.iter().map(|(figure, text)| Some((*figure, text.parse().ok()?)));
    parsed.collect()
}

/// Reads page after page of one source: a rate needs two.
#[derive(Clone, Debug)]
pub struct Reader {
    mapping: Mapping,
    /// The last value of each counter, and when that was.
    counters: BTreeMap<Figure, (f64, Duration)>,
    /// The moment that the last page said it was of.
    timestamp: Option<i64>,
}

impl Reader {
    /// Nothing read yet.
    pub fn new(mapping: Mapping) -> Reader {
        Reader { mapping, counters: BTreeMap::new(), timestamp: None }
    }

    /// The report of a page that was asked for at `now`.
    ///
    /// # Errors
    /// When it is no page of metrics, has none of those wanted, holds a number that makes no sense, or is of the same moment
    /// as the page before.
    pub fn read(&mut self, text: &str, now: Duration) -> Result<Report, String> {
        let wanted = |name: &str| self.mapping.values().any(|selector| selector.metric == name);
        let series = exposition::parse(text, wanted)?;
        let timestamp = self.mapping.values().filter_map(|selector| selector.timestamp(&series)).max();
        if timestamp.is_some() && timestamp == self.timestamp {
            return Err("frozen: its timestamps are those of the last time".to_owned());
        }
        self.timestamp = timestamp;
        let mut report = Report::default();
        let mut found = false;
        for (figure, selector) in &self.mapping {
            let Some(number) = selector.number(&series) else { continue };
            found = true;
            let number = match selector.function {
                Function::Rate => rate(&mut self.counters, *figure, number, now),
                _ => Some(number),
            };
            let Some(number) = number else { continue };
            set(&mut report, *figure, number)
                .map_err(|why| format!("{}: {selector}: {why}", figure.name()))?;
        }
        if !found {
            let names: Vec<&str> = self.mapping.values().map(|s| s.metric.as_str()).collect();
            return Err(format!("it has none of {}", names.join(", ")));
        }
        Ok(report)
    }
}

/// How much a counter grew in a second; `None` for the first value and after it began anew.
fn rate(
    counters: &mut BTreeMap<Figure, (f64, Duration)>,
    figure: Figure,
    number: f64,
    now: Duration,
) -> Option<f64> {
    let (before, then) = counters.insert(figure, (number, now))?;
    let seconds = now.checked_sub(then)?.as_secs_f64();
    let anew = number < before;
    // NaN is not less, and is refused where numbers are.
    (seconds > 0.0 && !anew).then(|| (number - before) / seconds)
}

fn set(report: &mut Report, figure: Figure, number: f64) -> Result<(), String> {
    match figure {
        Figure::Channels => report.channels = Some(count(number)?),
        Figure::MaxChannels => report.max_channels = Some(count(number)?),
        Figure::Cps => report.cps = Some(amount(number)?),
        Figure::MaxCps => report.max_cps = Some(count(number)?),
        Figure::Cpu => report.cpu = Some(part(number)?),
        Figure::Share => report.share = Some(part(number)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn kamailio() {
        let page = |active, processed, at| {
            format!(
                "# NO User defined metrics\n\n# Kamailio whole internal statistics\n\
                 kamailio_dialog_active_dialogs {active} {at}\nkamailio_dialog_early_dialogs 0 {at}\n\
                 kamailio_dialog_processed_dialogs {processed} {at}\n"
            )
        };
        let mut reader = Reader::new(profile("kamailio").unwrap());
        let first = reader.read(&page(12, 100, 1_795_624_964_472_i64), SECOND).unwrap();
        assert_eq!(first, Report { channels: Some(12), ..Report::default() });
        let second = reader.read(&page(15, 130, 1_795_624_966_472), 3 * SECOND).unwrap();
        assert_eq!(second, Report { channels: Some(15), cps: Some(15.0), ..Report::default() });
        let frozen = reader.read(&page(15, 130, 1_795_624_966_472), 5 * SECOND).unwrap_err();
        assert!(frozen.starts_with("frozen"), "{frozen}");
        let anew = reader.read(&page(1, 2, 1_795_624_970_472), 7 * SECOND).unwrap();
        assert_eq!(anew, Report { channels: Some(1), ..Report::default() }, "it was started again");
    }

    #[test]
    fn asterisk() {
        let page = "# HELP asterisk_calls_count Current call count\n# TYPE asterisk_calls_count gauge\n\
                    asterisk_calls_count{eid=\"52:54:00:12:34:56\"} 21\n\
                    # TYPE asterisk_calls_sum counter\nasterisk_calls_sum{eid=\"52:54:00:12:34:56\"} 4711\n";
        let mut reader = Reader::new(profile("asterisk").unwrap());
        assert_eq!(reader.read(page, SECOND), Ok(Report { channels: Some(21), ..Report::default() }));
        let later = page.replace("4711", "4716");
        assert_eq!(reader.read(&later, 2 * SECOND).unwrap().cps, Some(5.0));
    }

    #[test]
    fn freeswitch() {
        let page = "freeswitch_current_sessions 40\nfreeswitch_max_sessions 1000\nfreeswitch_sessions_total 5000\n\
                    freeswitch_max_sps 30\nfreeswitch_current_idle_cpu 73.5\n";
        let report = Reader::new(profile("freeswitch").unwrap()).read(page, SECOND).unwrap();
        let cpu = report.cpu.unwrap();
        assert!((cpu - 0.265).abs() < 1e-9);
        assert_eq!((report.channels, report.max_channels, report.max_cps), (Some(40), Some(1000), Some(30)));
    }

    #[test]
    fn a_page_that_makes_no_sense_is_refused_as_a_whole() {
        let mut reader = Reader::new(profile("freeswitch").unwrap());
        for (page, why) in [
            ("<html>Not Found</html>", "line 1 is no metric"),
            ("", "it has none of freeswitch_current_sessions, freeswitch_max_sessions"),
            ("other 1", "it has none of"),
            ("freeswitch_current_sessions NaN", "channels: freeswitch_current_sessions: NaN is no number"),
            ("freeswitch_current_sessions -1", "below zero"),
            ("freeswitch_current_sessions 1e300", "more than anybody"),
            ("freeswitch_current_idle_cpu -20", "more than the whole"),
            ("freeswitch_current_idle_cpu 120", "below zero"),
        ] {
            let refused = reader.read(page, SECOND).unwrap_err();
            assert!(refused.contains(why), "{page}: {refused}");
        }
        assert!(PROFILES.iter().all(|(name, figures)| profile(name).unwrap().len() == figures.len()));
        assert_eq!(profile("yate"), None);
    }

    proptest! {
        #[test]
        fn whatever_numbers_come_a_report_makes_sense(pages in vec((any::<f64>(), any::<f64>(), 0..5000_u64), 1..10)) {
            let mut reader = Reader::new(profile("freeswitch").unwrap());
            let mut now = Duration::ZERO;
            for (count, total, milliseconds) in pages {
                now += Duration::from_millis(milliseconds);
                let page = format!("freeswitch_current_sessions {count}\nfreeswitch_sessions_total {total}\n");
                if let Ok(report) = reader.read(&page, now) {
                    prop_assert!(report.cps.is_none_or(|cps| (0.0..=1e9).contains(&cps)));
                }
            }
        }
    }
}
