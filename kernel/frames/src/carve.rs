//! Makes a pool: its own tables are the first thing taken from RAM.
//!
//! For each frame between the lowest and the highest of RAM there is a link and a state byte, and for each CPU a cache; they lie in the
//! first free range that has room. Holes in RAM cost table space only.

use crate::buddy::{ABSENT, Buddy, Link, MAX_BLOCK};
use crate::cache::Cache;
use crate::frame::{FrameNumber, PAGE_SIZE};
use crate::linear::LinearMap;
use crate::pool::{Parts, Pool};
use crate::ram::Ram;
use core::ops::Range;

/// Why there is no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// No whole page of RAM.
    NoRam,
    /// No CPUs.
    NoCpus,
    /// No free range of RAM has this many bytes for the pool's own tables.
    NoRoom(usize),
}

impl core::fmt::Display for PoolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoRam => f.write_str("there is no RAM"),
            Self::NoCpus => f.write_str("there are no CPUs"),
            Self::NoRoom(bytes) => write!(f, "no free range of RAM has {bytes} bytes for the frame tables"),
        }
    }
}

impl core::error::Error for PoolError {}

/// Where the tables lie, in bytes from their start.
#[derive(Clone, Copy)]
struct Tables {
    frames: usize,
    cpus: usize,
}

impl Tables {
    const fn caches_bytes(self) -> usize {
        self.cpus * size_of::<Cache>()
    }

    const fn links_bytes(self) -> usize {
        self.frames * size_of::<Link>()
    }

    const fn bytes(self) -> usize {
        self.caches_bytes() + self.links_bytes() + self.frames
    }

    const fn pages(self) -> usize {
        self.bytes().div_ceil(PAGE_SIZE)
    }

    /// Writes empty tables and hands them out.
    ///
    /// # Safety
    /// `at` is page-aligned memory of `pages()` pages that stays and that nobody else uses.
    unsafe fn lay_out(self, at: *mut u8) -> (&'static [Cache], Buddy) {
        // SAFETY: 1. All three lie inside the caller's memory, one behind the other: caches (a multiple of 64 bytes, aligned to 64), links
        // (a multiple of 4 behind that), bytes. 2. Each is initialised before a reference is made of it; zeroes are a `Link`.
        unsafe {
            let caches = at.cast::<Cache>();
            (0..self.cpus).for_each(|cpu| caches.add(cpu).write(Cache::new()));
            let links = at.add(self.caches_bytes()).cast::<Link>();
            links.write_bytes(0, self.frames);
            let states = at.add(self.caches_bytes() + self.links_bytes());
            states.write_bytes(ABSENT, self.frames);
            (
                core::slice::from_raw_parts(caches, self.cpus),
                Buddy::new(core::slice::from_raw_parts_mut(links, self.frames), core::slice::from_raw_parts_mut(states, self.frames)),
            )
        }
    }
}

/// Pages that the tables for so many frames and CPUs take.
#[cfg(any(test, feature = "test-pool"))]
pub(crate) const fn table_pages(frames: usize, cpus: usize) -> usize {
    Tables { frames, cpus }.pages()
}

impl Pool {
    /// Makes the pool of all RAM without the reserved ranges (kernel image, modules, device tree, firmware). Partial pages of RAM are
    /// left out; a reservation takes all pages it touches. `this_cpu` says on which of the `cpus` it is called, from 0.
    ///
    /// # Safety
    /// 1. `ram` without `reserved` is RAM, mapped readable and writable by `linear` now and as long as the pool exists.
    /// 2. Nobody else uses it, and no other pool has it.
    /// 3. `linear.offset` is a multiple of the largest block (4 MiB): the heap aligns by physical addresses.
    pub unsafe fn new(
        ram: &[Range<u64>],
        reserved: &[Range<u64>],
        linear: LinearMap,
        cpus: usize,
        this_cpu: fn() -> usize,
    ) -> Result<Pool, PoolError> {
        let ram = Ram { ram, reserved };
        if cpus == 0 {
            return Err(PoolError::NoCpus);
        }
        let bounds = ram.bounds().ok_or(PoolError::NoRam)?;
        let base = bounds.start - bounds.start % MAX_BLOCK as u32;
        let tables = Tables { frames: (bounds.end - base) as usize, cpus };
        let own = ram.free().find(|range| range.len() >= tables.pages()).ok_or(PoolError::NoRoom(tables.bytes()))?;
        // SAFETY: free RAM, mapped and ours alone by the caller's promise; it is left out of what is added below.
        let (caches, mut buddy) = unsafe { tables.lay_out(linear.pointer(FrameNumber(own.start))) };
        for range in ram.free() {
            let start = if range.start == own.start { own.start + tables.pages() as u32 } else { range.start };
            buddy.add((start - base) as usize, (range.end - start) as usize);
        }
        Ok(Pool::from_parts(Parts { linear, base: FrameNumber(base), span: tables.frames, buddy, caches, this_cpu }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Purpose;
    use std::collections::BTreeSet;

    #[test]
    #[cfg_attr(miri, ignore = "many frames; the other tests take the same path")]
    fn holes_and_tables_are_never_given_out() {
        // The first hole is too small for the tables of 4000 frames (10 pages), so they are in the second.
        let layout = [(true, 5), (false, 3), (true, 2000), (false, 1), (true, 1991)];
        let pool = Pool::with_holes(&layout, 2, || 1);
        let tables = table_pages(4000, 2);
        assert_eq!(pool.total(), 5 + 2000 + 1991 - tables);
        pool.check();
        let frames: BTreeSet<usize> =
            std::iter::from_fn(|| pool.allocate(Purpose::Kernel)).map(|frame| pool.index_of(frame.into_number())).collect();
        let expected = (0..5).chain(8 + tables..2008).chain(2009..4000);
        assert_eq!(frames, expected.collect());
        assert_eq!((pool.available(), pool.in_use()), (0, pool.total()));
        pool.check();
    }

    #[test]
    fn the_span_starts_at_a_block_and_ends_with_ram() {
        let pool = Pool::with_holes(&[(false, 30), (true, 70)], 1, || 0);
        assert_eq!(pool.span(), 100);
        assert!(pool.number_at(0).phys().is_multiple_of(4 << 20));
        assert_eq!(pool.index_of(pool.number_at(99)), 99);
        assert!(!pool.contains(FrameNumber(pool.number_at(99).0 + 1)));
        assert!(!pool.contains(FrameNumber(pool.number_at(0).0 - 1)));
    }

    #[test]
    fn what_cannot_be_a_pool_is_refused() {
        let linear = LinearMap { offset: 0 };
        let all = [0x1000..0x9000, 0x5000..0x8000];
        // SAFETY: refused before any memory is touched.
        let make = |ram: &[Range<u64>], reserved: Range<u64>, cpus| unsafe { Pool::new(ram, &[reserved, 0..0], linear, cpus, || 0).err() };
        assert_eq!(make(&[], 0..0, 1), Some(PoolError::NoRam));
        assert_eq!(make(&[0x1000..0x1fff, 0x2fff..0x3000], 0..0, 1), Some(PoolError::NoRam));
        assert_eq!(make(&all, 0..0, 0), Some(PoolError::NoCpus));
        assert!(matches!(make(&all, 0..0x9000, 1), Some(PoolError::NoRoom(_))));
    }
}
