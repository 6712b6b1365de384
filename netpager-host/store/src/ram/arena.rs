//! The memory all RAM exports share: a fixed number of pages, taken from the system in slabs and given back in slabs.
//!
//! A page is known by its [`Slot`]. Who holds a slot owns the page; its bytes are those of whoever had it before, so the
//! holder overwrites all of them first. Neighbour: [`super::RamStore`], the only holder.
//!
//! Lock order: `state`, then a slab. A caller's own lock (a leaf of the store) comes before both.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::error::StoreError;

/// Bytes in a page.
pub const PAGE_BYTES: usize = 4096;
const SLAB_PAGES: usize = 512;

/// One page of an arena. Not `Copy`: it is owned by one entry of one store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    fn new(slab: usize, page: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add((slab * SLAB_PAGES + page) as u32))
    }

    const fn slab(&self) -> usize {
        (self.0.get() - 1) as usize / SLAB_PAGES
    }

    const fn page(&self) -> usize {
        (self.0.get() - 1) as usize % SLAB_PAGES
    }
}

/// How much of an arena is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaUse {
    /// Pages that hold something.
    pub used_pages: usize,
    /// Pages taken from the system.
    pub resident_pages: usize,
    /// Pages it may grow to.
    pub limit_pages: usize,
}

/// A limited amount of memory, in pages.
#[derive(Debug)]
pub struct Arena {
    limit_pages: usize,
    slabs: Vec<RwLock<Option<Box<[u8]>>>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The free pages of each slab; of a slab that is not there, none.
    free: Vec<Vec<u16>>,
    /// Slabs with a free page. The lowest is used first, so that the highest become empty.
    open: BTreeSet<usize>,
    /// Places for slabs not taken from the system.
    vacant: BTreeSet<usize>,
    used_pages: usize,
}

impl Arena {
    /// An arena that will hold up to `bytes`, rounded down to pages. Takes nothing from the system yet.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let limit_pages = usize::try_from(bytes / PAGE_BYTES as u64).unwrap_or(usize::MAX).min((u32::MAX >> 1) as usize);
        let slabs = limit_pages.div_ceil(SLAB_PAGES);
        let state = State { free: vec![Vec::new(); slabs], open: BTreeSet::new(), vacant: (0..slabs).collect(), used_pages: 0 };
        Self { limit_pages, slabs: (0..slabs).map(|_| RwLock::new(None)).collect(), state: Mutex::new(state) }
    }

    /// How much of it is used.
    #[must_use]
    pub fn usage(&self) -> ArenaUse {
        let state = self.state();
        let resident_pages = (self.slabs.len() - state.vacant.len()) * SLAB_PAGES;
        ArenaUse { used_pages: state.used_pages, resident_pages, limit_pages: self.limit_pages }
    }

    /// Takes a page, with whatever bytes it has.
    pub(super) fn take(&self) -> Result<Slot, StoreError> {
        let mut state = self.state();
        if state.used_pages == self.limit_pages {
            return Err(StoreError::ArenaFull);
        }
        if state.open.is_empty() {
            let slab = state.vacant.pop_first().ok_or(StoreError::ArenaFull)?;
            *self.slabs[slab].write().unwrap_or_else(PoisonError::into_inner) = Some(vec![0; SLAB_PAGES * PAGE_BYTES].into());
            state.free[slab] = (0..SLAB_PAGES as u16).rev().collect();
            state.open.insert(slab);
        }
        let slab = *state.open.first().ok_or(StoreError::ArenaFull)?;
        let page = state.free[slab].pop().ok_or(StoreError::ArenaFull)?;
        if state.free[slab].is_empty() {
            state.open.remove(&slab);
        }
        state.used_pages += 1;
        Ok(Slot::new(slab, usize::from(page)))
    }

    /// Gives a page back. An empty slab goes back to the system unless it is the only one with room.
    pub(super) fn give_back(&self, slot: Slot) {
        let slab = slot.slab();
        let mut state = self.state();
        state.free[slab].push(slot.page() as u16);
        state.open.insert(slab);
        state.used_pages -= 1;
        if state.free[slab].len() == SLAB_PAGES && state.open.len() > 1 {
            *self.slabs[slab].write().unwrap_or_else(PoisonError::into_inner) = None;
            state.free[slab] = Vec::new();
            state.open.remove(&slab);
            state.vacant.insert(slab);
        }
    }

    /// Looks at a page.
    pub(super) fn read<R>(&self, slot: &Slot, with: impl FnOnce(&[u8]) -> R) -> R {
        let slab = self.slabs[slot.slab()].read().unwrap_or_else(PoisonError::into_inner);
        let slab = slab.as_deref().expect("a slab with a page in use is there");
        with(&slab[slot.page() * PAGE_BYTES..][..PAGE_BYTES])
    }

    /// Changes a page.
    pub(super) fn write<R>(&self, slot: &Slot, with: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut slab = self.slabs[slot.slab()].write().unwrap_or_else(PoisonError::into_inner);
        let slab = slab.as_deref_mut().expect("a slab with a page in use is there");
        with(&mut slab[slot.page() * PAGE_BYTES..][..PAGE_BYTES])
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the books agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let state = self.state();
        let mut free_pages = 0;
        for (index, slab) in self.slabs.iter().enumerate() {
            let present = slab.read().unwrap().is_some();
            assert_eq!(present, !state.vacant.contains(&index));
            assert_eq!(!state.free[index].is_empty(), state.open.contains(&index));
            assert!(present || state.free[index].is_empty());
            let distinct: BTreeSet<_> = state.free[index].iter().collect();
            assert_eq!(distinct.len(), state.free[index].len(), "a page is free twice");
            free_pages += distinct.len();
        }
        let resident = (self.slabs.len() - state.vacant.len()) * SLAB_PAGES;
        assert_eq!(resident, state.used_pages + free_pages);
        assert!(state.used_pages <= self.limit_pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_pages_come_back() {
        let arena = Arena::new(3 * PAGE_BYTES as u64 + 1);
        let mut slots: Vec<_> = (0..3).map(|_| arena.take().unwrap()).collect();
        arena.check();
        assert!(matches!(arena.take(), Err(StoreError::ArenaFull)));
        arena.give_back(slots.pop().unwrap());
        slots.push(arena.take().unwrap());
        assert_eq!(arena.usage().used_pages, 3);
        slots.into_iter().for_each(|slot| arena.give_back(slot));
        arena.check();
        assert_eq!(arena.usage().used_pages, 0);
    }

    #[test]
    fn memory_goes_back_to_the_system() {
        let arena = Arena::new(4 * (SLAB_PAGES * PAGE_BYTES) as u64);
        let slots: Vec<_> = (0..4 * SLAB_PAGES).map(|_| arena.take().unwrap()).collect();
        assert_eq!(arena.usage().resident_pages, 4 * SLAB_PAGES);
        slots.into_iter().for_each(|slot| arena.give_back(slot));
        arena.check();
        assert_eq!(arena.usage().resident_pages, SLAB_PAGES);
    }

    #[test]
    fn pages_do_not_overlap() {
        let arena = Arena::new(2 * (SLAB_PAGES * PAGE_BYTES) as u64);
        let slots: Vec<_> = (0..2 * SLAB_PAGES).map(|_| arena.take().unwrap()).collect();
        for (index, slot) in slots.iter().enumerate() {
            arena.write(slot, |page| page.fill((index % 251) as u8));
        }
        for (index, slot) in slots.iter().enumerate() {
            arena.read(slot, |page| assert!(page.iter().all(|&byte| byte == (index % 251) as u8)));
        }
    }
}
