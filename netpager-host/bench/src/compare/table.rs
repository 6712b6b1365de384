//! The figures as a person reads them.

use std::fmt::Write as _;

use super::figures::Figures;
use super::goals::Verdict;
use super::memory::Memory;
use super::rows::Row;

/// One block per row of the comparison, one line per server, with ours as the measure.
pub(super) fn rows(rows: &[Row], names: &[&str], medians: &[Vec<Figures>]) -> String {
    let mut text =
        format!("{:<15}{:>12}{:>10}{:>10}{:>10}{:>14}{:>12}\n", "", "requests/s", "MiB/s", "p50 µs", "p99 µs", "CPU µs/req.", "ours is");
    for (index, row) in rows.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", row.name);
        for (server, name) in names.iter().enumerate() {
            let Figures { iops, mib_per_second, p50_us, p99_us, cpu_us } = medians[server][index];
            let cpu = cpu_us.map_or("-".into(), |cpu| format!("{cpu:.2}"));
            let ratio = if server == 0 { String::new() } else { format!("{:.2} ×", medians[0][index].iops / iops.max(f64::MIN_POSITIVE)) };
            let _ = writeln!(text, "  {name:<13}{iops:>12.0}{mib_per_second:>10.0}{p50_us:>10.1}{p99_us:>10.1}{cpu:>14}{ratio:>12}");
        }
    }
    text
}

pub(super) fn memory(names: &[&str], memories: &[Memory]) -> String {
    let mut text = format!("{:<15}{:>26}{:>26}\n", "memory", "bytes over 4096 per page", "KiB per idle connection");
    for (name, memory) in names.iter().zip(memories) {
        let page = memory.page_overhead.map_or("-".into(), |bytes| format!("{bytes:.1}"));
        let idle = memory.idle_connection.map_or("-".into(), |bytes| format!("{:.1}", bytes / 1024.0));
        let _ = writeln!(text, "  {name:<13}{page:>26}{idle:>26}");
    }
    text
}

pub(super) fn verdicts(verdicts: &[Verdict]) -> String {
    let mut text = String::from("goals\n");
    for verdict in verdicts {
        let word = match verdict.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "unknown",
        };
        let _ = writeln!(text, "  {word:<8} {}: {}", verdict.goal, verdict.found);
    }
    let met = verdicts.iter().filter(|verdict| verdict.is_met()).count();
    let _ = writeln!(text, "  {met} of {} goals are met", verdicts.len());
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    #[test]
    fn a_ratio_stands_beside_each_peer_and_a_missed_goal_in_capitals() {
        let figures = |iops| Figures { iops, ..Figures::default() };
        let text = rows(&ROWS[..1], &["ours", "theirs"], &[vec![figures(150.0)], vec![figures(100.0)]]);
        assert!(text.lines().nth(3).unwrap().ends_with("1.50 ×"), "{text}");
        let text = verdicts(&[Verdict { goal: "g".into(), found: "f".into(), met: Some(false) }]);
        assert!(text.contains("MISSED   g: f") && text.contains("0 of 1"), "{text}");
        let text = memory(&["ours"], &[Memory { page_overhead: Some(8.04), idle_connection: None }]);
        assert!(text.contains("8.0") && text.lines().nth(1).unwrap().ends_with('-'), "{text}");
    }
}
