//! Where BARs may go: the memory windows of a PCI host bridge, as the device tree's `ranges` name them.
//!
//! A bus address and the CPU address of the same byte may differ; a [`Window`] knows both.

use core::ops::Range;

/// A range of bus addresses and where the CPU finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address on the bus.
    pub pci: u64,
    /// First address for the CPU.
    pub cpu: u64,
    pub bytes: u64,
}

/// One window and how far it is used.
#[derive(Clone, Debug)]
struct Allocator {
    window: Window,
    next: u64,
}

/// The memory windows of a host bridge.
#[derive(Clone, Debug)]
pub struct Windows {
    low: Option<Allocator>,
    high: Option<Allocator>,
}

impl Windows {
    /// `mem32` must lie below 4 GiB on the bus; `mem64` may lie anywhere and is used for 64-bit BARs first.
    pub fn new(mem32: Option<Window>, mem64: Option<Window>) -> Self {
        // Address 0 in a BAR means "not assigned", so it is not handed out.
        let allocator = |window: Window| Allocator { window, next: window.pci.max(1) };
        Self { low: mem32.map(allocator), high: mem64.map(allocator) }
    }

    /// Takes a naturally aligned range of bus addresses. `bytes` is a power of two.
    pub(super) fn allocate(&mut self, bytes: u64, wide: bool) -> Option<u64> {
        let high = if wide { self.high.as_mut().and_then(|window| window.allocate(bytes)) } else { None };
        high.or_else(|| self.low.as_mut().and_then(|window| window.allocate(bytes)))
    }

    /// Keeps a range that firmware has assigned from being given out again.
    pub(super) fn reserve(&mut self, taken: Range<u64>) {
        for window in self.each_mut() {
            let end = window.window.pci.saturating_add(window.window.bytes);
            if taken.start < end && taken.end > window.next {
                window.next = taken.end;
            }
        }
    }

    /// The CPU address of a range of bus addresses, if all of it lies in one window.
    pub(super) fn cpu_address(&self, pci: u64, bytes: u64) -> Option<u64> {
        [&self.low, &self.high].into_iter().flatten().find_map(|allocator| {
            let window = allocator.window;
            let offset = pci.checked_sub(window.pci)?;
            (offset.checked_add(bytes)? <= window.bytes).then(|| window.cpu + offset)
        })
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Allocator> {
        [&mut self.low, &mut self.high].into_iter().flatten()
    }
}

impl Allocator {
    fn allocate(&mut self, bytes: u64) -> Option<u64> {
        let start = self.next.checked_next_multiple_of(bytes)?;
        let end = start.checked_add(bytes)?;
        if end > self.window.pci.checked_add(self.window.bytes)? {
            return None;
        }
        self.next = end;
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::{Window, Windows};

    fn windows() -> Windows {
        let low = Window { pci: 0x1000_0000, cpu: 0x5000_0000, bytes: 0x1_0000 };
        let high = Window { pci: 0x80_0000_0000, cpu: 0x80_0000_0000, bytes: 0x1_0000 };
        Windows::new(Some(low), Some(high))
    }

    #[test]
    fn ranges_are_naturally_aligned_and_disjoint() {
        let mut windows = windows();
        assert_eq!(windows.allocate(0x1000, false), Some(0x1000_0000));
        assert_eq!(windows.allocate(0x4000, false), Some(0x1000_4000));
        assert_eq!(windows.allocate(0x4000, true), Some(0x80_0000_0000));
    }

    #[test]
    fn a_full_high_window_overflows_into_the_low_one_and_then_fails() {
        let mut windows = windows();
        assert_eq!(windows.allocate(0x1_0000, true), Some(0x80_0000_0000));
        assert_eq!(windows.allocate(0x1_0000, true), Some(0x1000_0000));
        assert_eq!(windows.allocate(0x10, true), None);
    }

    #[test]
    fn what_firmware_assigned_is_not_given_out() {
        let mut windows = windows();
        windows.reserve(0x1000_2000..0x1000_3000);
        assert_eq!(windows.allocate(0x1000, false), Some(0x1000_3000));
    }

    #[test]
    fn bus_addresses_become_cpu_addresses() {
        let windows = windows();
        assert_eq!(windows.cpu_address(0x1000_0010, 0x10), Some(0x5000_0010));
        assert_eq!(windows.cpu_address(0x1000_fff8, 0x10), None, "reaches past the end");
        assert_eq!(windows.cpu_address(u64::MAX, 2), None);
    }
}
