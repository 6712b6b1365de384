//! Stores in RAM: [`RamStore`], and [`CompressedStore`], whose cold pages are compressed.
//!
//! | module | is |
//! |---|---|
//! | `table`, `leaf` | the way from an offset to a page, with the locks |
//! | `arena`, `slab`, `frames` | the memory all exports share, and its books |
//! | `ledger` | what an export costs and may cost |
//! | `packed` | a compressed page |
//! | `compressed`, `compressor`, `sweep` | what compresses cold pages, and when |

mod arena;
mod compressed;
mod compressor;
mod frames;
mod leaf;
mod ledger;
mod packed;
mod slab;
mod sweep;
mod table;

use std::sync::Arc;

pub use arena::{Arena, ArenaUse};
pub use compressed::CompressedStore;
pub use compressor::{Compressor, CompressorOptions};
pub use frames::PAGE_BYTES;
pub use slab::ArenaOptions;

use crate::{Content, Extent, Space, State, StateExtent, Store, StoreError, Usage};
use leaf::{LEAF_BYTES, Leaf};
use table::{NODE_BYTES, Node, Table};

/// An export in RAM.
#[derive(Debug)]
pub struct RamStore {
    table: Table,
}

impl RamStore {
    /// The largest export: 64 TiB, of which only what is written costs anything.
    pub const SIZE_MAX: u64 = table::SIZE_MAX;

    /// An export of `size` bytes that may cost up to `quota` bytes of `arena` and tables; `None` if it is too large.
    #[must_use]
    pub fn new(arena: Arc<Arena>, size: u64, quota: u64) -> Option<Self> {
        Some(Self { table: Table::new(arena, size, quota)? })
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
        self.table.ledger().used()
    }
}

/// What [`Store::read_at`] is for all stores in RAM.
fn read_at(table: &Table, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
    let mut at = 0;
    table.read(offset, buffer.len() as u64, |length, bytes| {
        let to = &mut buffer[at..at + length];
        match bytes {
            Some(bytes) => to.copy_from_slice(bytes),
            None => to.fill(0),
        }
        at += length;
    })
}

/// What [`Store::append_to`] is for all stores in RAM.
fn append_to(table: &Table, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
    let start = out.len();
    let append = |length: usize, bytes: Option<&[u8]>| match bytes {
        Some(bytes) => out.extend_from_slice(bytes),
        None => out.resize(out.len() + length, 0),
    };
    table.read(offset, length as u64, append).inspect_err(|_| out.truncate(start))
}

fn extent_at(table: &Table, offset: u64, length: u64) -> Result<Extent, StoreError> {
    let (content, length) = table.run(offset, length, |state| if state.is_empty() { Content::Hole } else { Content::Data })?;
    Ok(Extent { length, content })
}

fn state_at(table: &Table, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
    let (state, length) = table.run(offset, length, |state: State| state)?;
    Ok(StateExtent { length, state })
}

impl Store for RamStore {
    fn size(&self) -> u64 {
        self.table.size()
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        read_at(&self.table, offset, buffer)
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        append_to(&self.table, offset, length, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.table.write(offset, data)
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.table.write_zeroes(offset, length, Space::Release)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.table.write_zeroes(offset, length, space)
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        extent_at(&self.table, offset, length)
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        state_at(&self.table, offset, length)
    }

    fn usage(&self) -> Usage {
        self.table.ledger().usage(self.table.size())
    }
}

#[cfg(test)]
mod tests;
