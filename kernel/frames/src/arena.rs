//! Memory for host tests: a pool over a piece of the host's heap.
//!
//! It is stricter than RAM: frames start out full of garbage, so that a forgotten `zero` shows, and each pool has physical addresses of
//! its own, so that a frame given to the wrong pool is found.

use crate::carve::table_pages;
use crate::frame::{Frame, FrameNumber, PAGE_SIZE};
use crate::linear::LinearMap;
use crate::pool::Pool;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::vec::Vec;

/// What frames of test pools contain at first.
const GARBAGE: u8 = 0xDB;
/// Pools start at multiples of this many frames (4 MiB), physically and in the host's memory.
const ALIGNMENT: u32 = 1024;

/// Memory of the host, as aligned as the largest block.
pub(crate) struct Arena {
    memory: *mut u8,
    layout: Layout,
}

// SAFETY: it owns its memory and does nothing with it but free it.
unsafe impl Send for Arena {}
// SAFETY: nothing can be done with a shared arena.
unsafe impl Sync for Arena {}

impl Arena {
    fn new(pages: usize) -> Self {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, ALIGNMENT as usize * PAGE_SIZE).expect("a size of memory");
        // SAFETY: the size is not zero: a pool has at least a page of tables.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: it is as large as the layout says and nobody else has it.
        unsafe { memory.write_bytes(GARBAGE, layout.size()) };
        Self { memory, layout }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; the pool, whose last field this is, is gone.
        unsafe { dealloc(self.memory, self.layout) }
    }
}

/// Frame numbers for an arena that no living pool has (4 billion frames go round before one is used again).
fn unused_numbers(pages: usize) -> FrameNumber {
    static NEXT: AtomicU32 = AtomicU32::new(0x4_0000);
    let wanted = (pages as u32).next_multiple_of(ALIGNMENT) + ALIGNMENT;
    FrameNumber(NEXT.fetch_add(wanted, Relaxed))
}

impl Pool {
    /// Reads a frame's bytes by its number, whoever owns it: what a device or a fake CPU does.
    pub fn peek(&self, frame: FrameNumber, offset: usize, bytes: &mut [u8]) {
        self.read(&Frame::owned(frame), offset, bytes);
    }

    /// Writes a frame's bytes by its number, whoever owns it: what a device or a fake CPU does.
    pub fn poke(&self, frame: FrameNumber, offset: usize, bytes: &[u8]) {
        self.write(&Frame::owned(frame), offset, bytes);
    }

    /// A pool of exactly `pages` frames in the host's memory, for one CPU. Frames lose their memory when the pool is dropped.
    pub fn for_tests(pages: usize) -> Pool {
        Self::for_smp_tests(pages, 1, || 0)
    }

    /// The same for several CPUs.
    pub fn for_smp_tests(pages: usize, cpus: usize, this_cpu: fn() -> usize) -> Pool {
        let mut all = pages + 1;
        while all - table_pages(all, cpus) < pages {
            all += 1;
        }
        Self::with_holes(&[(true, all)], cpus, this_cpu)
    }

    /// Pages of an arena, in order: RAM or reserved.
    pub(crate) fn with_holes(layout: &[(bool, usize)], cpus: usize, this_cpu: fn() -> usize) -> Pool {
        let pages = layout.iter().map(|&(_, pages)| pages).sum();
        let arena = Arena::new(pages);
        let start = unused_numbers(pages).phys();
        let linear = LinearMap { offset: (arena.memory.expose_provenance() as u64).wrapping_sub(start) };
        let mut at = start;
        let mut reserved = Vec::new();
        for &(ram, pages) in layout {
            let end = at + (pages * PAGE_SIZE) as u64;
            if !ram {
                reserved.push(at..end);
            }
            at = end;
        }
        // SAFETY: the arena is memory of this size at these addresses, nobody else has it, and the pool keeps it.
        let pool = unsafe { Pool::new(core::slice::from_ref(&(start..at)), &reserved, linear, cpus, this_cpu) };
        let mut pool = pool.expect("an arena has RAM and room for tables");
        pool.arena = Some(arena);
        pool
    }
}
