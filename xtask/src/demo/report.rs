//! The result of a demo: one JSON object, or a table for people.

use lb_common::verdict::Verdict;
use lb_tests::sipp::stat::Statistics;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write};

/// Calls that one backend received.
#[derive(Serialize)]
pub(crate) struct BackendCalls {
    /// Its name.
    pub(crate) name: String,
    /// As its own SIP server counted them.
    pub(crate) calls: u64,
}

/// The XDP program while calls were made.
#[derive(Default, Serialize)]
pub(crate) struct Program {
    /// `native`, `generic`, or both.
    pub(crate) mode: String,
    /// Packets it saw.
    pub(crate) packets: u64,
    /// Time it took, in nanoseconds, as the kernel counted it.
    pub(crate) run_time_ns: u64,
    /// Instructions the verifier walked through.
    pub(crate) verified_instructions: u64,
}

/// What became of the calls.
#[derive(Serialize)]
pub(crate) struct Report {
    calls: u64,
    ok: u64,
    failed: u64,
    retransmissions: u64,
    seconds: f64,
    cps: f64,
    backends: Vec<BackendCalls>,
    verdicts: BTreeMap<String, u64>,
    ns_per_packet: Option<f64>,
    program: Program,
}

impl Report {
    /// `seconds` is how long the caller ran.
    pub(crate) fn new(
        made: &Statistics,
        seconds: f64,
        backends: Vec<BackendCalls>,
        verdicts: BTreeMap<String, u64>,
        program: Program,
    ) -> Report {
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        let ns = (program.packets > 0).then(|| rounded(program.run_time_ns as f64 / program.packets as f64));
        Report {
            calls: made.calls,
            ok: made.ok,
            failed: made.calls - made.ok,
            retransmissions: made.retransmissions,
            seconds: (seconds * 1000.0).round() / 1000.0,
            cps: rounded(made.calls as f64 / seconds),
            backends,
            verdicts,
            ns_per_packet: ns,
            program,
        }
    }

    /// Whether there were calls and none failed.
    pub(crate) fn every_call_succeeded(&self) -> bool {
        self.calls > 0 && self.ok == self.calls
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let Report { calls, ok, failed, retransmissions, seconds, cps, .. } = self;
        writeln!(
            out,
            "\nCALLS     {ok} of {calls} succeeded, {failed} failed, {retransmissions} retransmissions"
        )?;
        writeln!(out, "TIME      {seconds:.1} s, {cps:.0} new calls per second")?;
        for backend in &self.backends {
            let share = backend.calls as f64 * 100.0 / (*calls).max(1) as f64;
            let bar = "#".repeat((share / 2.0).round() as usize);
            writeln!(out, "BACKEND   {:<8} {:>9} calls {share:>5.1} %  {bar}", backend.name, backend.calls)?;
        }
        let cost = self.ns_per_packet.map_or("not known".to_owned(), |ns| format!("{ns:.0} ns per packet"));
        let program = &self.program;
        writeln!(
            out,
            "KERNEL    {cost} ({} packets, XDP {} mode, {} instructions verified)",
            program.packets, program.mode, program.verified_instructions
        )?;
        write_verdicts(out, &self.verdicts)
    }
}

/// What packets met, in sentences.
pub(super) fn write_verdicts(out: &mut String, verdicts: &BTreeMap<String, u64>) -> std::fmt::Result {
    for (name, packets) in verdicts {
        let sentence = Verdict::ALL.iter().find(|v| v.name() == name).map_or("", |v| v.sentence().trim());
        writeln!(out, "VERDICT   {name:<22} {packets:>9}  {sentence}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    fn report(calls: u64, ok: u64) -> Report {
        let made = Statistics { calls, ok, failed: calls - ok, retransmissions: 0 };
        let program = Program { packets: 4, run_time_ns: 1001, ..Program::default() };
        Report::new(&made, 2.0, vec![BackendCalls { name: "sw1".into(), calls }], BTreeMap::new(), program)
    }

    #[test]
    fn only_success_of_every_call_is_success() {
        assert!(report(2, 2).every_call_succeeded());
        assert!(!report(2, 1).every_call_succeeded());
        assert!(!report(0, 0).every_call_succeeded());
    }

    #[test]
    fn the_json_has_the_promised_names() -> Result<()> {
        let json = serde_json::to_value(report(2, 1))?;
        assert_eq!(
            (json["calls"].as_u64(), json["ok"].as_u64(), json["failed"].as_u64()),
            (Some(2), Some(1), Some(1))
        );
        assert_eq!(json["ns_per_packet"].as_f64(), Some(250.3));
        assert_eq!(json["backends"][0]["name"], "sw1");
        for name in ["retransmissions", "seconds", "cps", "verdicts", "program"] {
            assert!(!json[name].is_null(), "{name}");
        }
        Ok(())
    }
}
