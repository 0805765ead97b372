//! The result of a stage: where its calls went, zone by zone, and what the others were told.

use super::report::{Program, write_verdicts};
use lb_tests::calls::{
    outcome::{Calls, Outcome},
    pace::{most_at_once, most_in_a_second},
    seen::Record,
};
use serde::Serialize;
use sipsteer::config::{Backend, Config};
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// One server.
#[derive(Serialize)]
struct ServerCalls {
    zone: String,
    name: String,
    /// New calls.
    calls: usize,
    /// Most new calls in a second.
    most_cps: usize,
    /// Most calls at a time.
    most_channels: usize,
    max_cps: Option<u32>,
    max_channels: Option<u32>,
}

/// What became of the calls.
#[derive(Serialize)]
pub(super) struct StageReport {
    stage: String,
    calls: usize,
    ok: usize,
    /// Of those, the ones that followed a 302.
    redirected: usize,
    refused: usize,
    failed: usize,
    /// 302 answers.
    answers_302: usize,
    /// 503 answers: a redirected call may meet several.
    answers_503: usize,
    seconds: f64,
    cps: f64,
    backends: Vec<ServerCalls>,
    verdicts: BTreeMap<String, u64>,
    program: Program,
}

impl StageReport {
    /// `records` are in the order of the configuration's backends.
    pub(super) fn new(
        stage: &str,
        config: &Config,
        made: &Calls,
        records: &[Record],
        seconds: f64,
        verdicts: BTreeMap<String, u64>,
        program: Program,
    ) -> StageReport {
        let (calls, ok) = (made.0.len(), made.count(&Outcome::Completed));
        let refused = made.count(&Outcome::Refused(503)) + made.count(&Outcome::Refused(302));
        let flawed = usize::from(made.flaw().is_some());
        StageReport {
            stage: stage.to_owned(),
            calls,
            ok,
            redirected: made.those(&Outcome::Completed).filter(|call| call.was_redirected()).count(),
            refused,
            failed: (calls - ok - refused).max(flawed),
            answers_302: made.answers(302).count(),
            answers_503: made.answers(503).count(),
            seconds: (seconds * 1000.0).round() / 1000.0,
            cps: (calls as f64 * 10.0 / seconds).round() / 10.0,
            backends: config
                .backends
                .iter()
                .zip(records)
                .map(|(b, record)| ServerCalls::new(b, record))
                .collect(),
            verdicts,
            program,
        }
    }

    /// Whether every call was completed or refused as it should be.
    pub(super) fn nothing_failed(&self) -> bool {
        self.calls > 0 && self.failed == 0
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> fmt::Result {
        let StageReport { stage, calls, ok, redirected, refused, failed, seconds, cps, .. } = self;
        writeln!(out, "\nSTAGE     {stage}")?;
        writeln!(out, "CALLS     {ok} of {calls} completed, {redirected} of them after a 302")?;
        writeln!(out, "          {refused} refused because nobody had room, {failed} failed")?;
        writeln!(out, "ANSWERS   {} times 302, {} times 503", self.answers_302, self.answers_503)?;
        writeln!(out, "TIME      {seconds:.1} s, {cps:.0} new calls per second\n")?;
        writeln!(out, "ZONE        SERVER        CALLS   SHARE   MOST-CPS/MAX   MOST-CHANNELS/MAX")?;
        let limit = |limit: Option<u32>| limit.map_or("unlimited".to_owned(), |number| number.to_string());
        let mut last = "";
        for server in &self.backends {
            let zone = if server.zone == last { "" } else { &server.zone };
            last = &server.zone;
            let share = server.calls as f64 * 100.0 / (*calls).max(1) as f64;
            let (cps, channels) = (limit(server.max_cps), limit(server.max_channels));
            writeln!(
                out,
                "{zone:<11} {:<12} {:>6} {share:>5.1} % {:>8} / {cps:<9} {:>8} / {channels}",
                server.name, server.calls, server.most_cps, server.most_channels
            )?;
        }
        writeln!(out)?;
        write_verdicts(out, &self.verdicts)
    }
}

impl ServerCalls {
    fn new(backend: &Backend, record: &Record) -> ServerCalls {
        ServerCalls {
            zone: backend.zone.clone(),
            name: backend.name.clone(),
            calls: record.calls.len(),
            most_cps: most_in_a_second(&record.calls),
            most_channels: most_at_once(&record.calls),
            max_cps: backend.max_cps,
            max_channels: backend.max_channels,
        }
    }
}
