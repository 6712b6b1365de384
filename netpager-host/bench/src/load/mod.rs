//! The load generator: a number of connections that each keep a number of requests in flight.
//!
//! One thread drives one connection, and does nothing that waits but receive: at depth 1 a round trip is one send and one
//! receive. [`run`] measures between two moments at which every connection is busy; what was still in flight at the end is
//! answered but not counted.

mod args;
mod histogram;
mod report;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

pub use args::{BenchArgs, parse_size};
pub use histogram::Latencies;
pub use report::Report;

use crate::connection::Connection;
use crate::error::BenchError;
use crate::process::Process;
use crate::target::Target;
use worker::{Finished, Share, Worker};

/// What to do to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many of a hundred requests are READs; the others are WRITEs.
    pub read_percent: u8,
    /// Bytes of one request.
    pub block: u32,
    /// Requests in flight on each connection.
    pub depth: usize,
    /// How many connections.
    pub connections: usize,
    /// How long to measure.
    pub time: Duration,
    /// How long to load before measuring.
    pub warm_up: Duration,
    /// How much of the export is used, from its beginning; all of it if `None`.
    pub span: Option<u64>,
    /// Whether each connection goes through its part in order instead of at random.
    pub sequential: bool,
    /// Whether all blocks are written before anything is measured.
    pub prefill: bool,
    /// Whether everything read is compared with what was written. Implies `prefill`.
    pub verify: bool,
    /// What the places and the data depend on.
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            read_percent: 100,
            block: 4096,
            depth: 32,
            connections: 1,
            time: Duration::from_secs(5),
            warm_up: Duration::ZERO,
            span: None,
            sequential: false,
            prefill: false,
            verify: false,
            seed: 1,
        }
    }
}

/// What the workers and the one who waits for them tell each other.
struct Shared {
    /// All connections are open, and filled if they were to be.
    ready: Barrier,
    measuring: AtomicBool,
    over: AtomicBool,
    /// Requests and bytes so far, for the progress bar.
    requests: AtomicU64,
}

/// Loads a server. `watch` is called about ten times a second with the fraction done and the requests answered so far.
///
/// # Errors
/// A connection could not be opened or was lost, the data was wrong, or the load does not fit the export.
pub fn run(target: &Target, load: &Load, server: Option<Process>, mut watch: impl FnMut(f64, u64)) -> Result<Report, BenchError> {
    let workers = open(target, load)?;
    let shared = Shared {
        ready: Barrier::new(workers.len() + 1),
        measuring: AtomicBool::new(false),
        over: AtomicBool::new(false),
        requests: AtomicU64::new(0),
    };
    let (finished, results) = mpsc::channel();
    thread::scope(|scope| {
        for worker in workers {
            let (shared, finished) = (&shared, finished.clone());
            let run = move || {
                let result = worker.run(shared);
                shared.over.fetch_or(result.is_err(), Ordering::Relaxed);
                // The receiver outlives all workers.
                let _ = finished.send(result);
            };
            // A worker needs little stack, and there may be a thousand.
            thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, run).map_err(BenchError::Io)?;
        }
        drop(finished);
        shared.ready.wait();
        sleep_watching(load.warm_up, &shared, |_, _| {});
        let (cpu, start) = (server.and_then(Process::cpu), Instant::now());
        shared.measuring.store(true, Ordering::Relaxed);
        sleep_watching(load.time, &shared, &mut watch);
        shared.measuring.store(false, Ordering::Relaxed);
        let elapsed = start.elapsed();
        let cpu = server.and_then(Process::cpu).zip(cpu).map(|(after, before)| after.saturating_sub(before));
        shared.over.store(true, Ordering::Relaxed);
        let finished: Vec<Finished> = results.iter().collect::<Result<_, _>>()?;
        Ok(Report::new(target, load, elapsed, cpu, finished))
    })
}

fn open(target: &Target, load: &Load) -> Result<Vec<Worker>, BenchError> {
    let connections = (0..load.connections).map(|_| Connection::open(target)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = connections.first() else { return Err(BenchError::Usage("no connection, no load".into())) };
    let share = Share::new(load, first.session().export)?;
    Ok(connections.into_iter().enumerate().map(|(index, connection)| Worker::new(connection, load, share, index)).collect())
}

fn sleep_watching(time: Duration, shared: &Shared, mut watch: impl FnMut(f64, u64)) {
    let start = Instant::now();
    while start.elapsed() < time && !shared.over.load(Ordering::Relaxed) {
        thread::sleep((time - start.elapsed().min(time)).min(Duration::from_millis(100)));
        watch((start.elapsed().as_secs_f64() / time.as_secs_f64()).min(1.0), shared.requests.load(Ordering::Relaxed));
    }
}
