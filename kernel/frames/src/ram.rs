//! Which frames are free at boot: the RAM of the device tree without what is reserved.
//!
//! There is no memory to keep lists in yet, so the ranges are recomputed on each step from the two slices; they have a handful of
//! entries each. Ranges may overlap, touch, be empty or come in any order.

use crate::frame::{FrameNumber, PAGE_SHIFT, PAGE_SIZE};
use core::ops::Range;

/// Frame numbers end here: 16 TiB.
const LAST_PHYS: u64 = (u32::MAX as u64) << PAGE_SHIFT;

/// RAM and reservations as the machine reports them, in physical bytes.
#[derive(Clone, Copy)]
pub(crate) struct Ram<'a> {
    pub ram: &'a [Range<u64>],
    pub reserved: &'a [Range<u64>],
}

/// Whole frames inside a range of RAM.
fn inside(bytes: &Range<u64>) -> Range<u32> {
    let start = bytes.start.min(LAST_PHYS).next_multiple_of(PAGE_SIZE as u64);
    let end = bytes.end.min(LAST_PHYS);
    FrameNumber::from_phys(start).0..FrameNumber::from_phys(end).0
}

/// All frames that a reservation touches.
fn touched(bytes: &Range<u64>) -> Range<u32> {
    if bytes.is_empty() {
        return 0..0;
    }
    let end = bytes.end.min(LAST_PHYS).next_multiple_of(PAGE_SIZE as u64);
    FrameNumber::from_phys(bytes.start.min(LAST_PHYS)).0..FrameNumber::from_phys(end).0
}

impl Ram<'_> {
    fn ram_ranges(&self) -> impl Iterator<Item = Range<u32>> {
        self.ram.iter().map(inside).filter(|r| !r.is_empty())
    }

    fn reserved_ranges(&self) -> impl Iterator<Item = Range<u32>> {
        self.reserved.iter().map(touched).filter(|r| !r.is_empty())
    }

    /// From the lowest to behind the highest frame of RAM, reserved or not.
    pub(crate) fn bounds(&self) -> Option<Range<u32>> {
        let start = self.ram_ranges().map(|r| r.start).min()?;
        let end = self.ram_ranges().map(|r| r.end).max()?;
        Some(start..end)
    }

    /// The free ranges in ascending order, none of them empty.
    pub(crate) fn free(self) -> impl Iterator<Item = Range<u32>> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let range = self.next_free(from)?;
            from = range.end;
            Some(range)
        })
    }

    fn next_free(&self, mut from: u32) -> Option<Range<u32>> {
        loop {
            let start = self.ram_ranges().filter(|r| r.end > from).map(|r| r.start.max(from)).min()?;
            match self.reserved_ranges().filter(|r| r.contains(&start)).map(|r| r.end).max() {
                Some(end) => from = end,
                None => return Some(start..self.end_of(start)),
            }
        }
    }

    /// Where the free range that contains `start` ends.
    fn end_of(&self, start: u32) -> u32 {
        let ram = self.ram_ranges().filter(|r| r.contains(&start)).map(|r| r.end).max();
        let reserved = self.reserved_ranges().map(|r| r.start).filter(|&at| at > start).min();
        ram.unwrap_or(start).min(reserved.unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec(
            (0u64..40, 0u64..12, 0u64..3, 0u64..3)
                .prop_map(|(start, len, odd, more)| start * 4096 + odd * 100..(start + len) * 4096 + more * 100),
            0..5,
        )
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "safe code, many cases")]
        fn free_is_ram_without_reserved(ram in ranges(), reserved in ranges()) {
            let whole = |frame: u64| (frame * 4096, frame * 4096 + 4096);
            let expected: BTreeSet<u32> = (0..64u64)
                .filter(|&f| ram.iter().any(|r| r.start <= whole(f).0 && r.end >= whole(f).1))
                .filter(|&f| {
                    !reserved.iter().any(|r| !r.is_empty() && r.start < whole(f).1 && r.end > whole(f).0)
                })
                .map(|f| f as u32)
                .collect();
            let found: Vec<u32> = Ram { ram: &ram, reserved: &reserved }.free().flatten().collect();
            prop_assert!(found.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn addresses_beyond_frame_numbers_are_cut_off() {
        let ram = [0x1000..0x3000, 1 << 50..1 << 51];
        let ram = Ram { ram: &ram, reserved: &[] };
        assert!(ram.free().eq(core::iter::once(1..3)));
    }
}
