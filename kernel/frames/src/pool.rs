//! The pool: hands out frames and runs of frames, and takes them back.
//!
//! Single frames come from the CPU's own cache, which is filled and emptied in batches; runs and batches come from the buddy under one
//! lock. The number of free frames is kept where it can be read without a lock: it changes once a batch, so that looking at it on each
//! allocation is cheap. Neighbours: `carve.rs` makes the pool, `contents.rs` looks into frames, `heap.rs` lives on it.

use crate::buddy::{Buddy, MAX_BLOCK};
use crate::cache::{CAPACITY, Cache, Cached};
use crate::frame::{Frame, FrameNumber, FrameRun, Purpose};
use crate::linear::LinearMap;
use crate::reserves::{BadReserves, Levels, Reserves};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use spin::{Mutex, MutexGuard};

pub use crate::buddy::MAX_ORDER;

/// A function of the machine that zeroes the page at an address.
pub(crate) type ZeroPage = unsafe fn(*mut u8);
/// A function of the machine that copies a page from the first address to the second.
pub(crate) type CopyPage = unsafe fn(*const u8, *mut u8);

/// All of RAM that nobody had at boot.
pub struct Pool {
    pub(crate) linear: LinearMap,
    pub(crate) zero_page: Option<ZeroPage>,
    pub(crate) copy_page: Option<CopyPage>,
    base: FrameNumber,
    span: usize,
    total: usize,
    this_cpu: fn() -> usize,
    caches: &'static [Cache],
    /// Frames a cache holds at most, and half of which it exchanges with the buddy at a time.
    capacity: usize,
    levels: Levels,
    /// The buddy's free frames, readable without its lock.
    free: AtomicUsize,
    buddy: Mutex<Buddy>,
    /// The memory behind it, where that is not RAM. Last: the tables above lie in it.
    #[cfg(any(test, feature = "test-pool"))]
    pub(crate) arena: Option<crate::arena::Arena>,
}

/// What `carve.rs` made.
pub(crate) struct Parts {
    pub linear: LinearMap,
    pub base: FrameNumber,
    pub span: usize,
    pub buddy: Buddy,
    pub caches: &'static [Cache],
    pub this_cpu: fn() -> usize,
}

impl Pool {
    pub(crate) fn from_parts(parts: Parts) -> Self {
        let total = parts.buddy.free_frames();
        Self {
            linear: parts.linear,
            zero_page: None,
            copy_page: None,
            base: parts.base,
            span: parts.span,
            total,
            this_cpu: parts.this_cpu,
            capacity: (total / (32 * parts.caches.len())).clamp(4, CAPACITY),
            caches: parts.caches,
            levels: Levels::new(Reserves::for_frames(total)),
            free: AtomicUsize::new(total),
            buddy: Mutex::new(parts.buddy),
            #[cfg(any(test, feature = "test-pool"))]
            arena: None,
        }
    }

    /// Zeroes pages with a function of the machine from now on (`dc zva`).
    ///
    /// # Safety
    /// `zero` stores zeroes to all of the page at the address it is given and accesses nothing else; pages are normal memory.
    pub unsafe fn with_zero(mut self, zero: unsafe fn(*mut u8)) -> Self {
        self.zero_page = Some(zero);
        self
    }

    /// Copies pages with a function of the machine from now on.
    ///
    /// # Safety
    /// `copy` loads the page at its first argument, stores it to the page at its second, and accesses nothing else, in assembly: others may access both.
    pub unsafe fn with_copy(mut self, copy: unsafe fn(*const u8, *mut u8)) -> Self {
        self.copy_page = Some(copy);
        self
    }

    /// One frame with unspecified contents, unless that would go deeper into the reserves than `purpose` may.
    pub fn allocate(&self, purpose: Purpose) -> Option<Frame> {
        if !self.permits(purpose, 1) {
            return None;
        }
        let index = self.allocate_cached().or_else(|| self.with_buddy(|buddy| buddy.allocate(0)))?;
        Some(Frame::owned(self.number_at(index)))
    }

    /// Takes a frame back. Whoever could reach it by a translation or a device no longer can.
    pub fn free(&self, frame: Frame) {
        let index = self.index_of(frame.into_number());
        let Some(mut cache) = self.own_cache() else {
            return self.lock_buddy(|buddy| buddy.free(index, 0));
        };
        if cache.len() >= self.capacity {
            self.empty(&mut cache, self.capacity / 2);
        }
        cache.push(index);
    }

    /// 2^`order` frames, physically contiguous and aligned to their size. None if there is no such block (see [`MAX_ORDER`]) or the
    /// reserves forbid it.
    pub fn allocate_run(&self, order: usize, purpose: Purpose) -> Option<FrameRun> {
        if order > MAX_ORDER || !self.permits(purpose, 1 << order) {
            return None;
        }
        let first = self.with_buddy(|buddy| buddy.allocate(order))?;
        Some(FrameRun::owned(self.number_at(first), 1 << order))
    }

    /// Exactly `pages` frames, physically contiguous, aligned to the next power of two of their number or to the largest block. More
    /// than the largest block is found only while much memory is free, and slowly: for tables made at boot.
    pub fn allocate_contiguous(&self, pages: usize, purpose: Purpose) -> Option<FrameRun> {
        if pages == 0 || !self.permits(purpose, pages) {
            return None;
        }
        let first = self.with_buddy(|buddy| {
            let (first, taken) = if pages <= MAX_BLOCK {
                let taken = pages.next_power_of_two();
                (buddy.allocate(taken.ilog2() as usize)?, taken)
            } else {
                let blocks = pages.div_ceil(MAX_BLOCK);
                (buddy.allocate_blocks(blocks)?, blocks * MAX_BLOCK)
            };
            buddy.free_range(first + pages, taken - pages);
            Some(first)
        })?;
        Some(FrameRun::owned(self.number_at(first), pages as u32))
    }

    /// Takes a run back.
    pub fn free_run(&self, run: FrameRun) {
        let (first, pages) = run.into_parts();
        let first = self.index_of(first);
        assert!(first + pages <= self.span, "a run of another pool");
        self.lock_buddy(|buddy| buddy.free_range(first, pages));
    }

    /// Frames that are free, whoever may have them; while others allocate and free, about so many.
    pub fn available(&self) -> usize {
        let cached: usize = self.caches.iter().map(Cache::count).sum();
        self.free.load(Relaxed) + cached
    }

    /// Frames the pool had at first.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Frames that are given out.
    pub fn in_use(&self) -> usize {
        self.total.saturating_sub(self.available())
    }

    /// Whether page-out should start.
    pub fn is_low(&self) -> bool {
        self.is_below(self.levels.low.load(Relaxed))
    }

    /// Whether page-out should go on.
    pub fn below_high(&self) -> bool {
        self.is_below(self.levels.high.load(Relaxed))
    }

    /// The reserves in force.
    pub fn reserves(&self) -> Reserves {
        self.levels.get()
    }

    /// Sets the reserves, which were computed from the size of RAM.
    pub fn set_reserves(&self, reserves: Reserves) -> Result<(), BadReserves> {
        self.levels.set(reserves, self.total)
    }

    /// Size of a table with one entry for each possible frame: `index_of` is below it.
    pub fn span(&self) -> usize {
        self.span
    }

    /// Whether a number is between the lowest and the highest frame of RAM.
    pub fn contains(&self, frame: FrameNumber) -> bool {
        frame.0 >= self.base.0 && ((frame.0 - self.base.0) as usize) < self.span
    }

    /// A frame's place in a table of all frames.
    ///
    /// # Panics
    /// If the pool does not contain it.
    pub fn index_of(&self, frame: FrameNumber) -> usize {
        assert!(self.contains(frame), "{frame:?} is not a frame of this pool");
        (frame.0 - self.base.0) as usize
    }

    /// The frame with this place in a table of all frames.
    ///
    /// # Panics
    /// If `index` is not below `span`.
    pub fn number_at(&self, index: usize) -> FrameNumber {
        assert!(index < self.span, "{index} is not the index of a frame");
        FrameNumber(self.base.0 + index as u32)
    }

    /// Where a frame is mapped. To have the address is no right to use it: translation tables and device memory are accessed by it,
    /// contents of pages by `read`, `write`, `zero` and `copy`.
    pub fn pointer(&self, frame: FrameNumber) -> *mut u8 {
        self.linear.pointer(frame)
    }

    /// [`Pool::pointer`] of a frame that must be in the pool.
    pub(crate) fn checked_pointer(&self, frame: FrameNumber) -> *mut u8 {
        assert!(self.contains(frame), "a frame of another pool");
        self.linear.pointer(frame)
    }

    /// Gives all cached frames back to the buddy, where they can merge.
    pub fn empty_caches(&self) {
        for cache in self.caches.iter().filter(|cache| cache.count() > 0) {
            self.empty(&mut cache.lock(), CAPACITY);
        }
    }

    /// Asserts all invariants. Slow; nobody may use the pool meanwhile.
    pub fn check(&self) {
        self.buddy.lock().check();
        let mut cached = 0;
        for cache in self.caches {
            let cache = cache.lock();
            self.buddy.lock().check_in_use(cache.frames());
            assert!(cache.len() <= self.capacity, "a cache is too full");
            cached += cache.len();
        }
        let free = self.buddy.lock().free_frames();
        assert_eq!(free, self.free.load(Relaxed), "the copy of the free count is stale");
        assert_eq!(free + cached, self.available());
        assert!(free + cached <= self.total, "more frames are free than there are");
    }

    /// Whether `pages` can be taken and `purpose`'s reserve is left. CPUs that ask at the same moment may go below it by as many frames as they take.
    fn permits(&self, purpose: Purpose, pages: usize) -> bool {
        let kept = match purpose {
            Purpose::User => self.levels.user.load(Relaxed),
            Purpose::Pager => self.levels.pager.load(Relaxed),
            Purpose::Kernel => 0,
        };
        !self.is_below(kept.saturating_add(pages))
    }

    /// Whether fewer frames are available; looks at the caches of all CPUs only when it must.
    fn is_below(&self, frames: usize) -> bool {
        self.free.load(Relaxed) < frames && self.available() < frames
    }

    /// The cache of the CPU we are on, unless it is being emptied.
    fn own_cache(&self) -> Option<Cached<'_>> {
        self.caches.get((self.this_cpu)())?.try_lock()
    }

    fn allocate_cached(&self) -> Option<usize> {
        let mut cache = self.own_cache()?;
        if cache.is_empty() {
            self.fill(&mut cache);
        }
        cache.pop()
    }

    /// Half a cache from the buddy, less when little is left, so that the last frames are not all in one CPU's cache.
    fn fill(&self, cache: &mut Cached<'_>) {
        self.lock_buddy(|buddy| {
            let share = buddy.free_frames() / (2 * self.caches.len());
            for _ in 0..share.clamp(1, self.capacity / 2) {
                let Some(index) = buddy.allocate(0) else { break };
                cache.push(index);
            }
        });
    }

    fn empty(&self, cache: &mut Cached<'_>, frames: usize) {
        self.lock_buddy(|buddy| cache.take_oldest(frames, |index| buddy.free(index, 0)));
    }

    /// Takes something from the buddy; if it has none, once more after all caches gave back theirs.
    fn with_buddy<T>(&self, mut take: impl FnMut(&mut Buddy) -> Option<T>) -> Option<T> {
        self.lock_buddy(&mut take).or_else(|| {
            self.empty_caches();
            self.lock_buddy(&mut take)
        })
    }

    fn lock_buddy<T>(&self, change: impl FnOnce(&mut Buddy) -> T) -> T {
        let mut buddy: MutexGuard<'_, Buddy> = self.buddy.lock();
        let result = change(&mut buddy);
        self.free.store(buddy.free_frames(), Relaxed);
        result
    }
}
