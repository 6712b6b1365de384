//! Which slots of the device are free, and where the next pages go.
//!
//! Page-outs are written as a log: each run goes behind the one before, so that the device sees sequential writes whatever the pages
//! were. When the log comes round to the start it flows into the holes that were freed meanwhile, the ones that take a whole run first.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

/// The most slots: 8 TiB.
pub const SLOTS_MAX: u32 = 1 << 31;
/// Holes that one search looks at. What is found by then must do, so that a search takes bounded time on a fragmented device.
const HOLES_MAX: usize = 512;

/// Slots side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    pub first: u32,
    pub count: u32,
}

impl SlotRun {
    /// The slots.
    pub fn slots(self) -> core::ops::Range<u32> {
        self.first..self.first + self.count
    }
}

/// The free slots.
#[derive(Debug)]
pub struct Slots {
    /// A bit for each slot: free.
    words: Vec<u64>,
    total: u32,
    free: u32,
    /// Where the log goes on.
    head: u32,
}

impl Slots {
    /// So many, all free.
    pub fn new(total: u32) -> Result<Self, TryReserveError> {
        let total = total.min(SLOTS_MAX);
        let count = total.div_ceil(64) as usize;
        let mut words = Vec::new();
        words.try_reserve_exact(count)?;
        words.resize(count, u64::MAX);
        if let (Some(last), tail @ 1..) = (words.last_mut(), total % 64) {
            *last = (1 << tail) - 1;
        }
        Ok(Self { words, total, free: total, head: 0 })
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// How many are free.
    #[must_use]
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// Whether a slot is free.
    #[must_use]
    pub fn is_free(&self, slot: u32) -> bool {
        slot < self.total && self.words[(slot / 64) as usize] & 1 << (slot % 64) != 0
    }

    /// The first slot from here on that is free (or isn't), if there is one before the end.
    fn next(&self, from: u32, free: bool) -> Option<u32> {
        let mut at = from;
        while at < self.total {
            let word = self.words[(at / 64) as usize];
            let wanted = (if free { word } else { !word }) >> (at % 64);
            if wanted != 0 {
                return Some(at + wanted.trailing_zeros()).filter(|slot| *slot < self.total);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// The hole that starts at or after a slot, cut to so many slots.
    fn hole(&self, from: u32, wanted: u32) -> Option<SlotRun> {
        let first = self.next(from, true)?;
        let end = self.next(first, false).unwrap_or(self.total);
        Some(SlotRun { first, count: (end - first).min(wanted) })
    }

    /// Takes up to so many slots side by side: the next hole of the log that has them all, else the longest seen. None if all are taken.
    pub fn allocate(&mut self, wanted: u32) -> Option<SlotRun> {
        if wanted == 0 || self.free == 0 {
            return None;
        }
        let mut best: Option<SlotRun> = None;
        for from in [self.head, 0] {
            let mut at = from;
            for _ in 0..HOLES_MAX {
                let Some(hole) = self.hole(at, wanted) else { break };
                if best.is_none_or(|best| hole.count > best.count) {
                    best = Some(hole);
                }
                if hole.count == wanted {
                    self.take(hole);
                    return Some(hole);
                }
                at = hole.first + hole.count;
            }
        }
        best.inspect(|run| self.take(*run))
    }

    fn take(&mut self, run: SlotRun) {
        for slot in run.slots() {
            self.words[(slot / 64) as usize] &= !(1 << (slot % 64));
        }
        self.free -= run.count;
        self.head = run.first + run.count;
    }

    /// Gives a slot back.
    ///
    /// # Panics
    /// If it is free already: two pages would get it.
    pub fn release(&mut self, slot: u32) {
        assert!(slot < self.total && !self.is_free(slot), "slot {slot} of {} is free already", self.total);
        self.words[(slot / 64) as usize] |= 1 << (slot % 64);
        self.free += 1;
    }

    /// The count agrees with the bits.
    #[cfg(any(test, debug_assertions))]
    pub fn check(&self) {
        let bits: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        assert_eq!(bits, self.free);
        assert!(self.head <= self.total);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{SlotRun, Slots};

    fn run(first: u32, count: u32) -> Option<SlotRun> {
        Some(SlotRun { first, count })
    }

    #[test]
    fn page_outs_are_sequential_even_when_slots_before_are_free() {
        let mut slots = Slots::new(1000).unwrap();
        assert_eq!(slots.allocate(256), run(0, 256));
        slots.release(3);
        assert_eq!(slots.allocate(100), run(256, 100));
        assert_eq!(slots.allocate(1), run(356, 1));
    }

    #[test]
    fn a_wrapped_log_takes_whole_holes_first_then_the_longest() {
        let mut slots = Slots::new(130).unwrap();
        assert_eq!(slots.allocate(130), run(0, 130));
        for slot in [5, 6, 60, 61, 62, 63, 64, 65, 100] {
            slots.release(slot);
        }
        assert_eq!(slots.allocate(6), run(60, 6));
        assert_eq!(slots.allocate(2), run(5, 2));
        slots.release(7);
        slots.release(8);
        assert_eq!(slots.allocate(9), run(7, 2), "no hole has nine");
        assert_eq!(slots.allocate(9), run(100, 1));
        assert_eq!(slots.allocate(1), None);
    }

    #[test]
    fn sizes_that_are_no_multiple_of_a_word() {
        for total in [0, 1, 63, 64, 65, 127] {
            let mut slots = Slots::new(total).unwrap();
            slots.check();
            assert_eq!(slots.allocate(u32::MAX), (total > 0).then_some(SlotRun { first: 0, count: total }));
            assert_eq!((slots.free(), slots.is_free(total)), (0, false));
        }
    }

    proptest! {
        #[test]
        fn no_slot_is_given_twice(steps in proptest::collection::vec((any::<bool>(), 0..200_u32), 1..100)) {
            let mut slots = Slots::new(200).unwrap();
            let mut taken = BTreeSet::new();
            for (allocates, number) in steps {
                if allocates {
                    let longest = longest_hole(&taken);
                    match slots.allocate(number) {
                        Some(run) => {
                            prop_assert_eq!(run.count, number.min(longest));
                            run.slots().for_each(|slot| assert!(taken.insert(slot)));
                        }
                        None => prop_assert!(number == 0 || taken.len() == 200),
                    }
                } else if taken.remove(&number) {
                    slots.release(number);
                }
                slots.check();
                prop_assert_eq!(slots.free() as usize, 200 - taken.len());
            }
        }
    }

    fn longest_hole(taken: &BTreeSet<u32>) -> u32 {
        let ends = taken.iter().copied().chain([200]);
        ends.scan(0, |start, end| Some(end - core::mem::replace(start, end + 1))).max().unwrap_or(0)
    }
}
