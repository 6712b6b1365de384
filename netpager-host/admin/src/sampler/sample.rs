//! One second of the service, in the words of the event stream.

use serde::{Deserialize, Serialize};

use crate::metrics::{Command, Totals};
use crate::observed::{ExportState, JobState, Memory, ServiceState};
use crate::process::ProcessUse;

/// Commands whose latency is what a guest waits for.
const PAGING: [Command; 2] = [Command::Read, Command::Write];

/// What happened in a time, per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// READs.
    pub read_ops: f64,
    /// WRITEs.
    pub write_ops: f64,
    /// All others.
    pub other_ops: f64,
    /// Of all these, those that failed.
    pub error_ops: f64,
    /// Bytes to clients.
    pub read_bytes: f64,
    /// Bytes from clients.
    pub write_bytes: f64,
    /// Half of the READs and WRITEs took no longer, in microseconds. Absent if there were none.
    pub p50_us: Option<f64>,
    /// 99 % took no longer.
    pub p99_us: Option<f64>,
    /// 99.9 % took no longer.
    pub p999_us: Option<f64>,
    /// 99 % of the FLUSHes took no longer.
    pub flush_p99_us: Option<f64>,
    /// Requests that are not answered, now.
    pub in_flight: u64,
}

impl Rates {
    /// From what was done in `seconds`.
    pub(crate) fn of(done: &Totals, seconds: f64, in_flight: u64) -> Self {
        let rate = |count: u64| count as f64 / seconds;
        let (reads, writes) = (done.requests_of(Command::Read), done.requests_of(Command::Write));
        let latencies = done.latencies(&PAGING);
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        Self {
            read_ops: rate(reads),
            write_ops: rate(writes),
            other_ops: rate(done.requests() - reads - writes),
            error_ops: rate(done.errors()),
            read_bytes: rate(done.bytes(Command::Read)),
            write_bytes: rate(done.bytes(Command::Write)),
            p50_us: latencies.quantile(0.5).map(microseconds),
            p99_us: latencies.quantile(0.99).map(microseconds),
            p999_us: latencies.quantile(0.999).map(microseconds),
            flush_p99_us: done.latencies(&[Command::Flush]).quantile(0.99).map(microseconds),
            in_flight,
        }
    }
}

/// An export in a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExportSample {
    /// What it is.
    #[serde(flatten)]
    pub state: ExportState,
    /// What it did.
    pub rates: Rates,
    /// How many clients it has.
    pub connections: u64,
}

/// A client in a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientSample {
    /// Its connection's number.
    pub id: u64,
    /// The export it uses.
    pub export: String,
    /// Its address.
    pub peer: String,
    /// Who it has proved to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How it comes.
    pub transport: String,
    /// What it speaks.
    pub protocol: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// What it did.
    pub rates: Rates,
}

/// One second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// How long it was.
    pub interval_ms: u64,
    /// The service.
    pub service: ServiceState,
    /// What its process uses.
    pub process: ProcessUse,
    /// How busy it was: 100 is one processor.
    pub cpu_percent: f64,
    /// All exports together.
    pub total: Rates,
    /// What all of them keep.
    pub memory: Memory,
    /// The exports: the first [`EXPORTS_SHOWN`].
    pub exports: Vec<ExportSample>,
    /// How many there are.
    pub exports_total: usize,
    /// The clients: the busiest [`CLIENTS_SHOWN`], in the order they came.
    pub clients: Vec<ClientSample>,
    /// How many there are.
    pub clients_total: usize,
    /// Long work.
    pub jobs: Vec<JobState>,
}

/// The most exports in a sample.
pub const EXPORTS_SHOWN: usize = 256;
/// The most clients in a sample.
pub const CLIENTS_SHOWN: usize = 64;
