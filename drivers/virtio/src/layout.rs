//! Where the parts of a split virtqueue lie in its memory (virtio 1.3 §2.7).
//!
//! One contiguous allocation holds descriptor table, available ring and used ring. Only arithmetic lives here, so that
//! the ring itself speaks of fields rather than of offsets.

use core::mem::size_of;
use virtio_spec::virtq::Desc;

/// Bytes of one descriptor.
pub(crate) const DESCRIPTOR_BYTES: usize = size_of::<Desc>();
const USED_ELEMENT_BYTES: usize = 8;
/// The used ring starts on a cache line of its own: the device writes there, the driver everywhere else.
const USED_ALIGNMENT: usize = 64;

/// Offsets within the ring's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    size: u16,
    available: usize,
    used: usize,
}

impl Layout {
    pub(crate) fn new(size: u16) -> Self {
        let entries = usize::from(size);
        let available = entries * DESCRIPTOR_BYTES;
        let used = (available + 6 + 2 * entries).next_multiple_of(USED_ALIGNMENT);
        Self { size, available, used }
    }

    pub(crate) fn bytes(self) -> usize {
        self.used + 6 + USED_ELEMENT_BYTES * usize::from(self.size)
    }

    pub(crate) fn descriptor(self, index: u16) -> usize {
        usize::from(index) * DESCRIPTOR_BYTES
    }

    pub(crate) fn available(self) -> usize {
        self.available
    }

    pub(crate) fn available_flags(self) -> usize {
        self.available
    }

    pub(crate) fn available_index(self) -> usize {
        self.available + 2
    }

    pub(crate) fn available_entry(self, index: u16) -> usize {
        self.available + 4 + 2 * self.position(index)
    }

    pub(crate) fn used_event(self) -> usize {
        self.available + 4 + 2 * usize::from(self.size)
    }

    pub(crate) fn used(self) -> usize {
        self.used
    }

    pub(crate) fn used_flags(self) -> usize {
        self.used
    }

    pub(crate) fn used_index(self) -> usize {
        self.used + 2
    }

    pub(crate) fn used_entry(self, index: u16) -> usize {
        self.used + 4 + USED_ELEMENT_BYTES * self.position(index)
    }

    pub(crate) fn available_event(self) -> usize {
        self.used + 4 + USED_ELEMENT_BYTES * usize::from(self.size)
    }

    /// Free-running indices are taken modulo the ring size, which is a power of two.
    fn position(self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn parts_are_aligned_and_do_not_overlap() {
        for power in 0..=15 {
            let size = 1u16 << power;
            let layout = Layout::new(size);
            assert!(layout.descriptor(size - 1) + 16 <= layout.available());
            assert!(layout.used_event() + 2 <= layout.used());
            assert!(layout.available_event() + 2 <= layout.bytes());
            assert_eq!(layout.available() % 2, 0);
            assert_eq!(layout.used() % 4, 0);
        }
    }

    #[test]
    fn entries_wrap_with_the_ring() {
        let layout = Layout::new(8);
        assert_eq!(layout.available_entry(8), layout.available_entry(0));
        assert_eq!(layout.used_entry(65535), layout.used_entry(7));
    }
}
