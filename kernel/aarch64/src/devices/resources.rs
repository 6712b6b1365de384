//! What drivers need of the kernel: memory that devices reach, and their registers.

use crate::mmu::{self, Memory};
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use frames::{FrameNumber, FrameRun, PAGE_SIZE, Pool, Purpose};
use virtio::{Dma, DmaAddr, DmaPages, MapRegisters};

/// The kernel, to a driver. No IOMMU: a device sees physical addresses.
#[derive(Clone, Copy)]
pub struct Resources(pub &'static Pool);

// SAFETY: 1. A run of the pool is contiguous, page-aligned, zeroed here; PAGE_BYTES is PAGE_SIZE (checked below). 2. It stays in the
// linear map, and nobody else gets it before `free`. 3. The pool gives a frame to one owner. 4. The linear map of RAM is write-back (mmu.rs).
unsafe impl Dma for Resources {
    fn allocate(&self, count: NonZeroUsize) -> Option<DmaPages> {
        const { assert!(virtio::PAGE_BYTES == PAGE_SIZE) };
        let run = self.0.allocate_contiguous(count.get(), Purpose::Kernel)?;
        self.0.zero_run(&run);
        let first = run.into_parts().0;
        let pointer = NonNull::new(self.0.pointer(first))?;
        Some(DmaPages { device: DmaAddr::new(first.phys()), pointer })
    }

    unsafe fn free(&self, pages: DmaPages, count: NonZeroUsize) {
        let first = FrameNumber::from_phys(pages.device.bits());
        // SAFETY: `allocate` gave up exactly this run; the caller says that nobody uses it any more.
        self.0.free_run(unsafe { FrameRun::from_parts(first, count.get()) });
    }
}

// SAFETY: 1. `map_device` maps pages to pages. 2. For good. 3. As Device-nGnRE. 4. The device window holds no Rust object. It refuses RAM.
unsafe impl MapRegisters for Resources {
    fn map(&self, physical: u64, bytes: usize) -> Option<NonNull<u8>> {
        mmu::map_device(physical, bytes as u64, Memory::Device).ok()
    }
}
