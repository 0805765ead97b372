//! The last sample of every telemetry source about every backend, in whatever order they come in.

use crate::core::report::Sample;
use std::collections::BTreeMap;

/// What a source is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It counts: calls, limits, processor time.
    Measures,
    /// It says what it wants: an agent, the `oc` of a server. Its words never take a backend below a tenth.
    Asks,
}

/// What a source last said about a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// How far it is believed.
    pub trust: Trust,
    /// The newest sample there was.
    pub sample: Option<Sample>,
    /// Why the last attempt gave none; `None`: it gave one.
    pub trouble: Option<String>,
}

/// The readings of all sources, by backend and then by the source's name.
#[derive(Clone, Debug, Default)]
pub struct Readings(BTreeMap<String, BTreeMap<String, Reading>>);

impl Readings {
    /// Makes a source known that has not said anything yet; what an equal one said before stays.
    pub fn expect(&mut self, backend: &str, source: &str, trust: Trust) {
        self.reading(backend, source, trust).trust = trust;
    }

    /// Takes a sample. One that was taken before the last, or at the same moment, says nothing new.
    pub fn take(&mut self, backend: &str, source: &str, trust: Trust, sample: Sample) {
        let reading = self.reading(backend, source, trust);
        reading.trouble = None;
        if reading.sample.is_none_or(|last| last.taken < sample.taken) {
            reading.sample = Some(sample);
        }
    }

    /// Notes that an attempt gave no sample. The last one stays until it is too old.
    pub fn trouble(&mut self, backend: &str, source: &str, trust: Trust, trouble: String) {
        self.reading(backend, source, trust).trouble = Some(trouble);
    }

    /// What is known of a backend, by source.
    pub fn of(&self, backend: &str) -> impl Iterator<Item = (&str, &Reading)> {
        self.0.get(backend).into_iter().flatten().map(|(source, reading)| (source.as_str(), reading))
    }

    /// Forgets all pairs of backend and source but those that are `wanted`.
    pub fn retain(&mut self, wanted: impl Fn(&str, &str) -> bool) {
        for (backend, readings) in &mut self.0 {
            readings.retain(|source, _| wanted(backend, source));
        }
        self.0.retain(|_, readings| !readings.is_empty());
    }

    fn reading(&mut self, backend: &str, source: &str, trust: Trust) -> &mut Reading {
        let sources = self.0.entry(backend.to_owned()).or_default();
        sources.entry(source.to_owned()).or_insert(Reading { trust, sample: None, trouble: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::Report;
    use std::time::Duration;

    fn sample(taken: u64, channels: u32) -> Sample {
        Sample {
            taken: Duration::from_secs(taken),
            valid: Duration::from_secs(5),
            report: Report { channels: Some(channels), ..Report::default() },
        }
    }

    #[test]
    fn late_and_repeated_samples_change_nothing() {
        let mut readings = Readings::default();
        readings.expect("sw1", "agent", Trust::Asks);
        for (taken, channels) in [(10, 5), (9, 4), (10, 6)] {
            readings.take("sw1", "agent", Trust::Asks, sample(taken, channels));
        }
        let (source, reading) = readings.of("sw1").next().unwrap();
        assert_eq!((source, reading.sample), ("agent", Some(sample(10, 5))));
        readings.trouble("sw1", "agent", Trust::Asks, "refused".to_owned());
        let (_, reading) = readings.of("sw1").next().unwrap();
        assert_eq!((reading.sample, reading.trouble.as_deref()), (Some(sample(10, 5)), Some("refused")));
        readings.take("sw1", "agent", Trust::Asks, sample(11, 7));
        assert_eq!(readings.of("sw1").next().unwrap().1.trouble, None);
    }

    #[test]
    fn what_nobody_wants_is_forgotten() {
        let mut readings = Readings::default();
        for (backend, source) in [("sw1", "a"), ("sw1", "b"), ("sw2", "a")] {
            readings.take(backend, source, Trust::Measures, sample(1, 1));
        }
        readings.retain(|backend, source| (backend, source) == ("sw1", "b"));
        assert_eq!(readings.of("sw1").map(|(source, _)| source).collect::<Vec<_>>(), ["b"]);
        assert_eq!(readings.of("sw2").count(), 0);
    }
}
