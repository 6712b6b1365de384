//! The counters of one connection: written by one thread, read by any.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BUCKETS, bucket};
use super::{Command, Histogram, Outcome, Totals};

/// One number with one writer. That writer needs no locked addition, which would be most of the cost.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    #[inline]
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Latencies of one command. An idle connection, or a command never used, costs nothing: this is made at first use.
type Latencies = OnceLock<Box<[Cell; BUCKETS]>>;

/// What a connection has done.
#[derive(Debug, Default)]
pub(super) struct Cells {
    requests: [[Cell; Outcome::ALL.len()]; Command::ALL.len()],
    bytes: [Cell; Command::ALL.len()],
    latency_ns: [Cell; Command::ALL.len()],
    latencies: [Latencies; Command::ALL.len()],
    /// Changes with every finished request, so that whoever samples can pass over the idle.
    finished: Cell,
    begun: Cell,
}

impl Cells {
    #[inline]
    pub(super) fn begin(&self) {
        self.begun.add(1);
    }

    #[inline]
    pub(super) fn finish(&self, command: Command, outcome: Outcome, bytes: u64, latency_ns: u64) {
        let index = command as usize;
        self.requests[index][outcome as usize].add(1);
        self.bytes[index].add(bytes);
        self.latency_ns[index].add(latency_ns);
        let latencies = self.latencies[index].get_or_init(|| Box::new([const { Cell(AtomicU64::new(0)) }; BUCKETS]));
        latencies[bucket(latency_ns)].add(1);
        self.finished.add(1);
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.get()
    }

    pub(super) fn in_flight(&self) -> u64 {
        // The two are read at different times, so the difference may look negative for a moment.
        let finished = self.finished.get();
        self.begun.get().saturating_sub(finished)
    }

    /// Adds everything to `totals`.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        for command in Command::ALL {
            let index = command as usize;
            let sums = &mut totals.commands[index];
            sums.bytes += self.bytes[index].get();
            sums.latency_ns += self.latency_ns[index].get();
            sums.requests.iter_mut().zip(&self.requests[index]).for_each(|(sum, cell)| *sum += cell.get());
            if let Some(latencies) = self.latencies[index].get() {
                sums.latencies.get_or_insert_with(Histogram::default).add_counts(latencies.iter().map(Cell::get));
            }
        }
    }
}
