//! The generator that keys, nonces and names come from.
//!
//! The program seeds it once with 32 bytes that nobody else knows (the kernel's `random` device). Each use replaces the key by bytes that are
//! never shown, so that whoever reads this memory later learns nothing of what was made before. Until it is seeded it makes nothing at all.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use spin::Mutex;
use thiserror::Error;

/// Bytes in a seed.
pub const SEED: usize = 32;

/// Nobody has called [`seed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no randomness: the generator was not seeded")]
pub struct NotSeeded;

static KEY: Mutex<Option<[u8; SEED]>> = Mutex::new(None);

/// Seeds the generator, or stirs more into it.
pub fn seed(bytes: &[u8; SEED]) {
    let mut key = KEY.lock();
    let mut mixed = key.unwrap_or_default();
    mixed.iter_mut().zip(bytes).for_each(|(byte, more)| *byte ^= more);
    *key = Some(mixed);
}

/// Random bytes.
pub fn fill(bytes: &mut [u8]) -> Result<(), NotSeeded> {
    let mut key = KEY.lock();
    let key = key.as_mut().ok_or(NotSeeded)?;
    let mut stream = ChaCha20::new((&*key).into(), &Default::default());
    *key = [0; SEED];
    stream.apply_keystream(key);
    bytes.fill(0);
    stream.apply_keystream(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{fill, seed};

    #[test]
    fn what_it_makes_never_repeats() {
        seed(&[9; 32]);
        let mut made: Vec<[u8; 24]> = (0..200)
            .map(|_| {
                let mut bytes = [0; 24];
                fill(&mut bytes).unwrap();
                bytes
            })
            .collect();
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 200);
        let ones: u32 = made.iter().flatten().map(|byte| byte.count_ones()).sum();
        assert!((18_000..20_400).contains(&ones), "{ones} of 38400 bits are set");
    }
}
