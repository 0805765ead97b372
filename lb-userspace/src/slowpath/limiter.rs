//! Most answers per source and in all: a forged source must not get more than it can bear (RFC 3261 section 26.1.5).
//!
//! Sources are not remembered. Each leads, by a keyed hash, to one word in each of two rows; the word is the theoretical
//! arrival time of the next answer (GCRA, ITU-T I.371). Others may share a word but hardly both, so the emptier one tells.
//! Memory and time are the same under any flood.

use crate::config::{AnswerRates, Prefix};
use lb_common::hash::{HashKey, SipHash13};
use std::net::IpAddr;

/// Words of a row.
const ROW: usize = 65_536;
/// Sets this hash apart from every other use of the key.
const PURPOSE: u64 = u64::from_be_bytes(*b"answered");
/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// How many answers may go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// To one source, per second: an IPv4 address, or the first 64 bits of an IPv6 address. `None`: as many as there are
    /// for all.
    pub per_source: Option<u32>,
    /// To one source at once, beyond that pace.
    pub burst_per_source: u32,
    /// In all, per second.
    pub total: u32,
    /// In all at once, beyond that pace.
    pub total_burst: u32,
    /// Sources that only the total counts for.
    pub trusted: Vec<Prefix>,
}

impl Rates {
    /// So many answers per second to one source and in all, with bursts of a second and of a twentieth of one.
    pub fn new(per_source: Option<u32>, total: u32, trusted: Vec<Prefix>) -> Rates {
        let burst_per_source = per_source.unwrap_or_default();
        Rates { per_source, burst_per_source, total, total_burst: total.div_ceil(20), trusted }
    }
}

impl Default for Rates {
    fn default() -> Rates {
        let answers = AnswerRates::default();
        Rates::new(answers.per_source, answers.total, answers.trusted)
    }
}

/// Why an answer may not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// This source got enough.
    Source,
    /// All together got enough.
    Total,
}

/// Counts answers.
pub struct Limiter {
    key: HashKey,
    source: Option<Pace>,
    total: Pace,
    trusted: Vec<Prefix>,
    /// One row behind the other.
    words: Box<[u64]>,
    all: u64,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter")
            .field("source", &self.source)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// A rate as GCRA wants it, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: u64,
    tolerance: u64,
}

impl Pace {
    fn new(per_second: u32, burst: u32) -> Pace {
        // A rate of 0 lets nothing out in a lifetime.
        let interval = SECOND.checked_div(per_second.into()).unwrap_or(u64::MAX / 4);
        Pace { interval, tolerance: if per_second == 0 { 0 } else { interval * u64::from(burst) } }
    }

    fn allows(self, next: u64, now: u64) -> bool {
        self.interval < u64::MAX / 4 && next.saturating_sub(now) <= self.tolerance
    }

    fn after(self, next: u64, now: u64) -> u64 {
        next.max(now).saturating_add(self.interval)
    }
}

impl Limiter {
    /// A limiter that has counted nothing.
    pub fn new(key: HashKey, rates: Rates) -> Limiter {
        let (source, total) = paces(&rates);
        Limiter {
            key,
            source,
            total,
            trusted: rates.trusted,
            words: vec![0; 2 * ROW].into_boxed_slice(),
            all: 0,
        }
    }

    /// Goes on with other rates; what was counted stays counted.
    pub fn set_rates(&mut self, rates: Rates) {
        (self.source, self.total) = paces(&rates);
        self.trusted = rates.trusted;
    }

    /// Whether an answer to `source` could go out at `now`, in nanoseconds.
    ///
    /// # Errors
    /// Which limit it would be beyond.
    pub fn check(&self, source: IpAddr, now: u64) -> Result<(), Excess> {
        if let Some(pace) = self.pace_of(source)
            && !pace.allows(self.next(places(&self.key, source)), now)
        {
            return Err(Excess::Source);
        }
        if self.total.allows(self.all, now) { Ok(()) } else { Err(Excess::Total) }
    }

    /// The pace for a source, if there is one.
    fn pace_of(&self, source: IpAddr) -> Option<Pace> {
        self.source.filter(|_| !self.trusted.iter().any(|prefix| prefix.holds(source)))
    }

    /// The time of the next answer at these places.
    fn next(&self, places: [usize; 2]) -> u64 {
        let [first, second] = places.map(|place| self.words[place]);
        first.min(second)
    }

    /// Takes note of an answer to `source` at `now`, in nanoseconds, if it may go out.
    ///
    /// # Errors
    /// Which limit it is beyond; then nothing is noted.
    pub fn admit(&mut self, source: IpAddr, now: u64) -> Result<(), Excess> {
        self.check(source, now)?;
        if let Some(pace) = self.pace_of(source) {
            let places = places(&self.key, source);
            let after = pace.after(self.next(places), now);
            for place in places {
                // The fuller word counts others too, and need not grow for this one.
                self.words[place] = self.words[place].max(after);
            }
        }
        self.all = self.total.after(self.all, now);
        Ok(())
    }
}

/// The paces for one source and for all.
fn paces(rates: &Rates) -> (Option<Pace>, Pace) {
    let source = rates.per_source.map(|per_source| Pace::new(per_source, rates.burst_per_source));
    (source, Pace::new(rates.total, rates.total_burst))
}

/// The places of a source's two words.
fn places(key: &HashKey, source: IpAddr) -> [usize; 2] {
    let prefix = match source.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    };
    let mut hash = SipHash13::new(key);
    hash.word(PURPOSE);
    hash.word(u64::from(source.to_canonical().is_ipv6()));
    hash.word(prefix);
    let hash = hash.finish(0, 24);
    [usize::from(hash as u16), ROW + usize::from((hash >> 16) as u16)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HashKey = HashKey { k0: 1, k1: 2 };
    const START: u64 = 1000 * SECOND;

    fn source(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// How many of `attempts` at `now` go out.
    fn admitted(limiter: &mut Limiter, source: IpAddr, attempts: u32, now: u64) -> u32 {
        (0..attempts).map(|_| u32::from(limiter.admit(source, now).is_ok())).sum()
    }

    #[test]
    fn a_source_gets_its_burst_and_then_its_pace() {
        let rates = Rates { per_source: Some(20), burst_per_source: 5, ..Rates::default() };
        let mut limiter = Limiter::new(KEY, rates);
        assert_eq!(admitted(&mut limiter, source(1), 100, START), 6);
        assert_eq!(limiter.admit(source(1), START + 49_999_999), Err(Excess::Source));
        assert_eq!(limiter.admit(source(1), START + 50_000_000), Ok(()));
        assert_eq!(admitted(&mut limiter, source(1), 100, START + 10 * SECOND), 6, "no more after a pause");
        let pace: u32 = (1..=1000)
            .map(|i| admitted(&mut limiter, source(1), 1, START + 20 * SECOND + i * SECOND / 100))
            .sum();
        assert!((200..=206).contains(&pace), "{pace} in 10 s");
    }

    #[test]
    fn sources_are_counted_apart_and_a_network_of_ipv6_together() {
        let mut limiter = Limiter::new(KEY, Rates { burst_per_source: 0, ..Rates::default() });
        for number in 0..100 {
            assert_eq!(limiter.admit(source(number), START), Ok(()), "{number}");
        }
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(limiter.admit(v6("2001:db8::1"), START), Ok(()));
        assert_eq!(limiter.admit(v6("2001:db8::2"), START), Err(Excess::Source));
        assert_eq!(limiter.admit(v6("2001:db8:0:1::1"), START), Ok(()));
        assert_eq!(limiter.admit(v6("::ffff:0.0.0.1"), START), Err(Excess::Source), "mapped is IPv4");
    }

    #[test]
    fn all_sources_together_have_a_limit() {
        let rates = Rates {
            per_source: Some(20),
            burst_per_source: 20,
            total: 1000,
            total_burst: 9,
            trusted: Vec::new(),
        };
        let mut limiter = Limiter::new(KEY, rates);
        let sent: u32 = (0..100).map(|n| admitted(&mut limiter, source(n), 1, START)).sum();
        assert_eq!(sent, 10);
        assert_eq!(limiter.admit(source(200), START + 999_999), Err(Excess::Total));
        assert_eq!(limiter.admit(source(200), START + 1_000_000), Ok(()));
    }

    #[test]
    fn what_did_not_go_out_is_not_counted() {
        let rates =
            Rates { per_source: Some(1), burst_per_source: 0, total: 1, total_burst: 0, trusted: Vec::new() };
        let mut limiter = Limiter::new(KEY, rates);
        assert_eq!(limiter.admit(source(1), START), Ok(()));
        assert_eq!(admitted(&mut limiter, source(2), 50, START), 0, "the total is used up");
        assert_eq!(limiter.admit(source(2), START + SECOND), Ok(()), "it still has its own");
    }

    #[test]
    fn a_flood_of_sources_costs_others_little() {
        let mut limiter = Limiter::new(KEY, Rates { total: u32::MAX, ..Rates::default() });
        for number in 0..4000 {
            admitted(&mut limiter, source(number), 50, START);
        }
        let refused = (100_000..110_000).filter(|n| limiter.admit(source(*n), START).is_err()).count();
        assert!(refused < 100, "{refused} of 10,000");
    }

    #[test]
    fn other_rates_count_from_now_on() {
        let mut limiter =
            Limiter::new(KEY, Rates { per_source: Some(1), burst_per_source: 0, ..Rates::default() });
        assert_eq!(limiter.admit(source(1), START), Ok(()));
        limiter.set_rates(Rates { per_source: Some(1), burst_per_source: 1, ..Rates::default() });
        assert_eq!(limiter.admit(source(1), START), Ok(()));
        assert_eq!(limiter.admit(source(1), START), Err(Excess::Source));
    }

    #[test]
    fn a_trusted_source_is_bound_by_the_total_alone() {
        let rates = Rates {
            burst_per_source: 0,
            total: 100,
            total_burst: 9,
            trusted: vec!["0.0.0.2/31".parse().unwrap()],
            ..Rates::default()
        };
        let mut limiter = Limiter::new(KEY, rates);
        assert_eq!([1, 2, 3, 4].map(|n| admitted(&mut limiter, source(n), 4, START)), [1, 4, 4, 1]);
        assert_eq!(limiter.admit(source(2), START), Err(Excess::Total));
        assert_eq!(limiter.admit(source(2), START + SECOND / 100), Ok(()));
    }

    #[test]
    fn without_a_rate_per_source_the_total_alone_counts() {
        let mut limiter = Limiter::new(KEY, Rates::new(None, 100, Vec::new()));
        assert_eq!(admitted(&mut limiter, source(1), 100, START), 6);
        limiter.set_rates(Rates::new(Some(1), 1000, Vec::new()));
        assert_eq!(admitted(&mut limiter, source(1), 100, START + SECOND), 2);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_out() {
        let mut limiter = Limiter::new(KEY, Rates { total: 0, ..Rates::default() });
        assert_eq!(limiter.admit(source(1), START), Err(Excess::Total));
        let mut limiter =
            Limiter::new(KEY, Rates { per_source: Some(0), burst_per_source: 7, ..Rates::default() });
        assert_eq!(limiter.admit(source(1), START), Err(Excess::Source));
    }
}
