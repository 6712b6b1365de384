//! A latency histogram with log-linear buckets: sixteen to each power of two, so that no value is off by more than 1/16.
//!
//! The unit is 64 ns, less than any request takes, and the last bucket holds everything from 68 s on. Powers of two are
//! bounds of buckets, so what Prometheus is told about them is exact.

/// Nanoseconds to a unit, as a power of two.
const UNIT_SHIFT: u32 = 6;
/// Buckets to each power of two, as a power of two.
const FINE_SHIFT: u32 = 4;
const FINE: u64 = 1 << FINE_SHIFT;
/// The first latency that is only "longer", as a power of two of nanoseconds.
const TOP_SHIFT: u32 = 36;
/// How many buckets there are.
pub(super) const BUCKETS: usize = ((TOP_SHIFT - UNIT_SHIFT - FINE_SHIFT + 1) as usize) << FINE_SHIFT;

/// The bucket of a latency.
#[inline]
pub(super) fn bucket(latency_ns: u64) -> usize {
    let units = latency_ns >> UNIT_SHIFT;
    if units < FINE {
        return units as usize;
    }
    let shift = units.ilog2() - FINE_SHIFT;
    // The leading one of the mantissa counts as a whole group, hence `shift` and not `shift + 1`.
    let index = (u64::from(shift) << FINE_SHIFT) + (units >> shift);
    (index as usize).min(BUCKETS - 1)
}

/// The least latency of a bucket, in nanoseconds; that of the one after the last is the top.
fn lowest(bucket: usize) -> u64 {
    let (group, fine) = ((bucket as u64) >> FINE_SHIFT, bucket as u64 & (FINE - 1));
    match group {
        0 => fine << UNIT_SHIFT,
        group => (FINE + fine) << (group - 1) << UNIT_SHIFT,
    }
}

/// How often each latency was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram(Box<[u64; BUCKETS]>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Box::new([0; BUCKETS]))
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.0[bucket(latency_ns)] += 1;
    }

    pub(super) fn add_counts(&mut self, counts: impl IntoIterator<Item = u64>) {
        self.0.iter_mut().zip(counts).for_each(|(mine, more)| *mine = mine.wrapping_add(more));
    }

    /// Counts what another has counted as well.
    pub fn merge(&mut self, other: &Self) {
        self.add_counts(other.0.iter().copied());
    }

    /// What was counted since `earlier`, an older state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        difference.0.iter_mut().zip(earlier.0.iter()).for_each(|(mine, old)| *mine = mine.saturating_sub(*old));
        difference
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The latency, in nanoseconds, that a share of `quantile` of all do not exceed (the middle of its bucket).
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((count as f64 * quantile).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let found = self.0.iter().position(|&counted| {
            seen += counted;
            seen >= rank
        })?;
        Some(lowest(found).midpoint(lowest(found + 1)))
    }

    /// For each power of two from 2^`first` to 2^`last` nanoseconds, how many latencies were less.
    pub fn cumulative(&self, first: u32, last: u32) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (mut index, mut seen) = (0, 0);
        (first..=last).map(move |power| {
            let bound = 1_u64 << power;
            while index < BUCKETS && lowest(index + 1) <= bound {
                seen += self.0[index];
                index += 1;
            }
            (bound, seen)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_contiguous_and_in_order() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(lowest(index)), index);
            assert_eq!(bucket(lowest(index + 1) - 1), index);
        }
        assert_eq!(lowest(BUCKETS), 1 << TOP_SHIFT);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_sixteenth_of_the_truth(
            mut latencies in prop::collection::vec(1_000_u64..60_000_000_000, 1..300), quantile in 0.0_f64..=1.0,
        ) {
            let mut histogram = Histogram::default();
            latencies.iter().for_each(|&latency| histogram.record(latency));
            latencies.sort_unstable();
            let rank = ((latencies.len() as f64 * quantile).ceil() as usize).clamp(1, latencies.len());
            let (truth, told) = (latencies[rank - 1] as f64, histogram.quantile(quantile).unwrap() as f64);
            prop_assert!((told - truth).abs() <= truth / 16.0, "{told} for {truth}");
        }

        #[test]
        fn powers_of_two_are_exact(latencies in prop::collection::vec(0_u64..1 << 36, 0..300)) {
            let mut histogram = Histogram::default();
            latencies.iter().for_each(|&latency| histogram.record(latency));
            for (bound, told) in histogram.cumulative(10, 36) {
                prop_assert_eq!(told, latencies.iter().filter(|&&latency| latency < bound).count() as u64);
            }
        }

        #[test]
        fn merging_and_subtracting_are_opposites(
            one in prop::collection::vec(any::<u64>(), 0..100), two in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let count = |latencies: &[u64]| {
                let mut histogram = Histogram::default();
                latencies.iter().for_each(|&latency| histogram.record(latency));
                histogram
            };
            let mut both = count(&one);
            both.merge(&count(&two));
            prop_assert_eq!(both.since(&count(&one)), count(&two));
        }
    }
}
