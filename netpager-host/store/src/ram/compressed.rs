//! A store in RAM whose cold pages are compressed, in the background, to hold more pages than there is memory.

use std::sync::Arc;
use std::time::Instant;

use super::compressor::Compressor;
use super::table::Table;
use crate::{Extent, Space, StateExtent, Store, StoreError, Usage};

/// An export in RAM that costs less than it holds.
///
/// A page that was not touched for a while is kept compressed, and decompressed each time it is read (a few microseconds)
/// until it is written again. Compressed pages have a checksum; damage is [`StoreError::Corrupt`]. A page that is
/// reserved is never compressed, so that writing to it needs no memory; writing to any other one can fail for lack of it.
#[derive(Debug)]
pub struct CompressedStore {
    table: Arc<Table>,
    compressor: Arc<Compressor>,
}

impl CompressedStore {
    /// An export of `size` bytes in the compressor's arena, which may cost up to `quota` bytes of it and of tables; `None`
    /// if it is too large.
    #[must_use]
    pub fn new(compressor: Arc<Compressor>, size: u64, quota: u64) -> Option<Self> {
        let table = Arc::new(Table::new(compressor.arena().clone(), size, quota)?);
        compressor.add(&table);
        Some(Self { table, compressor })
    }

    /// How many bytes of its quota the export uses.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.table.ledger().used()
    }

    /// Makes a call again as long as it finds no memory and the compressor can make some. A call that was made in part is
    /// made again as a whole, which is as good.
    fn with_room(&self, call: impl Fn(&Table) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut deadline = None;
        loop {
            let result = call(&self.table);
            if self.compressor.is_short(&self.table) {
                self.compressor.nudge();
            }
            let Err(error) = result else { return Ok(()) };
            if !error.is_out_of_space() {
                return Err(error);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.compressor.patience());
            if Instant::now() >= deadline || !self.compressor.make_room(&self.table, deadline) {
                return Err(error);
            }
        }
    }
}

impl Store for CompressedStore {
    fn size(&self) -> u64 {
        self.table.size()
    }

    /// A write may wait for the compressor when memory is short.
    fn is_immediate(&self) -> bool {
        !self.compressor.is_short(&self.table)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        super::read_at(&self.table, offset, buffer)
    }

    fn append_to(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Result<(), StoreError> {
        super::append_to(&self.table, offset, length, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.with_room(|table| table.write(offset, data))
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn trim(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        self.write_zeroes(offset, length, Space::Release)
    }

    fn write_zeroes(&self, offset: u64, length: u64, space: Space) -> Result<(), StoreError> {
        self.with_room(|table| table.write_zeroes(offset, length, space))
    }

    fn extent_at(&self, offset: u64, length: u64) -> Result<Extent, StoreError> {
        super::extent_at(&self.table, offset, length)
    }

    fn state_at(&self, offset: u64, length: u64) -> Result<StateExtent, StoreError> {
        super::state_at(&self.table, offset, length)
    }

    fn usage(&self) -> Usage {
        self.table.ledger().usage(self.table.size())
    }
}

#[cfg(test)]
mod tests;
