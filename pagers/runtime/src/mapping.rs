//! A memory object mapped into this task: memory that others may change at any time, and whose every access may ask a pager.
//!
//! So there are no slices of it: each access is one load or store, or a copy made of them.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use abi::Code;
use abi::call::mach::{vm_map, vm_protect};
use abi::message::Port;
use abi::vm::{Inherit, PAGE_SIZE, Protection};

use crate::{rpc, task, trap};

/// A mapped range. Dropping it unmaps it.
#[derive(Debug)]
pub struct Mapping {
    address: u64,
    size: u64,
}

impl Mapping {
    /// Maps bytes of a memory object, shared with all others that map it.
    pub fn map(object: Port, offset: u64, size: u64, protection: Protection) -> Result<Self, Code> {
        Self::map_with(object, offset, size, false, protection)
    }

    /// Maps a copy of bytes of a memory object: what it held when it was mapped.
    pub fn map_copy(object: Port, offset: u64, size: u64, protection: Protection) -> Result<Self, Code> {
        Self::map_with(object, offset, size, true, protection)
    }

    /// Anonymous memory.
    pub fn anonymous(size: u64) -> Result<Self, Code> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(Code::NO_SPACE)?;
        let address = trap::vm_allocate(task::own(), 0, size, true)?;
        Ok(Self { address, size })
    }

    fn map_with(memory_object: Port, offset: u64, size: u64, copy: bool, protection: Protection) -> Result<Self, Code> {
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(Code::NO_SPACE)?;
        let request = vm_map::Request {
            address: 0,
            size,
            mask: 0,
            anywhere: true,
            memory_object,
            offset,
            copy,
            cur_protection: protection.bits(),
            max_protection: protection.bits(),
            inheritance: Inherit::Share as u32,
        };
        let address = rpc::call(task::own(), &request)?.address;
        Ok(Self { address, size })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Bytes, whole pages.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Changes the protection of some of its pages.
    pub fn protect(&self, offset: u64, size: u64, protection: Protection) -> Result<(), Code> {
        let address = self.address + offset;
        rpc::call(task::own(), &vm_protect::Request { address, size, set_maximum: false, protection: protection.bits() }).map(drop)
    }

    /// The address of `width` bytes at an offset that is a multiple of it.
    fn at(&self, offset: u64, width: u64) -> u64 {
        let inside = offset.checked_add(width).is_some_and(|end| end <= self.size);
        assert!(inside && offset.is_multiple_of(width), "offset {offset:#x} of a mapping of {:#x} bytes", self.size);
        self.address + offset
    }

    fn u8(&self, offset: u64) -> &AtomicU8 {
        // SAFETY: 1. `at` checked the bounds; 2. the mapping lives as long as `self`; 3. all access by this type is atomic, and what other
        // tasks do isn't part of this program.
        unsafe { AtomicU8::from_ptr(self.at(offset, 1) as *mut u8) }
    }

    fn u32(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: as for u8; `at` checked the alignment too, since mappings start on a page.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4) as *mut u32) }
    }

    fn u64(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: as for u32.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8) as *mut u64) }
    }

    /// Loads a byte.
    #[must_use]
    pub fn load_u8(&self, offset: u64) -> u8 {
        self.u8(offset).load(Ordering::Relaxed)
    }

    /// Stores a byte.
    pub fn store_u8(&self, offset: u64, value: u8) {
        self.u8(offset).store(value, Ordering::Relaxed);
    }

    /// Loads a word of a protocol that orders memory by it.
    #[must_use]
    pub fn load_u32(&self, offset: u64, order: Ordering) -> u32 {
        self.u32(offset).load(order)
    }

    /// Stores a word of a protocol that orders memory by it.
    pub fn store_u32(&self, offset: u64, value: u32, order: Ordering) {
        self.u32(offset).store(value, order);
    }

    /// Loads a long word.
    #[must_use]
    pub fn load_u64(&self, offset: u64) -> u64 {
        self.u64(offset).load(Ordering::Relaxed)
    }

    /// Stores a long word.
    pub fn store_u64(&self, offset: u64, value: u64) {
        self.u64(offset).store(value, Ordering::Relaxed);
    }

    /// Adds to a long word, as one step.
    pub fn add_u64(&self, offset: u64, value: u64) -> u64 {
        self.u64(offset).fetch_add(value, Ordering::AcqRel)
    }

    /// Copies bytes out.
    pub fn read(&self, mut offset: u64, mut to: &mut [u8]) {
        while !to.is_empty() {
            let width = step(offset, to.len());
            let (now, later) = to.split_at_mut(width);
            match <&mut [u8; 8]>::try_from(&mut *now) {
                Ok(word) => *word = self.load_u64(offset).to_le_bytes(),
                Err(_) => now[0] = self.load_u8(offset),
            }
            offset += width as u64;
            to = later;
        }
    }

    /// Copies bytes in.
    pub fn write(&self, mut offset: u64, mut from: &[u8]) {
        while !from.is_empty() {
            let width = step(offset, from.len());
            let (now, later) = from.split_at(width);
            match <[u8; 8]>::try_from(now) {
                Ok(word) => self.store_u64(offset, u64::from_le_bytes(word)),
                Err(_) => self.store_u8(offset, now[0]),
            }
            offset += width as u64;
            from = later;
        }
    }
}

/// How many bytes the next access of a copy takes: eight where they are aligned, else one.
const fn step(offset: u64, left: usize) -> usize {
    if offset.is_multiple_of(8) && left >= 8 { 8 } else { 1 }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let given = trap::vm_deallocate(task::own(), self.address, self.size);
        debug_assert!(given.is_ok(), "vm_deallocate({:#x}, {:#x}): {given:?}", self.address, self.size);
    }
}
