//! Removal of translations, in batches: many entries broken, one invalidation sequence, then the news to the caller without the lock.
//!
//! Tables that became empty are unlinked in the same sequence and freed after it; otherwise a task could fill memory with empty tables by
//! touching and unmapping one page in every 2 MiB of its 128 TiB. Only a remove that leaves a table empty looks at it.

use crate::flush::{BATCH, Flush};
use crate::geometry::{ENTRIES, LEAF, USER_END, index, next};
use crate::hardware::Hardware;
use crate::pte::Pte;
use crate::tables::{Slot, Tables};
use frames::FrameNumber;

/// Tables that are unlinked in one sequence; a walk adds up to three (levels 1 to 3) before it looks.
const UNLINKED: usize = 16;
/// Tables that are looked at before the lock is released for a moment.
const VISITS: usize = 64;

/// What one sequence removes.
struct Batch {
    flush: Flush,
    pages: [(u64, FrameNumber); BATCH],
    page_count: usize,
    tables: [FrameNumber; UNLINKED],
    table_addresses: [u64; UNLINKED],
    table_count: usize,
    visits: usize,
}

impl Batch {
    const fn new() -> Self {
        Self {
            flush: Flush::new(),
            pages: [(0, FrameNumber(0)); BATCH],
            page_count: 0,
            tables: [FrameNumber(0); UNLINKED],
            table_addresses: [0; UNLINKED],
            table_count: 0,
            visits: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.page_count == BATCH || self.table_count + LEAF as usize > UNLINKED || self.visits >= VISITS
    }

    fn page(&mut self, address: u64, frame: FrameNumber) {
        self.flush.page(address);
        self.pages[self.page_count] = (address, frame);
        self.page_count += 1;
    }

    fn table(&mut self, address: u64, table: FrameNumber) {
        self.flush.table();
        self.table_addresses[self.table_count] = address;
        self.tables[self.table_count] = table;
        self.table_count += 1;
    }
}

impl<H: Hardware> Tables<H> {
    /// Removes all translations in `start..end`. `removed` is told of each page after no CPU can use it, without the lock held.
    pub fn remove(&self, start: u64, end: u64, removed: &mut dyn FnMut(u64, FrameNumber)) {
        let end = end.min(USER_END);
        let mut at = Some(start);
        while let Some(start) = at {
            let mut batch = Batch::new();
            {
                let _held = self.lock.lock();
                at = self.break_some(self.root, 0, start, end, &mut batch);
                let Batch { flush, table_addresses, table_count, .. } = batch;
                flush.finish(&self.hardware, &self.context, &table_addresses[..table_count]);
            }
            batch.tables[..batch.table_count].iter().for_each(|&table| self.hardware.free_table(table));
            batch.pages[..batch.page_count].iter().for_each(|&(address, frame)| removed(address, frame));
        }
    }

    /// Breaks entries of `start..end` in a table of this level and below until the batch is full; then says where to go on.
    fn break_some(&self, table: FrameNumber, level: u32, start: u64, end: u64, batch: &mut Batch) -> Option<u64> {
        batch.visits += 1;
        let mut at = start;
        while at < end {
            let slot = Slot { table, index: index(level, at) };
            let entry = self.load(slot);
            let after = next(level, at);
            if entry.is_valid() {
                if batch.is_full() {
                    return Some(at);
                }
                if level == LEAF {
                    self.hardware.exchange(table, slot.index, Pte::INVALID.0);
                    batch.page(at, entry.frame());
                } else {
                    let rest = self.break_some(entry.frame(), level + 1, at, after.min(end), batch);
                    if rest.is_some() {
                        return rest;
                    }
                    self.unlink_if_empty(slot, entry.frame(), at, batch);
                }
            }
            at = after;
        }
        None
    }

    fn unlink_if_empty(&self, slot: Slot, table: FrameNumber, address: u64, batch: &mut Batch) {
        let is_empty = (0..ENTRIES).all(|index| !self.load(Slot { table, index }).is_valid());
        if is_empty {
            self.hardware.exchange(slot.table, slot.index, Pte::INVALID.0);
            batch.table(address, table);
        }
    }
}
