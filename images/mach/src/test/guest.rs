//! Tests inside QEMU: a test is a `./mach run` line and what must come of it.
//!
//! The tables (`boot`, `paging`, `network`, `trouble`) hold the tests; this module runs one. The line is the one that a person types to
//! see the same thing.

use super::kept;
use super::peer::Peer;
use super::tally::Tally;
use crate::cli::{Cli, Command, RunOptions};
use crate::image::manifest::Manifest;
use crate::run::guest::End;
use crate::run::net::Net;
use crate::run::plan::Plan;
use crate::run::screen::Screen;
use crate::run::session::{Outcome, Products, Session};
use crate::run::table::grouped;
use crate::run::tail;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use clap::Parser;
use serde_json::Value;
use std::time::Duration;

/// A test inside QEMU.
#[derive(Clone, Copy)]
pub(crate) struct GuestTest {
    pub(crate) name: &'static str,
    /// The words after `./mach run`.
    pub(crate) line: &'static str,
    /// Who keeps the pages, if it is not our host: started before the run, whose `--server` it is.
    pub(crate) peer: Option<Peer>,
    pub(crate) expect: Expect,
    /// What else must be true; says what is not.
    pub(crate) also: &'static [fn(&Outcome) -> Option<String>],
    /// Is it short enough for `--quick`?
    pub(crate) quick: bool,
}

/// How the run must end.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    /// Everything verified.
    Verified,
    /// The guest itself says what went wrong, and powers off: somebody's task failed, nobody else's.
    Refused,
}

impl GuestTest {
    pub(crate) fn options(&self) -> Result<RunOptions> {
        Self::options_of(self.line)
    }

    /// What the words after `./mach run` mean.
    pub(crate) fn options_of(line: &str) -> Result<RunOptions> {
        let words = ["mach", "run"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Run(options) => Ok(options),
            other => bail!("`{line}` means {other:?}"),
        }
    }

    pub(crate) fn manifest(&self, workspace: &Workspace) -> Result<Manifest> {
        Manifest::load(&workspace.root, &self.options()?.guest.manifest)
    }

    /// Runs it and counts it, and each `@test` that the guest reports besides.
    pub(crate) fn run(&self, full_name: &str, workspace: &Workspace, products: &Products, tally: &mut Tally) {
        match self.outcome(workspace, products) {
            Ok(outcome) => {
                let inner = outcome.report.tests.iter();
                tally.many(inner.filter(|(_, result)| result.is_ok()).count(), 0);
                tally.one(full_name, Some(outcome.elapsed), self.judge(&outcome));
                figures(&outcome).iter().for_each(|line| println!("  {line}"));
            }
            Err(error) => tally.one(full_name, None, Err(format!("{error:#}"))),
        }
    }

    fn outcome(&self, workspace: &Workspace, products: &Products) -> Result<Outcome> {
        let mut options = self.options()?;
        let manifest = self.manifest(workspace)?;
        let mut plan = Plan::new(&options.guest, &manifest)?;
        plan.disk_errors = options.disk_errors;
        let folder = tempfile::Builder::new().prefix("test-").tempdir_in(workspace.scratch("")?)?;
        let start = |peer: Peer| peer.start(&manifest, &plan, products.server.as_deref(), folder.path());
        let peer = self.peer.map(start).transpose()?;
        if let Some(peer) = &peer {
            options.net.server = Some(peer.address.to_string());
            options.net.certificates.clone_from(&peer.certificates);
        }
        let session = Session {
            manifest: &manifest,
            plan: &plan,
            net: &Net::new(&options.net, &manifest, &options.chaos)?,
            chaos: &options.chaos,
            timeout: Duration::from_secs(options.timeout),
            extra: &options.qemu,
            folder: folder.path(),
        };
        let mut outcome = session.run(products, &mut Screen::silent())?;
        if let Some(image) = peer.as_ref().and_then(|peer| peer.image.as_deref()) {
            outcome.failures.extend(kept::wrong(image, options.net.seal.is_some())?);
        }
        Ok(outcome)
    }

    /// Nothing wrong, or everything that is, with the end of the console.
    fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        let mut wrong = match self.expect {
            Expect::Verified => outcome.failures.clone(),
            Expect::Refused => not_refused(outcome),
        };
        wrong.extend(self.also.iter().filter_map(|check| check(outcome)));
        wrong.extend(outcome.guest_errors.iter().take(5).map(|error| format!("QEMU says of the guest: {error}")));
        if wrong.is_empty() {
            return Ok(());
        }
        let console = tail(&outcome.console);
        let server = self.peer.map(|peer| format!(" --server … ({peer:?})")).unwrap_or_default();
        Err(format!("  ./mach run {}{server}\n  {}\n  the end of the console:\n{console}", self.line, wrong.join("\n  ")))
    }
}

/// Why this is not a run that ended in an orderly refusal.
fn not_refused(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.end != End::PoweredOff {
        wrong.push(format!("the guest did not power off: {:?}", outcome.end));
    }
    if !matches!(outcome.report.verdict, Some(Err(_))) {
        wrong.push(format!("the verdict is {:?}, a refusal was expected", outcome.report.verdict));
    }
    let failed = outcome.report.tests.iter().filter_map(|(name, result)| Some((name, result.as_ref().err()?)));
    wrong.extend(failed.map(|(name, reason)| format!("test {name}: {reason}")));
    wrong
}

/// What a person wants to know of each phase: that nothing was lost, and how long the guest stood still at worst.
fn figures(outcome: &Outcome) -> Vec<String> {
    let line = |phase: &Value| {
        let number = |figure: &Value| figure.as_f64().map_or("?".to_owned(), |number| grouped(number as u64));
        let (verified, corrupt) = (number(&phase["verified_pages"]), number(&phase["corrupt_pages"]));
        let pager = phase["pager"].as_str().unwrap_or("?");
        format!("{pager}: {verified} pages verified, {corrupt} corrupt, longest touch {} µs", number(&phase["touch_us"]["max"]))
    };
    outcome.report.phases.iter().map(line).collect()
}

/// No page was copied on its way, and what came in came in runs.
pub(crate) fn moved_in_runs(outcome: &Outcome) -> Option<String> {
    let swap = outcome.report.phases.iter().find(|phase| phase["pager"] == "swap");
    let Some(swap) = swap else { return Some("no figures of the swap pager".to_owned()) };
    let (copied, run) = (&swap["bytes_copied_per_page"], &swap["sequential_pages_per_request"]);
    if copied.as_f64() != Some(0.0) {
        return Some(format!("bytes copied per page: {copied}, not 0"));
    }
    (!run.as_f64().is_some_and(|run| run >= 32.0)).then(|| format!("sequential pages per request: {run}, fewer than 32"))
}

/// netpager-host was away once.
pub(crate) fn restarted_once(outcome: &Outcome) -> Option<String> {
    (outcome.restarts != 1).then(|| format!("netpager-host came back {} times, not once", outcome.restarts))
}

/// A member of the mirror was killed, and there are figures that say how long the guest had to wait.
pub(crate) fn member_lost(outcome: &Outcome) -> Option<String> {
    if outcome.members_lost != 1 {
        return Some(format!("{} members of the mirror were killed, not one", outcome.members_lost));
    }
    let has_figure = |phase: &Value| phase["touch_us"]["max"].as_f64().is_some();
    (!outcome.report.phases.iter().all(has_figure)).then(|| "a phase does not say how long its longest touch took".to_owned())
}

/// Others went on after the failure.
pub(crate) fn others_went_on(outcome: &Outcome) -> Option<String> {
    outcome.report.tests.is_empty().then(|| "no test ran after the failure".to_owned())
}

/// The ten steps of a page's life, in their order.
pub(crate) fn ten_steps(outcome: &Outcome) -> Option<String> {
    const STEPS: [&str; 10] = ["Touched", "Faulted", "Missed", "Asked", "Carried", "Served", "Fetched", "Supplied", "Entered", "Returned"];
    let mut next = STEPS.iter().peekable();
    for step in &outcome.report.steps {
        next.next_if(|wanted| *wanted == step);
    }
    next.peek().map(|missing| format!("the trace of a page's life has no {missing} where it belongs: {:?}", outcome.report.steps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::report::Report;

    fn outcome(verdict: Result<(), String>) -> Outcome {
        let mut report = Report { verdict: Some(verdict), ..Report::default() };
        report.tests.push(("witness".into(), Ok(())));
        let failures = report.failures(&End::PoweredOff, &[]);
        let elapsed = Duration::from_secs(1);
        let console = vec!["last words".to_owned()];
        Outcome { end: End::PoweredOff, report, console, elapsed, failures, guest_errors: Vec::new(), restarts: 0, members_lost: 0 }
    }

    const TEST: GuestTest = GuestTest { name: "t", line: "swap", peer: None, expect: Expect::Verified, also: &[], quick: true };
    const REFUSED: GuestTest = GuestTest { expect: Expect::Refused, also: &[others_went_on], ..TEST };

    #[test]
    fn a_verified_run_passes_and_a_refused_one_shows_its_console() {
        assert_eq!(TEST.judge(&outcome(Ok(()))), Ok(()));
        let reason = TEST.judge(&outcome(Err("disk error".into()))).unwrap_err();
        assert!(reason.contains("./mach run swap") && reason.contains("disk error") && reason.contains("last words"));
    }

    #[test]
    fn a_refusal_must_be_orderly() {
        assert_eq!(REFUSED.judge(&outcome(Err("disk error".into()))), Ok(()));
        assert!(REFUSED.judge(&outcome(Ok(()))).is_err());
        let mut hung = outcome(Err("disk error".into()));
        hung.end = End::TimedOut(Duration::from_secs(1));
        assert!(REFUSED.judge(&hung).is_err());
        let mut alone = outcome(Err("disk error".into()));
        alone.report.tests.clear();
        assert!(REFUSED.judge(&alone).is_err());
    }

    #[test]
    fn what_qemu_complains_of_fails_a_test() {
        let mut outcome = outcome(Ok(()));
        outcome.guest_errors.push("gic_dist_writel: bad offset".into());
        assert!(TEST.judge(&outcome).unwrap_err().contains("bad offset"));
    }

    #[test]
    fn the_figures_of_a_phase_are_shown() {
        let mut outcome = outcome(Ok(()));
        let phase = r#"{"pager":"net","verified_pages":16384,"corrupt_pages":0,"touch_us":{"max":1234567.8}}"#;
        outcome.report.phases.push(serde_json::from_str(phase).unwrap());
        assert_eq!(figures(&outcome), ["net: 16,384 pages verified, 0 corrupt, longest touch 1,234,567 µs"]);
        assert!(member_lost(&outcome).unwrap().contains("not one"));
        outcome.members_lost = 1;
        assert_eq!(member_lost(&outcome), None);
        outcome.report.phases.push(serde_json::from_str(r#"{"pager":"swap"}"#).unwrap());
        assert!(member_lost(&outcome).unwrap().contains("longest touch"));
    }

    #[test]
    fn the_steps_must_come_in_order() {
        let mut outcome = outcome(Ok(()));
        let good = "Touched Faulted Missed Asked Carried Served Fetched Served Supplied Entered Returned Asked";
        outcome.report.steps = good.split(' ').map(str::to_owned).collect();
        assert_eq!(ten_steps(&outcome), None);
        outcome.report.steps.remove(4);
        assert!(ten_steps(&outcome).unwrap().contains("no Carried"));
    }

    #[test]
    fn pages_must_move_in_runs() {
        let judge = |figures: &str| {
            let mut outcome = outcome(Ok(()));
            outcome.report.phases.push(serde_json::from_str(figures).unwrap());
            moved_in_runs(&outcome)
        };
        assert_eq!(judge(r#"{"pager":"swap","bytes_copied_per_page":0,"sequential_pages_per_request":32.5}"#), None);
        assert!(judge(r#"{"pager":"swap","bytes_copied_per_page":1,"sequential_pages_per_request":64}"#).is_some());
        assert!(judge(r#"{"pager":"swap","bytes_copied_per_page":0,"sequential_pages_per_request":31}"#).is_some());
        assert!(judge(r#"{"pager":"net"}"#).is_some());
    }
}
