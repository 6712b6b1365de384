//! The kernel heap: a `GlobalAlloc` over the pool.
//!
//! Small objects come from size classes (`slab.rs`), each with a lock of its own; larger ones are runs of exactly the pages they need.
//! Everything is taken for `Purpose::Kernel` and goes back to the pool when freed. When there is no memory the result is null: the
//! kernel uses `try_reserve` and friends.

use crate::frame::{FrameNumber, FrameRun, PAGE_SHIFT, PAGE_SIZE, Purpose};
use crate::pool::{MAX_ORDER, Pool};
use crate::slab::Class;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use spin::{Mutex, Once};

/// Sizes of small objects. Where it is not a power of two, a whole number of them fills what the header leaves of a frame.
const SIZES: [usize; CLASSES] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 672, 1008, 1344, 2016];
const CLASSES: usize = 14;

/// Alignment of the objects of a class: the first is aligned to the header, the others as their size is.
const fn alignment(size: usize) -> usize {
    let natural = 1 << size.trailing_zeros();
    if natural < crate::slab::HEADER { natural } else { crate::slab::HEADER }
}

/// Where an allocation comes from. Depends on the layout only, so that freeing finds it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The size class with this index.
    Class(usize),
    /// So many pages.
    Pages(usize),
}

impl Source {
    /// None: aligned to more than the largest block.
    fn of(layout: &Layout) -> Option<Self> {
        let fits = |&size: &usize| size >= layout.size() && alignment(size) >= layout.align();
        if let Some(class) = SIZES.iter().position(fits) {
            return Some(Self::Class(class));
        }
        // Runs are aligned to the next power of two of their size, or to the largest block.
        let pages = layout.size().max(layout.align()).div_ceil(PAGE_SIZE);
        (layout.align() <= PAGE_SIZE << MAX_ORDER).then_some(Self::Pages(pages))
    }
}

/// The kernel heap. A static; gives null until `init`.
pub struct Heap {
    pool: Once<&'static Pool>,
    classes: [Mutex<Class>; CLASSES],
    /// Pages of large allocations.
    pages: AtomicUsize,
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    /// A heap without memory.
    pub const fn new() -> Self {
        let mut classes = [const { Mutex::new(Class::new(16)) }; CLASSES];
        let mut at = 0;
        while at < CLASSES {
            classes[at] = Mutex::new(Class::new(SIZES[at]));
            at += 1;
        }
        Self { pool: Once::new(), classes, pages: AtomicUsize::new(0) }
    }

    /// From now on it lives on this pool. The first call counts.
    pub fn init(&self, pool: &'static Pool) {
        self.pool.call_once(|| pool);
    }

    /// Bytes in use, rounded up to what their objects or pages have.
    pub fn used_bytes(&self) -> usize {
        let small: usize = self.classes.iter().map(|c| c.lock().used_bytes()).sum();
        small + self.pages.load(Relaxed) * PAGE_SIZE
    }

    /// Frames the heap holds. More than `used_bytes` says where slabs are not full.
    pub fn held_frames(&self) -> usize {
        let slabs: usize = self.classes.iter().map(|c| c.lock().frames()).sum();
        slabs + self.pages.load(Relaxed)
    }

    /// Bytes the kernel can still have, if it takes everything.
    pub fn headroom(&self) -> usize {
        self.pool.get().map_or(0, |pool| pool.available() * PAGE_SIZE)
    }

    fn allocate_pages(&self, pool: &Pool, pages: usize) -> *mut u8 {
        let Some(run) = pool.allocate_contiguous(pages, Purpose::Kernel) else {
            return null_mut();
        };
        self.pages.fetch_add(pages, Relaxed);
        pool.pointer(run.into_parts().0)
    }

    /// # Safety
    /// `memory` came from `allocate_pages` with these arguments and is not used any more.
    unsafe fn free_pages(&self, pool: &Pool, memory: *mut u8, pages: usize) {
        let phys = (memory.addr() as u64).wrapping_sub(pool.linear.offset);
        let first = FrameNumber((phys >> PAGE_SHIFT) as u32);
        self.pages.fetch_sub(pages, Relaxed);
        // SAFETY: `allocate_pages` gave up exactly this run, and nobody uses it any more.
        pool.free_run(unsafe { FrameRun::from_parts(first, pages) });
    }
}

// SAFETY: 1. What is handed out is RAM that the pool gave to the heap alone: an object of a slab, which is not given out again before it
// is freed, or whole pages. 2. Size and alignment: `Source::of`. 3. Freeing finds the same source from the same layout. 4. Nothing unwinds: the
// only assertion finds memory that is already corrupt.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (Some(&pool), Some(source)) = (self.pool.get(), Source::of(&layout)) else {
            return null_mut();
        };
        match source {
            Source::Class(class) => self.classes[class].lock().allocate(pool),
            Source::Pages(pages) => self.allocate_pages(pool, pages),
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let (Some(&pool), Some(source)) = (self.pool.get(), Source::of(&layout)) else {
            return; // Nothing was ever allocated with such a layout.
        };
        match source {
            // SAFETY: the caller got it from `alloc` with this layout, so from this class, and gives it up.
            Source::Class(class) => unsafe { self.classes[class].lock().free(memory, pool) },
            // SAFETY: the same for pages.
            Source::Pages(pages) => unsafe { self.free_pages(pool, memory, pages) },
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's `size` rounded up to the alignment does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if Source::of(&new) == Source::of(&layout) {
            return memory; // The object or the last page has the room already.
        }
        // SAFETY: the new layout is not empty; both pieces have the bytes that are copied and are different pieces; the caller gives up the old one.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(memory, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "safe code, many cases")]
    fn every_layout_gets_room_and_alignment() {
        for size in (1..9000).chain([1 << 20, 5 << 20, 200 << 20]) {
            for align in [1, 2, 8, 16, 64, 128, 4096, 1 << 16] {
                let layout = Layout::from_size_align(size, align).unwrap();
                match Source::of(&layout).unwrap() {
                    Source::Class(class) => {
                        assert!(SIZES[class] >= size && alignment(SIZES[class]) >= align);
                        assert!(SIZES[class] <= 3 * size.max(8).max(align), "{layout:?} wastes memory");
                    }
                    Source::Pages(pages) => {
                        assert!(pages * PAGE_SIZE >= size && pages.next_power_of_two() * PAGE_SIZE >= align);
                    }
                }
            }
        }
        let wild = Layout::from_size_align(16, 1 << 30).unwrap();
        assert_eq!(Source::of(&wild), None);
    }
}
