//! A set of regions of a store: one bit for each 256 KiB.

use std::ops::Range;

/// How many bytes one bit stands for. Copying one region holds up writes to it, so it is small.
pub(super) const REGION_BYTES: u64 = 256 << 10;

/// Which regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Regions {
    words: Vec<u64>,
    count: u64,
    size: u64,
}

impl Regions {
    /// No region of a store of `size` bytes.
    pub(super) fn none(size: u64) -> Self {
        let regions = size.div_ceil(REGION_BYTES);
        Self { words: vec![0; regions.div_ceil(64) as usize], count: 0, size }
    }

    /// Adds every region that has a byte in `range`.
    pub(super) fn add(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        for region in range.start / REGION_BYTES..=(range.end - 1) / REGION_BYTES {
            let (word, bit) = (&mut self.words[(region / 64) as usize], 1 << (region % 64));
            self.count += u64::from(*word & bit == 0);
            *word |= bit;
        }
    }

    pub(super) fn add_all(&mut self) {
        self.add(&(0..self.size));
    }

    /// Adds every region that is in `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count = 0;
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
            self.count += u64::from(word.count_ones());
        }
    }

    pub(super) fn remove(&mut self, range: &Range<u64>) {
        let region = range.start / REGION_BYTES;
        let (word, bit) = (&mut self.words[(region / 64) as usize], 1 << (region % 64));
        self.count -= u64::from(*word & bit != 0);
        *word &= !bit;
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.count = 0;
    }

    /// How many regions there are in the set.
    pub(super) const fn len(&self) -> u64 {
        self.count
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first region of the set at or after `offset`, as the bytes it covers.
    pub(super) fn next(&self, offset: u64) -> Option<Range<u64>> {
        let first = offset / REGION_BYTES;
        let mut at = (first / 64) as usize;
        let mut word = self.words.get(at)? & (u64::MAX << (first % 64));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        let region = at as u64 * 64 + u64::from(word.trailing_zeros());
        Some(region * REGION_BYTES..((region + 1) * REGION_BYTES).min(self.size))
    }

    /// Whether every region with a byte in `range` is in the set.
    pub(super) fn contains(&self, range: &Range<u64>) -> bool {
        range.is_empty()
            || (range.start / REGION_BYTES..=(range.end - 1) / REGION_BYTES)
                .all(|region| self.words[(region / 64) as usize] & (1 << (region % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_agree_with_a_set_of_numbers() {
        let size = 200 * REGION_BYTES - 5;
        let mut regions = Regions::none(size);
        let mut model = std::collections::BTreeSet::new();
        for step in 0..50u64 {
            let start = step * 7919 * 4096 % size;
            let range = start..size.min(start + step * 30_000);
            regions.add(&range);
            model.extend(if range.is_empty() { 0..0 } else { range.start / REGION_BYTES..(range.end - 1) / REGION_BYTES + 1 });
            if step % 5 == 0
                && let Some(first) = regions.next(start)
            {
                regions.remove(&first);
                model.remove(&(first.start / REGION_BYTES));
            }
            let mut found = Vec::new();
            let mut at = 0;
            while let Some(region) = regions.next(at) {
                assert!(region.end <= size && regions.contains(&region));
                found.push(region.start / REGION_BYTES);
                at = (region.start / REGION_BYTES + 1) * REGION_BYTES;
            }
            assert_eq!(found, model.iter().copied().collect::<Vec<_>>());
            assert_eq!(regions.len(), model.len() as u64);
        }
        let mut all = Regions::none(size);
        all.add_all();
        regions.merge(&all);
        assert_eq!((regions.len(), &regions), (200, &all));
    }
}
