//! What is where in the cluster, and what it must read as: kept in memory, one number for each page that was written.
//!
//! Without it a page that a failover lost would read as zeroes, or as what it was before. With it such a page is an error.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What one page must read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// All zeroes, whether or not anything is stored.
    pub(super) const ZERO: Self = Self(0);
    /// Whatever is there: it was written by an earlier process, or by a call whose outcome is unknown.
    pub(super) const UNKNOWN: Self = Self(1);

    pub(super) fn of(page: &[u8]) -> Self {
        if page.iter().all(|&byte| byte == 0) {
            return Self::ZERO;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(page);
        // Not one of the two numbers with a meaning.
        Self(hasher.finish() | 2)
    }

    /// Whether a page that reads as `page` is what it should be.
    pub(super) fn admits(self, page: &[u8]) -> bool {
        self == Self::UNKNOWN || self == Self::of(page)
    }
}

/// One stored extent.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) pages: Box<[Mark]>,
    /// Kept even if all of it is zeroes.
    pub(super) is_reserved: bool,
}

impl Entry {
    pub(super) fn new(pages: usize, mark: Mark) -> Self {
        Self { pages: vec![mark; pages].into(), is_reserved: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_reserved && self.pages.iter().all(|&mark| mark == Mark::ZERO)
    }
}

/// Extents by number.
pub(super) type Stripe = HashMap<u64, Entry>;

/// Locks are held while the cluster answers, so there are many.
const STRIPES: u64 = 256;

/// All stored extents of one export.
#[derive(Debug)]
pub(super) struct Index {
    stripes: Vec<RwLock<Stripe>>,
    /// How many there are, or are about to be.
    stored: AtomicU64,
    most: u64,
}

impl Index {
    /// An index of at most `most` extents.
    pub(super) fn new(most: u64) -> Self {
        Self { stripes: (0..STRIPES).map(|_| RwLock::default()).collect(), stored: AtomicU64::new(0), most }
    }

    /// The extents from `first` to `last`, for reading. A range must not be longer than the number of locks allows.
    pub(super) fn read(&self, first: u64, last: u64) -> Vec<(u64, RwLockReadGuard<'_, Stripe>)> {
        self.numbers(first, last)
            .map(|number| (number, self.stripes[number as usize].read().unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    /// The same for writing. Both take locks in ascending order, so nobody waits for somebody who waits for him.
    pub(super) fn write(&self, first: u64, last: u64) -> Vec<(u64, RwLockWriteGuard<'_, Stripe>)> {
        self.numbers(first, last)
            .map(|number| (number, self.stripes[number as usize].write().unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    fn numbers(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let mut numbers: Vec<u64> = (first..=last).take(STRIPES as usize).map(|extent| extent % STRIPES).collect();
        numbers.sort_unstable();
        numbers.into_iter()
    }

    /// Whether another extent may be stored; counts it if so.
    pub(super) fn admit(&self) -> bool {
        self.stored.fetch_update(Ordering::AcqRel, Ordering::Acquire, |stored| (stored < self.most).then_some(stored + 1)).is_ok()
    }

    /// An extent that was there before this process.
    pub(super) fn found(&self, extent: u64, pages: usize) {
        let mut stripe = self.stripes[(extent % STRIPES) as usize].write().unwrap_or_else(PoisonError::into_inner);
        if stripe.insert(extent, Entry::new(pages, Mark::UNKNOWN)).is_none() {
            self.stored.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn removed(&self) {
        self.stored.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }
}

/// The stripe of an extent among those that are locked.
pub(super) fn stripe_of<G>(guards: &mut [(u64, G)], extent: u64) -> Option<&mut G> {
    let at = guards.binary_search_by_key(&(extent % STRIPES), |(number, _)| *number).ok()?;
    Some(&mut guards[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_admits_its_page_and_no_other() {
        let (page, mut other) = ([7; 4096], [7; 4096]);
        other[4095] = 6;
        assert!(Mark::of(&page).admits(&page) && !Mark::of(&page).admits(&other) && !Mark::of(&page).admits(&[0; 4096]));
        assert!(Mark::UNKNOWN.admits(&page) && Mark::ZERO.admits(&[0; 4096]) && !Mark::ZERO.admits(&page));
        assert!(Mark::of(&page) != Mark::UNKNOWN && Mark::of(&[0; 4096]) == Mark::ZERO);
    }

    #[test]
    fn a_range_locks_each_of_its_extents_once() {
        let index = Index::new(3);
        let mut guards = index.write(250, 260);
        assert_eq!(guards.len(), 11);
        assert!(stripe_of(&mut guards, 256).is_some() && stripe_of(&mut guards, 250).is_some() && stripe_of(&mut guards, 249).is_none());
        drop(guards);
        assert_eq!(index.read(0, 10_000).len(), STRIPES as usize);
        assert_eq!((0..5).filter(|_| index.admit()).count(), 3);
        index.removed();
        assert!(index.admit() && !index.admit() && index.stored() == 3);
    }
}
