//! What is written: bytes that say where they belong and how new they are, and that no server can compress.
//!
//! A block's content is a function of the seed, the block's number and a version, so a reader knows every byte it must
//! see without keeping any of them.

use crate::random::mix;

/// Fills `block` with version `version` of the block called `number`; version 0 is a block never written: zeroes.
pub fn fill(block: &mut [u8], seed: u64, number: u64, version: u32) {
    if version == 0 {
        return block.fill(0);
    }
    let mut words = Words::new(seed, number, version);
    let (whole, rest) = block.as_chunks_mut::<8>();
    whole.iter_mut().for_each(|word| *word = words.next().to_le_bytes());
    let last = words.next().to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Whether `block` is exactly that version.
#[must_use]
pub fn is(block: &[u8], seed: u64, number: u64, version: u32) -> bool {
    if version == 0 {
        return block.iter().all(|&byte| byte == 0);
    }
    let mut words = Words::new(seed, number, version);
    let (whole, rest) = block.as_chunks::<8>();
    whole.iter().all(|word| *word == words.next().to_le_bytes()) && *rest == words.next().to_le_bytes()[..rest.len()]
}

/// xorshift64*: half a nanosecond a word, far below what a request costs.
struct Words(u64);

impl Words {
    const fn new(seed: u64, number: u64, version: u32) -> Self {
        // Never zero, which xorshift would not leave again.
        Self(mix(seed ^ mix(number ^ mix(version as u64))) | 1)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_block_depends_on_where_and_when() {
        for length in [1, 7, 8, 512, 4095, 4096] {
            let mut block = vec![0; length];
            fill(&mut block, 1, 2, 3);
            assert!(is(&block, 1, 2, 3));
            assert!(length == 1 || !is(&block, 9, 2, 3) && !is(&block, 1, 9, 3) && !is(&block, 1, 2, 9) && !is(&block, 1, 2, 0));
            block[length - 1] ^= 1;
            assert!(!is(&block, 1, 2, 3));
            fill(&mut block, 1, 2, 0);
            assert!(is(&block, 1, 2, 0) && block == vec![0; length]);
        }
    }
}
