//! What the tests said under one kernel.

use std::{fmt::Write, time::Duration};

/// The result under one kernel.
pub(crate) struct Outcome {
    /// As `uname -r` prints it.
    pub(crate) kernel: String,
    /// All that the tests printed.
    pub(crate) text: String,
    passed: u64,
    failed: u64,
    /// Program and instructions that the verifier walked through.
    verified: Vec<(String, u64)>,
    good: bool,
    seconds: f64,
}

impl Outcome {
    /// Reads the output of test harnesses; `good` is whether all of them succeeded.
    pub(crate) fn new(kernel: String, text: String, good: bool, took: Duration) -> Outcome {
        let mut outcome = Outcome {
            kernel,
            text,
            passed: 0,
            failed: 0,
            verified: Vec::new(),
            good,
            seconds: took.as_secs_f64(),
        };
        for line in outcome.text.lines() {
            if let Some(counts) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". ")) {
                let mut numbers =
                    counts.1.split(';').map(|part| part.split_whitespace().next().unwrap_or_default());
                let mut next = || numbers.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
                outcome.passed += next();
                outcome.failed += next();
            }
            // The harness may have begun the line with the name of the test.
            let verified = line.split_once("VERIFIED ").and_then(|(_, rest)| rest.split_once(' '));
            if let Some((program, count)) = verified {
                outcome.verified.push((program.to_owned(), count.trim().parse().unwrap_or(0)));
            }
        }
        outcome
    }

    /// Whether tests ran and none failed.
    pub(crate) fn passed(&self) -> bool {
        self.good && self.passed > 0 && self.failed == 0
    }
}

/// A line for each kernel.
pub(crate) fn table(rows: &[Outcome]) -> String {
    let mut out =
        format!("{:<28} {:>6} {:>6} {:>7}  VERIFIED INSTRUCTIONS\n", "KERNEL", "PASSED", "FAILED", "SECONDS");
    for row in rows {
        let verified: Vec<String> =
            row.verified.iter().map(|(program, n)| format!("{program} {n}")).collect();
        let mark = if row.passed() { "" } else { "  FAILED" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<28} {:>6} {:>6} {:>7.1}  {}{mark}",
            row.kernel,
            row.passed,
            row.failed,
            row.seconds,
            verified.join(", ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "running 2 tests\ntest a ... VERIFIED pass 2\nok\nVERIFIED sipsteer 120513\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";

    #[test]
    fn counts_and_instructions_are_read() {
        let outcome = Outcome::new("6.1".into(), TEXT.into(), true, Duration::ZERO);
        assert!(outcome.passed());
        assert_eq!(outcome.verified, [("pass".to_owned(), 2), ("sipsteer".to_owned(), 120_513)]);
        assert!(table(&[outcome]).contains("pass 2, sipsteer 120513"));
    }

    #[test]
    fn no_tests_or_a_bad_end_is_no_success() {
        assert!(!Outcome::new("6.1".into(), String::new(), true, Duration::ZERO).passed());
        assert!(!Outcome::new("6.1".into(), TEXT.into(), false, Duration::ZERO).passed());
        let failed = TEXT.replace("0 failed", "1 failed");
        assert!(!Outcome::new("6.1".into(), failed, true, Duration::ZERO).passed());
    }
}
