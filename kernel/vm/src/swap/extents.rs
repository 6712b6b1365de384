//! The list of extents: it grows when memory is short, so it grows by a page.
//!
//! A list in one piece would need a larger piece just when none is left. Free and dead extents are chained through their own records, so that giving
//! one back never needs memory.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use super::{Extent, Owner};
use crate::NoMemory;

/// Extents in a chunk: a page's worth.
const CHUNK: usize = 4096 / size_of::<Extent>();
/// Chunks for which there is room from the start: more than 10 GiB of swap.
const CHUNKS: usize = 512;

/// The extents, by number.
pub(super) struct Extents {
    chunks: Vec<Vec<Extent>>,
}

/// A chain of extents.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    first: u32,
}

/// No extent.
const END: u32 = u32::MAX;

impl Extents {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Makes room early, while large pieces are to be had.
    pub(super) fn prepare(&mut self) -> Result<(), NoMemory> {
        self.chunks.try_reserve_exact(CHUNKS).map_err(|_| NoMemory)
    }

    /// Adds one; gives its number.
    pub(super) fn push(&mut self, extent: Extent) -> Result<u32, NoMemory> {
        let number = self.len();
        if number == END as usize {
            return Err(NoMemory);
        }
        if number.is_multiple_of(CHUNK) {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK).map_err(|_| NoMemory)?;
            self.chunks.try_reserve(1).map_err(|_| NoMemory)?;
            self.chunks.push(chunk);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(extent);
        }
        Ok(number as u32)
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn get(&self, number: u64) -> Option<&Extent> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Extent> {
        let number = usize::try_from(number).ok()?;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    /// All, in order.
    #[cfg(any(test, feature = "fake"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.chunks.iter().flatten()
    }
}

impl Index<u32> for Extents {
    type Output = Extent;
    fn index(&self, number: u32) -> &Extent {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl IndexMut<u32> for Extents {
    fn index_mut(&mut self, number: u32) -> &mut Extent {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

impl Chain {
    pub(super) const fn new() -> Self {
        Self { first: END }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.first == END
    }

    pub(super) fn push(&mut self, extents: &mut Extents, number: u32) {
        extents[number].next = self.first;
        self.first = number;
    }

    pub(super) fn pop(&mut self, extents: &Extents) -> Option<u32> {
        let number = Some(self.first).filter(|number| *number != END)?;
        self.first = extents[number].next;
        Some(number)
    }

    /// Whether an extent is in it.
    #[cfg(any(test, feature = "fake"))]
    pub(super) fn contains(self, extents: &Extents, number: u32) -> bool {
        let mut at = self.first;
        while at != END && at != number {
            at = extents[at].next;
        }
        at == number
    }
}

impl Extent {
    /// One that somebody uses.
    pub(super) const fn used(owner: Owner, users: u32) -> Self {
        Self { owner, users, owed: 0, next: END }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Chain, Extent, Extents, Owner};

    #[test]
    fn chunks_fill_a_page_and_numbers_follow_each_other() {
        assert!(CHUNK * size_of::<Extent>() <= 4096);
        let mut extents = Extents::new();
        for number in 0..3 * CHUNK as u32 + 1 {
            assert_eq!(extents.push(Extent::used(Owner::Free, number)).unwrap(), number);
        }
        assert!((0..3 * CHUNK as u32 + 1).all(|number| extents[number].users == number));
        assert!(extents.get(3 * CHUNK as u64 + 1).is_none() && extents.get(u64::MAX).is_none());
    }

    #[test]
    fn a_chain_gives_back_what_it_was_given() {
        let mut extents = Extents::new();
        let mut chain = Chain::new();
        for _ in 0..5 {
            let number = extents.push(Extent::used(Owner::Free, 0)).unwrap();
            chain.push(&mut extents, number);
        }
        assert!(chain.contains(&extents, 3) && !chain.contains(&extents, 9));
        let all: std::vec::Vec<u32> = core::iter::from_fn(|| chain.pop(&extents)).collect();
        assert_eq!(all, [4, 3, 2, 1, 0]);
        assert!(chain.is_empty());
    }
}
