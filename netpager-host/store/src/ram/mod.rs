//! A store in RAM: three levels of tables from an offset to a page of the shared [`Arena`].
//!
//! ```text
//! directory (one entry per GiB) -> node (512 leaves, each with its lock) -> leaf (512 pages) -> slot of the arena
//! ```
//!
//! Pages of zeroes are not kept, leaves without pages are dropped; nodes stay. A page's bytes are only touched under the
//! lock of its leaf, and copied out before the lock is released: otherwise a page that is given up and used by another
//! export could be seen by the wrong client.

mod arena;
mod budget;
mod leaf;

use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

pub use arena::{Arena, ArenaUse, PAGE_BYTES};
use budget::Budget;
use leaf::{LEAF_BYTES, LEAF_PAGES, Leaf, Memory};

use crate::error::{StoreError, check_range};
use crate::zero::is_zero;
use crate::{Content, Extent, Space, Store};

const NODE_LEAVES: usize = 512;
const NODE_BYTES: u64 = (NODE_LEAVES * LEAF_BYTES) as u64;

type LeafCell = RwLock<Option<Box<Leaf>>>;
type Node = [LeafCell; NODE_LEAVES];

/// An export in RAM.
#[derive(Debug)]
pub struct RamStore {
    arena: Arc<Arena>,
    budget: Budget,
    size: u64,
    directory: Vec<OnceLock<Box<Node>>>,
}

/// Part of a range that lies in one leaf.
struct Piece {
    /// Which leaf of the store.
    leaf: u64,
    /// Where in the leaf.
    start: usize,
    /// How many bytes.
    length: usize,
    /// Where in the range.
    at: usize,
}

impl RamStore {
    /// The largest export: 64 TiB, of which only what is written costs anything.
    pub const SIZE_MAX: u64 = 64 << 40;

    /// An export of `size` bytes that may cost up to `quota` bytes of `arena` and tables; `None` if it is too large.
    #[must_use]
    pub fn new(arena: Arc<Arena>, size: u64, quota: u64) -> Option<Self> {
        if size > Self::SIZE_MAX {
            return None;
        }
        let nodes = usize::try_from(size.div_ceil(NODE_BYTES)).ok()?;
        let directory = (0..nodes).map(|_| OnceLock::new()).collect();
        Some(Self { arena, budget: Budget::new(quota), size, directory })
    }

    /// What an export of `size` bytes costs when all of it is written; `None` if that is too much to say.
    #[must_use]
    pub fn full_cost(size: u64) -> Option<u64> {
        let pages = size.checked_next_multiple_of(PAGE_BYTES as u64)?;
        let leaves = size.div_ceil(LEAF_BYTES as u64) * size_of::<Leaf>() as u64;
        let nodes = size.div_ceil(NODE_BYTES) * size_of::<Node>() as u64;
        pages.checked_add(leaves)?.checked_add(nodes)
    }

    /// How many bytes of its quota the export uses.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.budget.used()
    }

    fn memory(&self) -> Memory<'_> {
        Memory { arena: &self.arena, budget: &self.budget }
    }

    fn existing(&self, leaf: u64) -> Option<&LeafCell> {
        let node = self.directory[leaf as usize / NODE_LEAVES].get()?;
        Some(&node[leaf as usize % NODE_LEAVES])
    }

    /// The cell of a leaf, for which a node is made if there is none yet.
    fn cell(&self, leaf: u64) -> Result<&LeafCell, StoreError> {
        if let Some(cell) = self.existing(leaf) {
            return Ok(cell);
        }
        let cost = size_of::<Node>() as u64;
        self.budget.charge(cost)?;
        let node: Vec<LeafCell> = (0..NODE_LEAVES).map(|_| RwLock::new(None)).collect();
        let node: Box<Node> = node.try_into().expect("it was made with this many leaves");
        let entry = &self.directory[leaf as usize / NODE_LEAVES];
        if entry.set(node).is_err() {
            // Someone else was faster, and paid.
            self.budget.refund(cost);
        }
        Ok(&entry.get().expect("it was just set")[leaf as usize % NODE_LEAVES])
    }

    /// Changes a leaf under its lock; it is made if there is none, and dropped if it is empty afterwards.
    fn change(&self, leaf: u64, with: impl FnOnce(&mut Leaf) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let cost = size_of::<Leaf>() as u64;
        let mut cell = self.cell(leaf)?.write().unwrap_or_else(PoisonError::into_inner);
        if cell.is_none() {
            self.budget.charge(cost)?;
        }
        let leaf = cell.get_or_insert_with(Leaf::new);
        let result = with(leaf);
        if leaf.is_empty() {
            *cell = None;
            self.budget.refund(cost);
        }
        result
    }

    /// Changes a leaf if there is one.
    fn change_existing(&self, leaf: u64, with: impl FnOnce(&mut Leaf) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let Some(cell) = self.existing(leaf) else { return Ok(()) };
        if cell.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(());
        }
        self.change(leaf, with)
    }

    /// Whether the page at `offset` is kept, and how far from there the answer is the same at least.
    fn look(&self, offset: u64) -> (bool, u64) {
        let leaf = offset / LEAF_BYTES as u64;
        let Some(cell) = self.existing(leaf) else {
            return (false, NODE_BYTES - offset % NODE_BYTES);
        };
        let cell = cell.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = cell.as_deref() else {
            return (false, LEAF_BYTES as u64 - offset % LEAF_BYTES as u64);
        };
        let first = (offset % LEAF_BYTES as u64) as usize / PAGE_BYTES;
        let kept = found.keeps(first);
        let end = (first..LEAF_PAGES).find(|&page| found.keeps(page) != kept).unwrap_or(LEAF_PAGES);
        (kept, (end * PAGE_BYTES) as u64 - offset % LEAF_BYTES as u64)
    }

    /// Says whether the books agree.
    #[cfg(test)]
    fn check(&self) {
        self.arena.check();
        let mut used = 0;
        for node in self.directory.iter().filter_map(OnceLock::get) {
            used += size_of::<Node>();
            for cell in node.iter() {
                let Some(leaf) = &*cell.read().unwrap() else { continue };
                assert!(!leaf.is_empty(), "an empty leaf was not dropped");
                used += size_of::<Leaf>() + leaf.check() * PAGE_BYTES;
            }
        }
        assert_eq!(self.budget.used(), used as u64);
    }
}

impl Drop for RamStore {
    fn drop(&mut self) {
        let memory = Memory { arena: &self.arena, budget: &self.budget };
        for node in self.directory.iter_mut().filter_map(OnceLock::get_mut) {
            for cell in node.iter_mut() {
                if let Some(leaf) = cell.get_mut().unwrap_or_else(PoisonError::into_inner) {
                    leaf.clear(memory);
                }
            }
        }
    }
}

/// Cuts a range at the ends of leaves.
fn leaves(offset: u64, length: u64) -> impl Iterator<Item = Piece> {
    let end = offset + length;
    let mut next = offset;
    std::iter::from_fn(move || {
        let start = (next % LEAF_BYTES as u64) as usize;
        let length = (end - next).min((LEAF_BYTES - start) as u64) as usize;
        let piece = Piece { leaf: next / LEAF_BYTES as u64, start, length, at: (next - offset) as usize };
        next += length as u64;
        (length > 0).then_some(piece)
    })
}

/// Cuts a piece of a leaf at the ends of pages: which page, where in the page, and which bytes of the piece.
fn pages(start: usize, length: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (page, in_page) = ((start + at) / PAGE_BYTES, (start + at) % PAGE_BYTES);
        let bytes = at..length.min(at + PAGE_BYTES - in_page);
        at = bytes.end;
        (!bytes.is_empty()).then_some((page, in_page, bytes))
    })
}

impl Store for RamStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, buffer.len() as u64)?;
        for piece in leaves(offset, buffer.len() as u64) {
            let buffer = &mut buffer[piece.at..piece.at + piece.length];
            let cell = self.existing(piece.leaf).map(|cell| cell.read().unwrap_or_else(PoisonError::into_inner));
            match cell.as_ref().and_then(|cell| cell.as_deref()) {
                None => buffer.fill(0),
                Some(leaf) => {
                    pages(piece.start, piece.length)
                        .for_each(|(page, in_page, bytes)| leaf.read(page, in_page, &mut buffer[bytes], &self.arena));
                }
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, data.len() as u64)?;
        for piece in leaves(offset, data.len() as u64) {
            let data = &data[piece.at..piece.at + piece.length];
            let write = |leaf: &mut Leaf| {
                pages(piece.start, piece.length)
                    .try_for_each(|(page, in_page, bytes)| leaf.write(page, in_page, &data[bytes], self.memory()))
            };
            if is_zero(data) {
                // Zeroes take no space, not even for a table, so this write cannot fail.
                self.change_existing(piece.leaf, write)?;
            } else {
                self.change(piece.leaf, write)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.write_zeroes(offset, length, Space::Release)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        leaves(offset, length).try_for_each(|piece| match space {
            Space::Release => self.change_existing(piece.leaf, |leaf| {
                pages(piece.start, piece.length).for_each(|(page, in_page, bytes)| leaf.zero(page, in_page, bytes.len(), self.memory()));
                Ok(())
            }),
            Space::Reserve => self.change(piece.leaf, |leaf| {
                pages(piece.start, piece.length)
                    .try_for_each(|(page, in_page, bytes)| leaf.reserve(page, in_page, bytes.len(), self.memory()))
            }),
        })
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        check_range(self.size, offset, length)?;
        let (kept, mut found) = self.look(offset);
        while found < length {
            let (next, more) = self.look(offset + found);
            if next != kept {
                break;
            }
            found += more;
        }
        let content = if kept { Content::Data } else { Content::Hole };
        Ok(Extent { length: found.min(length), content })
    }
}

#[cfg(test)]
mod tests;
