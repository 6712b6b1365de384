//! A bit for each page of an object.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

#[derive(Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// So many bits, all clear.
    pub(crate) fn new(count: u64) -> Result<Self, TryReserveError> {
        let length = usize::try_from(count.div_ceil(64)).unwrap_or(usize::MAX);
        let mut words = Vec::new();
        words.try_reserve_exact(length)?;
        words.resize(length, 0);
        Ok(Self { words })
    }

    pub(crate) fn get(&self, bit: u64) -> bool {
        self.words.get((bit / 64) as usize).is_some_and(|word| word & 1 << (bit % 64) != 0)
    }

    /// Sets or clears a bit; one that there isn't stays clear.
    pub(crate) fn put(&mut self, bit: u64, value: bool) {
        if let Some(word) = self.words.get_mut((bit / 64) as usize) {
            *word = *word & !(1 << (bit % 64)) | u64::from(value) << (bit % 64);
        }
    }

    /// Sets all bits that are set in the other.
    pub(crate) fn join(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    pub(crate) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn bits_are_set_cleared_joined_and_counted() {
        let (mut one, mut other) = (Bits::new(130).unwrap(), Bits::new(130).unwrap());
        one.put(0, true);
        one.put(129, true);
        other.put(64, true);
        other.put(129, true);
        one.join(&other);
        assert!(one.get(0) && one.get(64) && one.get(129) && !one.get(1) && !one.get(500));
        assert_eq!(one.count(), 3);
        one.put(64, false);
        one.put(100_000, true);
        assert_eq!(one.count(), 2);
    }
}
