//! When a notification is due under `VIRTIO_F_EVENT_IDX`.
//!
//! Ring indices are 16 bits and wrap. The rule has to hold across the wrap and for a batch of any length, which a
//! plain comparison does not: the device waits at 65534, the driver adds two, its index is 0, and nobody is woken.

/// Whether advancing an index from `old` to `new` passed the point at which the other side asked to be told.
/// (virtio 1.3 §2.7.10; at most 32768 steps between `old` and `new`, which the maximum ring size guarantees.)
pub(crate) const fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::passes;

    /// The definition, counted out: some step from `i` to `i + 1` has `i == event`.
    fn counted(event: u16, new: u16, old: u16) -> bool {
        let mut index = old;
        while index != new {
            if index == event {
                return true;
            }
            index = index.wrapping_add(1);
        }
        false
    }

    #[test]
    fn agrees_with_counting_around_the_wrap() {
        for start in [0u16, 1, 5, 0x7fff, 0x8000, 65530, 65535] {
            for steps in 0u16..12 {
                for distance in 0u16..24 {
                    let event = start.wrapping_sub(6).wrapping_add(distance);
                    let new = start.wrapping_add(steps);
                    assert_eq!(passes(event, new, start), counted(event, new, start), "{event} {new} {start}");
                }
            }
        }
    }

    #[test]
    fn a_batch_over_the_wrap_is_noticed() {
        assert!(passes(65534, 0, 65534));
        assert!(!passes(65533, 0, 65534), "the device has seen that one already");
    }

    #[test]
    fn nothing_new_is_nothing_to_tell() {
        assert!(!passes(7, 8, 8));
    }
}
