//! What this process uses, from `/proc/self`.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Processor time since it began, in seconds.
    pub cpu_seconds: f64,
    /// Memory.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// The most it may open.
    pub open_files_max: u64,
}

impl ProcessUse {
    /// Of this process, now. What cannot be found out (there is no `/proc`) is 0.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (cpu, threads) = parse_stat(&stat).unwrap_or_default();
        let pages = fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        Self {
            cpu_seconds: cpu.as_secs_f64(),
            resident_bytes: pages.unwrap_or_default() * rustix::param::page_size() as u64,
            threads,
            // The directory itself is open while it is read.
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX),
        }
    }
}

/// Processor time and threads from `stat`: the second field may hold spaces and parentheses, so counting begins after it.
fn parse_stat(stat: &str) -> Option<(Duration, u64)> {
    let fields: Vec<u64> = stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    let ticks = fields.get(11)? + fields.get(12)?;
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64;
    Some((Duration::from_secs_f64(seconds), *fields.get(17)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "1 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 7 0 1 1 1";
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(parse_stat(stat), Some((Duration::from_secs_f64(200.0 / per_second), 7)));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let used = ProcessUse::now();
        assert!(used.resident_bytes > 100_000 && used.threads > 0 && used.open_files >= 3, "{used:?}");
        assert!(used.open_files <= used.open_files_max, "{used:?}");
    }
}
