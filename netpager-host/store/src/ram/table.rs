//! Three levels of tables from an offset of an export to a page of the shared [`Arena`].
//!
//! ```text
//! directory (one entry per GiB) -> node (512 leaves, each with its lock) -> leaf (512 pages) -> slot of the arena
//! ```
//!
//! Pages of zeroes are not kept, leaves without pages are dropped; nodes stay. A page's bytes are only touched under the
//! lock of its leaf, and copied out before the lock is released: otherwise a page that is given up and used by another
//! export could be seen by the wrong client.

use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::arena::Arena;
use super::frames::PAGE_BYTES;
use super::leaf::{LEAF_BYTES, LEAF_PAGES, Leaf, LeafError, Memory};
use super::ledger::Ledger;
use crate::error::{StoreError, check_range};
use crate::zero::is_zero;
use crate::{Space, State};

pub(super) const NODE_LEAVES: usize = 512;
pub(super) const NODE_BYTES: u64 = (NODE_LEAVES * LEAF_BYTES) as u64;
/// The largest export: 64 TiB, of which only what is written costs anything.
pub(super) const SIZE_MAX: u64 = 64 << 40;

type LeafCell = RwLock<Option<Box<Leaf>>>;
pub(super) type Node = [LeafCell; NODE_LEAVES];

/// The pages of one export.
#[derive(Debug)]
pub(super) struct Table {
    arena: Arc<Arena>,
    ledger: Ledger,
    size: u64,
    directory: Vec<OnceLock<Box<Node>>>,
    /// The leaf a sweep comes to next.
    pub(super) hand: AtomicU64,
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

impl Table {
    pub(super) fn new(arena: Arc<Arena>, size: u64, quota: u64) -> Option<Self> {
        if size > SIZE_MAX {
            return None;
        }
        let nodes = usize::try_from(size.div_ceil(NODE_BYTES)).ok()?;
        let directory = (0..nodes).map(|_| OnceLock::new()).collect();
        Some(Self { arena, ledger: Ledger::new(quota), size, directory, hand: AtomicU64::new(0) })
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn memory(&self) -> Memory<'_> {
        Memory { arena: &self.arena, ledger: &self.ledger }
    }

    /// Shows the range piece by piece: how long each is, and its bytes, or nothing where there are only zeroes.
    pub(super) fn read(&self, offset: u64, length: u64, mut with: impl FnMut(usize, Option<&[u8]>)) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        for piece in leaves(offset, length) {
            let cell = self.existing(piece.leaf).map(read);
            let Some(leaf) = cell.as_ref().and_then(|cell| cell.as_deref()) else {
                with(piece.length, None);
                continue;
            };
            for (page, in_page, bytes) in pages(piece.start, piece.length) {
                let show = |page: Option<&[u8]>| with(bytes.len(), page.map(|page| &page[in_page..in_page + bytes.len()]));
                leaf.read(page, &self.arena, show).map_err(|error| named(error, piece.leaf))?;
            }
        }
        Ok(())
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        check_range(self.size, offset, data.len() as u64)?;
        leaves(offset, data.len() as u64).try_for_each(|piece| {
            let data = &data[piece.at..piece.at + piece.length];
            let write = |leaf: &mut Leaf| {
                pages(piece.start, piece.length)
                    .try_for_each(|(page, in_page, bytes)| leaf.write(page, in_page, &data[bytes], self.memory()))
            };
            // Zeroes take no space, not even for a table. That a page is not zero is mostly seen in its first bytes.
            if is_zero(data) { self.change_existing(piece.leaf, write) } else { self.change(piece.leaf, write) }
        })
    }

    pub(super) fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        check_range(self.size, offset, length)?;
        leaves(offset, length).try_for_each(|piece| {
            let mut pages = pages(piece.start, piece.length);
            match space {
                Space::Release => self.change_existing(piece.leaf, |leaf| {
                    pages.try_for_each(|(page, in_page, bytes)| leaf.zero(page, in_page, bytes.len(), self.memory()))
                }),
                Space::Reserve => self.change(piece.leaf, |leaf| {
                    pages.try_for_each(|(page, in_page, bytes)| leaf.reserve(page, in_page, bytes.len(), self.memory()))
                }),
            }
        })
    }

    /// What `of` says of the page at `offset`, and how many bytes of the next `length` it says the same of.
    pub(super) fn run<T: PartialEq>(&self, offset: u64, length: u64, of: impl Fn(State) -> T) -> Result<(T, u64), StoreError> {
        check_range(self.size, offset, length)?;
        let (first, mut found) = self.look(offset, &of);
        while found < length {
            let (next, more) = self.look(offset + found, &of);
            if next != first {
                break;
            }
            found += more;
        }
        Ok((first, found.min(length)))
    }

    /// What `of` says of the page at `offset`, and how far from there it says the same at least.
    fn look<T: PartialEq>(&self, offset: u64, of: &impl Fn(State) -> T) -> (T, u64) {
        let leaf = offset / LEAF_BYTES as u64;
        let Some(cell) = self.existing(leaf) else {
            return (of(State::empty()), NODE_BYTES - offset % NODE_BYTES);
        };
        let cell = read(cell);
        let Some(found) = cell.as_deref() else {
            return (of(State::empty()), LEAF_BYTES as u64 - offset % LEAF_BYTES as u64);
        };
        let page = (offset % LEAF_BYTES as u64) as usize / PAGE_BYTES;
        let first = of(found.state(page));
        let end = (page..LEAF_PAGES).find(|&page| of(found.state(page)) != first).unwrap_or(LEAF_PAGES);
        (first, (end * PAGE_BYTES) as u64 - offset % LEAF_BYTES as u64)
    }

    /// The first leaf that is there, from number `from` on.
    pub(super) fn next_leaf(&self, from: u64) -> Option<u64> {
        let mut leaf = from;
        while let Some(node) = self.directory.get(leaf as usize / NODE_LEAVES) {
            let Some(node) = node.get() else {
                leaf = (leaf / NODE_LEAVES as u64 + 1) * NODE_LEAVES as u64;
                continue;
            };
            if read(&node[leaf as usize % NODE_LEAVES]).is_some() {
                return Some(leaf);
            }
            leaf += 1;
        }
        None
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
        self.ledger.charge(cost)?;
        let node: Vec<LeafCell> = (0..NODE_LEAVES).map(|_| RwLock::new(None)).collect();
        let node: Box<Node> = node.try_into().expect("it was made with this many leaves");
        let entry = &self.directory[leaf as usize / NODE_LEAVES];
        if entry.set(node).is_err() {
            // Someone else was faster, and paid.
            self.ledger.refund(cost);
        }
        Ok(&entry.get().expect("it was just set")[leaf as usize % NODE_LEAVES])
    }

    /// Changes a leaf under its lock; it is made if there is none, and dropped if it is empty afterwards.
    fn change(&self, leaf: u64, with: impl FnOnce(&mut Leaf) -> Result<(), LeafError>) -> Result<(), StoreError> {
        let cost = size_of::<Leaf>() as u64;
        let mut cell = write(self.cell(leaf)?);
        if cell.is_none() {
            self.ledger.charge(cost)?;
        }
        let found = cell.get_or_insert_with(Leaf::new);
        let result = with(found);
        if found.is_empty() {
            *cell = None;
            self.ledger.refund(cost);
        }
        result.map_err(|error| named(error, leaf))
    }

    /// Changes a leaf if there is one.
    pub(super) fn change_existing(&self, leaf: u64, with: impl FnOnce(&mut Leaf) -> Result<(), LeafError>) -> Result<(), StoreError> {
        let there = self.existing(leaf).is_some_and(|cell| read(cell).is_some());
        if there { self.change(leaf, with) } else { Ok(()) }
    }

    /// Says whether the books agree, those of the arena too.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.arena.check();
        self.check_own();
    }

    /// Says whether the export's books agree.
    #[cfg(test)]
    pub(super) fn check_own(&self) {
        let mut used = 0;
        for node in self.directory.iter().filter_map(OnceLock::get) {
            used += size_of::<Node>();
            for cell in node.iter() {
                let Some(leaf) = &*cell.read().unwrap() else { continue };
                assert!(!leaf.is_empty(), "an empty leaf was not dropped");
                used += size_of::<Leaf>() + leaf.check();
            }
        }
        assert_eq!(self.ledger.used(), used as u64);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let memory = Memory { arena: &self.arena, ledger: &self.ledger };
        for node in self.directory.iter_mut().filter_map(OnceLock::get_mut) {
            for cell in node.iter_mut() {
                if let Some(leaf) = cell.get_mut().unwrap_or_else(PoisonError::into_inner) {
                    leaf.clear(memory);
                }
            }
        }
    }
}

fn read(cell: &LeafCell) -> RwLockReadGuard<'_, Option<Box<Leaf>>> {
    cell.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(cell: &LeafCell) -> RwLockWriteGuard<'_, Option<Box<Leaf>>> {
    cell.write().unwrap_or_else(PoisonError::into_inner)
}

/// An error of a leaf, in terms of the export.
fn named(error: LeafError, leaf: u64) -> StoreError {
    match error {
        LeafError::Store(error) => error,
        LeafError::Damaged(page) => StoreError::Corrupt { offset: leaf * LEAF_BYTES as u64 + (page * PAGE_BYTES) as u64 },
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
