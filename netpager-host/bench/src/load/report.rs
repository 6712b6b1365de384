//! What came of a load: figures for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Load;
use super::histogram::Latencies;
use super::worker::Finished;
use crate::target::Target;

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was loaded.
    pub target: String,
    /// With what.
    pub load: Load,
    /// How long was measured.
    pub elapsed: Duration,
    /// Latencies of the READs that were answered in that time.
    pub reads: Latencies,
    /// Latencies of the WRITEs.
    pub writes: Latencies,
    /// Requests answered with an error, at any time.
    pub refused: u64,
    /// One of those errors, with the server's words.
    pub error: Option<String>,
    /// READs whose data was compared and right, at any time.
    pub verified: u64,
    /// The server's processor time in the time measured, if its process is known.
    pub cpu: Option<Duration>,
}

impl Report {
    pub(super) fn new(target: &Target, load: &Load, elapsed: Duration, cpu: Option<Duration>, finished: Vec<Finished>) -> Self {
        let mut all = Finished::default();
        finished.into_iter().for_each(|one| all.add(one));
        let Finished { reads, writes, refused, error, words, verified } = all;
        let error = error.map(|error| if words.is_empty() { error.to_string() } else { format!("{error}: {words}") });
        Self { target: target.to_string(), load: *load, elapsed, reads, writes, refused, error, verified, cpu }
    }

    /// Requests answered in the time measured.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.reads.count() + self.writes.count()
    }

    /// Requests a second.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.requests() as f64 / self.elapsed.as_secs_f64()
    }

    /// MiB a second.
    #[must_use]
    pub fn mib_per_second(&self) -> f64 {
        self.iops() * f64::from(self.load.block) / f64::from(1 << 20)
    }

    /// The server's processor time for one request, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.requests().max(1) as f64)
    }

    /// READs and WRITEs together.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut both = self.reads.clone();
        both.add(&self.writes);
        both
    }

    /// All of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let Load { read_percent, block, depth, connections, sequential, verify, seed, .. } = self.load;
        json!({
            "target": self.target,
            "load": {
                "read_percent": read_percent, "block": block, "depth": depth, "connections": connections,
                "sequential": sequential, "verify": verify, "seed": seed,
            },
            "seconds": self.elapsed.as_secs_f64(), "requests": self.requests(), "iops": self.iops(),
            "mib_per_second": self.mib_per_second(), "read": self.reads.json(), "write": self.writes.json(),
            "errors": self.refused, "error": self.error, "verified": self.verified, "server_cpu_us_per_request": self.cpu_us(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { block, depth, connections, read_percent, .. } = self.load;
        let order = if self.load.sequential { "in order" } else { "at random" };
        writeln!(f, "{}", self.target)?;
        writeln!(
            f,
            "{read_percent} % reads of {block} bytes {order}, depth {depth}, {connections} connections, {:.1} s",
            self.elapsed.as_secs_f64()
        )?;
        writeln!(f, "{:>12.0} requests/s {:>10.1} MiB/s", self.iops(), self.mib_per_second())?;
        for (name, latencies) in [("read", &self.reads), ("write", &self.writes)] {
            if latencies.count() > 0 {
                let us = |quantile| latencies.quantile(quantile).as_nanos() as f64 / 1000.0;
                writeln!(
                    f,
                    "{name:>12} p50 {:.1} µs   p99 {:.1} µs   p99.9 {:.1} µs   worst {:.1} µs",
                    us(0.5),
                    us(0.99),
                    us(0.999),
                    us(1.0)
                )?;
            }
        }
        if let Some(cpu) = self.cpu_us() {
            writeln!(f, "{cpu:>12.2} µs of the server's processor time per request")?;
        }
        if self.load.verify {
            writeln!(f, "{:>12} reads compared with what was written: all right", self.verified)?;
        }
        if let Some(error) = &self.error {
            writeln!(f, "{:>12} requests were answered with an error; one was: {error}", self.refused)?;
        }
        Ok(())
    }
}
