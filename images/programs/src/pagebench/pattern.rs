//! What each word of each page must be: it depends on the seed, the page, the generation and the word, so that a page that is another
//! page's, an older one of its own, shifted, torn or zero is found out.

/// Words of 8 bytes in a page.
pub const WORDS: u64 = abi::vm::PAGE_SIZE / 8;

/// From one word to the next: odd, so that no two words of a page are the same.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The patterns of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed: mix(seed ^ 0x7061_6765_6265_6E63) }
    }

    /// The words of a page in a generation.
    pub fn words(self, page: u64, generation: u64) -> impl Iterator<Item = u64> {
        let mut word = mix(mix(self.seed ^ page) ^ generation);
        (0..WORDS).map(move |_| {
            word = word.wrapping_add(STEP);
            word
        })
    }
}

/// Spreads each bit over all: the finalizer of splitmix64, a bijection.
pub(super) const fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::{Pattern, WORDS};
    use std::collections::BTreeSet;

    #[test]
    fn no_word_of_few_pages_comes_twice() {
        let all = |seed| (0..16).flat_map(move |page| (1..4).flat_map(move |generation| Pattern::new(seed).words(page, generation)));
        let seen: BTreeSet<u64> = (0..4).flat_map(all).collect();
        assert_eq!(seen.len() as u64, 4 * 16 * 3 * WORDS);
        assert!(!seen.contains(&0));
    }
}
