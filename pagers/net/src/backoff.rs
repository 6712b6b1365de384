//! How long to wait before the next attempt to connect: longer each time, and never the same for all.

const FIRST_NS: u64 = 50_000_000;
const LONGEST_NS: u64 = 5_000_000_000;

/// Pseudo-random numbers (xorshift64*): enough to keep clients from coming in step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[derive(Debug)]
pub(crate) struct Backoff {
    random: Random,
    /// The next delay, before it is shaken.
    next_ns: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), next_ns: FIRST_NS }
    }

    /// It worked: the next failure starts from the shortest delay.
    pub(crate) fn reset(&mut self) {
        self.next_ns = FIRST_NS;
    }

    /// The delay before the next attempt: between half of it and all of it.
    pub(crate) fn delay(&mut self) -> u64 {
        let whole = self.next_ns;
        self.next_ns = (whole * 2).min(LONGEST_NS);
        // The first delay is the shortest there is; the others are shaken by up to a half.
        let least = (whole / 2).max(FIRST_NS);
        least + self.random.next() % (whole - least + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, FIRST_NS, LONGEST_NS};

    #[test]
    fn delays_grow_to_the_longest_and_start_anew() {
        let mut backoff = Backoff::new(7);
        let delays: Vec<_> = (0..20).map(|_| backoff.delay()).collect();
        assert!(delays.iter().all(|delay| (FIRST_NS..=LONGEST_NS).contains(delay)));
        assert!(delays[10..].iter().all(|delay| *delay >= LONGEST_NS / 2));
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]), "they are shaken");
        backoff.reset();
        assert_eq!(backoff.delay(), FIRST_NS);
    }
}
