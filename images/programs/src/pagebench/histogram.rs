//! How long things took: counted by size, sixteen classes for each doubling, so that any quantile is right to a sixteenth.

const FINE_BITS: u32 = 4;
const CLASSES: usize = (64 - FINE_BITS as usize + 1) << FINE_BITS;

/// The counts.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u32; CLASSES],
    total: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; CLASSES], total: 0, longest: 0 }
    }
}

const fn class(value: u64) -> usize {
    if value < 1 << FINE_BITS {
        return value as usize;
    }
    let shift = u64::BITS - 1 - value.leading_zeros() - FINE_BITS;
    ((shift as usize + 1) << FINE_BITS) + (value >> shift) as usize - (1 << FINE_BITS)
}

/// The least value of a class.
const fn least(class: usize) -> u64 {
    if class < 1 << FINE_BITS {
        return class as u64;
    }
    let shift = (class >> FINE_BITS) - 1;
    ((class as u64 & ((1 << FINE_BITS) - 1)) | 1 << FINE_BITS) << shift
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, value: u64) {
        self.counts[class(value)] = self.counts[class(value)].saturating_add(1);
        self.total += 1;
        self.longest = self.longest.max(value);
    }

    /// Adds what another counted.
    pub fn join(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count = count.saturating_add(*more));
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// The value that so many thousandths are not above; 0 if nothing was counted.
    #[must_use]
    pub fn quantile(&self, thousandths: u64) -> u64 {
        let wanted = (self.total * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return least(class);
            }
        }
        self.longest
    }

    /// The greatest.
    #[must_use]
    pub const fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{CLASSES, Histogram, class, least};

    proptest! {
        #[test]
        fn a_class_holds_what_is_near(value: u64) {
            let class = class(value);
            prop_assert!(class < CLASSES);
            prop_assert!(least(class) <= value && value - least(class) <= value / 16);
        }

        #[test]
        fn quantiles_are_right_to_a_sixteenth(mut values in proptest::collection::vec(0..1_000_000_000_u64, 1..300), thousandths in 1..1000_u64) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let exact = values[(values.len() as u64 * thousandths).div_ceil(1000).max(1) as usize - 1];
            let found = histogram.quantile(thousandths);
            prop_assert!(found <= exact && exact - found <= exact / 16, "{} instead of {}", found, exact);
            prop_assert_eq!(histogram.longest(), *values.last().unwrap());
        }
    }

    #[test]
    fn nothing_counted_is_zero_and_joining_adds() {
        let mut one = Histogram::default();
        assert_eq!((one.quantile(500), one.longest()), (0, 0));
        let mut other = Histogram::default();
        other.add(9);
        one.join(&other);
        assert_eq!((one.quantile(990), one.longest()), (9, 9));
    }
}
