//! The device `random`: bytes that nobody can guess, from a seed that the machine gave at boot.
//!
//! ChaCha20 with the key replaced at each use by bytes that are never given away, so that what was given before can't be found from this memory
//! later. There is one seed; a machine that gives none has no such device, and whoever needs secrets must say so.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use spin::Mutex;

/// Bytes of a seed.
pub(crate) const SEED: usize = 32;

/// The generator.
pub(crate) struct Random(Mutex<[u8; SEED]>);

impl Random {
    pub(crate) const fn new(seed: [u8; SEED]) -> Self {
        Self(Mutex::new(seed))
    }

    /// Fills bytes.
    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        let mut key = self.0.lock();
        // A nonce of zeroes: the key is used once.
        let mut stream = ChaCha20::new((&*key).into(), &Default::default());
        *key = [0; SEED];
        stream.apply_keystream(&mut *key);
        bytes.fill(0);
        stream.apply_keystream(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn no_two_uses_give_the_same_and_seeds_differ() {
        let of = |seed: u8| {
            let random = Random::new([seed; 32]);
            std::vec::Vec::from_iter((0..100).map(|_| {
                let mut bytes = [0; 16];
                random.fill(&mut bytes);
                bytes
            }))
        };
        let mut all = [of(1), of(2)].concat();
        assert_eq!(of(1), all[..100], "it is a function of the seed");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
