//! Buffers that the connections of a worker share: who has nothing to read or to send holds none.
//!
//! Each worker is one thread, and its buffers are that thread's. Memory once touched stays touched, so a few buffers used
//! again and again are also quicker than one for each client.

use std::cell::RefCell;

/// How much is read at a time.
pub(super) const INPUT_BYTES: usize = 128 * 1024;
/// A larger output buffer is given back to the system.
const OUTPUT_KEPT: usize = 2 * 1024 * 1024;
/// Spare buffers of each kind that a worker keeps.
const SPARE_MAX: usize = 8;

thread_local! {
    static INPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`INPUT_BYTES`].
pub(super) fn take_input() -> Vec<u8> {
    INPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(INPUT_BYTES))
}

/// Gives an input buffer back, whatever is in it.
pub(super) fn give_input(mut buffer: Vec<u8>) {
    buffer.clear();
    INPUTS.with_borrow_mut(|spare| {
        if buffer.capacity() == INPUT_BYTES && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    });
}

/// An empty buffer that grows as needed.
pub(super) fn take_output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives an output buffer back, whatever is in it.
pub(super) fn give_output(mut buffer: Vec<u8>) {
    buffer.clear();
    OUTPUTS.with_borrow_mut(|spare| {
        if (1..=OUTPUT_KEPT).contains(&buffer.capacity()) && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_and_only_a_few_are_kept() {
        for _ in 0..2 * SPARE_MAX {
            give_input(vec![7; INPUT_BYTES]);
            give_output(vec![7; 10]);
        }
        give_output(Vec::with_capacity(OUTPUT_KEPT + 1));
        let (input, output) = (take_input(), take_output());
        assert!(input.is_empty() && input.capacity() == INPUT_BYTES && output.is_empty() && output.capacity() >= 10);
        assert_eq!((INPUTS.with_borrow(Vec::len), OUTPUTS.with_borrow(Vec::len)), (SPARE_MAX - 1, SPARE_MAX - 1));
    }
}
