//! Ranges of bytes: checking them, cutting them, and keeping overlapping writes apart.
//!
//! Every store of this crate checks a range before anything else happens, and the ones that write to several places take
//! a [`RangeLocks`] guard so that two overlapping writes reach all places in the same order.

use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use store::StoreError;

/// Checks that `offset..offset + length` lies within a store of `size` bytes.
pub(crate) const fn check(size: u64, offset: u64, length: u64) -> Result<(), StoreError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(StoreError::OutOfRange { offset, length, size }),
    }
}

/// Whether two ranges have a byte in common.
pub(crate) const fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

/// Cuts a range at multiples of `step`.
pub(crate) fn pieces(range: Range<u64>, step: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        at = (start / step + 1).saturating_mul(step).min(range.end);
        (start < range.end).then_some(start..at)
    })
}

/// The ranges that somebody is changing. Few at a time (one for each caller), so a list is quicker than a tree.
#[derive(Debug, Default)]
pub(crate) struct RangeLocks {
    held: Mutex<Vec<Range<u64>>>,
    released: Condvar,
}

/// A range that nobody else holds; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct RangeGuard<'a> {
    locks: &'a RangeLocks,
    range: Range<u64>,
}

impl RangeLocks {
    /// Waits until no other guard overlaps `range`; `None` if that is not so before `deadline`.
    pub(crate) fn lock(&self, range: Range<u64>, deadline: Instant) -> Option<RangeGuard<'_>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.iter().any(|other| overlap(other, &range)) {
            let left = deadline.checked_duration_since(Instant::now())?;
            held = self.released.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        held.push(range.clone());
        Some(RangeGuard { locks: self, range })
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.locks.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|range| *range == self.range) {
            held.swap_remove(at);
        }
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pieces_cover_a_range_once() {
        for (range, step) in [(0..10, 4), (3..4, 4), (3..17, 4), (4..8, 4), (5..5, 4), (u64::MAX - 3..u64::MAX, 2)] {
            let cut: Vec<_> = pieces(range.clone(), step).collect();
            assert_eq!(cut.first().map_or(range.start, |piece| piece.start), range.start);
            assert_eq!(cut.last().map_or(range.end, |piece| piece.end), range.end);
            assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start && pair[1].start % step == 0));
            assert!(cut.iter().all(|piece| piece.start < piece.end && piece.end - piece.start <= step));
        }
    }

    #[test]
    fn overlapping_guards_wait_and_others_do_not() {
        let locks = RangeLocks::default();
        let soon = || Instant::now() + Duration::from_millis(5);
        let first = locks.lock(0..10, soon()).unwrap();
        let apart = locks.lock(10..20, soon()).unwrap();
        assert!(locks.lock(9..11, soon()).is_none());
        drop(first);
        assert!(locks.lock(9..11, soon()).is_none());
        drop(apart);
        assert!(locks.lock(9..11, soon()).is_some());
        assert!(locks.held.lock().unwrap().is_empty());
    }

    #[test]
    fn a_waiting_guard_gets_its_turn() {
        let locks = RangeLocks::default();
        let first = locks.lock(0..10, Instant::now()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| locks.lock(5..6, Instant::now() + Duration::from_secs(60)).is_some());
            drop(first);
            assert!(waiter.join().unwrap());
        });
    }
}
