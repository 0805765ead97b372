//! How fast calls came.

use super::seen::Seen;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The most new calls that certainly came to a server within one second: sent after it began, and read before it was over.
/// What a busy machine delays is not counted, so the true number may be a little greater, but never smaller.
pub fn most_in_a_second(calls: &[Seen]) -> usize {
    let mut times: Vec<(Instant, Instant)> = calls.iter().map(|call| (call.sent, call.at)).collect();
    times.sort_unstable();
    let within = |at: usize| {
        let end = times[at].0 + SECOND;
        times[at..].iter().take_while(|(sent, _)| *sent <= end).filter(|(_, read)| *read <= end).count()
    };
    (0..times.len()).map(within).max().unwrap_or_default()
}

/// How many of the calls that are offered at these times a pace of `max_cps` with `burst` at once lets through on each of
/// so many servers, if the next one takes what the one before may not (GCRA, ITU-T I.371).
pub fn let_through(
    offered: impl IntoIterator<Item = Instant>,
    servers: usize,
    max_cps: u32,
    burst: u32,
) -> usize {
    let interval = SECOND / max_cps;
    let tolerance = interval * burst.saturating_sub(1);
    let mut next: Vec<Option<Instant>> = vec![None; servers];
    let admitted = |now: Instant| {
        let free = next.iter_mut().find(|next| next.is_none_or(|next| next <= now + tolerance));
        free.map(|next| *next = Some(next.map_or(now, |next| next.max(now)) + interval)).is_some()
    };
    offered.into_iter().map(admitted).filter(|admitted| *admitted).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    fn seen(sent: Instant, at: Instant) -> Seen {
        Seen {
            id: String::new(),
            sequence: 1,
            source: SocketAddr::from((Ipv4Addr::LOCALHOST, 5060)),
            sent,
            at,
            invites: 1,
            transactions: 1,
            acks: 0,
            byes: 0,
            cancels: 0,
            answered: false,
            over: None,
        }
    }

    #[test]
    fn a_second_begins_anywhere() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let calls: Vec<Seen> = [0, 900, 950, 1850, 1900, 1901].map(|ms| seen(at(ms), at(ms))).into();
        assert_eq!(most_in_a_second(&calls), 4, "900 to 1900");
        assert_eq!(most_in_a_second(&[]), 0);
        let late: Vec<Seen> = [0, 900, 950].map(|ms| seen(at(ms), at(ms + 500))).into();
        assert_eq!(most_in_a_second(&late), 2, "what was read too late may have passed later");
    }

    #[test]
    fn a_pace_lets_its_burst_and_then_its_rate_through() {
        let start = Instant::now();
        let every = |ms: u64, count: u64| (0..count).map(move |n| start + Duration::from_millis(n * ms));
        assert_eq!(let_through(every(0, 50), 1, 100, 10), 10);
        assert_eq!(let_through(every(0, 50), 2, 100, 10), 20);
        assert_eq!(let_through(every(10, 1000), 1, 100, 1), 1000);
        // Ten seconds at 250 a second; for the first 60 ms the second server has nothing to do.
        assert_eq!(let_through(every(4, 2500), 2, 100, 10), 2 * (10 + 999) - 6);
    }
}
