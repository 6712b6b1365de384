//! Latencies by their logarithm: eight buckets for each doubling, so that a quantile is off by an eighth at most.

use alloc::vec;
use alloc::vec::Vec;

/// log2 of the buckets for each doubling.
const FINE: u32 = 3;
const BUCKETS: usize = ((64 - FINE as usize) << FINE) + (1 << FINE);

/// A histogram of times.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

/// The bucket of a value. Values below 8 have one each.
const fn bucket(value: u64) -> usize {
    if value < 1 << FINE {
        return value as usize;
    }
    let shift = value.ilog2() - FINE;
    ((shift as usize) << FINE) + (value >> shift) as usize
}

/// The largest value of a bucket.
const fn top(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1) as u32;
    let first = (bucket - ((shift as usize) << FINE)) as u64;
    (first << shift) + ((1 << shift) - 1)
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Counts all that another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The largest value.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The value that so many thousandths of the values don't pass; 0 if there are none.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> u64 {
        let wanted = (self.total * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        found.map_or(0, |bucket| top(bucket).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram, bucket, top};

    #[test]
    fn buckets_cover_all_values_in_order() {
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!(top(BUCKETS - 1), u64::MAX);
        for index in 0..BUCKETS - 1 {
            assert_eq!((bucket(top(index)), bucket(top(index) + 1)), (index, index + 1));
        }
    }

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), 0);
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        for (thousandths, exact) in [(500, 500_000), (990, 990_000)] {
            let found = histogram.quantile(thousandths);
            assert!(found >= exact && found <= exact + exact / 8, "{thousandths}: {found}");
        }
        assert_eq!(histogram.quantile(1000), 1_000_000);
        let mut sum = Histogram::default();
        sum.add(5_000_000);
        sum.merge(&histogram);
        assert_eq!((sum.max(), sum.quantile(1000)), (5_000_000, 5_000_000));
    }
}
