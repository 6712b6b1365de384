//! The goals, and whether they are met.

use serde_json::{Value, json};

use super::figures::Figures;
use super::memory::Memory;
use super::rows::Row;

/// How many times faster than the best peer.
const FASTER: f64 = 1.3;
/// Microseconds of the server's processor time for a 4 KiB read, deep.
const CPU_US: f64 = 5.0;
/// Bytes for a stored page beyond the page.
const PAGE_OVERHEAD: f64 = 20.0;
/// Bytes for a connection that does nothing.
const IDLE_CONNECTION: f64 = 65_536.0;
/// Pages in compressed memory for each page of it.
const REACH: f64 = 3.0;

/// One goal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) goal: String,
    pub(super) found: String,
    /// Unknown if it could not be measured here.
    pub(super) met: Option<bool>,
}

impl Verdict {
    fn new(goal: String, figure: Option<f64>, found: impl FnOnce(f64) -> String, met: impl FnOnce(f64) -> bool) -> Self {
        let text = figure.map_or_else(|| "not measured".into(), found);
        Self { goal, found: text, met: figure.map(met) }
    }

    pub(super) fn is_met(&self) -> bool {
        self.met == Some(true)
    }

    pub(super) fn json(&self) -> Value {
        json!({ "goal": self.goal, "found": self.found, "met": self.met })
    }
}

/// Judges the medians (ours first, then the peers).
pub(super) fn judge(rows: &[Row], medians: &[Vec<Figures>], memories: &[Memory], reach: Option<f64>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let Some((ours, peers)) = medians.split_first() else { return verdicts };
    for (index, row) in rows.iter().enumerate() {
        let best = peers.iter().map(|peer| peer[index].iops).fold(0.0, f64::max);
        let calmest = peers.iter().map(|peer| peer[index].p99_us).fold(f64::INFINITY, f64::min);
        let ratio = (best > 0.0).then(|| ours[index].iops / best);
        verdicts.push(Verdict::new(
            format!("{}: {FASTER} × the best peer's requests/s", row.name),
            ratio,
            |ratio| format!("{ratio:.2} ×"),
            |ratio| ratio >= FASTER,
        ));
        verdicts.push(Verdict::new(
            format!("{}: p99 not above the best peer's", row.name),
            calmest.is_finite().then_some(ours[index].p99_us),
            |p99| format!("{p99:.0} µs, theirs {calmest:.0} µs"),
            |p99| p99 <= calmest,
        ));
        if row.shows_cpu() {
            verdicts.push(Verdict::new(
                format!("{}: at most {CPU_US} µs of processor time each", row.name),
                ours[index].cpu_us,
                |cpu| format!("{cpu:.2} µs"),
                |cpu| cpu <= CPU_US,
            ));
        }
    }
    let memory = memories.first().copied().unwrap_or_default();
    verdicts.push(Verdict::new(
        format!("at most {PAGE_OVERHEAD} bytes of overhead for a stored page"),
        memory.page_overhead,
        |bytes| format!("{bytes:.1} bytes"),
        |bytes| bytes <= PAGE_OVERHEAD,
    ));
    verdicts.push(Verdict::new(
        format!("at most {} KiB for an idle connection", IDLE_CONNECTION / 1024.0),
        memory.idle_connection,
        |bytes| format!("{:.1} KiB", bytes / 1024.0),
        |bytes| bytes <= IDLE_CONNECTION,
    ));
    verdicts.push(Verdict::new(
        format!("at least {REACH} × more compressible pages than memory"),
        reach,
        |reach| format!("{reach:.2} ×"),
        |reach| reach >= REACH,
    ));
    verdicts
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    fn figures(iops: f64, p99_us: f64, cpu_us: Option<f64>) -> Figures {
        Figures { iops, p99_us, cpu_us, ..Figures::default() }
    }

    #[test]
    fn the_best_peer_is_the_measure_and_a_goal_missed_is_said() {
        let row = ROWS.iter().find(|row| row.shows_cpu()).copied().unwrap();
        let medians = [vec![figures(129.0, 50.0, Some(5.1))], vec![figures(100.0, 60.0, Some(9.0))], vec![figures(10.0, 49.0, Some(9.0))]];
        let memory = Memory { page_overhead: Some(20.0), idle_connection: None };
        let verdicts = judge(&[row], &medians, &[memory], Some(3.0));
        let met: Vec<Option<bool>> = verdicts.iter().map(|verdict| verdict.met).collect();
        assert_eq!(met, [Some(false), Some(false), Some(false), Some(true), None, Some(true)]);
        assert!(verdicts[0].found.contains("1.29") && !verdicts[4].is_met());
    }
}
