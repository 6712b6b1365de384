//! Memory that driver and device share in a test.
//!
//! Device addresses are unlike host addresses and never handed out twice, with gaps between allocations: an address
//! of the wrong kind, an access past the end and one after freeing all panic.

#![allow(unsafe_code)] // UNSAFETY: stands in for the environment, which owns raw memory; see each proof.

use crate::{Dma, DmaAddr, DmaPages, PAGE_BYTES};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::RefCell,
    collections::BTreeMap,
    num::NonZeroUsize,
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU8, AtomicU16, Ordering},
};

const FIRST_ADDRESS: u64 = 0x00d0_0000_0000;

/// All memory of a test. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Memory(Rc<RefCell<Blocks>>);

#[derive(Debug)]
struct Blocks {
    live: BTreeMap<u64, (NonNull<u8>, usize)>,
    next: u64,
    /// How many more allocations succeed.
    allowance: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    pub fn new() -> Self {
        let blocks = Blocks { live: BTreeMap::new(), next: FIRST_ADDRESS, allowance: usize::MAX };
        Self(Rc::new(RefCell::new(blocks)))
    }

    /// Lets only so many more allocations succeed.
    pub fn allow(&self, allocations: usize) {
        self.0.borrow_mut().allowance = allocations;
    }

    /// Allocations that were not freed.
    pub fn live(&self) -> usize {
        self.0.borrow().live.len()
    }

    /// Memory for data; it lives as long as the whole.
    pub fn buffer(&self, bytes: usize) -> DmaAddr {
        let pages = NonZeroUsize::new(bytes.div_ceil(PAGE_BYTES)).expect("a buffer of no bytes");
        self.allocate(pages).expect("host memory").device
    }

    /// Reads bytes as the device does.
    pub fn read(&self, addr: DmaAddr, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|offset| self.byte(addr.bits() + offset as u64, |cell| cell.load(Ordering::Relaxed))).collect()
    }

    /// Writes bytes as the device does.
    pub fn write(&self, addr: DmaAddr, bytes: &[u8]) {
        for (offset, &byte) in bytes.iter().enumerate() {
            self.byte(addr.bits() + offset as u64, |cell| cell.store(byte, Ordering::Relaxed));
        }
    }

    pub fn read_array<const N: usize>(&self, addr: DmaAddr) -> [u8; N] {
        self.read(addr, N).try_into().expect("as many as were asked for")
    }

    pub(crate) fn load_u16(&self, addr: u64, ordering: Ordering) -> u16 {
        u16::from_le(self.half(addr, |cell| cell.load(ordering)))
    }

    pub(crate) fn store_u16(&self, addr: u64, value: u16, ordering: Ordering) {
        self.half(addr, |cell| cell.store(value.to_le(), ordering));
    }

    fn byte<R>(&self, addr: u64, access: impl FnOnce(&AtomicU8) -> R) -> R {
        let pointer = self.find(addr, 1);
        // SAFETY: `find` gives a pointer into a live block, and nobody holds a plain reference into one.
        access(unsafe { pointer.cast::<AtomicU8>().as_ref() })
    }

    fn half<R>(&self, addr: u64, access: impl FnOnce(&AtomicU16) -> R) -> R {
        assert!(addr.is_multiple_of(2), "misaligned index at {addr:#x}");
        let pointer = self.find(addr, 2);
        // SAFETY: as for `byte`; blocks are page-aligned, so an even device address is an even pointer.
        access(unsafe { pointer.cast::<AtomicU16>().as_ref() })
    }

    fn find(&self, addr: u64, bytes: usize) -> NonNull<u8> {
        let blocks = self.0.borrow();
        let (base, &(pointer, length)) =
            blocks.live.range(..=addr).next_back().unwrap_or_else(|| panic!("the device has nothing at {addr:#x}"));
        let offset = usize::try_from(addr - base).expect("a block address");
        assert!(offset + bytes <= length, "the device was not given {addr:#x}+{bytes}");
        // SAFETY: the offset is inside the block, as just checked.
        unsafe { pointer.byte_add(offset) }
    }
}

fn layout(count: NonZeroUsize) -> Layout {
    Layout::from_size_align(count.get() * PAGE_BYTES, PAGE_BYTES).expect("a sane size")
}

// SAFETY: `alloc_zeroed` with this layout gives zeroed, page-aligned, contiguous memory that stays valid until
// deallocated; the device side of the model reaches it by atomics only; it is ordinary memory.
unsafe impl Dma for Memory {
    fn allocate(&self, count: NonZeroUsize) -> Option<DmaPages> {
        let mut blocks = self.0.borrow_mut();
        blocks.allowance = blocks.allowance.checked_sub(1)?;
        // SAFETY: the layout is not of size zero.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout(count)) })?;
        let device = blocks.next;
        let bytes = layout(count).size();
        blocks.next += bytes as u64 + PAGE_BYTES as u64;
        blocks.live.insert(device, (pointer, bytes));
        Some(DmaPages { device: DmaAddr::new(device), pointer })
    }

    unsafe fn free(&self, pages: DmaPages, count: NonZeroUsize) {
        let (pointer, bytes) = self.0.borrow_mut().live.remove(&pages.device.bits()).expect("freed once");
        assert_eq!((pointer, bytes), (pages.pointer, layout(count).size()), "freed as it was allocated");
        // SAFETY: it was in the table of live blocks, so it was allocated with this layout and not freed.
        unsafe { dealloc(pointer.as_ptr(), layout(count)) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for (_, (pointer, bytes)) in core::mem::take(&mut self.live) {
            let count = NonZeroUsize::new(bytes / PAGE_BYTES).expect("no empty blocks");
            // SAFETY: still in the table, so allocated with this layout; the last handle is gone.
            unsafe { dealloc(pointer.as_ptr(), layout(count)) }
        }
    }
}
