//! The line that moves while calls are made: on a terminal one line in place, elsewhere a line every few seconds.

use lb_tests::sipp::stat::Statistics;
use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

const WIDTH: u64 = 30;
const EVERY: Duration = Duration::from_secs(2);

/// The progress of one run, on stderr.
pub(crate) struct Progress {
    calls: u64,
    terminal: bool,
    next: Duration,
}

impl Progress {
    /// For this many calls.
    pub(crate) fn new(calls: u32) -> Progress {
        Progress { calls: calls.into(), terminal: stderr().is_terminal(), next: EVERY }
    }

    /// Shows where the run stands.
    pub(crate) fn show(&mut self, so_far: &Statistics, elapsed: Duration) {
        if self.terminal {
            self.draw(so_far, "");
        } else if elapsed >= self.next {
            self.next += EVERY;
            self.draw(so_far, "\n");
        }
    }

    /// Shows the end.
    pub(crate) fn finish(&self, made: &Statistics) {
        self.draw(made, "\n");
    }

    fn draw(&self, now: &Statistics, end: &str) {
        let over = now.ok + now.failed;
        let filled = (over * WIDTH / self.calls.max(1)).min(WIDTH);
        let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
        let start = if self.terminal { "\r" } else { "" };
        let (calls, failed, again) = (self.calls, now.failed, now.retransmissions);
        let line = format!(
            "{start}  [{bar}] {over}/{calls} calls over, {failed} failed, {again} retransmissions{end}"
        );
        // A terminal that is gone must not end the run.
        let _ = stderr().write_all(line.as_bytes());
    }
}
