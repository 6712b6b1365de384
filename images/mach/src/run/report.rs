//! What a run came to: the figures of its phases, its tests, and the reasons why it is not good, if there are any.
//!
//! Collected line by line; the verdict is the launcher's own: the guest's word alone is not enough.

use super::console::Line;
use super::guest::End;
use serde_json::{Value, json};

/// Everything the machine lines said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) phases: Vec<Value>,
    pub(crate) tests: Vec<(String, Result<(), String>)>,
    pub(crate) benches: Vec<(String, u64)>,
    /// The steps of pages' lives, in the order they were printed.
    pub(crate) steps: Vec<String>,
    pub(crate) verdict: Option<Result<(), String>>,
}

impl Report {
    pub(crate) fn take(&mut self, line: &Line) {
        match line {
            Line::Phase(figures) => self.phases.push(figures.clone()),
            Line::Test { name, result } => self.tests.push((name.clone(), result.clone())),
            Line::Bench { name, instructions } => self.benches.push((name.clone(), *instructions)),
            Line::Trace { step, .. } => self.steps.push(step.clone()),
            // A second verdict cannot make the first one better.
            Line::Verdict(verdict) if !matches!(self.verdict, Some(Err(_))) => self.verdict = Some(verdict.clone()),
            Line::Verdict(_) | Line::Text(_) | Line::Progress(_) | Line::Malformed(_) => {}
        }
    }

    /// Why this run is not good; nothing if it is. `expected` are the phases that the manifest promises.
    pub(crate) fn failures(&self, end: &End, expected: &[String]) -> Vec<String> {
        let mut failures = Vec::new();
        match end {
            End::PoweredOff => {}
            End::Failed(how) => failures.push(format!("the guest did not power off: {how}")),
            End::TimedOut(after) => failures.push(format!("the guest did not end within {} s", after.as_secs())),
            End::Interrupted => failures.push("interrupted".to_owned()),
        }
        match &self.verdict {
            Some(Ok(())) => {}
            Some(Err(reason)) => failures.push(format!("the guest's verdict: {reason}")),
            None => failures.push("the guest gave no verdict".to_owned()),
        }
        for (name, result) in &self.tests {
            if let Err(reason) = result {
                failures.push(format!("test {name}: {reason}"));
            }
        }
        failures.extend(expected.iter().filter_map(|pager| self.missing(pager)));
        failures.extend(self.phases.iter().filter_map(unverified));
        failures
    }

    fn missing(&self, pager: &str) -> Option<String> {
        let found = self.phases.iter().any(|phase| phase["pager"] == pager);
        (!found).then(|| format!("the phase `{pager}` gave no figures"))
    }

    /// The file that `--json` writes.
    pub(crate) fn json(&self, failures: &[String]) -> Value {
        let mut value = json!({ "phases": self.phases, "ok": failures.is_empty() });
        if !failures.is_empty() {
            value["failures"] = json!(failures);
        }
        if !self.tests.is_empty() {
            let tests = self.tests.iter().map(|(name, result)| json!({ "name": name, "ok": result.is_ok() }));
            value["tests"] = tests.collect();
        }
        value
    }
}

/// A phase counts only if it verified pages and found every one as it was written.
fn unverified(phase: &Value) -> Option<String> {
    let pager = phase["pager"].as_str().unwrap_or("?");
    match (phase["verified_pages"].as_u64(), phase["corrupt_pages"].as_u64()) {
        (Some(1..), Some(0)) => None,
        (Some(1..), Some(corrupt)) => Some(format!("{pager}: {corrupt} corrupt pages")),
        _ => Some(format!("{pager}: verified no pages")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(&Line::parse(line)));
        report
    }

    const SWAP: &str = "@phase {\"pager\":\"swap\",\"verified_pages\":65536,\"corrupt_pages\":0}";

    fn expected(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_good_run_has_no_failures() {
        let report = report(&[SWAP, "@test cow ok", "@verdict ok"]);
        assert!(report.failures(&End::PoweredOff, &expected(&["swap"])).is_empty());
        assert_eq!(report.json(&[])["ok"], true);
        assert_eq!(report.json(&[])["phases"][0]["verified_pages"], 65536);
    }

    #[test]
    fn each_thing_that_is_missing_fails_the_run() {
        let swap = expected(&["swap"]);
        let one = |lines: &[&str], end: End, wanted: &str| {
            let failures = report(lines).failures(&end, &swap);
            assert_eq!(failures.len(), 1, "{failures:?}");
            assert!(failures[0].contains(wanted), "{failures:?}");
        };
        let off = End::PoweredOff;
        one(&[SWAP], off.clone(), "no verdict");
        one(&["@verdict ok"], off.clone(), "phase `swap`");
        one(&[SWAP, "@verdict FAILED a pager died"], off.clone(), "a pager died");
        one(&[SWAP, "@verdict FAILED a pager died", "@verdict ok"], off.clone(), "a pager died");
        one(&[SWAP, "@test cow FAILED differs", "@verdict ok"], off.clone(), "test cow: differs");
        one(&[SWAP, "@verdict ok"], End::TimedOut(Duration::from_secs(9)), "within 9 s");
        one(&[SWAP, "@verdict ok"], End::Failed("QEMU ended with 1".into()), "QEMU ended with 1");
    }

    #[test]
    fn a_phase_must_have_verified_and_found_nothing_corrupt() {
        let judge = |figures: &str| {
            let phase = format!("@phase {{\"pager\":\"swap\"{figures}}}");
            report(&[&phase, "@verdict ok"]).failures(&End::PoweredOff, &[])
        };
        assert!(judge(",\"verified_pages\":1,\"corrupt_pages\":0").is_empty());
        assert_eq!(judge(",\"verified_pages\":9,\"corrupt_pages\":2"), ["swap: 2 corrupt pages"]);
        assert_eq!(judge(",\"verified_pages\":0,\"corrupt_pages\":0"), ["swap: verified no pages"]);
        assert_eq!(judge(""), ["swap: verified no pages"]);
    }

    #[test]
    fn failures_are_written_down() {
        let json = report(&[SWAP]).json(&["no verdict".to_owned()]);
        assert_eq!(json["ok"], false);
        assert_eq!(json["failures"][0], "no verdict");
    }
}
