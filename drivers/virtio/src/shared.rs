//! Memory shared with a device: the one place where it is touched.
//!
//! Rings, indirect tables, request headers and status bytes are read and written by the device at any moment. So no
//! Rust reference to their contents ever exists; every access is an atomic of the field's own width, checked to lie
//! inside the region. Ring, block and network code stay free of `unsafe` by going through [`Region`].

#![allow(unsafe_code)] // UNSAFETY: device-shared memory can only be reached by pointer; see each proof.

use crate::DmaAddr;
use core::{
    fmt,
    mem::{align_of, size_of},
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

/// The granule in which DMA memory is handed out. Independent of the kernel's page size, as virtio is.
pub const PAGE_BYTES: usize = 4096;

/// Pages both sides can reach.
#[derive(Clone, Copy, Debug)]
pub struct DmaPages {
    /// Where the device finds them.
    pub device: DmaAddr,
    /// Where the driver finds them.
    pub pointer: NonNull<u8>,
}

/// What the environment gives: memory both driver and device can reach.
///
/// # Safety
///
/// Pages returned by `allocate` must
/// 1. be `count * PAGE_BYTES` bytes, zeroed, aligned to `PAGE_BYTES` and contiguous for driver and device alike;
/// 2. stay valid for reads and writes through `pointer`, from any CPU, until passed to `free`;
/// 3. be reached by nobody else but the device;
/// 4. be mapped as ordinary write-back cacheable memory (a ring mapped as device memory works in emulators only).
pub unsafe trait Dma {
    /// Allocates `count` pages, or says that there are none.
    fn allocate(&self, count: NonZeroUsize) -> Option<DmaPages>;

    /// Takes pages back.
    ///
    /// # Safety
    ///
    /// `pages` and `count` must be those of one `allocate` of this environment, not freed since, and no device may
    /// touch them any more.
    unsafe fn free(&self, pages: DmaPages, count: NonZeroUsize);
}

/// There was no contiguous memory of the wanted size for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no contiguous DMA memory of {bytes} bytes")]
pub struct OutOfMemory {
    pub bytes: usize,
}

/// DMA memory owned by a driver, given back on drop.
///
/// The device must have been stopped before a region it was told of is dropped; a driver that cannot stop its device
/// [leaks](Region::leak) the region instead.
pub struct Region<D: Dma> {
    pages: DmaPages,
    count: NonZeroUsize,
    leaked: bool,
    dma: D,
}

macro_rules! accessors {
    ($load:ident, $store:ident, $integer:ty, $atomic:ty) => {
        /// Reads a little-endian field. Panics if it is not inside the region or not aligned.
        pub fn $load(&self, offset: usize, ordering: Ordering) -> $integer {
            <$integer>::from_le(self.cell::<$atomic>(offset).load(ordering))
        }

        /// Writes a little-endian field. Panics if it is not inside the region or not aligned.
        pub fn $store(&self, offset: usize, value: $integer, ordering: Ordering) {
            self.cell::<$atomic>(offset).store(value.to_le(), ordering);
        }
    };
}

impl<D: Dma> Region<D> {
    /// Allocates zeroed memory of at least `bytes` bytes.
    pub fn allocate(dma: D, bytes: usize) -> Result<Self, OutOfMemory> {
        let count = NonZeroUsize::new(bytes.div_ceil(PAGE_BYTES)).ok_or(OutOfMemory { bytes })?;
        let pages = dma.allocate(count).ok_or(OutOfMemory { bytes })?;
        assert!(pages.pointer.addr().get().is_multiple_of(PAGE_BYTES), "the environment broke its promise");
        Ok(Self { pages, count, leaked: false, dma })
    }

    /// Bytes in the region.
    #[expect(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.count.get() * PAGE_BYTES
    }

    /// The address by which the device knows the byte at `offset`.
    pub fn device_address(&self, offset: usize) -> DmaAddr {
        assert!(offset < self.len(), "offset {offset} outside a region of {} bytes", self.len());
        DmaAddr::new(self.pages.device.bits() + offset as u64)
    }

    /// Never gives the memory back, because the device may still write to it.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    accessors!(load_u8, store_u8, u8, AtomicU8);
    accessors!(load_u16, store_u16, u16, AtomicU16);
    accessors!(load_u32, store_u32, u32, AtomicU32);
    accessors!(load_u64, store_u64, u64, AtomicU64);

    fn cell<A: AtomicCell>(&self, offset: usize) -> &A {
        let inside = offset.checked_add(size_of::<A>()).is_some_and(|end| end <= self.len());
        assert!(inside && offset.is_multiple_of(align_of::<A>()), "bad field offset {offset}");
        // SAFETY:
        // 1. `Dma` promises `len()` valid bytes from a page-aligned pointer, until this region is dropped; the
        //    reference borrows the region, so it cannot outlive them.
        // 2. The assertions above put the whole field inside, aligned for `A`.
        // 3. `A` is an atomic integer (`AtomicCell` is sealed in this file), for which every bit pattern is valid and
        //    shared mutation is allowed; no other kind of reference to this memory is ever made, and the device's
        //    accesses are outside the abstract machine and single-copy atomic per field.
        unsafe { self.pages.pointer.byte_add(offset).cast::<A>().as_ref() }
    }
}

/// The integers a field may be.
trait AtomicCell {}
impl AtomicCell for AtomicU8 {}
impl AtomicCell for AtomicU16 {}
impl AtomicCell for AtomicU32 {}
impl AtomicCell for AtomicU64 {}

impl<D: Dma> Drop for Region<D> {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: 1. pages and count come from `allocate` on this very `dma`, and drop runs once. 2. The owner
            // stopped the device before letting go of the region (documented on the type), or leaked it.
            unsafe { self.dma.free(self.pages, self.count) }
        }
    }
}

// SAFETY: the region owns its memory; all access is by atomics, for which it does not matter which CPU performs them,
// and `Dma` promises that the pointer is valid on every CPU.
unsafe impl<D: Dma + Send> Send for Region<D> {}

// SAFETY: as above; `&Region` only gives atomic access.
unsafe impl<D: Dma + Sync> Sync for Region<D> {}

impl<D: Dma> fmt::Debug for Region<D> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Region").field("device", &self.pages.device).field("bytes", &self.len()).finish()
    }
}
