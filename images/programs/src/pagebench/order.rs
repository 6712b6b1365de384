//! All numbers below a limit, each once, in an order that no read-ahead can guess.

/// A permutation.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    count: u64,
    bits: u32,
    seed: u64,
}

impl Order {
    /// Of the numbers below `count`.
    #[must_use]
    pub const fn new(count: u64, seed: u64) -> Self {
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, bits: if bits < 2 { 2 } else { bits }, seed }
    }

    /// A bijection of the numbers of so many bits: each step can be undone.
    const fn mix(&self, mut value: u64) -> u64 {
        let mask = (1 << self.bits) - 1;
        let half = self.bits.div_ceil(2);
        let mut round = 0;
        while round < 3 {
            value = value.wrapping_add(self.seed >> (round * 8)) & mask;
            value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (self.seed << 1)) & mask;
            value ^= value >> half;
            round += 1;
        }
        value
    }

    /// The number at a place; places are below the limit as well.
    #[must_use]
    pub const fn at(&self, place: u64) -> u64 {
        let mut value = self.mix(place);
        // A number past the limit is a place of the larger permutation: following it leads back below the limit.
        while value >= self.count {
            value = self.mix(value);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Order;

    proptest! {
        #[test]
        fn every_number_comes_once(count in 1..5000_u64, seed: u64) {
            let order = Order::new(count, seed);
            let all: BTreeSet<_> = (0..count).map(|place| order.at(place)).collect();
            prop_assert_eq!(all.len() as u64, count);
            prop_assert!(all.iter().all(|number| *number < count));
        }
    }

    #[test]
    fn neighbours_are_rare() {
        let order = Order::new(65_536, 7);
        let near = (1..65_536).filter(|place| order.at(*place).abs_diff(order.at(place - 1)) < 32).count();
        assert!(near < 655, "{near} of 65536 steps are short");
    }
}
