//! What a server costs: processor time, memory, descriptors and threads of a process and its children.
//!
//! From /proc, so on Linux only; elsewhere, and for processes that are not ours to look at, there is no figure. Children
//! count because nbd-server forks one process per client.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// A process and what it started.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

impl Process {
    /// The process with this number.
    #[must_use]
    pub const fn new(pid: u32) -> Self {
        Self(pid)
    }

    /// Processor time used so far, in user mode and in the kernel, by it and its children.
    #[must_use]
    pub fn cpu(self) -> Option<Duration> {
        let tick = 1e9 / rustix::param::clock_ticks_per_second() as f64;
        let ticks = self.family().into_iter().filter_map(Stat::read).map(|stat| stat.ticks).reduce(|a, b| a + b)?;
        Some(Duration::from_nanos((ticks as f64 * tick) as u64))
    }

    /// Resident memory that belongs to it alone or as its share (proportional set size), in bytes.
    ///
    /// Pages of a tmpfs file that a server only reads and writes are not in it: ask the file system for those.
    #[must_use]
    pub fn memory(self) -> Option<u64> {
        self.family().into_iter().filter_map(|pid| field(pid, "smaps_rollup", "Pss:")).reduce(|a, b| a + b).map(|kib| kib * 1024)
    }

    /// How many descriptors it has open; its children's are not counted.
    #[must_use]
    pub fn descriptors(self) -> Option<usize> {
        fs::read_dir(format!("/proc/{}/fd", self.0)).ok().map(Iterator::count)
    }

    /// How many threads it runs; its children's are not counted.
    #[must_use]
    pub fn threads(self) -> Option<u64> {
        field(self.0, "status", "Threads:")
    }

    /// It, its children, and theirs.
    fn family(self) -> Vec<u32> {
        let mut family = vec![self.0];
        let mut known: HashSet<u32> = family.iter().copied().collect();
        let others: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Stat::read)
            .collect();
        let mut at = 0;
        while at < family.len() {
            let parent = family[at];
            family.extend(others.iter().filter(|stat| stat.parent == parent && known.insert(stat.pid)).map(|stat| stat.pid));
            at += 1;
        }
        family
    }
}

/// What /proc/PID/stat says of one process.
struct Stat {
    pid: u32,
    parent: u32,
    /// Its own time, and that of the children it has waited for.
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in parentheses may hold anything, so fields are counted from its end.
    fn parse(pid: u32, text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        let ticks = fields.get(11..15)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum::<Option<u64>>()?;
        Some(Self { pid, parent, ticks })
    }
}

/// The number after `name` in a file of /proc/PID.
fn field(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "42 (a) b) S 7 42 42 0 -1 4194304 100 0 0 0 10 5 3 2 20 0 1 0 100 1 1";
        let stat = Stat::parse(42, text).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.ticks), (42, 7, 20));
        assert!(Stat::parse(42, "42 (x) S 7").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_is_counted_with_its_parent() {
        let me = Process::new(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert!(me.family().contains(&child.id()));
        assert!(me.memory().unwrap() > 100_000 && me.descriptors().unwrap() >= 3 && me.threads().unwrap() >= 1);
        child.kill().unwrap();
        child.wait().unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(50) {}
        assert!(me.cpu().unwrap() >= Duration::from_millis(30));
    }
}
