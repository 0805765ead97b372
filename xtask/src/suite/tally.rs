//! What the output of test programs says.

/// What happened so far.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    /// Counts `test result: ok. 3 passed; 0 failed; ...` of the test harness and our own `SKIPPED ...`.
    pub(super) fn add(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("SKIPPED ") {
            self.skipped += 1;
        }
        let Some(rest) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". ")) else { return };
        for part in rest.1.split(';') {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => {}
            }
        }
    }
}

/// The tests that failed: the harness lists them at the end, below `failures:`, four spaces in. It has none when the
/// program died.
pub(super) fn failures(text: &str) -> Vec<&str> {
    let Some((_, list)) = text.rsplit_once("\nfailures:\n") else { return Vec::new() };
    list.lines().map_while(|line| line.strip_prefix("    ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_skips_are_counted() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s",
        );
        tally.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("SKIPPED a_test: no root");
        tally.add("test some_test ... ok");
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 4, 2));
    }

    #[test]
    fn the_last_list_of_failures_counts() {
        let text = "running 3 tests\ntest b::two ... FAILED\ntest one ... FAILED\ntest three ... ok\n\n\
            failures:\n\n---- one stdout ----\nError: no\n    0: because\n\n\n\
            failures:\n    b::two\n    one\n\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        assert_eq!(failures(text), ["b::two", "one"]);
        assert_eq!(failures("running 1 test\ntest one ... ok\n\ntest result: ok. 1 passed\n"), [""; 0]);
        assert_eq!(failures("running 1 test\n"), [""; 0], "it died");
    }
}
