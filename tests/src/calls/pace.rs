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

/// The most calls that were certainly in progress at a time: begun, as the server read it, and not ended yet, as the caller
/// says, or as the server does if it refused.
pub fn most_at_once(calls: &[Seen]) -> usize {
    let begins = calls.iter().map(|call| (call.at, true));
    let ends = calls.iter().filter_map(|call| Some((call.ended.or(call.over)?, false)));
    let mut changes: Vec<(Instant, bool)> = begins.chain(ends).collect();
    // At the same moment the end comes first.
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0);
    for (_, begins) in changes {
        now += if begins { 1 } else { -1 };
        most = most.max(now);
    }
    most.unsigned_abs() as usize
}

/// How many of the calls that are offered at these times a pace of `max_cps` with `burst` beyond it lets through on each of
/// so many servers, if the next one takes what the one before may not (GCRA, ITU-T I.371).
pub fn let_through(
    offered: impl IntoIterator<Item = Instant>,
    servers: usize,
    max_cps: u32,
    burst: u32,
) -> usize {
    let interval = SECOND / max_cps;
    let tolerance = interval * burst;
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
            repeats: 0,
            acks: 0,
            byes: 0,
            cancels: 0,
            answered: false,
            ended: None,
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
    fn only_what_certainly_overlaps_is_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let call = |from, to| Seen { ended: Some(at(to)), ..seen(at(from), at(from)) };
        assert_eq!(most_at_once(&[call(0, 10), call(5, 15), call(10, 20)]), 2);
        let refused = Seen { over: Some(at(7)), ..seen(at(0), at(0)) };
        assert_eq!(most_at_once(&[refused, call(7, 8), call(7, 9)]), 2);
        assert_eq!(most_at_once(&[seen(at(0), at(0)), call(7, 8)]), 2, "the first never ends");
        assert_eq!(most_at_once(&[]), 0);
    }

    #[test]
    fn a_pace_lets_its_burst_and_then_its_rate_through() {
        let start = Instant::now();
        let every = |ms: u64, count: u64| (0..count).map(move |n| start + Duration::from_millis(n * ms));
        assert_eq!(let_through(every(0, 50), 1, 100, 10), 11);
        assert_eq!(let_through(every(0, 50), 2, 100, 10), 22);
        assert_eq!(let_through(every(10, 1000), 1, 100, 0), 1000);
        // Ten seconds at 250 a second; at first the second server has nothing to do.
        let most = 2 * (11 + 999);
        assert!((most - 10..=most).contains(&let_through(every(4, 2500), 2, 100, 10)));
    }
}
