//! The fake task's memory: real memory of the host, counted by pages.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use abi::Code;
use abi::vm::PAGE_SIZE;

/// What freed pages hold, so that whoever still reads them notices.
const POISON: u8 = 0xDD;

/// All blocks ever allocated and not yet freed whole, by address.
#[derive(Default)]
pub(super) struct Memory {
    blocks: BTreeMap<u64, Block>,
}

struct Block {
    layout: Layout,
    /// For each page: is it still the task's?
    live: Vec<bool>,
}

impl Memory {
    pub(super) fn allocate(&mut self, size: u64) -> Result<u64, Code> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).filter(|size| *size != 0).ok_or(Code::NO_SPACE)?;
        let layout = Layout::from_size_align(size as usize, PAGE_SIZE as usize).map_err(|_| Code::NO_SPACE)?;
        // SAFETY: the layout isn't empty.
        let address = unsafe { alloc_zeroed(layout) } as u64;
        if address == 0 {
            return Err(Code::RESOURCE_SHORTAGE);
        }
        self.blocks.insert(address, Block { layout, live: vec![true; (size / PAGE_SIZE) as usize] });
        Ok(address)
    }

    /// Frees the pages that hold any byte of the range.
    pub(super) fn deallocate(&mut self, address: u64, size: u64) -> Result<(), Code> {
        if size == 0 {
            return Ok(());
        }
        let (start, block) = self.blocks.range_mut(..=address).next_back().expect("freeing memory that was never allocated");
        let start = *start;
        let first = ((address - start) / PAGE_SIZE) as usize;
        let end = (address + size - start).div_ceil(PAGE_SIZE) as usize;
        let pages = block.live.get_mut(first..end).expect("freeing memory past the end of what was allocated");
        assert!(pages.iter().all(|live| *live), "memory is freed twice");
        pages.fill(false);
        let from = (start + first as u64 * PAGE_SIZE) as *mut u8;
        // SAFETY: the pages are inside the block, which is still allocated, and nobody may use them any more.
        unsafe { from.write_bytes(POISON, (end - first) * PAGE_SIZE as usize) };
        if !block.live.contains(&true) {
            let layout = block.layout;
            self.blocks.remove(&start);
            // SAFETY: allocated with this layout, and removed from the list.
            unsafe { dealloc(start as *mut u8, layout) };
        }
        Ok(())
    }

    /// New memory with these bytes.
    pub(super) fn copyout(&mut self, bytes: &[u8]) -> u64 {
        if bytes.is_empty() {
            return 0;
        }
        let address = self.allocate(bytes.len() as u64).expect("the host has memory");
        // SAFETY: freshly allocated, and at least so long.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        address
    }

    /// A copy of bytes that a message names.
    pub(super) fn copyin(address: u64, size: u64) -> Vec<u8> {
        if size == 0 {
            return Vec::new();
        }
        // SAFETY: the sender is code of this process that has the memory as a slice; what it made up is a mistake that the host punishes.
        unsafe { core::slice::from_raw_parts(address as *const u8, size as usize) }.to_vec()
    }

    /// Pages that are the task's.
    pub(super) fn pages(&self) -> usize {
        self.blocks.values().flat_map(|block| &block.live).filter(|live| **live).count()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (start, block) in &self.blocks {
            // SAFETY: allocated with this layout; the task that used it is over.
            unsafe { dealloc(*start as *mut u8, block.layout) };
        }
    }
}
