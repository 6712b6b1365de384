//! All numbers below a limit in an order that looks random, without memory for a table.
//!
//! A bijection of the next power of two, and what it gives past the limit is left out. (A linear congruence would do too, but its low
//! bits go round in step, and read-ahead would see it.)

use super::pattern::mix;

/// An iterator over each number below the limit, once.
#[derive(Clone, Debug)]
pub struct Shuffle {
    keys: [u64; 4],
    bits: u32,
    next: u64,
    limit: u64,
}

impl Shuffle {
    #[must_use]
    pub fn new(limit: u64, seed: u64) -> Self {
        let keys = core::array::from_fn(|round| mix(seed.wrapping_add(round as u64 + 1)));
        Self { keys, bits: limit.next_power_of_two().trailing_zeros(), next: 0, limit }
    }

    fn place(&self, number: u64) -> u64 {
        let mask = (1 << self.bits) - 1;
        let shift = (self.bits / 2).max(1);
        self.keys.iter().fold(number, |x, key| {
            // Each step can be undone: an addition, a multiplication by an odd number, and a shift that leaves the high bits.
            let x = (x.wrapping_add(*key).wrapping_mul(key >> 3 | 1)) & mask;
            x ^ x >> shift
        })
    }
}

impl Iterator for Shuffle {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.next < 1 << self.bits {
            let place = self.place(self.next);
            self.next += 1;
            if place < self.limit {
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Shuffle;

    #[test]
    fn each_number_comes_once() {
        for limit in [1, 2, 3, 7, 64, 100, 1000, 4097] {
            let mut all: Vec<u64> = Shuffle::new(limit, limit ^ 5).collect();
            all.sort_unstable();
            assert_eq!(all, (0..limit).collect::<Vec<_>>());
        }
    }

    #[test]
    fn few_neighbours_follow_one_another_and_seeds_differ() {
        let one: Vec<u64> = Shuffle::new(4096, 1).collect();
        let near = one.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 8).count();
        assert!(near < 100, "{near} of 4095 steps are short");
        assert_ne!(one, Shuffle::new(4096, 2).collect::<Vec<_>>());
    }
}
