//! A CPU's cache of single frames, so that the common allocation touches no cache line another CPU writes.
//!
//! Its lock is there for the other CPUs that collect cached frames when memory is short (and for a thread that moved to another CPU
//! between asking which one it is on and locking); the owner takes it uncontended. The last frame freed is the next allocated.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use spin::{Mutex, MutexGuard};

/// Frames a cache can hold.
pub(crate) const CAPACITY: usize = 64;

/// One CPU's cache, on cache lines of its own.
#[repr(align(64))]
pub(crate) struct Cache {
    slots: Mutex<Slots>,
    /// `slots.len`, readable without the lock.
    count: AtomicUsize,
}

/// What the lock protects: indices of frames.
struct Slots {
    len: usize,
    frames: [u32; CAPACITY],
}

impl Cache {
    pub(crate) const fn new() -> Self {
        Self { slots: Mutex::new(Slots { len: 0, frames: [0; CAPACITY] }), count: AtomicUsize::new(0) }
    }

    /// How many frames are in it, or were a moment ago.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// For the owner: nothing if somebody else is at it.
    pub(crate) fn try_lock(&self) -> Option<Cached<'_>> {
        let slots = self.slots.try_lock()?;
        Some(Cached { slots, cache: self })
    }

    /// For those who collect frames.
    pub(crate) fn lock(&self) -> Cached<'_> {
        let slots = self.slots.lock();
        Cached { slots, cache: self }
    }
}

/// A locked cache.
pub(crate) struct Cached<'a> {
    slots: MutexGuard<'a, Slots>,
    cache: &'a Cache,
}

impl Cached<'_> {
    /// Takes the frame that was put in last.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let len = self.slots.len.checked_sub(1)?;
        self.set_len(len);
        Some(self.slots.frames[len] as usize)
    }

    /// Puts a frame in; the cache must not be full.
    pub(crate) fn push(&mut self, index: usize) {
        let len = self.slots.len;
        self.slots.frames[len] = index as u32;
        self.set_len(len + 1);
    }

    /// Takes out the `frames` that were put in first, which are the coldest, and hands them to `each`.
    pub(crate) fn take_oldest(&mut self, frames: usize, mut each: impl FnMut(usize)) {
        let len = self.slots.len;
        let frames = frames.min(len);
        self.slots.frames[..frames].iter().for_each(|&index| each(index as usize));
        self.slots.frames.copy_within(frames..len, 0);
        self.set_len(len - frames);
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len == 0
    }

    /// The frames in it.
    pub(crate) fn frames(&self) -> impl Iterator<Item = usize> {
        self.slots.frames[..self.slots.len].iter().map(|&index| index as usize)
    }

    fn set_len(&mut self, len: usize) {
        self.slots.len = len;
        self.cache.count.store(len, Relaxed);
    }
}
