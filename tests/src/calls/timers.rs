//! What is due when.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

/// T2: the longest interval between retransmissions, in units of T1 (RFC 3261 section 17.1.2.2: 500 ms and 4 s).
const T2: u32 = 8;
/// 64*T1: when a request or a response is given up.
const GIVE_UP: u32 = 64;

/// Alarms for calls, by their numbers. A call has one alarm at most: the last one that was set.
#[derive(Default)]
pub(super) struct Timers {
    due: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    current: Vec<u32>,
}

impl Timers {
    /// Sets the alarm of a call.
    pub(super) fn set(&mut self, call: usize, at: Instant) {
        self.clear(call);
        self.due.push(Reverse((at, call, self.current[call])));
    }

    /// Takes the alarm of a call away.
    pub(super) fn clear(&mut self, call: usize) {
        if self.current.len() <= call {
            self.current.resize(call + 1, 0);
        }
        self.current[call] = self.current[call].wrapping_add(1);
    }

    /// The next call whose alarm rings, if it is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        while let Some(Reverse((at, call, generation))) = self.due.peek().copied() {
            if self.current[call] != generation {
                self.due.pop();
            } else if at <= now {
                self.due.pop();
                return Some(call);
            } else {
                return None;
            }
        }
        None
    }

    /// When to look again; at the latest at `latest`.
    pub(super) fn next(&self, latest: Instant) -> Instant {
        self.due.peek().map_or(latest, |Reverse((at, ..))| latest.min(*at))
    }
}

/// The retransmissions of one message over UDP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    interval: Duration,
    longest: Option<Duration>,
    end: Instant,
}

impl Repeat {
    /// Of an INVITE: intervals double until the end (RFC 3261 section 17.1.1.2).
    pub(super) fn of_invite(t1: Duration, now: Instant) -> Repeat {
        Repeat { interval: t1, longest: None, end: now + t1 * GIVE_UP }
    }

    /// Of everything else: intervals double up to T2 (sections 17.1.2.2, 17.2.1 and 13.3.1.4).
    pub(super) fn up_to_t2(t1: Duration, now: Instant) -> Repeat {
        Repeat { longest: Some(t1 * T2), ..Repeat::of_invite(t1, now) }
    }

    /// When the next one is due, the one before having been sent now. None when it is time to give up.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.end {
            return None;
        }
        let at = now + self.interval;
        self.interval *= 2;
        if let Some(longest) = self.longest {
            self.interval = self.interval.min(longest);
        }
        Some(at.min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    /// When a message is sent again, in units of T1.
    fn schedule(mut repeat: Repeat, start: Instant) -> Vec<u64> {
        let mut times = Vec::new();
        let mut now = start;
        while let Some(at) = repeat.next(now) {
            now = at;
            times.push(((now - start).as_millis() / T1.as_millis()) as u64);
        }
        times
    }

    #[test]
    fn retransmissions_keep_the_schedule_of_the_standard() {
        let now = Instant::now();
        assert_eq!(schedule(Repeat::of_invite(T1, now), now), [1, 3, 7, 15, 31, 63, 64]);
        assert_eq!(schedule(Repeat::up_to_t2(T1, now), now), [1, 3, 7, 15, 23, 31, 39, 47, 55, 63, 64]);
    }

    #[test]
    fn only_the_last_alarm_of_a_call_rings() {
        let mut timers = Timers::default();
        let now = Instant::now();
        timers.set(3, now);
        timers.set(3, now + T1);
        timers.set(1, now + T1 * 2);
        timers.set(2, now);
        timers.clear(2);
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.next(now + T1 * 9), now + T1);
        assert_eq!(timers.pop(now + T1 * 3), Some(3));
        assert_eq!(timers.pop(now + T1 * 3), Some(1));
        assert_eq!(timers.pop(now + T1 * 3), None);
    }
}
