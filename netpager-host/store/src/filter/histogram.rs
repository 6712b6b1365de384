//! How long calls took: counts in buckets whose bounds grow with the time, four for each doubling.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets for each doubling.
const STEPS: u32 = 4;
/// The first bucket is for everything below two to this power, in nanoseconds.
const FIRST_BITS: u32 = 7;
/// The last is for everything from two to this power on, about a minute.
const LAST_BITS: u32 = 36;
/// How many buckets there are.
const BUCKETS: usize = ((LAST_BITS - FIRST_BITS) * STEPS) as usize + 2;

/// The bucket a time belongs to.
const fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < 1 << FIRST_BITS {
        return 0;
    }
    let bits = nanoseconds.ilog2();
    if bits >= LAST_BITS {
        return BUCKETS - 1;
    }
    let step = nanoseconds >> (bits - STEPS.ilog2()) & (STEPS as u64 - 1);
    ((bits - FIRST_BITS) * STEPS) as usize + step as usize + 1
}

/// The time a bucket ends before; `None` if it does not end.
const fn end(bucket: usize) -> Option<u64> {
    if bucket >= BUCKETS - 1 {
        return None;
    }
    let (bits, step) = (FIRST_BITS + bucket as u32 / STEPS, bucket as u64 % STEPS as u64);
    Some((1 << bits) + (step << (bits - STEPS.ilog2())))
}

/// Counts that one thread adds to and others read.
#[derive(Debug)]
pub(super) struct Counts([AtomicU64; BUCKETS]);

impl Counts {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }

    pub(super) fn add(&self, nanoseconds: u64) {
        self.0[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
    }
}

/// How many calls took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    pub(super) fn merge(&mut self, counts: &Counts) {
        self.0.iter_mut().zip(&counts.0).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
    }

    /// How many calls there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The buckets from the shortest time on: what each ends before, and how many calls are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.0.iter().enumerate().map(|(bucket, &count)| (end(bucket).map(Duration::from_nanos), count))
    }

    /// A time that `fraction` of the calls did not exceed, up to a quarter too long; `None` without calls, or if it is longer
    /// than a minute.
    #[must_use]
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let wanted = ((self.count() as f64 * fraction).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.0.iter().position(|&count| {
            below += count;
            below >= wanted
        })?;
        end(bucket).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_ends_after_it() {
        for nanoseconds in (0..5000).chain((12..64).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let found = bucket(nanoseconds);
            assert!(end(found).is_none_or(|end| nanoseconds < end), "{nanoseconds}");
            let start = found.checked_sub(1).and_then(end).unwrap_or(0);
            assert!(start <= nanoseconds, "{nanoseconds}");
            assert!(end(found).is_none_or(|end| found == 0 || end <= start + start / 4));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_the_calls_counted() {
        let counts = Counts::new();
        (1..=1000).for_each(|micros| counts.add(micros * 1000));
        let mut histogram = Histogram::default();
        histogram.merge(&counts);
        assert_eq!(histogram.count(), 1000);
        for (fraction, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(fraction).unwrap().as_secs_f64() * 1e6;
            assert!(found >= micros && found <= micros * 1.25, "{found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
