//! Counts tests, prints each result, and ends with the one line that says how many passed.

use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    pub(crate) fn one(&mut self, name: &str, took: Option<Duration>, result: Result<(), String>) {
        let took = took.map(|took| format!(" ({:.1} s)", took.as_secs_f64())).unwrap_or_default();
        match result {
            Ok(()) => {
                println!("test {name} ... ok{took}");
                self.passed += 1;
            }
            Err(reason) => {
                println!("test {name} ... FAILED{took}\n{reason}\n");
                self.failed += 1;
            }
        }
    }

    /// Many at once, counted by somebody else.
    pub(crate) fn many(&mut self, passed: usize, failed: usize) {
        self.passed += passed;
        self.failed += failed;
    }

    pub(crate) fn skipped(name: &str, why: &str) {
        println!("test {name} ... skipped: {why}");
    }

    /// The last line. Nothing run is not a success.
    pub(crate) fn finish(&self) -> bool {
        if self.passed + self.failed == 0 {
            println!("no test was run: none has such a name, or what it needs is missing");
        }
        println!("{}", self.line());
        self.failed == 0 && self.passed > 0
    }

    fn line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_once() {
        let mut tally = Tally::default();
        assert!(!tally.finish(), "nothing run is not a success");
        tally.one("a", None, Ok(()));
        tally.many(5, 0);
        assert!(tally.finish());
        tally.one("b", None, Err("reason".into()));
        assert_eq!(tally.line(), "6 passed, 1 failed");
        assert!(!tally.finish());
    }
}
