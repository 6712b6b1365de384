//! Seeded randomness: the same seed is the same load, on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one addition and three multiplications a number, and any seed is a good one. It
//! decides where requests go, so it must cost nothing beside a request; it is no use for secrets.

/// A stream of numbers that depends on its seed only.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream for each of several users of one seed.
    #[must_use]
    pub const fn fork(seed: u64, user: u64) -> Self {
        Self(mix(seed ^ mix(user.wrapping_add(1))))
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it has no end, so it is no iterator")]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which must not be zero.
    pub const fn below(&mut self, limit: u64) -> u64 {
        // The high half of a product: no division, and a bias of limit/2^64.
        ((self.next() as u128 * limit as u128) >> 64) as u64
    }

    /// True `percent` times of a hundred.
    pub const fn percent(&mut self, percent: u8) -> bool {
        self.below(100) < percent as u64
    }
}

/// Spreads a number's bits over all of them.
pub(crate) const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_and_users_have_their_own() {
        let take = |mut random: Random| (0..4).map(|_| random.next()).collect::<Vec<_>>();
        assert_eq!(take(Random::new(7)), take(Random::new(7)));
        assert_ne!(take(Random::fork(7, 0)), take(Random::fork(7, 1)));
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| random.below(3) < 3));
        let hits = (0..10_000).filter(|_| random.percent(30)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
    }
}
