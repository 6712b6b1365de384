//! Which bytes of one READ have arrived.
//!
//! A server may answer a READ in pieces and in any order. To know that every byte came exactly once, without a bitmap,
//! this keeps the disjoint ranges received so far; adjacent ones are joined, so an honest server needs one or two.

use super::error::Violation;
use crate::limits::READ_PIECES_MAX;

/// Disjoint, non-adjacent ranges in ascending order, relative to the start of the READ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    ranges: [(u32, u32); READ_PIECES_MAX],
    count: usize,
}

impl Coverage {
    /// Adds `start..end`.
    pub(super) fn add(&mut self, start: u32, end: u32) -> Result<(), Violation> {
        let at = self.ranges().iter().take_while(|range| range.1 < start).count();
        // Only the range at `at` and the one after it can touch the new one: everything before ends too early.
        let touches_left = at < self.count && self.ranges[at].1 == start;
        let right = at + usize::from(touches_left);
        if right < self.count && self.ranges[right].0 < end {
            return Err(Violation::Overlap);
        }
        let touches_right = right < self.count && self.ranges[right].0 == end;
        match (touches_left, touches_right) {
            (true, true) => {
                self.ranges[at].1 = self.ranges[right].1;
                self.remove(right);
            }
            (true, false) => self.ranges[at].1 = end,
            (false, true) => self.ranges[right].0 = start,
            (false, false) => self.insert(at, (start, end))?,
        }
        Ok(())
    }

    /// Whether all of `0..length` has arrived.
    pub(super) fn is_complete(&self, length: u32) -> bool {
        self.ranges() == [(0, length)]
    }

    fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges[..self.count]
    }

    fn insert(&mut self, at: usize, range: (u32, u32)) -> Result<(), Violation> {
        if self.count == READ_PIECES_MAX {
            return Err(Violation::TooManyPieces);
        }
        self.ranges.copy_within(at..self.count, at + 1);
        self.ranges[at] = range;
        self.count += 1;
        Ok(())
    }

    fn remove(&mut self, at: usize) {
        self.ranges.copy_within(at + 1..self.count, at);
        self.count -= 1;
    }

    #[cfg(test)]
    fn check(&self) {
        assert!(self.ranges().iter().all(|range| range.0 < range.1));
        assert!(self.ranges().windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", self.ranges());
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_bitmap(pieces in prop::collection::vec((0u32..64, 1u32..16), 0..40)) {
            let mut coverage = Coverage::default();
            let mut bitmap = [false; 80];
            for (start, length) in pieces {
                let piece = start as usize..(start + length) as usize;
                let overlaps = bitmap[piece.clone()].iter().any(|&bit| bit);
                match coverage.add(start, start + length) {
                    Ok(()) => { prop_assert!(!overlaps); bitmap[piece].fill(true); }
                    Err(Violation::Overlap) => prop_assert!(overlaps),
                    Err(error) => { prop_assert_eq!(error, Violation::TooManyPieces); prop_assert_eq!(coverage.count, READ_PIECES_MAX); }
                }
                coverage.check();
                for length in 1..80u32 {
                    let complete = bitmap[..length as usize].iter().all(|&bit| bit)
                        && bitmap[length as usize..].iter().all(|&bit| !bit);
                    prop_assert_eq!(coverage.is_complete(length), complete);
                }
            }
        }
    }
}
