//! The pages of 2 MiB of an export. All changes to them happen under the lock its [`super::RamStore`] keeps it in.

use super::arena::{Arena, PAGE_BYTES, Slot};
use super::budget::Budget;
use crate::error::StoreError;
use crate::zero::is_zero;

/// Pages in a leaf.
pub(super) const LEAF_PAGES: usize = 512;
/// Bytes of an export that a leaf covers.
pub(super) const LEAF_BYTES: usize = LEAF_PAGES * PAGE_BYTES;

/// One page that is kept. A page that is not kept is zeroes.
#[derive(Debug)]
struct Page {
    slot: Slot,
    /// The client asked for the space, so zeroes do not give it up.
    reserved: bool,
}

/// An array of pages, and how many of them are kept.
#[derive(Debug)]
pub(super) struct Leaf {
    pages: [Option<Page>; LEAF_PAGES],
    kept: usize,
}

/// What a leaf needs from outside to keep or give up a page.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) arena: &'a Arena,
    pub(super) budget: &'a Budget,
}

impl Memory<'_> {
    fn take(self) -> Result<Slot, StoreError> {
        self.budget.charge(PAGE_BYTES as u64)?;
        self.arena.take().inspect_err(|_| self.budget.refund(PAGE_BYTES as u64))
    }

    fn give_back(self, page: Page) {
        self.arena.give_back(page.slot);
        self.budget.refund(PAGE_BYTES as u64);
    }
}

impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self { pages: [const { None }; LEAF_PAGES], kept: 0 })
    }

    /// Whether no page is kept, so that the leaf is not needed.
    pub(super) const fn is_empty(&self) -> bool {
        self.kept == 0
    }

    /// Copies from page `index`, beginning `start` bytes into it.
    pub(super) fn read(&self, index: usize, start: usize, buffer: &mut [u8], arena: &Arena) {
        match &self.pages[index] {
            Some(page) => arena.read(&page.slot, |bytes| buffer.copy_from_slice(&bytes[start..start + buffer.len()])),
            None => buffer.fill(0),
        }
    }

    /// Copies into page `index`, beginning `start` bytes into it. A page that becomes all zeroes is given up.
    pub(super) fn write(&mut self, index: usize, start: usize, data: &[u8], memory: Memory<'_>) -> Result<(), StoreError> {
        let zero = is_zero(data);
        let Some(page) = &self.pages[index] else {
            return if zero { Ok(()) } else { self.write_new(index, start, data, memory) };
        };
        let now_zero = memory.arena.write(&page.slot, |bytes| {
            bytes[start..start + data.len()].copy_from_slice(data);
            zero && is_zero(bytes)
        });
        if now_zero && !page.reserved {
            self.give_up(index, memory);
        }
        Ok(())
    }

    fn write_new(&mut self, index: usize, start: usize, data: &[u8], memory: Memory<'_>) -> Result<(), StoreError> {
        let slot = memory.take()?;
        memory.arena.write(&slot, |bytes| {
            // The slot still holds what someone else kept in it.
            bytes[..start].fill(0);
            bytes[start..start + data.len()].copy_from_slice(data);
            bytes[start + data.len()..].fill(0);
        });
        self.keep(index, Page { slot, reserved: false });
        Ok(())
    }

    /// Zeroes part of page `index`, and gives the page up if nothing else is in it.
    pub(super) fn zero(&mut self, index: usize, start: usize, length: usize, memory: Memory<'_>) {
        let Some(page) = &mut self.pages[index] else { return };
        if length == PAGE_BYTES {
            return self.give_up(index, memory);
        }
        let now_zero = memory.arena.write(&page.slot, |bytes| {
            bytes[start..start + length].fill(0);
            is_zero(bytes)
        });
        if now_zero && !page.reserved {
            self.give_up(index, memory);
        }
    }

    /// Zeroes part of page `index` and makes sure that the page can be written to.
    pub(super) fn reserve(&mut self, index: usize, start: usize, length: usize, memory: Memory<'_>) -> Result<(), StoreError> {
        if let Some(page) = &mut self.pages[index] {
            memory.arena.write(&page.slot, |bytes| bytes[start..start + length].fill(0));
            page.reserved = true;
            return Ok(());
        }
        let slot = memory.take()?;
        memory.arena.write(&slot, |bytes| bytes.fill(0));
        self.keep(index, Page { slot, reserved: true });
        Ok(())
    }

    /// Gives up every page.
    pub(super) fn clear(&mut self, memory: Memory<'_>) {
        (0..LEAF_PAGES).for_each(|index| self.give_up(index, memory));
    }

    /// Whether page `index` is kept.
    pub(super) const fn keeps(&self, index: usize) -> bool {
        self.pages[index].is_some()
    }

    fn keep(&mut self, index: usize, page: Page) {
        self.pages[index] = Some(page);
        self.kept += 1;
    }

    fn give_up(&mut self, index: usize, memory: Memory<'_>) {
        if let Some(page) = self.pages[index].take() {
            self.kept -= 1;
            memory.give_back(page);
        }
    }

    /// Says whether the count is right; returns it.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        assert_eq!(self.pages.iter().flatten().count(), self.kept);
        self.kept
    }
}
