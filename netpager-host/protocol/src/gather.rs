//! Collects a message of known length from input that arrives in arbitrary pieces.
//!
//! This is what makes both halves indifferent to fragmentation: they say how long the next message is, and are called
//! again once it is complete. At most `N` bytes are kept; the rest of a longer message is consumed and dropped, so a
//! peer's length field never decides how much memory is used.

/// A message being collected.
#[derive(Clone, Debug)]
pub(crate) struct Gather<const N: usize> {
    bytes: [u8; N],
    have: usize,
    keep: usize,
    skip: u64,
}

impl<const N: usize> Gather<N> {
    /// Waits for a message of `length` bytes.
    pub(crate) const fn new(length: u64) -> Self {
        let mut gather = Self { bytes: [0; N], have: 0, keep: 0, skip: 0 };
        gather.set_length(length);
        gather
    }

    /// Forgets the message and waits for another one.
    pub(crate) fn restart(&mut self, length: u64) {
        self.have = 0;
        self.set_length(length);
    }

    /// Keeps what was collected and waits until the message is `length` bytes long in all.
    pub(crate) fn extend_to(&mut self, length: u64) {
        debug_assert!(length >= self.have as u64 && self.skip == 0);
        self.set_length(length);
    }

    const fn set_length(&mut self, length: u64) {
        self.keep = if length < N as u64 { length as usize } else { N };
        self.skip = length - self.keep as u64;
    }

    /// Takes what it needs from the front of `input`; true once the message is complete.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> bool {
        let wanted = (self.keep - self.have).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.bytes[self.have..self.have + wanted].copy_from_slice(taken);
        self.have += wanted;
        *input = rest;
        if self.have < self.keep {
            return false;
        }
        let skipped = self.skip.min(input.len() as u64);
        *input = &input[skipped as usize..];
        self.skip -= skipped;
        self.skip == 0
    }

    /// The part of the message that was kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.have]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_longer_than_the_buffer_is_consumed_whole() {
        let mut gather = Gather::<4>::new(6);
        let mut input: &[u8] = b"ab";
        assert!(!gather.take(&mut input));
        let mut input: &[u8] = b"cdefgh";
        assert!(gather.take(&mut input));
        assert_eq!((gather.bytes(), input), (&b"abcd"[..], &b"gh"[..]));
    }

    #[test]
    fn a_message_can_grow_once_its_start_is_known() {
        let mut gather = Gather::<8>::new(2);
        let mut input: &[u8] = b"abcdefg";
        assert!(gather.take(&mut input));
        gather.extend_to(5);
        assert!(gather.take(&mut input));
        assert_eq!((gather.bytes(), input), (&b"abcde"[..], &b"fg"[..]));
    }
}
