//! `[health]`, and `health` of a `[[backend]]`: how the daemon finds out whether a backend is well.

use std::{ops::RangeInclusive, time::Duration};

/// How a backend is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    /// `probe`.
    pub how: How,
    /// `interval`: time from one probe to the next, up to a tenth longer, so that the probes of many backends stay spread.
    pub interval: Duration,
    /// `timeout`: how long an answer may take; not longer than `interval`.
    pub timeout: Duration,
    /// `rise`: so many good answers in a row make a backend up.
    pub rise: u32,
    /// `fall`: so many failures in a row end that.
    pub fall: u32,
    /// `accept`: which answers are good.
    pub accept: Accepted,
    /// `user` of the URI that is asked about; `None`: the server itself.
    pub user: Option<String>,
    /// `from`: host in the From header; `None`: the daemon's address.
    pub from: Option<String>,
}

impl Probing {
    /// Of `interval`, `timeout` and `fall` if nothing is said: a server that dies right after an answer is found out after
    /// two more probes, the second of which takes its whole time: 2 * 1.1 s + 0.5 s = 2.7 s at most.
    pub const DEFAULT: Probing = Probing {
        how: How::Options,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 2,
        accept: Accepted(Vec::new()),
        user: None,
        from: None,
    };

    /// How long after its death a backend is found out at most, if nothing hints at it earlier.
    pub fn detection(&self) -> Duration {
        (self.interval + self.interval / 10) * self.fall + self.timeout
    }
}

/// `probe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// SIP OPTIONS over UDP.
    Options,
    /// A TCP connection to the same port.
    Tcp,
}

/// Which final answers are good. Empty: all but 408 and 5xx: whatever a server says of an OPTIONS that it does not care for,
/// 404 or 405 or 483, its SIP stack is at work; a 5xx, and the 408 of a proxy, says that calls would fare badly there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted(pub Vec<RangeInclusive<u16>>);

impl Accepted {
    /// Whether a final answer of this status code is good.
    pub fn has(&self, code: u16) -> bool {
        if self.0.is_empty() {
            return (200..700).contains(&code) && code != 408 && !(500..600).contains(&code);
        }
        self.0.iter().any(|codes| codes.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_answers_are_good_unless_the_server_says_that_it_is_not() {
        let usual = Accepted::default();
        for good in [200, 299, 302, 404, 405, 407, 409, 483, 486, 499, 600, 699] {
            assert!(usual.has(good), "{good}");
        }
        for bad in [100, 199, 408, 500, 503, 504, 599, 700] {
            assert!(!usual.has(bad), "{bad}");
        }
        let own = Accepted(vec![200..=299, 503..=503]);
        assert!(own.has(200) && own.has(503));
        assert!(!own.has(404) && !own.has(500) && !own.has(504));
    }

    #[test]
    fn a_dead_backend_is_found_out_in_less_than_three_seconds() {
        assert_eq!(Probing::DEFAULT.detection(), Duration::from_millis(2700));
        let slow = Probing { interval: Duration::from_secs(10), fall: 3, ..Probing::DEFAULT };
        assert_eq!(slow.detection(), Duration::from_millis(33_500));
    }
}
