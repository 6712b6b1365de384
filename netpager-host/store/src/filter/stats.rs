//! Counts calls and how long they took.
//!
//! Threads count apart from one another, as an atomic all of them add to would cost more than many a call; whoever wants
//! the sum adds up.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::histogram::{Counts, Histogram};
use crate::filter::forward;
use crate::{Extent, Space, StateExtent, Store, StoreError};

/// Threads beyond so many share their counters.
const SHARDS: usize = 16;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Store::read_at`] and [`Store::append_to`].
    Read,
    /// [`Store::write_at`].
    Write,
    /// [`Store::flush`].
    Flush,
    /// [`Store::trim`].
    Trim,
    /// [`Store::write_zeroes`].
    Zero,
    /// [`Store::extent_at`] and [`Store::state_at`].
    Look,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Read, Self::Write, Self::Flush, Self::Trim, Self::Zero, Self::Look];
}

/// What the calls of one kind came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Bytes of those that succeeded.
    pub bytes: u64,
    /// How long all of them took together.
    pub time: Duration,
    /// How long each took.
    pub latency: Histogram,
}

#[derive(Debug)]
struct Counters {
    failed: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    latency: Counts,
}

impl Counters {
    const fn new() -> Self {
        Self { failed: AtomicU64::new(0), bytes: AtomicU64::new(0), nanoseconds: AtomicU64::new(0), latency: Counts::new() }
    }
}

/// The counters of a [`StatsFilter`], which outlive it.
#[derive(Debug)]
pub struct StoreStats {
    shards: [OnceLock<Box<[Counters; Call::ALL.len()]>>; SHARDS],
}

impl StoreStats {
    fn new() -> Self {
        Self { shards: array::from_fn(|_| OnceLock::new()) }
    }

    /// What there is to know of one kind of call. Calls under way may be counted in part.
    #[must_use]
    pub fn snapshot(&self, call: Call) -> CallStats {
        let mut sum = CallStats::default();
        for counters in self.shards.iter().filter_map(OnceLock::get).map(|shard| &shard[call as usize]) {
            sum.failed += counters.failed.load(Ordering::Relaxed);
            sum.bytes += counters.bytes.load(Ordering::Relaxed);
            sum.time += Duration::from_nanos(counters.nanoseconds.load(Ordering::Relaxed));
            sum.latency.merge(&counters.latency);
        }
        sum.succeeded = sum.latency.count().saturating_sub(sum.failed);
        sum
    }

    fn count(&self, call: Call, bytes: u64, succeeded: bool, nanoseconds: u64) {
        let shard = self.shards[shard()].get_or_init(|| Box::new([const { Counters::new() }; Call::ALL.len()]));
        let counters = &shard[call as usize];
        counters.latency.add(nanoseconds);
        counters.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        match succeeded {
            true => counters.bytes.fetch_add(bytes, Ordering::Relaxed),
            false => counters.failed.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// Where this thread counts.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHARD: Cell<Option<usize>> = const { Cell::new(None) });
    SHARD.with(|shard| {
        shard.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            shard.set(Some(next));
            next
        })
    })
}

/// A store that counts what it is asked.
#[derive(Debug)]
pub struct StatsFilter<S> {
    inner: S,
    stats: Arc<StoreStats>,
}

impl<S: Store> StatsFilter<S> {
    /// Counts the calls to `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, stats: Arc::new(StoreStats::new()) }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Arc<StoreStats> {
        self.stats.clone()
    }

    fn count<T>(&self, call: Call, bytes: u64, with: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let start = Instant::now();
        let result = with();
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.stats.count(call, bytes, result.is_ok(), nanoseconds);
        result
    }
}

impl<S: Store> Store for StatsFilter<S> {
    forward!(inner, size, is_immediate, is_zeroing_fast, usage);

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.count(Call::Read, buffer.len() as u64, || self.inner.read_at(offset, buffer))
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        self.count(Call::Read, length as u64, || self.inner.append_to(offset, length, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.count(Call::Write, data.len() as u64, || self.inner.write_at(offset, data))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.count(Call::Flush, 0, || self.inner.flush())
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.count(Call::Trim, length, || self.inner.trim(offset, length))
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.count(Call::Zero, length, || self.inner.write_zeroes(offset, length, space))
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        self.count(Call::Look, 0, || self.inner.extent_at(offset, length))
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        self.count(Call::Look, 0, || self.inner.state_at(offset, length))
    }
}
