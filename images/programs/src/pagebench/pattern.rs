//! What every word of a page must be: it depends on the seed, the page, how often the page was written, and the word's place.

/// Words of eight bytes in a page.
pub const WORDS: u64 = 512;
/// From one word to the next: odd, so that no two words of a page are alike.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The first word of a page.
#[must_use]
pub const fn first(seed: u64, page: u64, generation: u64) -> u64 {
    let mut word = seed ^ page.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ generation.wrapping_mul(0xa076_1d64_78bd_642f);
    word ^= word >> 32;
    word = word.wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^= word >> 29;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^ word >> 32
}

/// The word after a word.
#[must_use]
pub const fn next(word: u64) -> u64 {
    word.wrapping_add(STEP)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{WORDS, first, next};

    #[test]
    fn pages_seeds_and_generations_differ_in_every_word() {
        let page = |seed, page, generation| core::iter::successors(Some(first(seed, page, generation)), |word| Some(next(*word)));
        let mut all = BTreeSet::new();
        for (seed, number, generation) in (0..64).flat_map(|page| [(7, page, 1), (7, page, 2), (8, page, 1)]) {
            all.extend(page(seed, number, generation).take(WORDS as usize));
        }
        assert_eq!(all.len(), 64 * 3 * WORDS as usize);
    }
}
